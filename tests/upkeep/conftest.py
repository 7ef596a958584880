from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Server, serving

from catalog.upkeep import web

ROOT = Path(__file__).resolve().parents[2]

# The sample catalog belongs to the tests of the catalog.
sys.path.insert(0, str(ROOT / "tests" / "catalog"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server to write answers down for; nobody waits long for it."""
    monkeypatch.setattr(web, "SECONDS", 0.5)
    with serving() as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Callable[..., Path]:
    """Writes the sample catalog with changes."""
    from sample import write_catalog

    def make(changes: dict[str, Any] | None = None) -> Path:
        return write_catalog(tmp_path / "root", changes)

    return make


@pytest.fixture
def state() -> Callable[[Path, str], dict[str, Any]]:
    """Reads a file of the state as plain data."""

    def read(root: Path, name: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((root / "catalog" / "state" / name).read_text("utf-8"))
        return data

    return read
