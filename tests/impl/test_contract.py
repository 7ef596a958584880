"""Every method keeps the contract on every family: ids are method-check-family."""

from __future__ import annotations

import pytest

from impl import method_names
from impl.contract import CHECKS
from impl.toys import TOYS


@pytest.mark.parametrize(
    ("method", "check", "family"),
    [(m, c, f) for m in method_names() for c in CHECKS for f in TOYS],
    ids=lambda value: value,
)
def test_contract(method: str, check: str, family: str) -> None:
    CHECKS[check](method, family)
