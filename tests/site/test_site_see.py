"""The pages to look at: what is drawn, and what a reader can do with it."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect
from small_catalog import ENTRIES, HOSTILE, REPOSITORY, entry
from test_site_pages import VISION, contrast, linear, oklab
from watch import Watch, assert_inert

from catalog.figures import differences
from catalog.query import Filter, select
from catalog.schema import Entry
from catalog.site import charts
from catalog.site.compare import compare_data
from catalog.site.glance import Glance, month_of, short_name
from catalog.site.lineage import Graph, graph
from catalog.site.matrix import LEVELS, matrices
from catalog.site.pages import Pages, Repository
from catalog.site.plots import Section, plots
from catalog.site.shelf import Shelf
from catalog.site.timeline import timeline
from catalog.store import Catalog

DRAWN = ["lineage.html", "coverage.html", "timeline.html", "plots.html", "compare.html"]


@pytest.fixture(scope="module")
def shelf(catalog: Catalog) -> Shelf:
    return Shelf(catalog)


@pytest.fixture(scope="module")
def real() -> Shelf:
    return Shelf(Catalog.load(REPOSITORY))


def made_of(catalog: Catalog, entries: list[dict[str, Any]]) -> Shelf:
    """The same vocabulary with other entries."""
    found = [Entry.model_validate(each) for each in entries]
    return Shelf(
        dataclasses.replace(catalog, entries={each.key: each for each in found}, results=[])
    )


# Names and dates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "arxiv", "month"),
    [(2023, "2306.11695", 6), (2023, None, None), (2023, "2405.02267", None), (2023, "2313.00001", None)],
)  # fmt: skip
def test_a_month_comes_from_an_id_of_the_same_year(
    year: int, arxiv: str | None, month: int | None
) -> None:
    ids = {"ids": {"arxiv": arxiv}} if arxiv else {}
    made = Entry.model_validate(entry(f"doe{year}word", **ids))
    assert month_of(made) == month


def test_short_names_fit() -> None:
    made = Entry.model_validate(entry("doe2023word", name="W" * 80))
    assert short_name(made, 16) == "W" * 15 + "…"
    nameless = entry("doe2023word", authors=["van der Berg, Anna", "B C"])
    assert short_name(Entry.model_validate(nameless), 40) == "van der Berg 2023"


def test_sparse_years_share_a_column_and_full_ones_do_not(catalog: Catalog) -> None:
    entries = [entry(f"a{2018 + i}x") for i in range(3)]
    entries += [entry(f"b{2023}x{letter}") for letter in "abcdefghij"]
    glance = Glance(made_of(catalog, entries))
    assert glance.spans() == [(2018, 2020), (2023, 2023)]


# Lineage -----------------------------------------------------------------------------------


def check_graph(found: Graph, shelf: Shelf) -> None:
    entries = shelf.catalog.entries
    assert sorted(dot.entry.key for dot in found.dots) == sorted(entries)
    assert Counter((line.older, line.newer, line.relation) for line in found.lines) == Counter(
        (edge.key, each.key, edge.relation)
        for each in entries.values()
        for edge in each.builds_on
        if edge.key in entries and edge.key != each.key
    )
    for one, two in itertools.pairwise(sorted(found.dots, key=lambda dot: (dot.x, dot.y))):
        assert one.x != two.x or two.y - one.y > 19, (one.entry.key, two.entry.key)
    for dot in found.dots:
        assert 0 < dot.x < found.width
        assert 0 < dot.y < found.height
    at = {dot.entry.key: dot for dot in found.dots}
    for line in found.lines:
        numbers = [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", line.path)]
        assert abs(numbers[1] - at[line.older].y) < 0.1
        assert abs(numbers[-1] - at[line.newer].y) < 0.1
        assert 0 <= at[line.newer].x - numbers[-2] < 10


def test_every_paper_and_relation_is_drawn_once(shelf: Shelf, real: Shelf) -> None:
    for each in (shelf, real):
        check_graph(graph(each), each)


@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 19), st.sampled_from(["extends", "compares"])),
        max_size=40,
        unique_by=lambda edge: edge[:2],
    )
)
@settings(max_examples=60, deadline=None)
def test_any_relations_give_a_drawing_without_overlap(edges: list[tuple[int, int, Any]]) -> None:
    """Also circles, edges back in time, and edges to oneself."""
    keys = [f"doe{2015 + i // 3}{chr(97 + i)}" for i in range(20)]
    entries = [
        entry(
            key,
            builds_on=[{"key": keys[b], "relation": r} for a, b, r in edges if keys[a] == key],
        )
        for key in keys
    ]
    shelf = made_of(VOCABULARY, entries)
    found = graph(shelf)
    check_graph(found, shelf)
    assert found == graph(shelf)


VOCABULARY = Catalog.load(REPOSITORY)


def test_lines_of_one_kind_from_one_paper_share_their_way() -> None:
    entries = [entry("a2015root"), entry("b2019mid", builds_on=[])]
    entries += [entry(f"c{2016 + i // 9}x{chr(97 + i)}") for i in range(18)]
    ends = [f"d2020{letter}" for letter in "abcdefghi"]
    entries += [entry(key, builds_on=[{"key": "a2015root", "relation": "extends"}]) for key in ends]
    found = graph(made_of(VOCABULARY, entries))
    starts = {line.path.split("C")[0] for line in found.lines}
    bends = {re.findall(r"H[\d.]+", line.path)[-1] for line in found.lines}
    assert len(found.lines) == 9
    assert len(starts) == len(bends) == 1


def test_the_list_says_both_directions(shelf: Shelf) -> None:
    told = {each.entry.key: each for each in graph(shelf).told}
    assert [(n.words, n.entry.key) for n in told["sun2023simple"].on] == [
        ("Simplifies", "frantar2023sparsegpt")
    ]
    assert [n.entry.key for n in told["sun2023simple"].by] == ["mallory2022escape"]
    assert "zhu2021survey" not in told


def test_no_papers_no_drawing() -> None:
    empty = made_of(VOCABULARY, [])
    assert graph(empty).dots == []
    assert timeline(empty).lanes == []
    assert matrices(empty) == []


# Coverage ----------------------------------------------------------------------------------


def test_a_cell_counts_what_its_link_finds(real: Shelf) -> None:
    table = matrices(real)[0]
    assert table.id == "type-criterion"
    for line in table.lines:
        for head, cell in zip(table.heads, line.cells, strict=True):
            wanted = Filter(type=[line.node.value.id], criterion=[head.value.id])
            found = select(real.catalog, wanted)
            assert cell.count == len(found)
            assert cell.runs == sum(real.method(each) is not None for each in found)
            assert (cell.level == 0) == (cell.count == 0)
            assert cell.level <= LEVELS
    assert table.filled == sum(cell.count > 0 for line in table.lines for cell in line.cells)


def test_gaps_are_empty_and_not_said_twice(real: Shelf) -> None:
    for table in matrices(real):
        for gap in table.gaps:
            rows = real.papers_with(table.rows.id, gap.row.value.id)
            columns = real.papers_with(table.columns.id, gap.column.value.id)
            assert rows
            assert columns
            assert not {each.key for each in rows} & {each.key for each in columns}
        names = [(gap.row.value.id, gap.column.value.id) for gap in table.gaps]
        parents = [(gap.row.value.parent, gap.column.value.id) for gap in table.gaps]
        assert not {*names} & {*parents}


def test_there_is_a_table_for_every_pair_of_dimensions(real: Shelf) -> None:
    pairs = {frozenset((each.rows.id, each.columns.id)) for each in matrices(real)}
    assert len(pairs) == 15


# Timeline ----------------------------------------------------------------------------------


def test_every_paper_is_in_each_of_its_lanes_and_once_in_the_table(real: Shelf) -> None:
    found = timeline(real)
    glance = Glance(real)
    wanted = Counter(
        (kind.id, each.key) for each in real.entries for kind in glance.classes_of(each)
    )
    assert Counter((l.kind.id, p.entry.key) for l in found.lanes for p in l.points) == wanted  # noqa: E741
    assert Counter(e.key for p in found.periods for e in p.entries) == Counter(
        each.key for each in real.entries
    )
    places = [(point.x, point.y) for lane in found.lanes for point in lane.points]
    assert len(places) == len({*places})
    assert all(0 < x < found.width and 0 < y < found.height for x, y in places)
    order = {point.entry.key: point.x for lane in found.lanes for point in lane.points}
    dated = [each for each in real.entries if glance.is_full(each.year) and month_of(each)]
    for one, two in itertools.combinations(dated, 2):
        if (one.year, month_of(one) or 0) < (two.year, month_of(two) or 0):
            assert order[one.key] < order[two.key]


# Charts ------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_scale_keeps_the_order_and_its_ticks_inside(values: list[float], log: bool) -> None:
    scale = charts.Scale(values, 0, 400, log=log)
    ordered = sorted(values)
    places = [scale(value) for value in ordered]
    assert places == sorted(places)
    assert all(-0.1 <= place <= 400.1 for place in places)
    assert len(scale.ticks) >= 2
    assert all(-1 <= scale(tick) <= 401 for tick in scale.ticks)


def svg(text: str) -> ElementTree.Element:
    """Markup that is well-formed even for XML, or an error."""
    return ElementTree.fromstring(text)


def test_a_line_chart_has_a_line_and_a_name_for_each_series() -> None:
    series = [
        charts.Series(f"method {i}", i, [charts.Point(x, 5 + i + x, "tip") for x in (10, 50)])
        for i in range(12)
    ]
    axis = charts.Axis("Perplexity")
    drawn = svg(charts.line_chart("A chart", series, charts.Axis("Share"), axis, dense=5.0))
    names = [t for t in drawn.iter("text") if t.get("class") == "c-name"]
    assert [t.text for t in names] == [each.name for each in series]
    heights = sorted(float(t.get("y") or 0) for t in names)
    assert all(b - a > 14 for a, b in itertools.pairwise(heights))
    assert len([p for p in drawn.iter("path") if p.get("class") == "c-line"]) == 12
    assert any("dense model" in (t.text or "") for t in drawn.iter("text"))


def test_better_stands_further_left_where_lower_is_better() -> None:
    bars = [charts.Bar(name, i, value, "") for i, (name, value) in enumerate([("a", 6), ("b", 12)])]
    drawn = svg(charts.dot_plot("Dots", [("50 %", bars)], charts.Axis("Perplexity")))
    signs = [p for p in drawn.iter("path") if p.get("class") == "c-fill"]
    first, second = (float((p.get("d") or "").split()[0][1:]) for p in signs)
    assert first < second


def test_hostile_names_stay_text_in_charts() -> None:
    bars = [charts.Bar(text, i, i + 1.0, text) for i, text in enumerate(HOSTILE)]
    points = [charts.Point(1, 1, HOSTILE[0]), charts.Point(2, 3, HOSTILE[6])]
    for text in (
        charts.dot_plot(HOSTILE[7], [(HOSTILE[1], bars)], charts.Axis(HOSTILE[6])),
        charts.line_chart(
            HOSTILE[6],
            [charts.Series(HOSTILE[0], 0, points)],
            charts.Axis(HOSTILE[1]),
            charts.Axis(HOSTILE[7]),
        ),
    ):
        drawn = svg(text)
        assert {each.tag for each in drawn.iter()} <= {"svg", "g", "path", "text", "title"}
        assert not any(name.startswith("on") for each in drawn.iter() for name in each.attrib)


# Plots -------------------------------------------------------------------------------------


def test_no_section_mixes_protocols(real: Shelf) -> None:
    figures = real.catalog.figures
    by_slug = {figures.slugs[protocol]: protocol for protocol in figures.protocols}
    sections = plots(real, {}).sections
    reported = [each for each in sections if each.kind == "reported"]
    assert len(reported) > 20
    for section in reported:
        members = figures.protocols[by_slug[section.id]]
        wanted = Counter((f.method, f.value, f.origin.name) for f in members if not f.is_dense)
        assert Counter((m.method, m.value, m.source) for m in section.marks) == wanted
        for other in section.others:
            fields = differences(by_slug[section.id], by_slug[other.id])
            assert fields == other.fields != []
    assert len({each.id for each in sections}) == len(sections)


def test_every_figure_of_a_section_is_in_its_charts(real: Shelf) -> None:
    def drawn(section: Section) -> int:
        return sum(len(svg(panel.svg).findall(".//g/title")) for panel in section.panels)

    for section in plots(real, {}).sections:
        assert drawn(section) == len(section.marks), section.id


def test_budgets_of_unlike_units_share_no_axis(real: Shelf) -> None:
    for section in plots(real, {}).sections:
        groups = {mark.group for mark in section.marks}
        assert len(section.panels) == len(groups)
        for group in groups:
            assert len({mark.unit for mark in section.marks if mark.group == group}) == 1


def test_runs_made_here_are_drawn_too(real: Shelf) -> None:
    here = [each for each in plots(real, {}).sections if each.kind == "measured"]
    assert here
    assert sum(len(each.marks) for each in here) <= len(real.catalog.results)


# Data of the comparison --------------------------------------------------------------------


def test_only_shared_protocols_are_compared(shelf: Shelf) -> None:
    data = compare_data(shelf)
    assert {*data["papers"]} == {each["key"] for each in ENTRIES}
    wanda = data["papers"]["sun2023simple"]
    assert [each["key"] for each in wanda["builds_on"]] == ["frantar2023sparsegpt"]
    about = {(f["value"], f["by"]) for f in wanda["figures"]}
    assert {(7.26, "Wanda"), (7.31, "Other Work"), (6.42, "Wanda")} == about
    for paper in data["papers"].values():
        for figure in paper["figures"]:
            assert 0 <= figure["protocol"] < len(data["protocols"])


# The look ----------------------------------------------------------------------------------


def scheme(name: str, family: str) -> list[str]:
    css = (REPOSITORY / "site" / "assets" / "see.css").read_text(encoding="utf-8")
    block = re.search(rf'data-md-color-scheme="{name}"\] {{(.*?)\n}}', css, re.DOTALL)
    assert block
    return re.findall(rf"--{family}\d: (#[0-9a-f]{{6}});", block[1])


@pytest.mark.parametrize(("name", "ground"), [("default", "#ffffff"), ("slate", "#241d27")])
@pytest.mark.parametrize("family", ["k", "s"])
def test_signs_stand_out_and_stay_apart_for_every_colour_vision(
    name: str, ground: str, family: str
) -> None:
    colours = scheme(name, family)
    assert len(colours) == (4 if family == "k" else charts.COLOURS)
    assert all(contrast(each, ground) >= 3 for each in colours)
    for vision in VISION.values():
        seen = [
            oklab([sum(a * c for a, c in zip(row, linear(each), strict=True)) for row in vision])
            for each in colours
        ]
        for one, two in itertools.combinations(seen, 2):
            assert sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) ** 0.5 > 0.05


def test_without_javascript_the_dark_colours_are_the_same() -> None:
    css = (REPOSITORY / "site" / "assets" / "see.css").read_text(encoding="utf-8")
    block = re.search(r"\.no-js, \.no-js \[.*?\] {(.*?)\n  }", css, re.DOTALL)
    assert block
    assert re.findall(r"--k\d: (#\w+);", block[1]) == scheme("slate", "k")
    assert re.findall(r"--s\d: (#\w+);", block[1]) == scheme("slate", "s")


def test_pages_are_light(real: Shelf) -> None:
    written = dict(Pages(real, Repository()).all())
    for name in DRAWN:
        assert len(gzip.compress(written[name].encode())) < 250_000, name
    assert len(gzip.compress(json.dumps(compare_data(real)).encode())) < 100_000


# In the browser ----------------------------------------------------------------------------


def drawing(page: Page, hash_: str = "") -> Page:
    page.goto(f"lineage.html{hash_}")
    page.wait_for_selector("[data-graph][data-ready]")
    return page


def lit(page: Page) -> set[str]:
    found: list[str] = page.eval_on_selector_all(
        "a.n[data-on]", "all => all.map(each => each.dataset.key)"
    )
    return {*found}


def test_pointing_at_a_paper_highlights_its_ancestors_and_descendants(page: Page) -> None:
    drawing(page)
    page.locator("a.n[data-key=sun2023simple] text").hover()
    assert lit(page) == {"sun2023simple", "frantar2023sparsegpt", "mallory2022escape"}
    expect(page.locator("[data-say-here]")).to_contain_text("Wanda: A Simple and Effective")
    page.locator("h1").hover()
    assert lit(page) == set()


def test_the_graph_works_from_the_keyboard(page: Page) -> None:
    drawing(page)
    page.locator("a.n[data-key=frantar2023sparsegpt]").focus()
    assert "sun2023simple" in lit(page)
    before = page.evaluate("document.activeElement.dataset.key")
    page.keyboard.press("ArrowDown")
    after = page.evaluate("document.activeElement.dataset.key")
    assert after
    assert after != before
    size = page.locator("[data-graph]").get_attribute("data-scale")
    page.keyboard.press("+")
    assert page.locator("[data-graph]").get_attribute("data-scale") != size
    page.keyboard.press("0")
    assert page.locator("[data-graph]").get_attribute("data-scale") == size
    page.locator("a.n[data-key=sun2023simple]").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/sun2023simple.html")


def test_filters_take_papers_and_relations_away(page: Page) -> None:
    drawing(page)
    page.get_by_label("Structured", exact=True).uncheck()
    gone = page.eval_on_selector_all("a.n[data-out]", "all => all.map(each => each.dataset.key)")
    assert {*gone} == {"men2024shortgpt", "ma2023llmpruner"}
    page.get_by_label(re.compile("^simplifies")).uncheck()
    hidden = page.locator(".graph .e[data-relation=simplifies]")
    expect(hidden).to_be_hidden()
    page.locator("a.n[data-key=sun2023simple]").focus()
    assert lit(page) == {"sun2023simple", "mallory2022escape"}


def test_an_address_may_name_a_paper(page: Page) -> None:
    drawing(page, "#sun2023simple")
    assert "frantar2023sparsegpt" in lit(page)


def test_on_a_phone_a_first_tap_highlights_and_a_second_opens(
    browser: Browser, base: str, watch: Watch
) -> None:
    context = browser.new_context(
        base_url=base, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    watch.attach(context, base)
    page = drawing(context.new_page())
    dot = page.locator("a.n[data-key=sun2023simple]")
    dot.scroll_into_view_if_needed()
    dot.locator("text").tap()
    assert "frantar2023sparsegpt" in lit(page)
    expect(page).to_have_url(re.compile(re.escape("lineage.html") + "$"))
    dot.locator("text").tap()
    page.wait_for_url("**/papers/sun2023simple.html")
    context.close()


def test_a_cell_opens_the_catalog_with_its_papers(page: Page) -> None:
    page.goto("coverage.html")
    row = page.locator("tr", has=page.get_by_role("rowheader", name=re.compile("^N:M"))).first
    row.get_by_role("link", name=re.compile("^1")).first.click()
    page.wait_for_selector("[data-ready]")
    keys = page.eval_on_selector_all(
        "[data-rows] > [data-key]", "all => all.map(e => e.dataset.key)"
    )
    assert keys == ["sun2023simple"]


def test_one_table_at_a_time_with_and_without_finer_values(page: Page) -> None:
    page.goto("coverage.html")
    expect(page.locator("[data-matrix]:visible")).to_have_count(1)
    choice = page.get_by_label("Dimensions")
    choice.select_option("type-retraining")
    expect(page.get_by_role("heading", name="Type by retraining")).to_be_visible()
    expect(page).to_have_url(re.compile(re.escape("#type-retraining") + "$"))
    finer = page.locator("#type-retraining tbody tr[data-fine]").first
    expect(finer).to_be_visible()
    page.get_by_label("Values below others too").uncheck()
    expect(finer).to_be_hidden()
    page.reload()
    expect(page.get_by_role("heading", name="Type by retraining")).to_be_visible()


def test_the_timeline_says_what_is_pointed_at(page: Page) -> None:
    page.goto("timeline.html")
    page.wait_for_selector("svg.time[data-ready]")
    page.locator("svg.time a[data-say^=Wanda]").first.focus()
    expect(page.locator("[data-say-here]")).to_have_text("Wanda, June 2023, runs here")


def test_one_protocol_at_a_time_and_its_rivals_are_named(page: Page) -> None:
    page.goto("plots.html")
    shown = page.locator("[data-plot]:visible")
    expect(shown).to_have_count(1)
    page.locator("select[data-protocol]").select_option("llama-7b-wikitext-2-perplexity-2048")
    expect(shown).to_have_attribute("data-plot", "llama-7b-wikitext-2-perplexity-2048")
    expect(shown.locator(".plot-others")).to_contain_text("differs in sequence length")
    shown.locator("[data-to]").first.click()
    expect(shown).to_have_attribute("data-plot", "llama-7b-wikitext-2-perplexity-4096")
    page.go_back()
    expect(shown).to_have_attribute("data-plot", "llama-7b-wikitext-2-perplexity-2048")


LONG = "llama-7b-wikitext-2-perplexity-4096"
SHORT = "llama-7b-wikitext-2-perplexity-2048"


def test_two_protocols_beside_each_other_keep_tables_of_their_own(page: Page) -> None:
    """The keyboard does all of it, and the page says what sets the two apart."""
    page.goto("plots.html")
    shown = page.locator("[data-plot]:visible")
    page.locator("select[data-protocol]").select_option(LONG)
    beside = page.locator("select[data-beside]")
    expect(beside.locator(f"option[value='{LONG}']")).to_be_disabled()  # not itself
    beside.focus()
    for _ in range(20):
        page.keyboard.press("ArrowDown")
        if beside.input_value() == SHORT:
            break
    expect(shown).to_have_count(2)
    expect(page).to_have_url(re.compile(f"#{LONG},{SHORT}$"))
    expect(shown.nth(0)).to_have_attribute("data-plot", LONG)  # the one chosen first is first
    apart = page.get_by_role("region", name="Two protocols")
    rows = apart.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_have_text("sequence length40962048")
    expect(apart).to_contain_text("neither better nor worse")
    # No table has figures of both: 6.42 was measured with the long windows, 7.26 with the short.
    for table in page.locator("[data-plot]:visible table").all():
        text = table.text_content() or ""
        assert ("6.42" in text) != ("7.26" in text)
    page.reload()
    expect(shown).to_have_count(2)
    page.locator("select[data-beside]").select_option("")
    expect(shown).to_have_count(1)
    expect(apart).to_be_hidden()
    page.go_back()
    expect(shown).to_have_count(2)


@pytest.mark.parametrize("wanted", ["%", f"{LONG},{LONG}", f"{LONG},nobody", ",,"])
def test_an_address_that_names_no_two_protocols_shows_one(page: Page, wanted: str) -> None:
    page.goto(f"plots.html#{wanted}")
    expect(page.locator("html[data-ready]")).to_be_attached()
    expect(page.locator("[data-plot]:visible")).to_have_count(1)
    expect(page.locator("[data-apart]")).to_be_hidden()


def test_the_fields_that_tell_protocols_apart_are_all_there(real: Shelf) -> None:
    """What the page finds from the fields is what the catalog finds from the protocols."""
    figures = real.catalog.figures
    by_id = {figures.slugs[protocol]: protocol for protocol in figures.protocols}
    sections = [each for each in plots(real, {}).sections if each.kind == "reported"]
    assert len(sections) > 10
    for one, two in itertools.combinations(sections, 2):
        first, second = one.shared | one.own, two.shared | two.own
        found = {name for name in first if first[name] != second[name]}
        assert found == {*differences(by_id[one.id], by_id[two.id])}


def compared(page: Page, query: str) -> Page:
    page.goto(f"compare.html{query}")
    page.wait_for_selector("[data-compare-page][data-ready]")
    return page


def heads(page: Page) -> list[str]:
    return page.locator(".compare-table thead a").all_inner_texts()


def test_papers_stand_side_by_side_with_figures_that_they_share(page: Page) -> None:
    compared(page, "?papers=sun2023simple,frantar2023sparsegpt")
    assert heads(page) == ["Wanda", "SparseGPT"]
    table = page.locator(".compare-table")
    expect(table).to_contain_text("LLaMA-7B, WikiText-2: perplexity")
    expect(table).to_contain_text("windows of 2,048 tokens")
    row = table.locator("tr", has_text="7.26")
    expect(row).to_contain_text("7.22")
    expect(row).not_to_contain_text("6.42")  # another length is another band
    expect(table).to_contain_text("✓ verified")
    page.get_by_role("button", name="Remove Wanda").click()
    assert heads(page) == ["SparseGPT"]
    expect(page).to_have_url(re.compile(re.escape("?papers=frantar2023sparsegpt") + "$"))
    page.go_back()
    assert heads(page) == ["Wanda", "SparseGPT"]


def test_a_paper_is_added_by_name_and_four_are_the_most(page: Page) -> None:
    compared(page, "")
    field = page.get_by_label("Add a paper")
    for name in ["wanda", "SPARSEGPT", "men2024shortgpt", "Learning both"]:
        field.fill(name)
        page.keyboard.press("Enter")
    assert len(heads(page)) == 4
    field.fill("LLM-Pruner")
    page.keyboard.press("Enter")
    expect(page.locator("[data-status]")).to_contain_text("Four papers are the most")
    assert len(heads(page)) == 4
    field.fill("nothing like it")
    page.keyboard.press("Enter")
    expect(page.locator("[data-status]")).to_contain_text("No paper is called")


@pytest.mark.parametrize(
    "query",
    ["?papers=", "?papers=nobody,,%00", "?papers=<script>window.hacked=1</script>,sun2023simple"],
)
def test_a_broken_choice_does_no_harm(page: Page, query: str) -> None:
    compared(page, query)
    assert page.evaluate("window.hacked") is None
    assert len(heads(page)) == ("sun2023simple" in query)


def test_what_is_picked_in_the_catalog_is_compared(page: Page) -> None:
    page.goto("catalog.html")
    page.wait_for_selector("[data-ready]")
    button = page.locator("[data-compare]")
    page.get_by_label("Select Wanda").check()
    expect(button).to_be_hidden()
    page.get_by_label("Select SparseGPT").check()
    expect(button).to_have_text("Compare 2")
    button.click()
    page.wait_for_selector("[data-compare-page][data-ready]")
    assert {*heads(page)} == {"Wanda", "SparseGPT"}


def test_hostile_text_shows_and_does_nothing(browser: Browser, base: str, watch: Watch) -> None:
    context = browser.new_context(base_url=base, bypass_csp=True)
    watch.attach(context, base)
    page = context.new_page()
    for name in [*DRAWN, "compare.html?papers=mallory2022escape,sun2023simple", "see.html"]:
        page.goto(name)
        page.wait_for_load_state("networkidle")
        assert_inert(page, name)
    page.goto("compare.html?papers=mallory2022escape")
    page.wait_for_selector("[data-compare-page][data-ready]")
    assert heads(page) == [HOSTILE[0]]
    drawing(page).locator("a.n[data-key=mallory2022escape]").focus()
    expect(page.locator("[data-say-here]")).to_contain_text("window.hacked = 1")
    context.close()


def test_without_javascript_all_is_there(browser: Browser, base: str) -> None:
    context = browser.new_context(base_url=base, java_script_enabled=False)
    page = context.new_page()
    page.goto("lineage.html")
    assert page.locator(".graph a.n").count() == len(ENTRIES)
    expect(page.locator("#lineage-list")).to_contain_text("Simplifies SparseGPT")
    expect(page.locator("[data-controls]")).to_be_hidden()
    page.goto("coverage.html")
    assert (
        page.locator("[data-matrix]").count() == page.locator("[data-matrix]:visible").count() > 3
    )
    page.goto("plots.html")
    assert page.locator("[data-plot]:visible").count() == page.locator("[data-plot]").count() > 1
    expect(page.locator("select[data-beside]")).to_be_hidden()
    listed = page.get_by_role("navigation", name="Protocols").get_by_role("link")
    expect(listed).to_have_count(page.locator("[data-plot]").count())
    page.goto("compare.html")
    expect(page.get_by_text("needs JavaScript")).to_be_visible()
    expect(page.locator("[data-add]")).to_be_hidden()
    context.close()


def test_the_site_leads_to_all_of_them(page: Page, site: Path) -> None:
    page.goto("index.html")
    page.get_by_role("navigation", name="Site").get_by_role("link", name="See").click()
    for name in ["Lineage", "Coverage", "Timeline", "Plots", "Compare"]:
        page.locator("#content").get_by_role("link", name=re.compile(f"^{name}")).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        current = page.get_by_role("navigation", name="Site").locator("[aria-current]")
        expect(current).to_have_text("See")
        page.go_back()
    assert "see.css" not in (site / "catalog.html").read_text(encoding="utf-8")
