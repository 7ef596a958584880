"""`prunedex check-method` with a catalog that is named: whose tags it checks, and when it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.cli import main

HERE = Path(__file__).resolve().parents[2]
KEY = "jaiswal2023emergence"
"""The entry that the method `magnitude` implements."""

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A catalog of one entry, which claims another criterion than the method has."""
    for folder in ("catalog/vocabulary", "catalog/resources"):
        shutil.copytree(HERE / folder, tmp_path / folder)
    (tmp_path / "papers").mkdir()
    text = (HERE / f"papers/{KEY}.yaml").read_text("utf-8")
    assert "criterion: [magnitude]" in text
    claim = text.replace("criterion: [magnitude]", "criterion: [wanda]")
    (tmp_path / f"papers/{KEY}.yaml").write_text(claim, encoding="utf-8")
    return tmp_path


@pytest.fixture
def check(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks `magnitude` on that catalog, less the part of the contract that reads no tags."""
    monkeypatch.setattr("impl.contract.check_method", lambda *_: iter(()))

    def call() -> tuple[int, str, str]:
        arguments = ("check-method", "magnitude", "--family", "llama", "--json")
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--root", str(root)])
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return call


def test_the_tags_are_those_of_the_catalog_that_is_named(check: Check) -> None:
    status, out, _ = check()
    assert status == 1
    found = {(item["check"], item["family"]): item for item in json.loads(out)}
    failed = {tag for tag, item in found.items() if item["result"] == "failed"}
    assert failed == {("tag criterion", "wanda")}
    assert "the entry says wanda, but" in found["tag criterion", "wanda"]["text"]
    assert ("tag retraining", "extensive") not in found, "the docstring says that it is not run"


def test_without_an_entry_it_says_that_no_tags_are_checked(check: Check, root: Path) -> None:
    (root / f"papers/{KEY}.yaml").unlink()
    status, out, err = check()
    assert (status, json.loads(out)) == (0, [])
    assert "gives tags to magnitude, so none are checked" in err


def test_another_version_of_the_method_is_refused(check: Check, root: Path) -> None:
    theirs = root / "impl/methods/magnitude.py"
    theirs.parent.mkdir(parents=True)
    shutil.copy(HERE / "impl/methods/magnitude.py", theirs)
    assert check()[0] == 1, "a copy of what runs is no other version"
    theirs.write_text(theirs.read_text("utf-8") + "\n# changed\n", encoding="utf-8")
    status, out, err = check()
    assert (status, out) == (1, "")
    assert f"{theirs} is not the method that runs here" in err
