"""The built site in a real browser: what a reader sees and can do."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from small_catalog import ENTRIES, HOSTILE
from watch import Watch, keys, open_catalog

PAGES = [
    "index.html",
    "catalog.html",
    "guide.html",
    "papers/sun2023simple.html",
    "papers/mallory2022escape.html",
    "papers/zhu2021survey.html",
    "tags/index.html",
    "tags/type.html",
    "tags/type/n-m.html",
    "tags/weight-update/frozen.html",
    "methods.html",
    "models/index.html",
    "models/llama.html",
    "models/evil.html",
    "datasets/evil.html",
    "datasets/wikitext-2.html",
    "tools/index.html",
    "concepts/index.html",
    "concepts/criteria.html",
    "concepts/kv-cache.html",
    "contribute.html",
    "about.html",
    "data.html",
    "see.html",
    "lineage.html",
    "coverage.html",
    "timeline.html",
    "plots.html",
    "compare.html",
    "404.html",
]


def box(page: Page, facet: str, value: str) -> Locator:
    """A filter's checkbox, its part of the filters opened."""
    part = page.locator(f"details[data-facet='{facet}']")
    if part.get_attribute("open") is None:
        part.locator("summary").click()
    return page.locator(f"input[name='{facet}'][value='{value}']")


def count(page: Page, facet: str, value: str) -> int:
    label = page.locator(
        "label.choice", has=page.locator(f"input[name='{facet}'][value='{value}']")
    )
    return int(
        label.locator("[data-count]").inner_text()
        or label.locator("[data-count]").text_content()
        or ""
    )


# The catalog -------------------------------------------------------------------------------


def test_all_papers_are_listed_newest_first(page: Page) -> None:
    found = keys(open_catalog(page))
    assert found[0] == "men2024shortgpt"
    assert found[-1] == "han2015learning"
    assert len(found) == len(ENTRIES)
    expect(page.get_by_role("status").first).to_have_text(f"{len(ENTRIES)} papers")


def test_values_of_one_dimension_are_alternatives(page: Page) -> None:
    open_catalog(page)
    box(page, "type", "depth").check()
    assert keys(page) == ["men2024shortgpt"]
    box(page, "type", "head").check()
    assert set(keys(page)) == {"men2024shortgpt", "ma2023llmpruner"}


def test_dimensions_must_all_hold(page: Page) -> None:
    open_catalog(page)
    box(page, "type", "unstructured").check()
    box(page, "weight_update", "update").check()
    assert set(keys(page)) == {"frantar2023sparsegpt", "han2015learning"}
    box(page, "data", "data-free").check()
    assert keys(page) == ["han2015learning"]


def test_a_parent_finds_its_children(page: Page) -> None:
    open_catalog(page)
    box(page, "type", "structured").check()
    assert set(keys(page)) == {"men2024shortgpt", "ma2023llmpruner"}


def test_a_count_says_what_a_click_gives(page: Page) -> None:
    open_catalog(page, "?weight_update=update")
    assert count(page, "type", "unstructured") == 2
    assert count(page, "type", "depth") == 0
    expect(page.locator("input[name=type][value=depth]")).to_be_disabled()
    box(page, "type", "unstructured").check()
    assert len(keys(page)) == 2


def test_words_are_found_without_case_or_accents(page: Page) -> None:
    open_catalog(page)
    search = page.get_by_role("searchbox", name=re.compile("Search titles"))
    search.fill("NUNEZ shortgpt")
    assert keys(page) == ["men2024shortgpt"]
    for words in ("weierstrass", "Weierstraß", "WEIERSTRASS,"):
        search.fill(words)
        assert "ma2023llmpruner" in keys(page)
    for words in (
        "2306.11695",
        "arXiv:2306.11695v2",
        "https://arxiv.org/abs/2306.11695",
        "sun2023simple",
    ):
        search.fill(words)
        assert keys(page) == ["sun2023simple"]
    search.fill("nobody wrote this")
    expect(page.locator("[data-empty]")).to_be_visible()


