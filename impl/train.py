"""A short training loop for recovery: all weights or some, with LoRA, or by distillation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from impl.losses import Batch, Data, batches, logits, losses
from impl.model import View, all_views
from impl.session import current

Objective = Callable[[nn.Module, Batch], Tensor]
"""The loss of a batch, a scalar that gradients flow through."""


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The loss that the model was made for: next token, or label."""
    return losses(model, batch).mean()


def train(
    model: nn.Module,
    data: Data,
    steps: int,
    lr: float,
    *,
    parameters: Iterable[nn.Parameter] | None = None,
    objective: Objective = mean_loss,
    batch_size: int = 1,
    warmup: int = 0,
    schedule: Literal["constant", "linear", "cosine"] = "constant",
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    clip: float | None = 1.0,
    what: str = "step",
) -> list[float]:
    """Train with AdamW for `steps` batches of `batch_size` samples; returns the loss of each step.

    Samples come in an order shuffled by the session's random state, as often
    as needed. `parameters` are what is trained, all of the model's if none are
    named; only they require gradients meanwhile. Dropout stays off: the
    model remains in evaluation mode. In bfloat16 the step is computed in
    float32 copies, because most of the updates would be rounded away.
    """
    if steps < 1:
        return []
    trained = list(model.parameters() if parameters is None else parameters)
    flags = [(p, p.requires_grad) for p in [*model.parameters(), *trained]]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    masters = [p if p.dtype == torch.float32 else p.detach().float() for p in trained]
    optimiser = torch.optim.AdamW(masters, lr=lr, betas=betas, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _factor(step, steps, warmup, schedule)
    )
    stream, found = _shuffled(data, batch_size, next(model.parameters()).device), []
    try:
        for step in range(steps):
            if current().progress:
                current().progress(step, steps, f"{what} {step}")  # type: ignore[misc]
            with torch.enable_grad():
                loss = objective(model, next(stream))
                gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for master, gradient in zip(masters, gradients, strict=True):
                master.grad = None if gradient is None else gradient.to(master.dtype)
            if clip is not None:
                nn.utils.clip_grad_norm_(masters, clip)
            optimiser.step()
            scheduler.step()
            for parameter, master in zip(trained, masters, strict=True):
                if parameter is not master:
                    parameter.data.copy_(master)
            found.append(loss.item())
        if current().progress:
            current().progress(steps, steps, "done")  # type: ignore[misc]
    finally:
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
    return found


def distillation(
    teacher: nn.Module | Callable[[Batch], Tensor], temperature: float = 1.0
) -> Objective:
    """KL divergence of the student's next-token (or label) distribution from the teacher's.

    Mean over tokens, scaled by the square of the temperature; 0 where both
    agree. The teacher runs without gradients.
    """

    def objective(student: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            given = logits(teacher, batch) if isinstance(teacher, nn.Module) else teacher(batch)
        own = log_softmax(logits(student, batch).float() / temperature, -1).flatten(0, -2)
        target = log_softmax(given.float() / temperature, -1).flatten(0, -2)
        return kl_div(own, target, reduction="batchmean", log_target=True) * temperature**2

    return objective


@contextmanager
def lora(
    model: nn.Module,
    rank: int = 8,
    alpha: int = 16,
    targets: Iterable[View] | None = None,
) -> Iterator[list[nn.Parameter]]:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on `targets` while the context lasts.

    Gives the adapters' parameters, to train; at the end they are merged into
    the weights and the model has its own modules back. Without `targets` all
    prunable weights get one, but for experts, which have no module each.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    chosen = [v for v in (all_views(model) if targets is None else targets) if v.expert is None]
    names = {id(module): name for name, module in model.named_modules()}
    wanted = sorted({names[id(view.module)] for view in chosen})
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    conv1d = any(view.transposed for view in chosen)
    adapters = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=wanted, fan_in_fan_out=conv1d, lora_dropout=0.0
    )
    inject_adapter_in_model(adapters, model)
    merge = True
    try:
        yield [p for name, p in model.named_parameters() if "lora_" in name]
    except BaseException:
        merge = False
        raise
    finally:
        for name, module in list(model.named_modules()):
            if isinstance(module, LoraLayer):
                if merge:
                    module.merge()
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, module.get_base_layer())
        model.__dict__.pop("peft_config", None)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    if schedule == "linear":
        return 1 - done
    return (1 + math.cos(math.pi * done)) / 2 if schedule == "cosine" else 1.0


def _shuffled(data: Data, size: int, device: torch.device) -> Iterator[Batch]:
    """Batches for ever, samples in a new order in every pass."""
    samples: list[Any] = list(batches(data, 1, device))
    order = random.Random(int(torch.randint(2**31, ()).item()))
    pending: list[Any] = []
    while True:
        while len(pending) < size:
            pending += order.sample(samples, len(samples))
        taken, pending = pending[:size], pending[size:]
        inputs = {
            name: torch.cat([sample.inputs[name] for sample in taken]) for name in taken[0].inputs
        }
        labelled = taken[0].labels is not None
        yield Batch(inputs, torch.cat([s.labels for s in taken]) if labelled else None)
