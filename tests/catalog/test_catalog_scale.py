"""A catalog of a thousand papers: every file is read once, and a check takes seconds."""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from sample import write_catalog

from catalog.cli import main

HERE = Path(__file__).resolve().parents[2]


def benchmark() -> ModuleType:
    """`scripts/benchmark/catalog.py`, which is no part of a package."""
    file = HERE / "scripts" / "benchmark" / "catalog.py"
    spec = importlib.util.spec_from_file_location("benchmark_catalog", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def processor_seconds(root: Path, papers: int) -> float:
    """What a check of a catalog costs, start-up included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [sys.executable, "-m", "catalog", "check", "--strict", "--root", str(root)],
        cwd=HERE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert f"{papers} papers" in run.stderr, run.stderr[-2000:]
    assert ": 0 errors" in run.stderr, run.stdout[:2000]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_check_costs_no_more_than_in_proportion_to_the_entries(tmp_path: Path) -> None:
    """A ratio, since seconds belong to a machine; `scripts/benchmark/catalog.py` has those."""
    sizes = (250, 1000)
    for size in sizes:
        benchmark().write(tmp_path / str(size), size)
        assert len(list((tmp_path / str(size) / "papers").glob("*.yaml"))) == size
    # Sizes alternate and the best of each counts, since other tests may run beside this one.
    runs = [[processor_seconds(tmp_path / str(size), size) for size in sizes] for _ in range(3)]
    few, many = map(min, zip(*runs, strict=True))
    assert many < 4 * few, runs


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"], ["check", "--json"], ["list"], ["list", "pruning", "--type", "structured"], ["list", "--format", "bib"],
        ["show", "first2023base"], ["cite", "first2023base", "second2024next"], ["tags"], ["methods"], ["resources"], ["stale"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_file_is_read_twice(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_catalog(tmp_path)
    reads: Counter[str] = Counter()
    opened = Path.open

    def counted(self: Path, mode: str = "r", *rest: object, **options: object) -> object:
        if self.is_relative_to(root):
            reads[self.relative_to(root).as_posix()] += 1
        return opened(self, mode, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counted)
    monkeypatch.setenv("PRUNEDEX_ROOT", str(root))
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    entries = {name: times for name, times in reads.items() if name.startswith("papers/")}
    assert entries == {"papers/first2023base.yaml": 1, "papers/second2024next.yaml": 1}
    assert {name: times for name, times in reads.items() if times > 1} == {}
