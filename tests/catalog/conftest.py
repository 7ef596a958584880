from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sample import write_catalog

from catalog.cli import main
from catalog.store import Catalog

Load = Callable[..., Catalog]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes the sample catalog with changes and loads it."""

    def make(changes: Mapping[str, Any] | None = None) -> Catalog:
        return Catalog.load(write_catalog(tmp_path / "root", changes))

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "root")


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on the sample catalog: exit status, standard output, standard error."""
    monkeypatch.setenv("PRUNEDEX_ROOT", str(root))
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: str, changes: Mapping[str, Any] | None = None) -> tuple[int, str, str]:
        if changes:
            write_catalog(root, changes)
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        status = caught.value.code
        assert isinstance(status, int)
        return status, captured.out, captured.err

    return call
