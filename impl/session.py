"""What one run of a method shares: device, batch size, progress, and what to put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import nn

Progress = Callable[[int, int, str], None]
"""Is called with (blocks done, blocks in all, what is being worked on)."""


@dataclass
class Session:
    """Settings of the run in progress, and a record of what the method read.

    `read` counts, by the name of the statistic, how many windows a method
    looked at; the tag checks rest on it.
    """

    device: torch.device | None = None
    batch_size: int = 1
    progress: Progress | None = None
    read: Counter[str] = field(default_factory=Counter)
    undo: ExitStack = field(default_factory=ExitStack)


_current: ContextVar[Session | None] = ContextVar("session", default=None)


def current() -> Session:
    """The session in progress, or default settings outside of one."""
    return _current.get() or Session()


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

    Training flags, random states and whatever was pushed to `settings.undo`
    are restored whether the method ends, fails or is interrupted.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    token = _current.set(settings)
    try:
        with evaluating(model), settings.undo, torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield settings
    finally:
        _current.reset(token)
