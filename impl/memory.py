"""How much memory a piece of work needs at its peak."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil
import torch


class PeakMemory:
    """Measure peak memory between entering and leaving, in bytes.

    On CUDA: what the allocator held at most. Elsewhere: the resident memory
    of this process, looked at every few milliseconds, which includes Python,
    the libraries and the model itself. `before` is the same at the start.
    """

    interval = 0.005

    def __init__(self, *devices: torch.device | None) -> None:
        self._cuda = next((d for d in devices if d is not None and d.type == "cuda"), None)
        self.before = 0
        self.peak = 0

    def __enter__(self) -> PeakMemory:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self.before = self.peak = torch.cuda.memory_allocated(self._cuda)
            return self
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.before = self.peak = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cuda is not None:
            self.peak = torch.cuda.max_memory_allocated(self._cuda)
            return
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._process.memory_info().rss)
            if self._stop.wait(self.interval):
                return
