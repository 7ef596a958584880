"""Protocols as data: every one is sound, and a record that departs from one is told where."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from impl.errors import BadInput
from impl.sources import ASSETS, MODELS, folder_revision
from impl.standards import FOLDER, find_standard, standards
from impl.units import UNITS

RESULTS = Path(__file__).resolve().parents[2] / "impl" / "results"


@pytest.mark.parametrize("name", standards())
def test_a_protocol_is_sound(name: str) -> None:
    standard = standards()[name]
    assert standard.name == name
    assert standard.model in MODELS or "network" in standard.requires
    if (ASSETS / standard.model).is_dir():
        assert standard.revision == folder_revision(ASSETS / standard.model)
    if not standard.requires:
        assert standard.calibration.sha256
        assert standard.evaluation.sha256
        assert standard.calibration.sha256 != standard.evaluation.sha256
    for unit, arguments in standard.budgets.items():
        assert {*arguments} <= {*UNITS[unit].arguments, *(["pattern"] * (unit == "weights"))}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*-1/*.json")), ids=lambda p: p.stem)
def test_what_is_recorded_follows_its_protocol(path: Path) -> None:
    record = json.loads(path.read_text("utf-8"))
    if "failed" in record:
        assert record["protocol"]["name"] == path.parent.name
        return
    assert find_standard(path.parent.name).differs(record["protocol"]) == []


def test_where_a_run_departs_is_said() -> None:
    standard = standards()["smollm2-lee-1"]
    followed: dict[str, Any] = {
        "model": {"name": standard.model, "revision": standard.revision, "dtype": "float32"},
        "calibration": vars(standard.calibration),
        "evaluation": vars(standard.evaluation),
        "seed": 0,
    }
    assert standard.differs(followed) == []
    assert standard.differs({**followed, "calibration": None}) == []
    other = copy.deepcopy(followed)
    other["model"]["revision"] = "another"
    other["calibration"]["samples"] = 31
    other["evaluation"]["sha256"] = "0" * 64
    other["seed"] = 1
    assert standard.differs(other) == [
        "model.revision",
        "calibration.samples",
        "evaluation.sha256",
        "seed",
    ]


def test_a_hash_that_nobody_has_stated_yet_is_not_asked_for() -> None:
    standard = standards()["smollm2-wikitext2-1"]
    seen = {**vars(standard.evaluation), "sha256": "1" * 64}
    record = {
        "model": {"name": standard.model, "revision": standard.revision, "dtype": "float32"},
        "calibration": None,
        "evaluation": seen,
        "seed": 0,
    }
    assert standard.differs(record) == []


def test_a_model_of_a_hub_is_loaded_at_its_revision() -> None:
    standard = standards()["llama2-7b-wikitext2-1"]
    assert standard.loads == f"{standard.model}@{standard.revision}"
    assert standards()["smollm2-lee-1"].loads == "smollm2-135m"


def test_names_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="closest: smollm2-lee-1"):
        find_standard("smollm-lee")
    with pytest.raises(BadInput, match="cannot read"):
        find_standard(str(tmp_path / "none.toml"))
    good = (FOLDER / "tiny-moe-1.toml").read_text("utf-8")
    for text, said in (
        ("name = ", "is no protocol: Invalid value"),
        (good.replace("[model]", "[other]"), "it has no 'model'"),
        (good.replace("samples", "count"), "'count'"),
        (good.replace("seed = 0", "seed = 0\nsurplus = 1"), "'surplus'"),
        (good.replace("drop = [2, 4]", "drop = 2"), "not iterable"),
    ):
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        with pytest.raises(BadInput) as caught:
            find_standard(str(path))
        assert said in str(caught.value)
    path.write_text(good.replace("tiny-moe-1", "mine"), "utf-8")
    assert find_standard(str(path)).name == "mine"
