"""How good a model is: perplexity on a text, accuracy on labelled samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl.losses import batches, logits
from impl.session import evaluating
from impl.tasks import LabelledData


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


@torch.no_grad()
def accuracy(
    model: PreTrainedModel,
    data: LabelledData,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int = 50,
) -> float:
    """The share of samples whose label gets the highest score; ties go to the first label.

    The model runs in evaluation mode, its training flags are put back.
    """
    right = done = 0
    with evaluating(model):
        for batch in batches(data, batch_size, model.device):
            assert batch.labels is not None
            right += int(logits(model, batch).argmax(-1).eq(batch.labels).sum())
            done += len(batch)
            if progress:
                progress(done, len(data))
    return right / len(data)
