"""`prunedex new-method`: what is written where, what stays as it was, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sample import snapshot

from catalog.adding import method as adding
from catalog.adding.method import with_implementation
from catalog.errors import PrunedexError

Run = Callable[..., tuple[int, str, str]]
ENTRY = "papers/second2024next.yaml"


@pytest.fixture
def root(root: Path) -> Path:
    (root / "tests/impl").mkdir(parents=True)
    return root


def test_everything_is_written_and_the_catalog_passes(run: Run, root: Path) -> None:
    before = (root / ENTRY).read_text("utf-8")
    marked = before.replace("lifecycle:", "# about its life\nlifecycle:").replace(
        "year: 2024\n", "year: 2024  # the first\n", 1
    )
    (root / ENTRY).write_text(marked, encoding="utf-8")
    status, out, _ = run("new-method", "layer-drop", "--paper", "second2024next")
    assert status == 0
    assert "prunedex check-method layer-drop" in out
    after = (root / ENTRY).read_text("utf-8")
    assert after == marked.replace(
        "# about its life\n", "implementation: layer-drop\n# about its life\n"
    )
    source = (root / "impl/methods/layer_drop.py").read_text("utf-8")
    assert '@method("layer-drop"' in source
    assert "second2024next" in source
    for section in ("Equations", "Hyperparameters", "Deviations"):
        assert f"\n{section}\n---" in source
    compile(source, "layer_drop.py", "exec")
    compile((root / "tests/impl/test_layer_drop.py").read_text("utf-8"), "test.py", "exec")
    assert run("check")[0] == 0


def test_dry_run_and_json_write_nothing(run: Run, root: Path) -> None:
    before = snapshot(root)
    status, out, _ = run("new-method", "layer-drop", "--paper", "second2024next", "-n", "--json")
    assert status == 0
    assert json.loads(out) == {
        "method": "layer-drop",
        "paper": "second2024next",
        "files": ["impl/methods/layer_drop.py", "tests/impl/test_layer_drop.py", ENTRY],
        "written": False,
    }
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("name", "paper", "says"),
    [
        ("zero-out", "second2024next", "exists already"),
        ("layer-drop", "first2023base", "is implemented already, by zero-out"),
        ("layer-drop", "third2024x", "there is no entry"),
        ("../evil", "second2024next", "is no name for a method"),
        ("Layer", "second2024next", "is no name for a method"),
        ("a--b", "second2024next", "is no name for a method"),
    ],
)
def test_refusals(run: Run, root: Path, name: str, paper: str, says: str) -> None:
    before = snapshot(root)
    status, _, err = run("new-method", name, "--paper", paper)
    assert status == 2
    assert says in err
    assert snapshot(root) == before


def test_a_failure_takes_everything_back(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(root)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adding, "replace_text", fail)
    status, _, err = run("new-method", "layer-drop", "--paper", "second2024next")
    assert (status, "No space left" in err) == (1, True)
    assert snapshot(root) == before


def test_an_entry_in_braces_is_left_alone(root: Path) -> None:
    file = root / ENTRY
    file.write_text('{"key": "a2020b", "lifecycle": {"status": "published"}}\n', encoding="utf-8")
    with pytest.raises(PrunedexError, match="no line can be added"):
        with_implementation(root, file, "layer-drop")
