"""Save a pruned model so that plain transformers loads it, or save nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from impl.errors import BadInput, PrunedexError

MANIFEST = "prunedex.json"
"""What was done to the model, beside its weights; also marks a folder as ours."""


def check_target(folder: Path, overwrite: bool = False) -> None:
    """Make sure that a checkpoint can be written to `folder`, before hours of work.

    An existing folder is only ever replaced if it is a checkpoint that this
    module wrote and `overwrite` is set. Raises `BadInput`.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BadInput(f"cannot save to {folder}: it is not a folder", "Name another folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise BadInput(
                f"cannot save to {folder}: it holds files that are not a checkpoint of ours",
                "Name another folder.",
            )
        if not overwrite:
            raise BadInput(
                f"cannot save to {folder}: there is a checkpoint already",
                "Name another folder, or say --overwrite.",
            )
    with _beside(folder):
        pass


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: str | Path,
    record: dict[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write model, tokenizer and `record` to `folder` as a Hugging Face checkpoint.

    Everything is written beside `folder` and renamed when it is complete, so
    an interruption leaves either the old state or the new one.
    Raises `BadInput` if the folder cannot be used, `PrunedexError` if writing fails.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    with _beside(folder) as draft:
        try:
            with _without_bars():
                model.save_pretrained(draft)
            if tokenizer is not None:
                tokenizer.save_pretrained(draft)
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            (draft / MANIFEST).write_text(text, encoding="utf-8")
            # Drafts are private; what is done is as readable as any other new file.
            mask = _umask()
            for path in [draft, *draft.rglob("*")]:
                path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
            _replace(draft, folder)
        except OSError as error:
            raise PrunedexError(f"cannot save to {folder}: {error.strerror or error}") from error
    return folder


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' own progress bars out of ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A draft folder next to `folder`, gone afterwards unless it was renamed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BadInput(
            f"cannot save to {folder}: {error.strerror or error}", "Name a folder you may write to."
        ) from error
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "old")
    try:
        draft.rename(folder)
    except BaseException:
        (old / "old").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
