"""The catalog page where there is much of it: long filters, and more papers than it brings along."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from material.plugins.search.plugin import Parser
from playwright.sync_api import Browser, Page, expect
from small_catalog import ENTRIES, REPOSITORY, entry, make_root, tags
from watch import keys, open_catalog

from catalog.site import build_site, pages
from catalog.site.columns import BLOCK
from catalog.site.data import catalog_data
from catalog.site.facets import SHOWN, Choice, Facet, facets, uses
from catalog.site.pages import ROWS, TAGGED, Pages, Repository
from catalog.site.resources import Resources
from catalog.site.shelf import Shelf
from catalog.store import Catalog

PAPERS = ROWS + 141


@pytest.fixture(scope="module")
def real() -> Shelf:
    """The project's own catalog."""
    return Shelf(Catalog.load(REPOSITORY))


def by_id(shelf: Shelf) -> dict[str, Facet]:
    return {facet.id: facet for facet in facets(shelf, Resources(shelf))}


def test_a_long_filter_shows_the_values_of_most_papers_and_their_parents(real: Shelf) -> None:
    found = by_id(real)
    for facet in found.values():
        shown = [choice for choice in facet.choices if not choice.minor]
        assert len(shown) == len(facet.choices) or len(shown) == SHOWN
        least = min(choice.count for choice in shown)
        assert all(choice.count <= least for choice in facet.choices if choice.minor)
        # Whatever shows stands below its parent, which shows too.
        for place, choice in enumerate(facet.choices):
            above = [each for each in facet.choices[:place] if each.depth < choice.depth]
            if choice.depth and not choice.minor:
                parent = next(each for each in reversed(above) if each.depth == choice.depth - 1)
                assert not parent.minor, (facet.id, choice.id)
    assert found["type"].folded
    assert found["model"].long
    assert not found["weight_update"].folded


def test_a_filter_counts_the_papers_that_name_a_model_or_a_member_of_its_family(
    catalog: Catalog,
) -> None:
    shelf = Shelf(catalog)
    found = by_id(shelf)
    assert Choice("llama", "LLaMA", 1, 0, False) in found["model"].choices
    datasets = {each.id: (each.count, each.depth) for each in found["dataset"].choices}
    assert datasets["wikitext"] == (1, 0)
    assert datasets["wikitext-2"] == (1, 1)
    named = uses(shelf, catalog.entries["sun2023simple"])
    assert named == {"model": ["llama"], "dataset": ["wikitext", "wikitext-2"]}
    assert uses(shelf, catalog.entries["zhu2021survey"]) == {}


def test_the_data_agrees_with_the_page(real: Shelf) -> None:
    data = catalog_data(real)
    for facet in by_id(real).values():
        if facet.id in ("model", "dataset"):
            for choice in facet.choices:
                users = [
                    each for each in data["entries"] if choice.id in each["uses"].get(facet.id, [])
                ]
                assert len(users) == choice.count, choice


def test_the_catalog_page_is_light(real: Shelf) -> None:
    text = Pages(real, Repository()).catalog()
    assert len(gzip.compress(text.encode())) < 300_000


