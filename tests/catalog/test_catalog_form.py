"""The issue form: its rendered text becomes the draft of an entry, and a hostile one becomes nothing."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sample import write_catalog
from typer.testing import CliRunner

from catalog.adding.form import FORM, answers, entry_of, labels
from catalog.cli import app
from catalog.errors import PrunedexError
from catalog.schema import DIMENSIONS, Entry
from catalog.store import Catalog, load_vocabulary
from scripts import issue_to_entry as script

ROOT = Path(__file__).resolve().parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TODAY = dt.date(2026, 11, 23)

GIVEN = {
    "links": "https://arxiv.org/abs/2405.01234v2\nhttps://openreview.net/forum?id=AbCdEf1234",
    "title": "Thirding: Every Third Weight of a Model Goes",
    "authors": "- Ada Lovelace\n- José van den Berg",
    "year": "2024",
    "kind": "method",
    "name": "Third",
    "venue_short": "ICLR 2025",
    "venue_full": "International Conference on Learning Representations",
    "venue_year": "2025",
    "venue_type": "conference",
    "code": "https://github.com/ada/third",
    "takeaway": "Cheap: try it first, at 33 %; it's # good: enough.",
    "mechanism": "Counts weights row by row.\n\nEvery third one of a row becomes zero, "
    "which takes one pass over the weights and reads no data at all, as said in its section 3.",
    "challenges": "* Small models suffer.\n* Nothing is said about speed.",
    "type": "unstructured",
    "criterion": "magnitude, taylor",
    "budget": "sparsity",
    "data": "data-free",
    "retraining": "without",
    "weight_update": "frozen",
    "models": "Small, Small-1B",
    "evaluation": "Quiz-easy",
    "sources": "bibliography https://openreview.net/forum?id=AbCdEf1234\n"
    "mechanism and tags: https://arxiv.org/abs/2405.01234",
}


def rendered(given: Mapping[str, str], line_end: str = "\n") -> str:
    """The form as GitHub renders it."""
    parts = []
    for label, name in labels(ROOT / FORM).items():
        parts += [f"### {label}", "", given.get(name, "_No response_"), ""]
    return "\n".join(parts).replace("\n", line_end)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.load(write_catalog(tmp_path / "root"))


def filled(catalog: Catalog, **changes: str) -> Any:
    given = {name: text for name, text in {**GIVEN, **changes}.items() if text}
    return entry_of(catalog, answers(rendered(given), labels(ROOT / FORM)), TODAY)


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_a_form_can_be_filled_from_an_address(file: Path) -> None:
    form = YAML(typ="safe", pure=True).load(file.read_text("utf-8"))
    if file.name == "config.yml":
        return
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    ids = [item["id"] for item in fields]
    names = [item["attributes"]["label"] for item in fields]
    assert len(set(ids)) == len(ids)
    assert len(set(names)) == len(names)
    for item in fields:
        options = item["attributes"].get("options", [])
        assert len(set(options)) == len(options)
        assert "None" not in options  # GitHub adds it where nothing need be chosen
        assert all(isinstance(option, str) for option in options)
        # GitHub joins several answers with commas.
        assert not item["attributes"].get("multiple") or "," not in "".join(options)


def test_the_form_offers_what_the_schema_takes() -> None:
    form = YAML(typ="safe", pure=True).load((ROOT / FORM).read_text("utf-8"))
    options = {
        item["id"]: item["attributes"]["options"]
        for item in form["body"]
        if item["type"] == "dropdown"
    }
    vocabulary = load_vocabulary(ROOT)
    for name in DIMENSIONS:
        assert options.pop(name) == vocabulary.ids(name), (
            f"{FORM} and the vocabulary differ in {name}"
        )
    schema = Entry.model_json_schema()
    assert options.pop("kind") == schema["properties"]["kind"]["enum"]
    assert options.pop("venue_type") == schema["$defs"]["Venue"]["properties"]["type"]["enum"]
    assert options == {}


def test_a_full_form_is_an_entry_that_passes(catalog: Catalog) -> None:
    made = filled(catalog)
    assert made.key == "lovelace2024thirding"
    assert made.open == []
    file = catalog.root / "papers" / f"{made.key}.yaml"
    file.write_text(made.text, "utf-8")
    after = Catalog.load(catalog.root)
    assert after.problems == []
    entry = after.entries[made.key]
    assert entry.authors == ["Ada Lovelace", "José van den Berg"]
    assert entry.ids.model_dump(exclude_none=True) == {
        "arxiv": "2405.01234", "openreview": "AbCdEf1234",
    }  # fmt: skip
    assert entry.takeaway == GIVEN["takeaway"]
    assert entry.mechanism.split("\n\n") == GIVEN["mechanism"].split("\n\n")
    assert entry.challenges == ["Small models suffer.", "Nothing is said about speed."]
    assert entry.tags is not None
    assert entry.tags.criterion == ["magnitude", "taylor"]
    assert entry.links.code is not None
    assert entry.links.code.repository == "ada/third"
    assert [(each.what, each.seen) for each in entry.sources] == [
        ("bibliography", TODAY), ("mechanism and tags", TODAY),
    ]  # fmt: skip
    assert all(len(line) <= 100 for line in made.text.splitlines())


def test_fix_finds_nothing_to_mend(catalog: Catalog) -> None:
    file = catalog.root / "papers" / "lovelace2024thirding.yaml"
    made = filled(catalog)
    file.write_text(made.text, "utf-8")
    done = CliRunner().invoke(app, ["check", "--fix", "--root", str(catalog.root), str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_text("utf-8") == made.text


def test_line_ends_and_headings_in_a_text_do_no_harm(catalog: Catalog) -> None:
    text = "First.\n\n### Title\n\n### Nothing we know\n\nSecond."
    given = {**GIVEN, "mechanism": text}
    found = answers(rendered(given, "\r\n"), labels(ROOT / FORM))
    assert found["mechanism"] == text
    assert found["title"] == GIVEN["title"]


def test_what_is_missing_is_marked_and_named_by_check(catalog: Catalog) -> None:
    left = ("takeaway", "challenges", "retraining", "venue_type", "venue_short", "sources")
    made = filled(catalog, **dict.fromkeys(left, ""))
    fields = {name for _, name in made.open}
    assert fields == {
        "takeaway", "challenges", "tags.retraining", "venue.type", "venue.short", "sources",
        "lifecycle.status",
    }  # fmt: skip
    (catalog.root / "papers" / f"{made.key}.yaml").write_text(made.text, "utf-8")
    problems = Catalog.load(catalog.root).problems
    lines = made.text.splitlines()
    assert {problem.code for problem in problems} == {"empty-value"}
    assert {problem.line for problem in problems} == {line for line, _ in made.open}
    assert all("# decide:" in lines[line - 1] for line, _ in made.open)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"title": "", "authors": "", "year": ""},
            "prunedex add https://arxiv.org/abs/2405.01234v2",
        ),
        ({"authors": ""}, "leaves authors open"),
        ({"title": "Zeroing weights: a base line"}, "it is here already: first2023base"),
        ({"links": "https://arxiv.org/abs/2303.10010"}, "first2023base (the same arxiv id"),
        ({"links": "https://arxiv.org/pdf/2303.10010v3", "title": ""}, "first2023base"),
        ({"links": "https://arxiv.org/abs/2313.10010"}, "month 13"),
        ({"links": "javascript:alert(1)"}, "as a link"),
        ({"links": "see my page"}, "as a link"),
        ({"code": "../../etc/passwd"}, "as a link"),
        ({"sources": "all of it, by heart"}, "as a link"),
        ({"year": "last year"}, "as a year"),
        ({"year": "1776"}, "no entry may hold"),
        ({"venue_year": "20245"}, "as a year"),
        ({"title": "<script>alert(1)</script>"}, "markup"),
        ({"authors": "../../../etc"}, "names an author"),
        ({"authors": "Ada \x1b[31m Red"}, "control character"),
        ({"title": "Thirding \u202eXYZ"}, "control character"),
        ({"takeaway": "Good.\x1b[31m"}, "cannot be written as YAML"),
        ({"takeaway": "Good.\u202e"}, "cannot be written as YAML"),
        ({"kind": "method\nimplementation: wanda"}, "no entry may hold"),
        ({"kind": "poem"}, "no entry may hold"),
        ({"name": "x: !!python/object:os.system"}, ""),
        ({"type": "unstructured, unstructurd"}, ""),
        ({"name": "# decide: nothing"}, ""),
        ({"takeaway": "# decide: nothing"}, ""),
    ],
)
def test_what_cannot_be_an_entry(catalog: Catalog, changes: dict[str, str], says: str) -> None:
    if says:
        with pytest.raises(PrunedexError) as error:
            filled(catalog, **changes)
        assert says in str(error.value)
        assert "\n" not in str(error.value)
        return
    # Text that means nothing but itself, or a tag that the checks will name.
    made = filled(catalog, **changes)
    data = YAML(typ="safe", pure=True).load(io.StringIO(made.text))
    ((name, text),) = changes.items()
    assert str(data.get(name) or data["tags"].get(name)) in (text, str(text.split(", ")))


def test_the_script(catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue = tmp_path / "issue.md"
    issue.write_bytes(rendered({**GIVEN, "takeaway": ""}, "\r\n").encode())
    given = [str(issue), "--root", str(catalog.root), "--form", str(ROOT / FORM)]
    assert script.main([*given, "--dry-run"]) == 0
    assert not (catalog.root / "papers" / "lovelace2024thirding.yaml").exists()
    assert script.main(given) == 0
    said = capsys.readouterr().out
    assert "Left open: takeaway (line " in said
    assert script.main(given) == 1
    assert "it is here already: lovelace2024thirding" in capsys.readouterr().err
    for content, says in (
        (b"just a question", "not the form"),
        (b"\xff\xfe", "not UTF-8"),
        (b"### Title\n" + b"x" * 300_000, "more than 65536"),
    ):
        issue.write_bytes(content)
        assert script.main(given) == 1
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert script.main(["/nowhere.md", *given[1:]]) == 1
