"""How good a model is: perplexity on a text, accuracy on labelled samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.losses import Batch, Data, batches, logits
from impl.session import evaluating
from impl.tasks import LabelledData

BATCH = {"windows": 1, "labelled": 50}
"""Samples that are evaluated at a time"""


@torch.no_grad()
def perplexity(
    model: PreTrainedModel, tokens: Tensor, progress: Callable[[int, int], None] | None = None
) -> float:
    """exp of the mean over windows of the mean token loss; tokens are (windows, length).

    Windows are independent: the first token of each is only context. The
    model runs in evaluation mode, its training flags are put back.
    """
    return summary(scores(model, Calibration(tokens, "", "", 0), progress), "perplexity")


@torch.no_grad()
def accuracy(
    model: PreTrainedModel,
    data: LabelledData,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int = BATCH["labelled"],
) -> float:
    """The share of samples whose label gets the highest score; ties go to the first label.

    The model runs in evaluation mode, its training flags are put back.
    """
    return summary(scores(model, data, progress, batch_size), "accuracy")


def metric_of(data: Data) -> str:
    """What is measured on such data: `accuracy` on labelled samples, `perplexity` on text."""
    return "accuracy" if isinstance(data, LabelledData) else "perplexity"


def summary(found: Sequence[float], metric: str) -> float:
    """The scores of all samples as one value of `metric`: exp of their mean, or their mean."""
    mean = math.fsum(found) / len(found)
    if metric == "accuracy":
        return mean
    return math.exp(mean) if mean < 700 else math.inf


@torch.no_grad()
def scores(
    model: PreTrainedModel,
    data: Data,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int | None = None,
) -> list[float]:
    """A score for every sample of `data`, see `score_of`."""
    size = batch_size or batch_of(data)
    total = len(data) if isinstance(data, LabelledData) else len(data.tokens)
    found: list[float] = []
    with evaluating(model):
        for batch in batches(data, size, model.device):
            found += score_of(predictions(model, batch), batch)
            if progress:
                progress(len(found), total)
    return found


def batch_of(data: Data) -> int:
    """How many samples of such data are evaluated at a time."""
    return BATCH["labelled" if isinstance(data, LabelledData) else "windows"]


def predictions(model: nn.Module, batch: Batch) -> Tensor:
    """Logits in float32 of what is predicted: (samples, length − 1, vocabulary), or (samples, labels)."""
    found = logits(model, batch)
    return (found[:, :-1] if batch.labels is None else found).float()


def score_of(found: Tensor, batch: Batch) -> list[float]:
    """Of each window the mean token loss in nats; of each labelled sample 1 if it is right, else 0."""
    if batch.labels is not None:
        return [float(right) for right in found.argmax(-1).eq(batch.labels).tolist()]
    targets = batch.inputs["input_ids"][:, 1:]
    return [cross_entropy(f, t).item() for f, t in zip(found, targets, strict=True)]
