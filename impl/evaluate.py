"""How good a language model is on a text."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl.session import evaluating


@torch.no_grad()
def perplexity(
    model: PreTrainedModel, tokens: Tensor, progress: Callable[[int, int], None] | None = None
) -> float:
    """exp of the mean over windows of the mean token loss; tokens are (windows, length).

    Windows are independent: the first token of each is only context. The
    model runs in evaluation mode, its training flags are put back.
    """
    losses = []
    with evaluating(model):
        for index, window in enumerate(tokens.to(model.device)):
            logits = model(window[None], use_cache=False).logits[0, :-1]
            losses.append(cross_entropy(logits.float(), window[1:]).item())
            if progress:
                progress(index + 1, len(tokens))
    mean = math.fsum(losses) / len(losses)
    return math.exp(mean) if mean < 700 else math.inf
