"""Files that are written whole or not at all, whatever interrupts it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.errors import PrunedexError


def write_new(file: Path, text: str) -> None:
    """Write a file that must not exist. Raises PrunedexError if it does."""
    with _beside(file, text, 0o644) as temporary:
        try:
            os.link(temporary, file)  # fails where the file exists, unlike a rename
        except FileExistsError:
            raise PrunedexError(f"{file} exists already", "nothing was written") from None


def replace_text(file: Path, text: str) -> None:
    """Write a file with this content, whether or not it exists; one that does keeps its mode."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    with _beside(file, text, mode) as temporary:
        temporary.replace(file)


@contextmanager
def _beside(file: Path, text: str, mode: int) -> Iterator[Path]:
    """A hidden file with this content in the same folder, gone afterwards if it is left there."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        temporary.chmod(mode)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
