"""What references need that are written without the core: plain hooks on the whole model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from transformers import PreTrainedModel

from impl.model import View


def inputs_of(
    model: PreTrainedModel, targets: Iterable[View], tokens: torch.Tensor
) -> dict[torch.nn.Module, list[torch.Tensor]]:
    """What goes into the targets' modules, window by window: (tokens, in) for each of them."""
    seen: dict[torch.nn.Module, list[torch.Tensor]] = {view.module: [] for view in targets}

    def look(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen[module].append(args[0].flatten(0, -2))

    with torch.no_grad(), ExitStack() as hooks:
        for module in seen:
            hooks.enter_context(module.register_forward_pre_hook(look))
        for window in tokens:
            model(window[None], use_cache=False)
    return seen