def test_of_very_many_papers_title_and_takeaway_are_searched(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def indexed() -> list[str]:
        parser = Parser()
        parser.feed(Pages(Shelf(catalog), Repository()).paper(catalog.entries["sun2023simple"]))
        sections = [each for each in parser.data if not each.is_excluded()]
        return [" ".join("".join(each.text).split()) for each in sections]

    takeaway = " ".join(catalog.entries["sun2023simple"].takeaway.split())
    assert len(indexed()) > 3
    assert takeaway in indexed()[0]
    monkeypatch.setattr(pages, "INDEXED", len(catalog.entries) - 1)
    assert len(indexed()) == 1
    assert takeaway in indexed()[0]


# In the browser ----------------------------------------------------------------------------


def test_a_row_drawn_from_the_data_is_the_row_of_the_page(page: Page) -> None:
    """Every paper, the hostile one among them. What a run observed is not in the data."""
    open_catalog(page)
    pairs = page.evaluate(
        """async () => {
          const { drawer } = await import("./assets/rows.js");
          const { open } = await import("./assets/store.js");
          const store = await open("assets/data/");
          const places = [...Array(store.index.count).keys()];
          await store.load(places);
          const draw = drawer(store.dimensions);
          const plain = (row) => {
            const copy = row.cloneNode(true);
            for (const each of copy.querySelectorAll(".tag-seen")) each.removeAttribute("title");
            const walk = (node) => node.nodeType === 3
              ? node.data.replace(/\\s+/g, " ").trim()
              : [node.localName, [...node.attributes].map((a) => `${a.name}=${a.value}`).sort(),
                 [...node.childNodes].map(walk).filter((each) => each !== "")];
            return JSON.stringify(walk(copy));
          };
          return places.map((place) => [
            plain(document.querySelectorAll("[data-rows] > [data-key]")[place]), plain(draw(store.row(place)))]);
        }"""
    )
    assert len(pairs) == len(ENTRIES)
    for server, browser in pairs:
        assert json.loads(browser) == json.loads(server)
    assert page.evaluate("window.hacked") is None


def test_a_filter_by_model(page: Page) -> None:
    open_catalog(page)
    part = page.locator("details[data-facet='model']")
    part.locator("summary").click()
    part.get_by_role("checkbox", name="LLaMA").check()
    expect(page).to_have_url(re.compile(re.escape("?model=llama") + "$"))
    assert keys(page) == ["sun2023simple"]
    expect(page.get_by_role("button", name="Remove the filter Model pruned: LLaMA")).to_be_visible()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str]) -> str:
    """The address of a catalog that is too large for one page, with many models and venues."""
    folder = tmp_path_factory.mktemp("large")
    entries = [
        entry(
            f"author{2010 + number % 14}word{number}",
            title=f"Paper number {number}",
            tags=tags(),
            ids={"arxiv": f"2306.{number:05d}"},
            venue={
                "short": f"Place{number % 17} 2023",
                "full": "A place",
                "year": 2023,
                "type": "conference",
            },
            evaluated_on={"models": [f"Model {number % 50}"]},
        )
        for number in range(PAPERS)
    ]
    root = make_root(folder / "root", entries, method="")
    models = [{"id": f"model-{n}", "name": f"Model {n}", "kind": "decoder"} for n in range(50)]
    listed = json.dumps({"id": "models", "items": models})
    (root / "catalog" / "resources" / "models.yaml").write_text(listed, encoding="utf-8")
    loaded = Catalog.load(root)
    assert len(loaded.entries) == PAPERS, loaded.reading_problems
    build_site(loaded, folder / "site")
    return serve(folder / "site")


