"""Where the catalog is: the folder that holds `papers/` and `catalog/vocabulary/`."""

from __future__ import annotations

import os
from pathlib import Path

from catalog.errors import PrunedexError

ENVIRONMENT = "PRUNEDEX_ROOT"
"""The environment variable that names the catalog's folder."""


DATA = "prunedex_data"
"""The folder beside the installed packages that holds the catalog they came with."""


def is_root(folder: Path) -> bool:
    """Whether a folder holds a catalog."""
    return (folder / "papers").is_dir() and (folder / "catalog" / "vocabulary").is_dir()


def own_root() -> Path:
    """The catalog that comes with this package: its checkout, or what was installed with it."""
    beside = Path(__file__).resolve().parent.parent
    return beside / DATA if is_root(beside / DATA) else beside


def is_installed(root: Path) -> bool:
    """Whether a catalog belongs to an installation, where nothing is meant to be written."""
    return root.resolve().name == DATA


def find_root(start: Path | None = None) -> Path:
    """The catalog's folder: `start`, $PRUNEDEX_ROOT, here or above, or the package's own.

    A folder that was named, by the argument or the variable, is taken or refused, never
    passed over. Raises PrunedexError where there is no catalog.
    """
    named = os.environ.get(ENVIRONMENT, "")
    for origin, value in (("--root", start), (f"${ENVIRONMENT}", Path(named) if named else None)):
        if value is not None:
            if is_root(value):
                return value.resolve()
            raise PrunedexError(
                f"{value} holds no catalog ({origin})",
                "name a folder that has papers/ and catalog/vocabulary/ in it",
            )
    here = Path.cwd()
    for folder in (here, *here.parents, own_root()):
        if is_root(folder):
            return folder.resolve()
    raise PrunedexError(
        f"no catalog in {here}, above it or beside the installed package",
        f"run this inside a checkout, or set {ENVIRONMENT} or --root to one",
    )
