"""What one run of a method shares: device, batch size, progress, and what to put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from impl.offload import Offload

Progress = Callable[[int, int, str], None]
"""Is called with (blocks done, blocks in all, what is being worked on)."""


@dataclass
class Session:
    """Settings of the run in progress, and a record of what the method read.

    `read` counts, by the name of the statistic, how many windows a method
    looked at; the tag checks rest on it. `details` is what a method wants its
    report to say besides the budget, as JSON. `offload` is where the blocks come
    from if the model is not in memory.
    """

    device: torch.device | None = None
    batch_size: int = 1
    progress: Progress | None = None
    read: Counter[str] = field(default_factory=Counter)
    details: dict[str, Any] = field(default_factory=dict)
    undo: ExitStack = field(default_factory=ExitStack)
    offload: Offload | None = None


_current: ContextVar[Session | None] = ContextVar("session", default=None)


def current() -> Session:
    """The session in progress, or default settings outside of one."""
    return _current.get() or Session()


Item = TypeVar("Item")


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one by one, with the session's progress: "candidate 3", then "done"."""
    report = current().progress
    for index, item in enumerate(items):
        if report:
            report(index, len(items), f"{what} {index}")
        yield item
    if report:
        report(len(items), len(items), "done")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own training flag is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def session(model: nn.Module, settings: Session, seed: int) -> Iterator[Session]:
    """Run a method in: evaluation mode, own random state, everything put back afterwards.

    Training flags, `requires_grad`, random states and whatever was pushed to
    `settings.undo` are restored whether the method ends, fails or is interrupted.
    """
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    token = _current.set(settings)
    try:
        with evaluating(model), settings.undo, torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield settings
    finally:
        _current.reset(token)
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)