def test_the_address_holds_the_state_and_back_works(page: Page) -> None:
    open_catalog(page)
    box(page, "type", "n:m").check()
    expect(page).to_have_url(re.compile(re.escape("catalog.html?type=n%3Am") + "$"))
    box(page, "criterion", "wanda").check()
    page.get_by_label("Sort").select_option("key")
    expect(page).to_have_url(re.compile(re.escape("sort=key")))
    page.go_back()
    page.go_back()
    expect(page).to_have_url(re.compile(re.escape("catalog.html?type=n%3Am") + "$"))
    expect(box(page, "criterion", "wanda")).not_to_be_checked()
    expect(box(page, "type", "n:m")).to_be_checked()
    assert keys(page) == ["sun2023simple"]
    page.go_back()
    assert len(keys(page)) == len(ENTRIES)


def test_a_shared_address_shows_the_same(page: Page) -> None:
    open_catalog(
        page, "?type=unstructured&retraining=without&from=2022&to=2023&text=prun&sort=oldest"
    )
    assert keys(page) == ["frantar2023sparsegpt", "sun2023simple"]
    expect(page.locator("select[name=from]")).to_have_value("2022")
    chips = page.locator("[data-chips] button").all_inner_texts()
    assert chips == [
        "Type: Unstructured",
        "Retraining: Without",
        "From 2022",
        "To 2023",
        "“prun”",
        "Clear all",
    ]


@pytest.mark.parametrize(
    "query",
    [
        "?type=nonsense&from=abc&sort=worst&unknown=1",
        "?text=%22%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E",
        "?type=%00&text=%F0%9F%8C%BF",
    ],
)
def test_a_broken_address_does_no_harm(page: Page, query: str) -> None:
    open_catalog(page, query)
    assert page.evaluate("window.hacked") is None
    expect(page.get_by_role("heading", name="Catalog")).to_be_visible()


def test_typing_a_word_is_one_step_back(page: Page) -> None:
    open_catalog(page)
    page.get_by_role("searchbox", name=re.compile("Search titles")).press_sequentially("wanda")
    assert keys(page) == ["sun2023simple"]
    page.go_back()
    assert len(keys(page)) == len(ENTRIES)


def test_coming_back_from_a_paper_keeps_the_filters(page: Page) -> None:
    open_catalog(page)
    box(page, "type", "n:m").check()
    page.get_by_role("link", name="A Simple and Effective").first.click()
    expect(page.locator("h1")).to_have_text("A Simple and Effective Pruning Approach")
    page.go_back()
    page.wait_for_selector("[data-ready]")
    expect(page.locator("input[name=type][value='n:m']")).to_be_checked()
    assert keys(page) == ["sun2023simple"]


def test_chips_remove_one_filter_and_keep_the_focus_near(page: Page) -> None:
    open_catalog(page, "?type=unstructured&retraining=without")
    page.get_by_role("button", name="Remove the filter Type: Unstructured").click()
    expect(page).not_to_have_url(re.compile("type="))
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Remove the filter Retraining: Without"
    page.get_by_role("button", name="Remove the filter Retraining: Without").click()
    assert len(keys(page)) == len(ENTRIES)
    expect(page.locator("[data-chips]")).to_be_hidden()


def test_nothing_found_offers_the_best_way_out(page: Page) -> None:
    open_catalog(page, "?type=depth&weight_update=update")
    assert keys(page) == []
    page.get_by_role("button", name="Drop the filter on type: 2 papers").click()
    assert len(keys(page)) == 2
    open_catalog(page, "?text=zzz&type=depth&weight_update=update")
    page.get_by_role("button", name="Clear all filters").click()
    assert len(keys(page)) == len(ENTRIES)


def test_filters_work_from_the_keyboard(page: Page) -> None:
    open_catalog(page)
    page.get_by_role("searchbox", name=re.compile("Search titles")).focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value") == "unstructured":
            break
    else:
        pytest.fail("the filter is not reached by Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Space")
    expect(page.locator("[data-rows] > [data-key]")).to_have_count(4)
    expect(page.locator("input[name='type'][value='unstructured']")).to_be_focused()


def test_what_is_picked_is_exported(page: Page) -> None:
    open_catalog(page)
    page.get_by_label("Select Wanda").check()
    box(page, "type", "depth").check()  # the pick stays, though it is no longer shown
    expect(page.locator("[data-export-label]")).to_have_text("Export 1 selected")
    page.locator("[data-export] summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download BibTeX").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert text.count("@") == 1
    assert "{sun2023simple," in text
    page.get_by_role("button", name="Clear the selection").click()
    expect(page.locator("[data-export-label]")).to_have_text("Cite or export")


