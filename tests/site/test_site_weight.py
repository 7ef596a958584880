"""What a page fetches: little, and of the search nothing until somebody searches."""

from __future__ import annotations

import ast
import gzip
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from small_catalog import REPOSITORY

INDEX = "search/search_index.json"
WORKERS = "assets/javascripts/workers/"

CATALOG_ALONE = 235_000
"""Bytes of all that the catalog page fetches by itself, compressed, but for its papers."""


@pytest.fixture
def fetched(context: BrowserContext, base: str) -> list[str]:
    """The paths below the site's root that are asked for, in their order."""
    found: list[str] = []
    context.on("request", lambda request: found.append(request.url.removeprefix(base)))
    return found


def weight(site: Path, paths: list[str]) -> dict[str, int]:
    """The bytes of files as they travel: what is not compressed in itself, compressed."""
    found = {}
    for path in dict.fromkeys(unquote(urlsplit(path).path) for path in paths):
        content = (site / path).read_bytes()
        plain = path.endswith((".woff2", ".png"))
        found[path] = len(content if plain else gzip.compress(content, 6))
    return found


def test_the_index_of_the_search_is_fetched_when_somebody_searches(
    page: Page, fetched: list[str]
) -> None:
    page.goto("index.html")
    page.wait_for_load_state("networkidle")
    assert any("assets/search.js" in path for path in fetched)
    assert INDEX not in fetched
    assert not any(path.startswith(WORKERS) for path in fetched)
    page.get_by_role("button", name="Search all pages").press("Enter")
    field = page.locator("input.md-search__input")
    expect(field).to_be_focused()
    expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")
    field.press_sequentially("shortgpt")
    expect(page.locator(".md-search-result__link").first).to_contain_text("ShortGPT")
    assert INDEX in fetched
    field.fill("")
    field.press_sequentially("zzzzqqq")
    expect(page.locator(".md-search-result__meta")).to_have_text("No matching documents")
    field.fill("")
    field.press_sequentially("wanda")
    expect(page.locator(".md-search-result__link").first).to_contain_text("Wanda")


def test_a_search_by_address_is_answered(page: Page) -> None:
    page.goto("index.html?q=shortgpt")
    expect(page.locator(".md-search-result__link").first).to_contain_text("ShortGPT")


def test_the_catalog_page_fetches_little(
    page: Page, fetched: list[str], site: Path, base: str
) -> None:
    """The small catalog's own papers weigh next to nothing, so this is what every catalog pays."""
    page.goto("catalog.html")
    page.wait_for_selector("[data-ready]")
    page.wait_for_load_state("networkidle")
    found = weight(site, fetched)
    assert found["catalog.html"] > 5_000
    assert sum(found.values()) < CATALOG_ALONE, found


def test_rare_characters_are_in_fonts_of_their_own(page: Page, fetched: list[str]) -> None:
    page.goto("catalog.html")
    page.wait_for_load_state("networkidle")
    fonts = {path.removeprefix("assets/fonts/") for path in fetched if path.endswith(".woff2")}
    assert "inter.woff2" in fonts
    assert not any(name.endswith("-more.woff2") for name in fonts)
    page.evaluate("document.querySelector('h1').textContent = 'ϑ ⊤'")
    page.evaluate("document.fonts.load('16px Newsreader', 'ϑ')")
    assert "assets/fonts/newsreader-more.woff2" in fetched


def constant(name: str) -> Any:
    """A constant of the script that makes the fonts, which needs what tests do not have."""
    source = ast.parse((REPOSITORY / "site/fonts/make.py").read_text(encoding="utf-8"))
    (found,) = (
        each.value
        for each in source.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == name
    )
    return eval(ast.unparse(found), {"range": range})


def test_the_style_sheet_repeats_the_ranges_of_the_fonts() -> None:
    style = (REPOSITORY / "site/assets/prunedex.css").read_text(encoding="utf-8")
    faces = re.findall(r"fonts/([\w-]+)\.woff2.*?unicode-range: ([^;]+);", style)
    basic = constant("BASIC")
    assert len(faces) == 8
    for name, ranges in faces:
        said = {
            point
            for first, last in re.findall(r"U\+([0-9A-F]+)(?:-([0-9A-F]+))?", ranges)
            for point in range(int(first, 16), int(last or first, 16) + 1)
        }
        has = {point for first, last in basic for point in range(first, last + 1)}
        if name.endswith("-more"):
            assert not said & has
            assert set(constant("CHARACTERS")) - {*range(0x80, 0xA0)} <= said | has
        else:
            assert said == has
