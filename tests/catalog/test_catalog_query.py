"""Choosing entries, finding one, and the vocabulary's hierarchy."""

from __future__ import annotations

from typing import Any

import pytest
from sample import a_third, merged

from catalog.errors import UsageError
from catalog.query import Filter, parse_years, select
from catalog.store import Catalog

FIRST, SECOND, THIRD = "first2023base", "second2024next", "third2022other"


@pytest.fixture
def catalog(load: Any) -> Catalog:
    third = merged(
        a_third(THIRD),
        {
            "title": "Ünusual Pruning",
            "name": "Zero",
            "kind": "analysis",
            "authors": ["Émile Dupont"],
            "takeaway": "Says nothing new about kv caches.",
            "tags": {"type": ["structured"], "criterion": ["magnitude", "taylor"]},
        },
    )
    made: Catalog = load({f"papers/{THIRD}.yaml": third})
    return made


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Filter(), [FIRST, SECOND, THIRD]),
        (Filter(type=["structured"]), [SECOND, THIRD]),
        (Filter(type=["depth"]), [SECOND]),
        (Filter(type=["unstructured", "depth"]), [FIRST, SECOND]),
        (Filter(criterion=["taylor"]), [SECOND, THIRD]),
        (Filter(criterion=["taylor"], type=["depth"]), [SECOND]),
        (Filter(criterion=["magnitude"], type=["depth"]), []),
        (Filter(type=["Structured"]), [SECOND, THIRD]),
        (Filter(kind=["analysis"]), [THIRD]),
        (Filter(kind=["analysis", "method"], year_from=2023), [FIRST, SECOND]),
        (Filter(year_to=2022), [THIRD]),
        (Filter(year_from=2023, year_to=2023), [FIRST]),
        (Filter(has_code=True), [FIRST]),
        (Filter(has_code=False), [SECOND, THIRD]),
        (Filter(runs_here=True), [FIRST]),
        (Filter(runs_here=False), [SECOND, THIRD]),
        (Filter(text="unusual EMILE"), [THIRD]),
        (Filter(text="removes"), [FIRST, SECOND]),
        (Filter(text="removes layers"), [SECOND]),
        (Filter(text="  "), [FIRST, SECOND, THIRD]),
        (Filter(text="zero"), [FIRST, THIRD]),
    ],
)
def test_select(catalog: Catalog, wanted: Filter, keys: list[str]) -> None:
    assert [entry.key for entry in select(catalog, wanted)] == keys


def test_code_by_others_is_code(load: Any) -> None:
    change = {"links": {"code_unofficial": [{"url": "https://example.org/code"}]}}
    catalog = load({f"papers/{SECOND}.yaml": change})
    assert [entry.key for entry in select(catalog, Filter(has_code=True))] == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        (Filter(type=["strutured"]), "did you mean 'structured'?"),
        (Filter(weight_update=["frosen"]), "did you mean 'frozen'?"),
        (Filter(kind=["survy"]), "did you mean 'survey'?"),
        (Filter(data=["zzzz"]), "the values are data-free, calibration"),
    ],
)
def test_unknown_values_name_the_closest(catalog: Catalog, wanted: Filter, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(catalog, wanted)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("2023", (2023, 2023)),
        ("2022-2024", (2022, 2024)),
        ("2023-", (2023, None)),
        ("-2021", (None, 2021)),
        (" 2022 - 2024 ", (2022, 2024)),
    ],
)
def test_years(text: str, years: tuple[int | None, int | None]) -> None:
    assert parse_years(text) == years


@pytest.mark.parametrize("text", ["", "-", "23", "2024-2022", "20232024", "soon", "2023--", "٢٠٢٣"])
def test_no_years(text: str) -> None:
    with pytest.raises(UsageError):
        parse_years(text)


def test_find(catalog: Catalog) -> None:
    assert catalog.find(FIRST).key == FIRST
    assert catalog.find("2401.00020").key == SECOND
    assert catalog.find("FIRST2023BASE").key == FIRST
    with pytest.raises(UsageError, match=f"{FIRST}, {THIRD}"):
        catalog.find("zero")
    with pytest.raises(UsageError, match=f"did you mean '{FIRST}'"):
        catalog.find("fist2023base")


def test_find_by_name(load: Any) -> None:
    catalog = load()
    assert catalog.find("ZERO").key == FIRST
    with pytest.raises(UsageError, match=rf"did you mean '{FIRST}' \(Zero\)"):
        catalog.find("Zeero")


def test_find_says_that_an_entry_is_unreadable(load: Any) -> None:
    catalog = load({f"papers/{FIRST}.yaml": "key: ["})
    with pytest.raises(UsageError, match="cannot be read"):
        catalog.find(FIRST)


def test_reverse_edges(catalog: Catalog) -> None:
    ((entry, edge),) = catalog.built_on_by(FIRST)
    assert (entry.key, edge.relation) == (SECOND, "extends")
    assert catalog.built_on_by(SECOND) == []


def test_vocabulary(catalog: Catalog) -> None:
    vocabulary = catalog.vocabulary
    assert vocabulary.ancestors("type", "depth") == ["structured"]
    assert vocabulary.descendants("type", "structured") == {"structured", "depth"}
    assert vocabulary.roots("type") == ["unstructured", "structured"]
    assert vocabulary.value("type", "depth").parent == "structured"
    assert vocabulary.dimension("Weight-Update").id == "weight_update"
    with pytest.raises(UsageError, match="did you mean 'criterion'"):
        vocabulary.dimension("criteria")


def test_a_circle_of_parents_ends(load: Any) -> None:
    source = {"title": "A", "url": "https://example.org"}
    ring = [
        {"id": "a", "name": "A", "definition": "A.", "source": source, "parent": "b"},
        {"id": "b", "name": "B", "definition": "B.", "source": source, "parent": "c"},
        {"id": "c", "name": "C", "definition": "C.", "source": source, "parent": "b"},
    ]
    vocabulary = load({"catalog/vocabulary/budget.yaml": {"values": ring}}).vocabulary
    assert vocabulary.ancestors("budget", "a") == ["b", "c"]
    assert vocabulary.descendants("budget", "b") == {"a", "b", "c"}
