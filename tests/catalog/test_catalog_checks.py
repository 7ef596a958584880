"""Every check: a catalog that fails it and one that passes everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sample import write_catalog

from catalog.checks import REGISTRY
from catalog.store import Catalog

CASES = Path(__file__).parent / "cases"


def case(code: str, outcome: str) -> dict[str, Any]:
    data = YAML(typ="safe", pure=True).load(CASES / f"{code}.yaml")
    found: dict[str, Any] = data[outcome]
    return found


def test_every_check_has_a_case_and_every_case_a_check() -> None:
    codes = [check.code for check in REGISTRY]
    assert len(codes) == len(set(codes))
    assert sorted(codes) == sorted(file.stem for file in CASES.glob("*.yaml"))
    assert all(
        check.help and check.severity in ("error", "warning", "notice") for check in REGISTRY
    )


def test_the_sample_passes(load: Any) -> None:
    catalog = load()
    assert catalog.problems == []
    assert list(catalog.entries) == ["first2023base", "second2024next"]


@pytest.mark.parametrize("check", REGISTRY, ids=lambda check: check.code)
def test_check(check: Any, tmp_path: Path) -> None:
    fails, passes = case(check.code, "fails"), case(check.code, "passes")

    root = write_catalog(tmp_path / "fails", fails["files"])
    problems = Catalog.load(root).problems
    assert {problem.code for problem in problems} == {check.code, *fails.get("also", ())}
    there = [p for p in problems if (p.code, p.path) == (check.code, fails["at"])]
    assert there, [str(problem) for problem in problems]
    lines = (root / fails["at"]).read_text(encoding="utf-8").splitlines()
    problem = there[0]
    assert problem.severity == check.severity
    assert problem.help == check.help
    assert fails.get("line", "") in lines[problem.line - 1]
    assert fails.get("says", "") in problem.message
    assert str(problem).startswith(
        f"{problem.path}:{problem.line}:{problem.column}: {check.code}: "
    )

    catalog = Catalog.load(write_catalog(tmp_path / "passes", passes["files"]))
    assert [str(problem) for problem in catalog.problems] == []
