"""Every kind of page through axe-core: wide and narrow, light and dark, no violation."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from kinds import kinds
from playwright.sync_api import Browser, Page

AXE = files("axe_playwright_python") / "axe.min.js"

# What W3C demands (WCAG 2.2 A and AA), and what the makers of axe hold to be good beyond it.
RUN = """async () => {
  const found = await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    resultTypes: ["violations"],
  });
  return found.violations.flatMap((rule) => rule.nodes.map((node) =>
    `${rule.id}: ${node.target.join(" ")}: ${node.any.concat(node.all, node.none).map((each) => each.message).join("; ")}`));
}"""

# A row out of sight is not laid out until somebody scrolls there: until then it has a guessed
# height, and what stands in it seems to lie over what follows.
DRAWN = ".row { content-visibility: visible !important }"

OPEN = "all => all.forEach((each) => (each.open = true))"


def violations(page: Page) -> list[str]:
    """What axe finds in the page as it stands."""
    page.add_style_tag(content=DRAWN)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(RUN)
    return found


@pytest.fixture(
    params=[("wide", "light"), ("wide", "dark"), ("narrow", "light"), ("narrow", "dark")]
)
def window(browser: Browser, base: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab; the page's own policy, which forbids scripts from elsewhere, is off."""
    width, scheme = request.param
    wide = width == "wide"
    size: Any = {"width": 1280, "height": 900} if wide else {"width": 390, "height": 844}
    context = browser.new_context(
        base_url=base,
        bypass_csp=True,
        color_scheme=scheme,
        viewport=size,
        has_touch=not wide,
        is_mobile=not wide,
        reduced_motion="reduce",
    )
    yield context.new_page()
    context.close()


def test_no_kind_of_page_has_a_violation(window: Page, site: Path) -> None:
    found: dict[str, list[str]] = {}
    for name in kinds(site):
        window.goto(name)
        window.wait_for_load_state("networkidle")
        # What can be opened is; the catalog's filters are also looked at closed, below.
        window.eval_on_selector_all("#content details", OPEN)
        found[name] = violations(window)
    assert {name: each for name, each in found.items() if each} == {}


def test_what_opens_over_a_page_has_no_violation(window: Page) -> None:
    window.goto("catalog.html?type=unstructured")
    window.wait_for_selector("[data-ready]")
    window.locator("[data-export] summary").click()
    assert violations(window) == []
    window.keyboard.press("Escape")
    filters = window.get_by_role("button", name="Filters")
    if filters.is_visible():
        filters.click()
        assert violations(window) == []
        window.get_by_role("button", name="Show").click()
    window.goto("catalog.html?type=depth&weight_update=update")
    window.wait_for_selector("[data-empty]:not([hidden])")
    assert violations(window) == []


def test_axe_finds_what_is_wrong(window: Page) -> None:
    """Otherwise the tests above would pass for the wrong reason."""
    window.goto("about.html")
    window.evaluate(
        "document.querySelector('h1').insertAdjacentHTML('afterend', "
        '\'<img src="assets/mark.svg"><button></button>'
        '<p style="color:#999;background:#aaa">pale</p>\')'
    )
    rules = {each.partition(":")[0] for each in violations(window)}
    assert {"image-alt", "button-name", "color-contrast"} <= rules
