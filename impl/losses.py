"""What a model is trained for, and how far it is from it: the loss on text or on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from impl.calibration import Calibration
from impl.model import all_views
from impl.session import current, track
from impl.tasks import LabelledData

Data = Calibration | LabelledData


@dataclass(frozen=True)
class Batch:
    """Some samples: the model's keyword arguments, and labels (samples,) unless it is plain text."""

    inputs: dict[str, Tensor]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def batches(data: Data, size: int, device: torch.device | None = None) -> Iterator[Batch]:
    """`data` in order, `size` samples at a time, the last batch perhaps fewer."""
    if isinstance(data, LabelledData):
        for inputs, labels in data.batches(size):
            yield Batch({name: x.to(device) for name, x in inputs.items()}, labels.to(device))
    else:
        for start in range(0, len(data.tokens), size):
            yield Batch({"input_ids": data.tokens[start : start + size].to(device)})


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """The model's logits: (samples, length, vocabulary), or (samples, labels)."""
    dtype = next(model.parameters()).dtype
    arguments: dict[str, Any] = {
        name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.inputs.items()
    }
    if batch.labels is None:
        arguments["use_cache"] = False
    found: Tensor = model(**arguments).logits
    return found


def losses(model: nn.Module, batch: Batch) -> Tensor:
    """One loss a sample, (samples,), in float32 or wider: the mean over its tokens, or its label's.

    Gradients flow if the caller enables them. The labels never reach the model.
    """
    found = logits(model, batch)
    found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
    if batch.labels is not None:
        return cross_entropy(found, batch.labels, reduction="none")
    target = batch.inputs["input_ids"][:, 1:]
    flat = cross_entropy(found[:, :-1].flatten(0, 1), target.flatten(), reduction="none")
    return flat.view(target.shape).mean(1)


def weight_gradients(
    model: nn.Module, data: Data, of: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Σ over the samples of `of(∂ loss / ∂ W)` for every view, by its name: (out, in), float32.

    One backward pass a sample, because `of` (a square, an absolute value) does
    not commute with the sum. `.grad` and `requires_grad` stay as they were.
    """
    targets = all_views(model)
    stored = {view.tap[:2]: getattr(view.module, view.parameter) for view in targets}
    sums = {view.name: torch.zeros(view.shape, device=view.stored.device) for view in targets}
    flags = {key: parameter.requires_grad for key, parameter in stored.items()}
    device = next(model.parameters()).device
    samples = list(batches(data, 1, device))
    try:
        for parameter in stored.values():
            parameter.requires_grad_(True)
        for sample in track(samples, "sample"):
            with torch.enable_grad():
                loss = losses(model, sample).sum()
                found = torch.autograd.grad(
                    loss, list(stored.values()), allow_unused=True, materialize_grads=True
                )
            gradients = dict(zip(stored, found, strict=True))
            for view in targets:
                sums[view.name] += of(view.like(gradients[view.tap[:2]]).float())
    finally:
        for key, parameter in stored.items():
            parameter.requires_grad_(flags[key])
    current().read["weight_gradients"] += len(samples)
    return sums
