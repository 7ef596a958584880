"""Every method keeps the contract on every family it is held to: ids are method-check-family."""

from __future__ import annotations

import pytest

from impl import method_names
from impl.contract import CHECKS, ExpectedFailureError
from impl.evidence import toys_for


@pytest.mark.parametrize(
    ("method", "check", "family"),
    [(m, c, f) for m in method_names() for c in CHECKS for f in toys_for(m)],
    ids=lambda value: value,
)
def test_contract(method: str, check: str, family: str) -> None:
    try:
        CHECKS[check](method, family)
    except ExpectedFailureError as declared:
        pytest.xfail(declared.reason)
