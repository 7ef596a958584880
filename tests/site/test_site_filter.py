"""The filter of the catalog page: the same answers as the command line's, within one frame."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from small_catalog import REPOSITORY

from catalog.query import Filter, select
from catalog.schema import DIMENSIONS
from catalog.site.data import catalog_data
from catalog.site.shelf import Shelf
from catalog.store import Catalog

SELECT = """async ([data, choices]) => {
  const { Index } = await import("./assets/filter.js");
  const index = new Index(data);
  return choices.map((choice) => {
    const found = index.select(choice);
    return {
      keys: found.entries.map((position) => index.entries[position].key),
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


def ask(module: Page, data: dict[str, Any], *choices: dict[str, Any]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = module.evaluate(SELECT, [data, list(choices)])
    return answers


def test_it_finds_what_the_command_line_finds(module: Page, catalog: Catalog) -> None:
    """400 random filters, answered by both."""
    source = random.Random(7)
    data = catalog_data(Shelf(catalog))
    occurring = {
        dimension["id"]: [value["id"] for value in dimension["values"] if value["count"]]
        for dimension in data["dimensions"]
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
    data = catalog_data(Shelf(catalog))
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
    data = catalog_data(Shelf(catalog))
    (now,) = ask(module, data, choice(**{"from": 2024, "to": 2024}))
    assert now["keys"] == ["men2024shortgpt"]
    assert now["years"]["2023"] == 3


def test_orders(module: Page, catalog: Catalog) -> None:
    data = catalog_data(Shelf(catalog))
    newest, oldest, name, key, unknown = ask(
        module,
        data,
        *(choice(sort=sort) for sort in ("newest", "oldest", "name", "key", "nonsense")),
    )
    assert newest["keys"] == [each["key"] for each in data["entries"]] == unknown["keys"]
    assert oldest["keys"][0] == "han2015learning"
    assert key["keys"] == sorted(key["keys"])
    assert name["keys"].index("ma2023llmpruner") < name["keys"].index("sun2023simple")


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64])
def test_sizes_around_a_machine_word(module: Page, count: int) -> None:
    data = synthetic(count, random.Random(count))
    everything, none = ask(module, data, choice(), choice(text="no such words"))
    assert len(everything["keys"]) == count
    assert none["keys"] == []


def test_values_whose_parents_form_a_circle(module: Page) -> None:
    data = synthetic(3, random.Random(0))
    values = data["dimensions"][0]["values"]
    values[0]["parent"], values[1]["parent"] = values[1]["id"], values[0]["id"]
    data["entries"][0]["tags"]["type"] = [values[0]["id"]]
    (found,) = ask(module, data, choice(chosen={"type": [values[1]["id"]]}))
    assert data["entries"][0]["key"] in found["keys"]


def synthetic(count: int, source: random.Random) -> dict[str, Any]:
    """A catalog of any size, with the real dimensions' number of values."""
    words = [f"word{number}" for number in range(3000)]
    dimensions = []
    for name, size in zip(DIMENSIONS, (28, 22, 16, 6, 5, 3), strict=True):
        values = [
            {
                "id": f"{name}-{i}",
                "name": f"{name} {i}",
                "parent": f"{name}-{i // 3}" if i % 3 else None,
            }
            for i in range(size)
        ]
        dimensions.append({"id": name, "name": name, "values": values})
    entries = [
        {
            "key": f"author{2015 + i % 11}word{i}",
            "title": " ".join(source.choices(words, k=9)),
            "name": f"Method {i}",
            "authors": [" ".join(source.choices(words, k=2)) for _ in range(5)],
            "year": 2015 + i % 11,
            "venue": {"series": f"Venue {source.randrange(30)}"},
            "kind": source.choice(["method", "survey", "analysis"]),
            "tags": {
                each["id"]: [
                    value["id"] for value in source.sample(each["values"], source.randint(1, 2))
                ]
                for each in dimensions
            },
            "verified": {},
            "takeaway": " ".join(source.choices(words, k=45)),
            "links": {"code": {"url": "https://example.org"}} if source.random() < 0.4 else {},
            "implementation": None,
        }
        for i in range(count)
    ]
    return {"dimensions": dimensions, "entries": entries}


def test_ten_thousand_entries_filter_within_a_frame(
    module: Page, folder: Path, record_property: Callable[[str, object], None]
) -> None:
    """Chosen values, years and new words each time, as somebody typing and clicking would.

    The aim is 16 ms on an ordinary machine; the bound here leaves room for a busy one.
    """
    text = json.dumps(synthetic(10_000, random.Random(1)))
    assert len(text) > 5_000_000  # the trial has texts of a real length
    (folder / "large.json").write_text(text, encoding="utf-8")
    times: list[float] = module.evaluate(
        """async () => {
          const { Index } = await import("./assets/filter.js");
          const data = await (await fetch("large.json")).json();
          const started = performance.now();
          const index = new Index(data);
          const building = performance.now() - started;
          const times = [building];
          for (let i = 0; i < 60; i++) {
            const choice = {
              chosen: { type: [`type-${i % 28}`, `type-${(i + 3) % 28}`], retraining: [`retraining-${i % 5}`] },
              from: 2016, to: 2024, text: i % 2 ? `word${i} word1` : `word${i}`, sort: "newest",
            };
            const begin = performance.now();
            index.select(choice);
            times.push(performance.now() - begin);
          }
          return times;
        }"""
    )
    building, *selecting = times
    median = sorted(selecting)[len(selecting) // 2]
    record_property("filter_median_ms", median)
    print(f"\n10,000 entries: index {building:.0f} ms, filter {median:.1f} ms in the median")
    assert median < 50
    assert building < 5000
