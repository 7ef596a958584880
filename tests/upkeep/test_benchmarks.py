"""What the benchmarks make of their measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmark import rivals, scaling


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_fit_finds_the_exponent_of_a_power(exponent: float) -> None:
    found, quality = scaling.fit([(x, 3 * x**exponent) for x in (1, 2, 4, 8)])
    assert found == pytest.approx(exponent, abs=1e-9)
    assert quality == pytest.approx(1)


def test_what_is_no_power_has_a_poor_fit() -> None:
    assert scaling.fit([(1, 1), (2, 9), (4, 1), (8, 9)])[1] < 0.7


def test_results_of_the_same_settings_stay_together_and_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "RESULTS", tmp_path)
    small, large = ({"settings": {"samples": n}, "commit": "c"} for n in (2, 8))
    rivals.write("speed", small, {"a": {"x": 1}})
    path = rivals.write("speed", small, {"b": {"x": 2}})
    assert json.loads(path.read_text())["cases"] == {
        "a": {"commit": "c", "x": 1},
        "b": {"commit": "c", "x": 2},
    }
    rivals.write("speed", large, {"c": {"x": 3}})
    assert json.loads(path.read_text())["cases"] == {"c": {"commit": "c", "x": 3}}


def test_medians_leave_out_what_is_not_known() -> None:
    runs = [
        {"wall_s": wall, "cpu_s": 1, "peak_bytes": None, "before_bytes": None} for wall in (3, 1, 9)
    ]
    assert rivals.medians(runs) == {"wall_s": 3, "cpu_s": 1}


def test_the_median_of_two_runs_counts_whole_bytes() -> None:
    runs = [
        {"wall_s": 1.0, "cpu_s": 2.0, "peak_bytes": 3, "before_bytes": None},
        {"wall_s": 2.0, "cpu_s": 4.0, "peak_bytes": 6, "before_bytes": None},
    ]
    found = rivals.medians(runs)
    assert found == {"wall_s": 1.5, "cpu_s": 3.0, "peak_bytes": 4}
    assert isinstance(found["peak_bytes"], int)
