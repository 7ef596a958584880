"""What all tests share: one thread each where several processes share the cores, and a fixture."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes with two threads each wait for one another more than they compute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def forgets_methods() -> Iterator[None]:
    """Methods that the test registers are forgotten after it, for tests with impostors."""
    from impl import registry

    known = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(known)
