"""Toys with more than three blocks, for methods that choose among blocks."""

from __future__ import annotations

from unittest import mock

import torch
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.model import blocks, views
from impl.toys import TOYS, toy, toy_tokens


def deep(layers: int = 8, family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A random model of `layers` blocks of width 32, as `toy`."""
    name, arguments = TOYS[family]
    changed = (name, {**arguments, "num_hidden_layers": layers})
    with mock.patch.dict(TOYS, {"deep": changed}):
        return toy("deep", seed=seed)


def text(samples: int = 4, length: int = 16, seed: int = 1) -> Calibration:
    return Calibration(toy_tokens(samples, length, seed), "toy", "random", seed)


def make_idle(model: PreTrainedModel, *places: int) -> None:
    """Let blocks hand on the hidden state that they get: what they add is zero."""
    for place in places:
        for view in views(model, place):
            if view.part in ("o", "down"):
                view.W = torch.zeros_like(view.W)


def without(model: PreTrainedModel, *places: int) -> torch.Tensor:
    """Logits on some tokens, with plain hooks that take the blocks' effect back."""
    hooks = [
        blocks(model)[place].register_forward_hook(lambda _m, args, _out: args[0])
        for place in places
    ]
    try:
        return logits(model)
    finally:
        for hook in hooks:
            hook.remove()


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(toy_tokens(2, 12, 7), use_cache=False).logits
    return found