@pytest.fixture
def wide(browser: Browser, large: str) -> Iterator[Page]:
    context = browser.new_context(base_url=large, viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_papers_that_the_page_did_not_bring_are_found_and_drawn(wide: Page) -> None:
    wide.goto("catalog.html")
    wide.wait_for_selector("[data-ready]")
    assert wide.locator("[data-rows] > *").count() == ROWS
    wide.get_by_role("searchbox", name="Search titles").fill("2306.00000")
    row = wide.locator("[data-key]")
    expect(row).to_have_count(1)
    assert keys(wide) == ["author2010word0"]  # of the oldest year, so not in the page's HTML
    expect(row).to_contain_text("Paper number 0")
    row.get_by_role("checkbox").check()
    expect(wide.locator("[data-export-label]")).to_have_text("Export 1 selected")
    wide.get_by_role("searchbox", name="Search titles").fill("")
    wide.get_by_role("searchbox", name="Search titles").fill("2306.00000")
    expect(row.get_by_role("checkbox")).to_be_checked()
    row.get_by_role("link", name="Paper number 0").click()
    expect(wide.locator("h1")).to_have_text("Paper number 0")


def test_all_papers_can_be_scrolled_to(wide: Page) -> None:
    open_catalog(wide, "?sort=oldest")
    rows = wide.locator("[data-rows] > *")
    expect(rows).to_have_count(30)  # so many at a time
    while (before := rows.count()) < PAPERS:
        wide.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(rows.nth(min(before + 30, PAPERS) - 1)).to_be_attached()
    assert len(set(keys(wide))) == PAPERS


def test_only_the_rows_that_are_shown_are_fetched(wide: Page) -> None:
    fetched: list[str] = []
    wide.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    open_catalog(wide)
    wide.wait_for_load_state("networkidle")
    data = {name for name in fetched if name.endswith(".json")}
    assert data == {"filters.json"}  # the page brings its rows; no words, no whole catalog
    open_catalog(wide, "?model=model-7")
    expect(wide.locator("[data-rows] > *")).to_have_count(6)
    blocks = {name for name in fetched if name.startswith("rows-")}
    assert 0 < len(blocks) <= 6 < PAPERS // BLOCK
    wide.get_by_role("searchbox", name="Search titles").fill("2306.00007")
    expect(wide.locator("[data-rows] > *")).to_have_count(1)
    assert "words.json" in fetched
    assert "catalog.json" not in fetched
    with wide.expect_download() as saved:
        wide.locator("[data-export] summary").click()
        wide.get_by_role("button", name="Download BibTeX").click()
    assert Path(saved.value.path()).read_text().count("@") == 1
    assert "catalog.json" in fetched


def test_papers_that_cannot_be_fetched_are_asked_for_again(wide: Page) -> None:
    open_catalog(wide)
    wide.route("**/rows-*.json", lambda route: route.abort())
    wide.get_by_label("Sort").select_option("oldest")
    expect(wide.locator("[data-status]")).to_contain_text("could not be fetched")
    wide.unroute("**/rows-*.json")
    wide.get_by_label("Sort").select_option("key")
    wide.get_by_label("Sort").select_option("oldest")
    expect(wide.locator("[data-rows] > *").first).to_contain_text("Paper number")
    expect(wide.locator("[data-status]")).to_have_text(f"{PAPERS} papers")


def test_a_long_filter_unfolds_and_narrows(wide: Page) -> None:
    wide.goto("catalog.html?venue=Place16")
    wide.wait_for_selector("[data-ready]")
    part = wide.locator("details[data-facet='venue']")
    boxes = part.locator(".choice:visible")
    expect(boxes).to_have_count(SHOWN + 1)  # what is chosen shows, however rare
    more = part.get_by_role("button", name="8 more")
    expect(more).to_have_attribute("aria-expanded", "false")
    more.focus()
    wide.keyboard.press("Enter")
    expect(boxes).to_have_count(17)
    part.get_by_role("button", name="Fewer").click()
    expect(boxes).to_have_count(SHOWN + 1)
    models = wide.locator("details[data-facet='model']")
    models.locator("summary").click()
    words = models.get_by_role("searchbox", name="Find in model pruned")
    words.fill("MODEL-4")
    expect(models.locator(".choice:visible")).not_to_have_count(0)
    shown = models.locator(".choice:visible .choice-name").all_inner_texts()
    assert all(name.startswith("Model 4") for name in shown)
    words.press("Enter")
    expect(wide).to_have_url(
        re.compile(re.escape("?venue=Place16") + "$")
    )  # narrowing a list is no filter
    words.fill("")
    # With this venue only some models are left; the others would lead nowhere.
    assert all(not each.is_disabled() for each in models.locator(".choice:visible input").all())


def test_without_javascript_every_paper_of_a_large_catalog_is_reached(
    browser: Browser, large: str
) -> None:
    context = browser.new_context(base_url=large, java_script_enabled=False)
    page = context.new_page()
    page.goto("catalog.html")
    assert page.locator("[data-rows] > [data-key]").count() == ROWS
    reached = set(page.locator("[data-rows] .row-title a").evaluate_all("a => a.map(l => l.href)"))
    years = page.locator("p.js-off a[href^='years/']").evaluate_all("a => a.map(l => l.href)")
    assert len(years) == 14
    for address in years:
        page.goto(address)
        reached |= set(page.locator(".newest a").evaluate_all("a => a.map(l => l.href)"))
    assert len(reached) == PAPERS
    # A tag that all of them have shows some, and leads to all.
    page.goto("tags/weight-update/frozen.html")
    assert page.locator(".rows > [data-key]").count() == TAGGED
    tagged = set()
    for address in page.locator("a[href^='frozen/']").evaluate_all("a => a.map(l => l.href)"):
        page.goto(address)
        tagged |= set(page.locator(".newest a").evaluate_all("a => a.map(l => l.href)"))
    assert tagged == reached
    expect(page.locator(".crumbs a").last).to_have_attribute("href", "../frozen.html")
    context.close()
