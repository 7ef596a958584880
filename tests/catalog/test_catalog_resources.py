"""Models, data sets and tools: their lists, filters, commands, and gaps that entries declare."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sample import DATASETS, MODELS, TOOLS, merged, write_catalog

from catalog import schema_export
from catalog.ageing import before, stale_entries
from catalog.bibtex import to_bibtex
from catalog.errors import UsageError
from catalog.gaps import NAMES, WHOLE, is_filled, wanting
from catalog.inventory import Inventory
from catalog.query import Filter, fold, select, select_by_family
from catalog.schema import RESOURCES, ROLES, Entry, Gap, ModelResource
from catalog.store import Catalog

FIRST, SECOND = "first2023base", "second2024next"
Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]


def codes(catalog: Catalog) -> set[str]:
    return {problem.code for problem in catalog.problems}


# The lists --------------------------------------------------------------------------------


def test_a_list_that_is_missing_is_one_error(load: Any) -> None:
    catalog = load({"catalog/resources/models.yaml": None})
    assert [problem.code for problem in catalog.problems] == ["no-resources"]
    assert "models" not in catalog.inventory
    assert "datasets" in catalog.inventory


def test_a_list_of_another_name_is_refused(load: Any) -> None:
    catalog = load({"catalog/resources/modells.yaml": "id: models\nitems: []\n"})
    (problem,) = catalog.problems
    assert problem.code == "file-name"
    assert "did you mean 'models'?" in problem.message


def test_a_list_says_which_it_is(load: Any) -> None:
    catalog = load({"catalog/resources/tools.yaml": {"id": "models"}})
    assert "not-allowed" in codes(catalog)
    assert "unknown-tool" not in codes(catalog)  # the list is unreadable, not the names wrong


@pytest.mark.parametrize(
    ("item", "code", "says"),
    [
        ({"id": "Small"}, "bad-value", "'Small'"),
        ({"id": "a:b"}, "bad-value", "'a:b'"),
        ({"url": "javascript:alert(1)"}, "bad-value", "http"),
        ({"kind": "decodr"}, "not-allowed", "did you mean 'decoder'?"),
        ({"parameters": "7 billion"}, "bad-value", "such as 7B"),
        ({"parameters": 7}, "unquoted", "put it in quotes"),
        ({"name": None}, "missing-field", "name"),
        ({"size": "1B"}, "unknown-field", "size"),
    ],
)
def test_mistakes_in_a_list_are_found_where_they_are(
    item: dict[str, Any], code: str, says: str, load: Any
) -> None:
    models = {**MODELS, "items": [merged(MODELS["items"][0], item), MODELS["items"][1]]}
    catalog = load({"catalog/resources/models.yaml": models})
    (problem,) = [p for p in catalog.problems if p.path == "catalog/resources/models.yaml"]
    assert problem.code == code
    assert says in problem.message
    assert problem.line >= 3


def test_a_data_set_must_say_what_it_is(load: Any) -> None:
    items = [merged(DATASETS["items"][0], {"about": None}), *DATASETS["items"][1:]]
    catalog = load({"catalog/resources/datasets.yaml": {**DATASETS, "items": items}})
    (problem,) = catalog.problems
    assert (problem.code, "what it holds" in problem.message.lower()) == ("missing-field", True)


@pytest.mark.parametrize("name", RESOURCES)
def test_the_schemas_refuse_what_the_catalog_refuses(name: str, tmp_path: Path) -> None:
    data = {"models": MODELS, "datasets": DATASETS, "tools": TOOLS}[name]
    root = write_catalog(tmp_path)
    schema_export.write(root)
    schema = json.loads((root / schema_export.FOLDER / f"{name}.schema.json").read_text())
    found = jsonschema.Draft202012Validator(schema)
    assert list(found.iter_errors(data)) == []
    for change in ({"id": "A B"}, {"url": 3}, {"more": 1}, {"aliases": "x"}):
        broken = {**data, "items": [{**data["items"][0], **change}]}
        assert list(found.iter_errors(broken)), change


def test_every_name_in_the_repository_resolves_and_every_list_is_sound() -> None:
    catalog = Catalog.load(ROOT)
    wrong = {
        "unknown-model", "unknown-dataset", "unknown-tool", "other-spelling", "repeated-name",
        "duplicate-resource", "unknown-family", "family-circle", "no-resources",
        "undeclared-gap", "gap-filled",
    }  # fmt: skip
    assert [str(problem) for problem in catalog.problems if problem.code in wrong] == []
    for group in RESOURCES:
        items = catalog.inventory.items(group)
        assert items
        assert [item for item in items if item.url and "github.com//" in item.url] == []
    for item in catalog.inventory.items("models"):
        assert isinstance(item, ModelResource)
        assert catalog.inventory.kind_of(item) is not None, item.id
        if item.parameters is not None:
            assert item.parameters in item.name


def test_names_in_the_repository_are_single_things() -> None:
    """No "OPT (125M to 66B)": an item is one model or data set."""
    catalog = Catalog.load(ROOT)
    for group in RESOURCES:
        for item in catalog.inventory.items(group):
            assert not re.search(r" to [0-9]|, | and [0-9]|\([0-9].*B\)", item.name), item.name


# Looking things up ------------------------------------------------------------------------


def inventory(load: Any) -> Inventory:
    found: Inventory = load().inventory
    return found


def test_a_name_is_found_by_id_alias_and_case(load: Any) -> None:
    found = inventory(load)
    for text in ("Quiz-easy", "quiz-easy", "QUIZ-E", " Quiz-e "):
        assert found.resolve("datasets", text).id == "quiz-easy"
    assert found.named("datasets", "quiz-easy") is None  # only the spelling itself
    with pytest.raises(UsageError, match="did you mean 'Quiz-easy'"):
        found.resolve("datasets", "Quiz-eazy")
    with pytest.raises(UsageError, match="unknown model"):
        found.resolve("models", "Quiz")


def test_families(load: Any) -> None:
    found = inventory(load)
    assert found.descendants("models", "small") == {"small", "small-1b"}
    assert [item.id for item in found.ancestors("models", "small-1b")] == ["small"]
    assert [item.id for item in found.roots("datasets")] == ["texts", "quiz"]
    assert [(item.id, depth) for item, depth in found.ordered("datasets")] == [
        ("texts", 0), ("quiz", 0), ("quiz-easy", 1),
    ]  # fmt: skip
    child = found.get("models", "small-1b")
    assert isinstance(child, ModelResource)
    assert child.kind is None
    assert found.kind_of(child) == "decoder"


ITEMS = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 7)), st.integers(0, 5)),
    max_size=8,
)


@given(ITEMS)
def test_any_list_can_be_walked(items: list[tuple[int, int | None, int]]) -> None:
    """Repeated ids, parents that are missing or form circles: nothing hangs, nothing is lost."""
    models = [
        ModelResource(
            id=f"m{number}",
            name=f"M {name}",
            parent=None if parent is None else f"m{parent}",
        )
        for number, parent, name in items
    ]
    found = Inventory({"models": models})
    ids = {model.id for model in models}
    assert {item.id for item, _ in found.ordered("models")} == ids
    assert len(found.ordered("models")) == len(ids)
    for identifier in ids:
        above = [item.id for item in found.ancestors("models", identifier)]
        assert identifier not in above
        assert len(set(above)) == len(above)
        assert identifier in found.descendants("models", identifier)
        for each in above:
            assert identifier in found.descendants("models", each)


# Filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Filter(models=["Small-1B"]), [FIRST]),
        (Filter(models=["small"]), [FIRST, SECOND]),
        (Filter(calibrated_on=["Texts"]), [FIRST]),
        (Filter(finetuned_on=["Texts"]), []),
        (Filter(evaluated_on=["Quiz"]), [FIRST, SECOND]),
        (Filter(evaluated_on=["Quiz-e", "Texts"]), [FIRST, SECOND]),
        (Filter(tools=["harness"]), [FIRST]),
        (Filter(models=["Small-1B"], evaluated_on=["Texts"]), []),
    ],
)
def test_filters_on_experiments(wanted: Filter, keys: list[str], load: Any) -> None:
    assert [entry.key for entry in select(load(), wanted)] == keys


def test_who_names_only_the_family_is_told_apart(load: Any) -> None:
    families, entries = select_by_family(load(), Filter(models=["Small-1B"]), "models")
    assert (families, [entry.key for entry in entries]) == (["Small"], [SECOND])
    assert select_by_family(load(), Filter(models=["Small"]), "models") == ([], [])
    wanted = Filter(models=["Small-1B"], year_to=2023)
    assert select_by_family(load(), wanted, "models") == (["Small"], [])


def test_every_paper_of_the_repository_is_found_by_title_name_arxiv_and_author() -> None:
    catalog = Catalog.load(ROOT)
    for entry in catalog.entries.values():
        texts = [entry.key, entry.title, *entry.authors]
        texts += [entry.name] if entry.name else []
        texts += [fold(author).upper() for author in entry.authors]
        if entry.ids.arxiv:
            identifier = entry.ids.arxiv
            texts += [identifier, f"{identifier}v2", f"arXiv:{identifier}v12"]
            texts += [f"https://arxiv.org/abs/{identifier}"]
        for text in texts:
            assert entry in select(catalog, Filter(text=text)), text


@pytest.mark.parametrize("text", ["OMER ZIZKA", "žižka", "Zizka, Omer", "lodz", "Łódź", "soren"])
def test_accents_are_folded(text: str, load: Any) -> None:
    catalog = load({f"papers/{FIRST}.yaml": {"authors": ["Ömer Žižka", "Søren Łódź"]}})
    assert [entry.key for entry in select(catalog, Filter(text=text))] == [FIRST]


def test_list_with_filters_on_experiments(run: Run) -> None:
    status, out, err = run("list", "--model", "small-1b", "--evaluated-on", "Quiz", "--json")
    assert status == 0
    assert [entry["key"] for entry in json.loads(out)] == [FIRST]
    assert f"1 paper names Small without saying which: {SECOND}" in err
    assert run("list", "--tool", "Harness", "--calibrated-on", "Texts", "--json")[1] == out
    status, _, err = run("list", "--model", "Smal-1B")
    assert status == 2
    assert "did you mean 'Small-1B'?" in err


def test_words_may_be_given_without_an_option(run: Run) -> None:
    assert FIRST in run("list", "zeroing", "first")[1]
    assert run("list", "zeroing", "second")[1] == ""
    assert run("list", "zeroing", "--text", "2303.10010v3")[1].count(FIRST) == 1


def test_cite_takes_the_same_filters(run: Run) -> None:
    out = run("cite", "--model", "Small-1B")[1]
    assert FIRST in out
    assert SECOND not in out


def test_show_names_models_data_and_tools(run: Run) -> None:
    out = run("show", FIRST)[1]
    for piece in ("Small-1B", "Calibrated on", "Quiz-easy", "Harness"):
        assert piece in out


# The command resources --------------------------------------------------------------------


def test_resources_counts_members_for_their_family(run: Run) -> None:
    rows = {(row["list"], row["id"]): row for row in json.loads(run("resources", "--json")[1])}
    assert rows["models", "small"]["papers"] == 2
    assert rows["models", "small"]["named_by"] == {"models": [SECOND]}
    assert rows["models", "small-1b"]["papers"] == 1
    assert rows["models", "small-1b"]["kind"] == "decoder"
    assert rows["datasets", "quiz"]["papers"] == 2
    assert rows["datasets", "quiz"]["named_by"]["evaluation"] == []
    assert rows["datasets", "texts"]["named_by"]["calibration"] == [FIRST]
    assert set(rows["datasets", "texts"]["named_by"]) == {
        role for role, home in ROLES.items() if home == "datasets"
    }


def test_resources_for_people(run: Run) -> None:
    status, out, _ = run("resources", "models")
    assert status == 0
    assert "  Small-1B" in out
    assert "Quiz" not in out
    status, _, err = run("resources", "model")
    assert status == 2
    assert "did you mean 'models'?" in err


# Gaps -------------------------------------------------------------------------------------

EMPTY: dict[str, Any] = {
    "authors": [],
    "ids": None,
    "links": None,
    "challenges": [],
    "tags": None,
    "evaluated_on": None,
    "sources": [{"what": "bibliography", "url": "https://example.org/a", "seen": "2026-11-22"}],
}


def test_every_lack_is_an_error_until_it_is_declared(load: Any) -> None:
    path = "papers/third2024other.yaml"
    catalog = load({path: EMPTY})
    lacking = wanting(catalog.entries["third2024other"])
    assert {gap for gap, _ in lacking} == {
        "authors", "ids", "challenges", "tags", "evaluated_on.models", "evaluated_on.evaluation",
        "mechanism",
    }  # fmt: skip
    found = [p for p in catalog.problems if p.code == "undeclared-gap"]
    assert len(found) == len(lacking)
    assert {problem.severity for problem in found} == {"error"}

    gaps = {str(gap): f"Looked for {gap}." for gap, _ in lacking}
    catalog = load({path: {**EMPTY, "gaps": gaps}})
    assert codes(catalog) == {"gap"}
    assert [problem.severity for problem in catalog.problems] == ["notice"] * len(gaps)
    said = " ".join(problem.message for problem in catalog.problems)
    for gap in gaps:
        assert f"Looked for {gap}." in said


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        ({"kind": "analysis", "evaluated_on": {"models": []}}, "evaluated_on.models"),
        ({"kind": "benchmark", "evaluated_on": {"evaluation": []}}, "evaluated_on.evaluation"),
        ({"kind": "system", "tags": {"data": []}}, "tags"),
        ({"kind": "method", "tags": {"data": [], "budget": []}}, "tags"),
        ({"sources": []}, None),
        ({"challenges": []}, "challenges"),
    ],
)
def test_what_each_kind_of_paper_must_say(change: Any, gap: str | None, load: Any) -> None:
    catalog = load({"papers/third2024other.yaml": change})
    entry = catalog.entries["third2024other"]
    assert gap in {each for each, _ in wanting(entry)}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "survey", "evaluated_on": None, "tags": None},
        {"kind": "system", "evaluated_on": None},
        {"tags": {"data": [], "notes": {"data": "It sees none."}}},
        {"ids": None, "links": {"paper": None, "website": "https://example.org/site"}},
        {"links": None, "ids": {"openreview": "PxoFut3dWW"}},
    ],
)
def test_what_need_not_be_said(change: Any, load: Any) -> None:
    assert load({"papers/third2024other.yaml": change}).problems == []


def test_an_arxiv_class_alone_is_no_identifier(load: Any) -> None:
    change = {"ids": {"arxiv_class": "cs.CL"}, "links": {"paper": None}}
    assert codes(load({"papers/third2024other.yaml": change})) == {"undeclared-gap"}


def test_every_gap_has_a_name_and_is_read_from_its_own_field(load: Any) -> None:
    entry: Entry = load().entries[FIRST]
    fields: list[Gap] = [*NAMES]
    assert set(Entry.model_json_schema()["properties"]["gaps"]["propertyNames"]["enum"]) == set(
        fields
    )
    filled = {field for field in fields if is_filled(entry, field)}
    assert filled == set(fields) - {"evaluated_on.finetuning"}
    assert set(fields) >= WHOLE


def test_partly_known_lists_may_be_declared(load: Any) -> None:
    gaps = {"evaluated_on.models": "Other sizes were not seen.", "links.code": "An early copy."}
    assert codes(load({f"papers/{FIRST}.yaml": {"gaps": gaps}})) == {"gap"}


def test_known_gaps_are_information_not_failures(run: Run) -> None:
    changes = {f"papers/{FIRST}.yaml": {"gaps": {"venue": "Nothing\nwas found."}}}
    assert run("check", changes=changes)[:2] == (0, "")
    status, out, err = run("check", "--strict")
    assert status == 0
    assert ": gap: venue is not confirmed: Nothing was found.\n" in out
    assert err.endswith("0 errors, 0 warnings, 1 notice\n")
    (problem,) = json.loads(run("check", "--strict", "--json")[1])
    assert problem["severity"] == "notice"
    assert run("check", "--strict", "--format", "github")[1].startswith("::notice file=")


def test_show_names_what_is_not_confirmed(run: Run) -> None:
    changes = {f"papers/{FIRST}.yaml": {"gaps": {"links.code": "\x1b[31mNo copy was found."}}}
    run("check", changes={f"papers/{FIRST}.yaml": {"gaps": {"links.code": "No copy was found."}}})
    out = run("show", FIRST)[1]
    assert "Not confirmed" in out
    assert "No copy was found." in out
    assert json.loads(run("show", FIRST, "--json")[1])["gaps"] == {
        "links.code": "No copy was found."
    }
    assert run("check", changes=changes)[0] == 1


# Papers without authors -------------------------------------------------------------------


def test_a_paper_without_authors_is_cited_and_shown_as_such(run: Run, load: Any) -> None:
    gaps = {"authors": "No page names them."}
    changes = {f"papers/{SECOND}.yaml": {"authors": [], "gaps": gaps}}
    catalog = load(changes)
    assert codes(catalog) == {"gap"}
    bibtex = to_bibtex([catalog.entries[SECOND]])
    assert bibtex.startswith(f"@misc{{{SECOND},")
    assert "author" not in bibtex
    assert "key = {Dropping Layers by Curvature}" in bibtex
    assert "Authors unknown" in run("show", SECOND, changes=changes)[1]
    listed = run("list", "--format", "csv")[1].splitlines()
    assert len(listed) == 3
    assert json.loads(run("list", "dropping", "--json")[1])[0]["authors"] == []


# stale ------------------------------------------------------------------------------------

TODAY = dt.date(2024, 3, 31)


@pytest.mark.parametrize(
    ("duration", "day"),
    [
        ("30d", dt.date(2024, 3, 1)),
        ("1m", dt.date(2024, 2, 29)),
        ("13m", dt.date(2023, 2, 28)),
        ("1Y", dt.date(2023, 3, 31)),
        (" 0d ", TODAY),
        ("3m", dt.date(2023, 12, 31)),
    ],
)
def test_durations(duration: str, day: dt.date) -> None:
    assert before(duration, TODAY) == day


@pytest.mark.parametrize("duration", ["", "1", "d", "-1d", "1w", "1.5y", "9999y", "99999y", "²d"])
def test_other_durations_are_refused(duration: str) -> None:
    with pytest.raises(UsageError):
        before(duration, TODAY)


def source(what: str, seen: str) -> dict[str, str]:
    return {"what": what, "url": f"https://example.org/{seen}", "seen": seen}


def aged(text: str) -> str:
    """YAML with its dates as dates."""
    return re.sub(r"seen: '([0-9-]+)'", r"seen: \1", text)


def write_aged(root: Path) -> Catalog:
    changes = {
        f"papers/{FIRST}.yaml": {
            "sources": [
                source("bibliography", "2024-01-01"),
                source("bibliography", "2025-05-05"),
                source("mechanism", "2019-01-01"),
            ]
        },
        f"papers/{SECOND}.yaml": {"sources": [source("mechanism", "2026-01-01")]},
        "papers/third2024other.yaml": {
            "sources": [source("bibliography and mechanism", "2023-01-01")]
        },
        "papers/fourth2024new.yaml": {
            "sources": [source("bibliography and mechanism", "2026-01-01")]
        },
    }
    write_catalog(root, changes)
    for file in (root / "papers").glob("*.yaml"):
        file.write_text(aged(file.read_text(encoding="utf-8")), encoding="utf-8")
    return Catalog.load(root)


def test_stale_entries_come_oldest_first(tmp_path: Path) -> None:
    catalog = write_aged(tmp_path)
    assert len(catalog.entries) == 4
    found = stale_entries(catalog, dt.date(2026, 1, 1))
    assert [(each.key, each.seen) for each in found] == [
        (SECOND, None),
        ("third2024other", dt.date(2023, 1, 1)),
        (FIRST, dt.date(2025, 5, 5)),
    ]
    assert found[0].url == "https://arxiv.org/abs/2401.00020"
    assert found[2].url == "https://example.org/2025-05-05"
    lines = (tmp_path / found[2].path).read_text(encoding="utf-8").splitlines()
    assert lines[found[2].line - 1].strip() == "seen: 2025-05-05"
    assert stale_entries(catalog, dt.date(2025, 5, 5))[-1].key == "third2024other"


def test_stale_prints_places_and_addresses(
    run: Run,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_aged(root)

    class Day(dt.date):
        @classmethod
        def today(cls) -> dt.date:
            return dt.date(2026, 6, 30)

    monkeypatch.setattr("catalog.ageing.dt.date", Day)
    status, out, err = run("stale", "--older-than", "6m")
    assert status == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"papers/{SECOND}.yaml", "papers/third2024other.yaml", f"papers/{FIRST}.yaml",
    ]  # fmt: skip
    assert re.fullmatch(
        rf"papers/{FIRST}\.yaml:\d+:\d+: seen 2025-05-05: https://example\.org/2025-05-05", lines[2]
    )
    assert "never dated: https://arxiv.org/abs/2401.00020" in lines[0]
    assert "3 entries of 4 not looked at since 2025-12-30" in err
    rows = json.loads(run("stale", "--older-than", "6m", "--json")[1])
    assert [row["seen"] for row in rows] == [None, "2023-01-01", "2025-05-05"]
    status, _, err = run("stale", "--older-than", "soon")
    assert status == 2
    assert "30d" in err


def test_the_lists_of_the_repository_are_plain_yaml() -> None:
    """No long lines, no item without an id, and the order of fields that readers know."""
    for name in RESOURCES:
        file = ROOT / "catalog" / "resources" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
        assert all(len(line) <= 110 for line in text.splitlines())
        data = YAML(typ="safe", pure=True).load(text)
        assert all([*item][:2] == ["id", "name"] for item in data["items"])
