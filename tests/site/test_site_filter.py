"""The filter of the catalog page: the same answers as the command line's."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page
from small_catalog import REPOSITORY

from catalog.query import Filter, searched, select
from catalog.schema import DIMENSIONS
from catalog.site.columns import filters as columns_of
from catalog.site.columns import steps
from catalog.site.data import catalog_data
from catalog.site.shelf import Shelf
from catalog.store import Catalog

SELECT = """async ([columns, words, keys, choices]) => {
  const { Index } = await import("./assets/filter.js");
  const index = new Index(columns);
  index.learn(words);
  return choices.map((choice) => {
    const found = index.select(choice);
    return {
      keys: found.entries.map((position) => keys[position]),
      counts: found.counts,
      years: Object.fromEntries(found.years),
    };
  });
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served to the empty page."""
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def module(browser: Browser, serve: Callable[[Path], str], folder: Path) -> Page:
    """An empty page that can import the filter."""
    (folder / "assets").mkdir()
    source = REPOSITORY / "site" / "assets" / "filter.js"
    (folder / "assets" / "filter.js").write_bytes(source.read_bytes())
    (folder / "index.html").write_text("<!doctype html><title>filter</title>", encoding="utf-8")
    page = browser.new_page()
    page.goto(serve(folder))
    return page


def choice(**wanted: Any) -> dict[str, Any]:
    usual = {"chosen": {}, "from": None, "to": None, "text": "", "sort": "key"}
    return {**usual, **wanted}


@dataclass(frozen=True)
class Data:
    """What the filter is given, and the keys by which its answers are read."""

    columns: dict[str, Any]
    words: list[str]
    keys: list[str]


def data_of(catalog: Catalog) -> Data:
    shelf = Shelf(catalog)
    words = [searched(entry) for entry in shelf.entries]
    return Data(columns_of(shelf), words, [entry.key for entry in shelf.entries])


def ask(module: Page, data: Data, *choices: dict[str, Any]) -> list[dict[str, Any]]:
    given = [data.columns, data.words, data.keys, list(choices)]
    answers: list[dict[str, Any]] = module.evaluate(SELECT, given)
    return answers


def test_it_finds_what_the_command_line_finds(module: Page, catalog: Catalog) -> None:
    """400 random filters, answered by both."""
    source = random.Random(7)
    data = data_of(catalog)
    occurring = {
        dimension["id"]: [value["id"] for value in dimension["values"] if value["count"]]
        for dimension in catalog_data(Shelf(catalog))["dimensions"]
    }
    choices, filters = [], []
    for _ in range(400):
        chosen = {
            name: source.sample(values, source.randint(1, min(2, len(values))))
            for name, values in occurring.items()
            if source.random() < 0.25
        }
        years = (
            sorted(source.choices(range(2014, 2026), k=2))
            if source.random() < 0.3
            else [None, None]
        )
        words = source.choice(
            ["", "", "", "prun", "SPARSE", "nunez", "one-shot accurately", "zzz", "2306.11695v3"]
        )
        kind = source.choice([[], [], ["survey"], ["method", "survey"]])
        runs = source.random() < 0.1
        facets = {
            **chosen,
            **({"kind": kind} if kind else {}),
            **({"has": ["runs"]} if runs else {}),
        }
        choices.append(choice(chosen=facets, **{"from": years[0], "to": years[1]}, text=words))
        filters.append(
            Filter(
                **{name: chosen.get(name, []) for name in DIMENSIONS},
                kind=kind,
                year_from=years[0],
                year_to=years[1],
                text=words or None,
                runs_here=True if runs else None,
            )
        )
    answers = ask(module, data, *choices)
    expected = [[entry.key for entry in select(catalog, wanted)] for wanted in filters]
    assert [answer["keys"] for answer in answers] == expected
    assert sum(0 < len(keys) < len(catalog.entries) for keys in expected) > 100  # a real trial


def test_a_count_is_what_the_choice_alone_would_give(module: Page, catalog: Catalog) -> None:
    data = data_of(catalog)
    other = {"retraining": ["without"]}
    (now,) = ask(module, data, choice(chosen={**other, "type": ["depth"]}))
    for value, count in now["counts"]["type"].items():
        (alone,) = ask(module, data, choice(chosen={**other, "type": [value]}))
        assert len(alone["keys"]) == count
    # In what must hold together, a count is what would be left.
    (coded,) = ask(module, data, choice(chosen={"has": ["code"]}))
    (both,) = ask(module, data, choice(chosen={"has": ["code", "runs"]}))
    assert coded["counts"]["has"]["runs"] == len(both["keys"]) == 1


def test_years_are_counted_without_their_own_filter(module: Page, catalog: Catalog) -> None:
    data = data_of(catalog)
    (now,) = ask(module, data, choice(**{"from": 2024, "to": 2024}))
    assert now["keys"] == ["men2024shortgpt"]
    assert now["years"]["2023"] == 3


def test_orders(module: Page, catalog: Catalog) -> None:
    data = data_of(catalog)
    newest, oldest, name, key, unknown = ask(
        module,
        data,
        *(choice(sort=sort) for sort in ("newest", "oldest", "name", "key", "nonsense")),
    )
    assert newest["keys"] == data.keys == unknown["keys"]
    assert oldest["keys"][0] == "han2015learning"
    assert key["keys"] == sorted(key["keys"])
    assert name["keys"].index("ma2023llmpruner") < name["keys"].index("sun2023simple")


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64])
def test_sizes_around_a_machine_word(module: Page, count: int) -> None:
    data = synthetic(count, random.Random(count))
    everything, none = ask(module, data, choice(), choice(text="no such words"))
    assert len(everything["keys"]) == count
    assert none["keys"] == []


def test_words_wait_for_the_texts(module: Page, catalog: Catalog) -> None:
    asked = """async ([columns, choice]) => {
      const { Index } = await import("./assets/filter.js");
      return new Index(columns).select(choice).entries.length;
    }"""
    columns = data_of(catalog).columns
    assert module.evaluate(asked, [columns, choice()]) == len(catalog.entries)
    with pytest.raises(Error, match="not there yet"):
        module.evaluate(asked, [columns, choice(text="pruning")])


def synthetic(count: int, source: random.Random) -> Data:
    """A catalog of any size, with the real dimensions' number of values."""
    words = [f"word{number}" for number in range(3000)]
    facets: dict[str, dict[str, list[int]]] = {}

    def put(facet: str, value: str, place: int) -> None:
        facets.setdefault(facet, {}).setdefault(value, []).append(place)

    for place in range(count):
        for name, size in zip(DIMENSIONS, (28, 22, 16, 6, 5, 3), strict=True):
            for number in sorted(source.sample(range(size), source.randint(1, 2))):
                put(name, f"{name}-{number}", place)
        put("kind", source.choice(["method", "survey", "analysis"]), place)
        put("venue", f"Venue {source.randrange(30)}", place)
        if source.random() < 0.4:
            put("has", "code", place)
    columns = {
        "entries": count,
        "appeared": steps(sorted(-(2015 + place % 11) * 12 for place in range(count))),
        "facets": {
            name: {value: steps(found) for value, found in values.items()}
            for name, values in facets.items()
        },
        "observed": {},
        "orders": {"name": [*range(count)], "key": [*range(count)]},
    }
    texts = [" ".join(source.choices(words, k=60)) for _ in range(count)]
    return Data(columns, texts, [f"author{place}" for place in range(count)])


def test_ten_thousand_entries_are_counted_right(module: Page, folder: Path) -> None:
    """Chosen values, years and words, compared with a count by hand. How fast it is, is measured
    by scripts/benchmark/filter.py."""
    data = synthetic(10_000, random.Random(1))
    (folder / "large.json").write_text(json.dumps([data.columns, data.words]), encoding="utf-8")
    found = module.evaluate(
        """async () => {
          const { Index } = await import("./assets/filter.js");
          const [columns, words] = await (await fetch("large.json")).json();
          const index = new Index(columns);
          index.learn(words);
          const found = index.select({
            chosen: { type: ["type-3", "type-6"], retraining: ["retraining-2"] },
            from: 2016, to: 2024, text: "word1 word2", sort: "newest",
          });
          return { entries: found.entries, one: found.counts.type["type-3"] };
        }"""
    )
    with_value = {
        name: {value: {*accumulate(each)} for value, each in values.items()}
        for name, values in data.columns["facets"].items()
    }
    years = [-each // 12 for each in accumulate(data.columns["appeared"])]
    others = {
        place
        for place in with_value["retraining"]["retraining-2"]
        if 2016 <= years[place] <= 2024
        and "word1" in data.words[place]
        and "word2" in data.words[place]
    }
    type3, type6 = with_value["type"]["type-3"], with_value["type"]["type-6"]
    assert found["entries"] == sorted(others & (type3 | type6))
    assert len(found["entries"]) > 20
    assert found["one"] == len(others & type3)