def test_what_is_filtered_is_exported(page: Page) -> None:
    open_catalog(page, "?type=structured")
    page.locator("[data-export] summary").click()
    page.get_by_role("button", name="Copy BibTeX").click()
    expect(page.get_by_role("button", name="Copied 2 papers")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "{men2024shortgpt," in copied
    assert "{ma2023llmpruner," in copied

    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download JSON").click()
    assert [each["key"] for each in json.loads(Path(waiting.value.path()).read_text())] == keys(
        page
    )

    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Download JSON")).to_be_hidden()


def test_csv_reads_back_and_starts_no_formula(page: Page) -> None:
    open_catalog(page)
    page.locator("[data-export] summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    text = Path(waiting.value.path()).read_bytes().decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["key"] for row in rows] == keys(page)
    by_key = {row["key"]: row for row in rows}
    assert by_key["sun2023simple"]["type"] == "unstructured; n:m"
    assert by_key["mallory2022escape"]["title"] == " ".join(HOSTILE)
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


# Without JavaScript, in the dark, on a phone -------------------------------------------------


@pytest.fixture
def plain(browser: Browser, base: str) -> Iterator[Page]:
    context = browser.new_context(base_url=base, java_script_enabled=False, color_scheme="dark")
    yield context.new_page()
    context.close()


def test_everything_can_be_read_without_javascript(plain: Page) -> None:
    plain.goto("catalog.html")
    rows = plain.locator("[data-rows] > [data-key]")
    expect(rows).to_have_count(len(ENTRIES))
    expect(rows.first.get_by_role("link", name="ShortGPT")).to_be_visible()
    expect(plain.get_by_role("link", name="browse by tag")).to_be_visible()
    expect(plain.locator("[data-filters]")).to_be_hidden()
    expect(plain.locator("[data-pick]").first).to_be_hidden()
    rows.first.get_by_role("link", name="ShortGPT").click()
    expect(plain.locator("h1")).to_contain_text("ShortGPT")
    expect(plain.get_by_role("button", name="Copy")).to_have_count(0)


def test_the_dark_is_dark_without_javascript_too(plain: Page) -> None:
    plain.goto("index.html")
    # Scripts of the page are off, those of the test are not.
    assert brightness(plain, "body", "backgroundColor") < 40


def brightness(page: Page, selector: str, attribute: str) -> float:
    colour = page.eval_on_selector(selector, f"element => getComputedStyle(element).{attribute}")
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


def test_dark_and_light_follow_the_system_and_the_switch(browser: Browser, base: str) -> None:
    context = browser.new_context(base_url=base, color_scheme="dark")
    page = context.new_page()
    page.goto("index.html")
    assert brightness(page, "body", "backgroundColor") < 40
    assert brightness(page, "h1", "color") > 200
    page.locator("label[title='Switch to light colours']").click()
    assert brightness(page, "body", "backgroundColor") > 220
    page.goto("catalog.html")
    assert brightness(page, "body", "backgroundColor") > 220  # it is remembered
    context.close()


@pytest.fixture
def phone(browser: Browser, base: str, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(
        base_url=base, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    watch.attach(context, base)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("width", [390, 320])
def test_no_page_scrolls_sideways(phone: Page, width: int) -> None:
    phone.set_viewport_size({"width": width, "height": 800})
    for name in PAGES:
        phone.goto(name)
        assert phone.evaluate("document.documentElement.scrollWidth") <= width, name


def test_on_a_phone_the_filters_are_behind_a_button(phone: Page) -> None:
    open_catalog(phone)
    expect(phone.locator("[data-filters]")).to_be_hidden()
    button = phone.get_by_role("button", name="Filters")
    button.tap()
    expect(button).to_have_attribute("aria-expanded", "true")
    box(phone, "type", "depth").check()
    done = phone.get_by_role("button", name="Show 1 paper")
    done.tap()
    expect(phone.locator("[data-filters]")).to_be_hidden()
    assert keys(phone) == ["men2024shortgpt"]
    expect(phone.get_by_role("button", name="Filters 1")).to_be_visible()


def test_on_a_phone_a_row_of_figures_is_a_card(phone: Page) -> None:
    phone.goto("papers/sun2023simple.html")
    cell = phone.locator("td[data-label='Perplexity, pruned']").first
    label = cell.evaluate("element => getComputedStyle(element, '::before').content")
    assert "Perplexity, pruned" in label
    row = phone.locator(".figures tbody tr").first.bounding_box()
    assert row
    assert row["width"] < 390


def test_touch_targets_are_large_enough(phone: Page) -> None:
    """WCAG 2.2: 24 by 24 pixels, for what is not a link in running text."""
    open_catalog(phone)
    phone.get_by_role("button", name="Filters").tap()
    small = phone.evaluate(
        """() => [...document.querySelectorAll("button:not(.md-search *), summary, select, .choice, .row-pick, .places a, .tool")]
          .filter((each) => each.checkVisibility())
          .map((each) => [each.className || each.tagName, each.getBoundingClientRect()])
          .filter(([, area]) => area.width && (area.height < 24 || area.width < 24))
          .map(([name, area]) => `${name}: ${area.width} by ${area.height}`)"""
    )
    assert small == []


# Every page --------------------------------------------------------------------------------


def test_no_page_complains_or_asks_another_origin(unprotected: Page) -> None:
    """The watch fails the test; the policy in the page is off, so that it hides nothing."""
    for name in PAGES:
        unprotected.goto(name)
        unprotected.wait_for_load_state("networkidle")
        broken = "[...document.fonts].filter((font) => font.status === 'error').length"
        assert unprotected.evaluate(broken) == 0, name


def test_the_policy_in_the_page_forbids_other_origins(page: Page, watch: Watch) -> None:
    page.goto("index.html")
    refused = page.evaluate(
        """async () => {
          try { await fetch("https://example.org/"); return "went through"; }
          catch { return "refused"; }
        }"""
    )
    assert refused == "refused"
    assert watch.complaints
    watch.complaints.clear()


@pytest.fixture
def unprotected(browser: Browser, base: str, watch: Watch) -> Iterator[Page]:
    """A window in which nothing but the escaping protects from what entries say."""
    context = browser.new_context(base_url=base, bypass_csp=True)
    watch.attach(context, base)
    yield context.new_page()
    context.close()


def test_hostile_text_shows_and_does_nothing(unprotected: Page) -> None:
    page = unprotected
    page.goto("papers/mallory2022escape.html")
    page.wait_for_load_state("networkidle")
    assert page.locator("h1").inner_text() == " ".join(HOSTILE)
    assert page.title() == f"{' '.join(HOSTILE)} · Prunedex"
    items = page.locator("#challenges + ul > li").all_inner_texts()
    assert items == [" ".join(text.split()) for text in HOSTILE]
    content = page.locator("#content")
    assert content.locator("script, img, b:not(.seen b), style, iframe").count() == 0
    assert content.locator("[onclick], [onerror], [onmouseover]").count() == 0
    assert content.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("window.hacked") is None
    pieces = page.locator("#mechanism ~ p").all_inner_texts()
    assert "``` fenced ```" in pieces[-1]


def test_hostile_text_does_nothing_in_the_catalog_or_its_search(unprotected: Page) -> None:
    page = unprotected
    open_catalog(page, "?text=window.hacked")
    assert keys(page) == ["mallory2022escape"]
    row = page.locator("[data-key='mallory2022escape']")
    assert row.locator(".row-by").inner_text() == f"{HOSTILE[1]}, {HOSTILE[2]}"
    row.locator("[data-pick]").check()
    box(page, "venue", HOSTILE[4]).check()
    assert page.evaluate("window.hacked") is None
    page.goto("tags/type/unstructured.html")
    assert page.evaluate("window.hacked") is None


def test_the_search_over_all_pages_finds_papers_and_shows_hostile_ones(unprotected: Page) -> None:
    page = unprotected
    page.goto("index.html")
    page.get_by_role("button", name="Search all pages").press("Enter")
    field = page.locator("input.md-search__input")
    expect(field).to_be_focused()
    field.press_sequentially("shortgpt")
    result = page.locator(".md-search-result__link").first
    expect(result).to_contain_text("ShortGPT")
    field.fill("")
    field.press_sequentially("window.hacked")
    expect(page.locator(".md-search-result__link").first).to_contain_text("window.hacked = 1")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".md-search-result__list script, .md-search-result__list img").count() == 0
    field.fill("")
    field.press_sequentially("shortgpt")
    expect(result).to_contain_text("ShortGPT")
    result.click()
    page.wait_for_url("**/papers/men2024shortgpt.html*")


def test_search_from_the_front_page_goes_to_the_catalog(page: Page) -> None:
    page.goto("index.html")
    page.get_by_role("searchbox", name="Search the catalog").fill("wanda")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-ready]")
    assert keys(page) == ["sun2023simple"]


def test_a_tag_page_opens_the_catalog_with_its_filter(page: Page) -> None:
    page.goto("tags/type/n-m.html")
    page.get_by_role("link", name="Open in the catalog").click()
    page.wait_for_selector("[data-ready]")
    expect(page.locator("input[name=type][value='n:m']")).to_be_checked()
    assert keys(page) == ["sun2023simple"]


def test_a_citation_is_copied_from_the_head_of_the_page(page: Page) -> None:
    page.goto("papers/sun2023simple.html")
    page.get_by_role("button", name="Copy BibTeX").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@inproceedings{sun2023simple,\n")
    assert copied.rstrip().endswith("}")


def test_code_and_commands_are_copied_as_they_are(page: Page) -> None:
    page.goto("papers/sun2023simple.html")
    button = page.locator("figure", has_text="--pattern 2:4").first.get_by_role("button")
    button.click()
    expect(button).to_contain_text("Copied")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "prunedex run wanda --model smollm2-135m --pattern 2:4"
    )
    button = page.locator(".code-side").get_by_role("button")
    button.click()
    expect(button).to_contain_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "    for block in walk(model, calibration):\n        pass" in copied
    compile(copied, "copied", "exec")


def test_formulas_are_drawn(page: Page) -> None:
    page.goto("papers/sun2023simple.html")
    formula = page.locator(".formula math").first
    area = formula.bounding_box()
    assert area
    assert area["height"] > 15
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math\"')")


def test_a_missing_page_leads_back_from_any_depth(page: Page, base: str, site: Path) -> None:
    for path in ("papers/nobody1999nothing.html", "tags/type/none.html", "nothing.html"):
        page.route(
            f"**/{path}",
            lambda route: route.fulfill(
                status=200, body=(site / "404.html").read_text(), content_type="text/html"
            ),
        )
        page.goto(path)
        target = page.get_by_role("link", name="All papers").evaluate("link => link.href")
        assert target == f"{base}catalog.html"


# Accessibility -----------------------------------------------------------------------------


def test_landmarks_headings_and_names(page: Page) -> None:
    for name in PAGES:
        if name != "404.html":
            page.goto(name)
            check_structure(page)


def check_structure(page: Page) -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    levels = page.eval_on_selector_all(
        "#content h1, #content h2, #content h3, #content h4",
        "all => all.filter(each => each.checkVisibility()).map(each => Number(each.tagName[1]))",
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), levels
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("#content a, #content button, #content input, #content select, #content summary, .tools > button, .places a, .brand")]
          .filter((each) => each.checkVisibility())
          .filter((each) => !(each.innerText?.trim() || each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.[0]?.textContent.trim()))
          .map((each) => each.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_groups_of_filters_are_named(page: Page) -> None:
    open_catalog(page)
    group = page.get_by_role("group", name=re.compile("Type.*What is removed"))
    expect(group.get_by_role("checkbox").first).to_be_visible()
    expect(page.get_by_role("checkbox", name=re.compile("^Unstructured"))).to_be_visible()


def test_the_first_tab_skips_to_the_content(page: Page) -> None:
    page.goto("papers/sun2023simple.html")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, base: str, scheme: Any) -> None:
    """WCAG AA for every piece of text as it is drawn, over all pages."""
    context = browser.new_context(base_url=base, color_scheme=scheme)
    page = context.new_page()
    weak: dict[str, list[str]] = {}
    for name in PAGES:
        page.goto(name)
        page.eval_on_selector_all(
            "details.facet, details.protocol-text",
            "all => all.forEach((each) => (each.open = true))",
        )
        weak[name] = page.evaluate(CONTRAST)
    context.close()
    assert {name: found for name, found in weak.items() if found} == {}


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, ground) => top.slice(0, 3).map((c, i) => c * top[3] + ground[i] * (1 - top[3]));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(parse(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(".sr, script, style, .md-search, :has(> input:disabled), svg, .skip")) continue;
    const style = getComputedStyle(element);
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= Number(getComputedStyle(each).opacity);
    const below = ground(element);
    const ink = parse(style.color);
    ink[3] *= opacity;
    const [a, b] = [light(over(ink, below)), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) weak.push(`${ratio.toFixed(2)} ${element.className || element.tagName}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return [...new Set(weak)];
}"""
