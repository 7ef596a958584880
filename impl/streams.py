"""Hidden states between the blocks on disk, for models of which one block at a time is in memory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from impl.calibration import Calibration
from impl.errors import PrunedexError
from impl.shards import Lazy, sync
from impl.walk import Activations, Block, record


class OnDisk:
    """Hidden states in a file, (batch, length, width) each; what is read is a copy.

    `kept`: the file is there from an earlier process, `append` only tells the shapes.
    """

    def __init__(self, path: Path, device: torch.device, kept: bool = False) -> None:
        self.path, self.device, self.kept = path, device, kept
        self.forms: list[tuple[torch.Size, torch.dtype]] = []
        self._starts = [0]
        if not kept:
            path.write_bytes(b"")

    def __len__(self) -> int:
        return len(self.forms)

    def append(self, value: Tensor, /) -> None:
        self.forms.append((value.shape, value.dtype))
        self._starts.append(self._starts[-1] + value.nbytes)
        if not self.kept:
            self[len(self) - 1] = value

    def __getitem__(self, batch: int, /) -> Tensor:
        shape, dtype = self.forms[batch]
        value = torch.empty(shape, dtype=dtype)
        with self.path.open("rb") as file:
            file.seek(self._starts[batch])
            if file.readinto(value.view(torch.uint8).numpy().data) != value.nbytes:
                raise PrunedexError(
                    f"{self.path} is damaged: it ends too early",
                    f"Delete {self.path.parents[1]}, and start again.",
                )
        return value.to(self.device)

    def __setitem__(self, batch: int, value: Tensor, /) -> None:
        assert (value.shape, value.dtype) == self.forms[batch]
        with self.path.open("r+b") as file:
            file.seek(self._starts[batch])
            file.write(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)

    def like(self, other: OnDisk) -> OnDisk:
        """Take the shapes of `other`."""
        self.forms, self._starts = other.forms, other._starts
        return self


class Stream:
    """Windows on their way through the blocks; `first` is the block that comes next."""

    def __init__(
        self, lazy: Lazy, folder: Path, name: str, data: Calibration, size: int, first: int
    ) -> None:
        paths = [folder / f"{name}-{(first + i) % 2}" for i in range(2)]
        now = OnDisk(paths[0], lazy.device, kept=first > 0)
        self.activations: Activations = record(lazy.model, data, lazy.device, size, now)
        self.now, self.ahead = now, OnDisk(paths[1], lazy.device).like(now)
        self._model = lazy.model

    def advance(self, index: int) -> None:
        """Send all windows through block `index`, as it is now."""
        Block(self._model, index, self.activations).advance(self.ahead)

    def turn(self) -> None:
        """What the block passed on is now what comes in."""
        sync(self.ahead.path)
        self.now, self.ahead = self.ahead, self.now
        self.activations.hidden = self.now
