"""Where a long run lies until it is done, beside its target, and how it goes on after an interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from impl.errors import BadInput, PrunedexError
from impl.shards import FRAME, sync


def draft_folder(target: Path) -> Path:
    """Where a run that is to end in `target` lies until it is done."""
    return target.parent / f".{target.name}.offload"


class Draft:
    """The folder beside the target where a run in progress lies; one process at a time.

    What is in it from an interrupted run of the same `request` is kept, with
    `found` saying so; anything else is cleared away. On leaving, the folder
    goes unless blocks are finished in it and the target is not.
    Raises `BadInput` if it is in use or not ours.
    """

    def __init__(self, target: Path, request: dict[str, Any], count: int) -> None:
        self.target, self.request, self.count = target, request, count
        self.folder = draft_folder(target)
        self.hidden, self.result = self.folder / "hidden", self.folder / "checkpoint"
        self._lock = FileLock(self.folder / "lock")
        self.found = ""
        self._empty: dict[str, Any] = {
            "request": request,
            "done": 0,
            "shards": {},
            "layers": [],
            "details": {},
            "seconds": 0.0,
            "random": [],
        }
        self.journal = self._empty

    @property
    def done(self) -> int:
        """How many blocks are finished."""
        return int(self.journal["done"])

    def __enter__(self) -> Draft:
        ours = not self.folder.exists() or (self.folder / "lock").is_file()
        if not ours:
            raise BadInput(f"{self.folder} is in the way, and not ours", "Name another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BadInput(
                f"another process is writing to {self.target}", "Wait for it, or name another."
            ) from None
        earlier = self._read()
        if earlier is not None:
            difference = _difference(earlier["request"], self.request)
            if not difference and self._intact(earlier):
                self.journal = earlier
                self.found = f"going on behind block {self.done - 1} of an interrupted run"
            else:
                why = difference or "its files are damaged"
                self.found = f"starting anew instead of going on with an interrupted run: {why}"
        if not self.done:
            self._clear()
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        for part in (self.hidden, self.result, self.folder / "scratch"):
            part.mkdir(exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
        if kind is None or not self.done:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif isinstance(error, PrunedexError):
            left = f"{self.done} of {self.count} blocks are finished and kept in {self.folder}."
            error.hint = " ".join(filter(None, [error.hint, left]))

    def finish(self, written: Path, part: int) -> None:
        """Put the file of a part among the results."""
        name = self.shard(part)
        written.replace(self.result / name)
        self.journal["shards"][name] = (self.result / name).stat().st_size

    def shard(self, part: int) -> str:
        """The name of a part's file: blocks first, the frame last."""
        number = part + 1 if part != FRAME else self.count + 1
        return f"model-{number:05}-of-{self.count + 1:05}.safetensors"

    def save(self) -> None:
        """Write the journal, whole or not at all."""
        beside = self.folder / "journal.new"
        beside.write_text(json.dumps(self.journal), encoding="utf-8")
        sync(beside)
        beside.replace(self.folder / "journal.json")

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / "journal.json").read_text("utf-8"))
            return found if found.keys() == self._empty.keys() and found["done"] else None
        except (OSError, ValueError, AttributeError):
            return None

    def _intact(self, journal: dict[str, Any]) -> bool:
        sizes = journal["shards"]
        paths = [self.result / self.shard(part) for part in range(journal["done"])]
        return all(p.is_file() and p.stat().st_size == sizes.get(p.name) for p in paths)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def _difference(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing in which two requests differ, in words, or nothing."""
    for key in [*now, *earlier]:
        if earlier.get(key) != now.get(key):
            return f"{key.replace('_', ' ')} was {earlier.get(key)}, and is {now.get(key)}"
    return ""
