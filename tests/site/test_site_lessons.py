"""The page of lessons: it says what the results bear out, and nothing that they do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from measured import file, run
from small_catalog import ENTRIES, METHOD, REPOSITORY, RESULT, make_root

from catalog.benchmarks import FOLDER, Samples
from catalog.boards import boards
from catalog.site import addresses, write_tree
from catalog.site.lessons import PROTOCOL, Lessons
from catalog.store import Catalog

TEMPLATE = REPOSITORY / "catalog" / "site" / "templates" / "lessons.html"

READING: Mapping[str, float] = {
    "ria 0.3": 0.1,
    "wanda 0.3": 0.2,
    "magnitude 0.3": 0.9,
    "sparsegpt 0.5": 0.4,
    "wanda 0.5": 0.8,
    "magnitude 0.5": 2.0,
    "wanda 2:4": 1.5,
    "magnitude 2:4": 3.0,
}
"""The cells of the first lesson, with what each loses in nats."""


def root_with(tmp_path: Path, losses: Mapping[str, float]) -> Path:
    root = make_root(tmp_path / "root", ENTRIES[:1])
    for name in {cell.partition(" ")[0] for cell in losses}:
        text = METHOD.replace("wanda", name)
        (root / "impl" / "methods" / f"{name}.py").write_text(text, encoding="utf-8")
    (root / "impl" / "protocols").mkdir()
    declared = REPOSITORY / "impl" / "protocols" / "smollm2-lee-1.toml"
    text = re.sub(r"(?m)^(sha256 =.*|\[budgets(.|\n)*)", "", declared.read_text("utf-8"))
    text = re.sub(r" sha256:\w+", "", text)
    (root / "impl" / "protocols" / declared.name).write_text(text, encoding="utf-8")
    for cell, loss in losses.items():
        method, _, amount = cell.partition(" ")
        options: dict[str, Any] = {"sparsity": 0.5, "pattern": None}
        if ":" in amount:
            options["pattern"] = amount
        else:
            options["sparsity"] = float(amount)
        name = f"{method}-{amount.replace(':', '-')}.json"
        file(root, name, run(method, options, loss, asked=options["sparsity"]))
    return root


def built(root: Path, tmp_path: Path) -> tuple[str | None, list[str]]:
    """What the page says, if there is one, and what the build complained about."""
    catalog = Catalog.load(root)
    assert catalog.reading_problems == []
    flaws = write_tree(catalog, tmp_path / "tree")
    page = tmp_path / "tree" / "docs" / addresses.source(addresses.LESSONS)
    index = (tmp_path / "tree" / "docs" / "results" / "index.md").read_text("utf-8")
    assert ('href="lessons.html"' in index) == page.exists()
    if not page.exists():
        return None, flaws
    text = unescape(re.sub(r"<[^>]+>", " ", page.read_text("utf-8")))
    return " ".join(text.split()), flaws


def test_a_lesson_whose_orders_hold_stands_there_with_the_numbers(tmp_path: Path) -> None:
    text, flaws = built(root_with(tmp_path, READING), tmp_path)
    assert flaws == []
    assert text is not None
    assert "A little text is worth more" in text
    results = {each.file: each for each in Catalog.load(tmp_path / "root").results}
    for name in ("wanda-0.5.json", "magnitude-0.5.json"):
        value = results[name].quality.after
        assert value is not None
        assert f"{value:.3g}" in text.replace("\u202f", "")
    # Cells of other lessons were not measured.
    assert "Mending the survivors" not in text


@pytest.mark.parametrize(
    ("cell", "loss"),
    [("magnitude 0.5", 0.3), ("magnitude 0.3", 0.2001), ("sparsegpt 0.5", 0.8)],
    ids=["turned around", "not told apart", "equal"],
)
def test_a_lesson_whose_orders_do_not_hold_is_left_out_and_said(
    tmp_path: Path, cell: str, loss: float
) -> None:
    text, flaws = built(root_with(tmp_path, {**READING, cell: loss}), tmp_path)
    assert text is None or "A little text is worth more" not in text
    (flaw,) = flaws
    assert "'reading' does not hold any more" in flaw
    assert cell in flaw


def test_orders_against_the_dense_model_are_checked(tmp_path: Path) -> None:
    board = next(iter(boards(Catalog.load(root_with(tmp_path, READING)))))
    lessons = Lessons(board)
    assert lessons.hold("a", "dense < wanda 0.5")
    assert not lessons.hold("b", "dense < nothing 0.5")
    assert not lessons.flaws
    harmless = root_with(tmp_path / "harmless", {**READING, "wanda 0.5": 0.0})
    lessons = Lessons(next(iter(boards(Catalog.load(harmless)))))
    assert not lessons.hold("c", "dense < wanda 0.5")
    assert "dense < wanda 0.5" in lessons.flaws[0]
    assert lessons.hold("d", "dense ~ wanda 0.5")
    assert not lessons.hold("e", "dense ~ magnitude 0.5")


def test_orders_over_calibration_samples_are_checked(tmp_path: Path) -> None:
    perplexities = {"a-0.5": [50.0, 51.0, 52.0], "b-0.5": [51.0, 53.0, 52.5], "c-0.5": [50.5, 50.0]}
    perplexities |= {
        "magnitude-0.5": [700.0, 710.0, 690.0],
        "wanda-0.5": [60.0, 60.6, 60.3],
        "wanda-2:4": [200.0, 200.0, 200.0],
        "sparsegpt-0.5": [47.0, 48.0],
    }
    here = dict.fromkeys(("date", "commit", "machine", "system", "python"), "-")
    cases = {
        name: {
            **here,
            "memory_gb": 1,
            "threads": 1,
            "samples": [{"sha256": str(n), "perplexity": value} for n, value in enumerate(values)],
        }
        for name, values in perplexities.items()
    }
    text = ["lee", 32, 512]
    settings = {"calibration": text, "evaluation": text} | dict.fromkeys(
        ("model", "revision", "dtype"), "-"
    )
    board = next(iter(boards(Catalog.load(root_with(tmp_path, READING)))))
    lessons = Lessons(board, Samples.model_validate({"settings": settings, "cases": cases}))
    assert lessons.hold("a", "a 0.5 << b 0.5", "a 0.5 >< c 0.5", "wanda 0.5")
    # Best first, without what had fewer samples or is not on the leaderboard.
    assert lessons.calibrated("0.5") == [
        ("wanda", ["60.00", "60.60", "60.30"]),
        ("magnitude", ["700.0", "710.0", "690.0"]),
    ]
    assert lessons.calibrated("0.7") == []
    assert lessons.spread("wanda 0.5") == "1\u202f%"
    assert not lessons.hold("b", "a 0.5 << d 0.5")
    assert lessons.hold("a", "wanda 0.5")
    assert lessons.shown == {"a"}
    assert not lessons.flaws
    for claim in ("b 0.5 << a 0.5", "a 0.5 << c 0.5", "a 0.5 >< b 0.5"):
        assert not lessons.hold("c", claim)
        assert claim in lessons.flaws.pop()


def test_earlier_runs_of_a_cell_count_under_the_same_protocol_only(tmp_path: Path) -> None:
    root = root_with(tmp_path, READING)
    half = {"sparsity": 0.5, "pattern": None}
    protocol = RESULT["protocol"]
    longer = {**protocol, "evaluation": {**protocol["evaluation"], "length": 1024}}
    others = {
        "2": run("wanda", half, 0.8),
        "3": run("wanda", half, 0.81),
        "4": run("wanda", half, 0.7, protocol=longer),
        "5": run("wanda", half, 0.82),
    }
    last = "wanda-0.5.json"
    for number, each in others.items():
        file(root, f"wanda-0.5.{number}.json", {**each, "supersedes": last})
        last = f"wanda-0.5.{number}.json"
    catalog = Catalog.load(root)
    assert catalog.reading_problems == []
    found = {each.file: each.quality.after for each in catalog.results}
    wanted = [found[f"wanda-0.5{number}.json"] for number in ("", ".3", ".5")]
    lessons = Lessons(next(each for each in boards(catalog) if each.slug == PROTOCOL))
    assert lessons.runs("wanda 0.5") == [f"{value:.2f}" for value in wanted]
    assert len(lessons.runs("magnitude 0.5")) == 1


def test_a_cell_that_is_missing_makes_no_lesson_and_no_complaint(tmp_path: Path) -> None:
    losses = {cell: loss for cell, loss in READING.items() if cell != "ria 0.3"}
    assert built(root_with(tmp_path, losses), tmp_path) == (None, [])


def test_every_lesson_holds_of_the_recorded_results(tmp_path: Path) -> None:
    flaws = write_tree(Catalog.load(REPOSITORY), tmp_path / "tree")
    assert flaws == []
    page = tmp_path / "tree" / "docs" / addresses.source(addresses.LESSONS)
    wanted = re.findall(r'lesson\("([a-z]+)"', TEMPLATE.read_text("utf-8"))
    assert len(wanted) > 5
    assert re.findall(r'<h2 id="([a-z]+)"', page.read_text("utf-8")) == wanted
    assert (REPOSITORY / FOLDER / "pruning.json").is_file()
