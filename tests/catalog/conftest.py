from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sample import write_catalog

from catalog.store import Catalog

Load = Callable[..., Catalog]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes the sample catalog with changes and loads it."""

    def make(changes: Mapping[str, Any] | None = None) -> Catalog:
        return Catalog.load(write_catalog(tmp_path / "root", changes))

    return make
