"""The front page: what it says is counted from the catalog, and every way on leads where it says."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect
from small_catalog import ENTRIES, make_root

from catalog.site import addresses, write_tree
from catalog.site.pages import Pages, Repository
from catalog.site.shelf import Shelf
from catalog.store import Catalog


@pytest.fixture(scope="module")
def shelf(catalog: Catalog) -> Shelf:
    return Shelf(catalog)


@pytest.fixture(scope="module")
def home(shelf: Shelf) -> str:
    return Pages(shelf, Repository()).home()


def plain(html: str) -> str:
    """What a reader sees of a page's source."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def part(html: str, name: str) -> str:
    """One section, by the id of its heading."""
    found = re.search(rf'<section[^>]*aria-labelledby="{name}".*?</section>', html)
    assert found is not None, name
    return found[0]


def counted(html: str) -> list[tuple[str, str, int]]:
    """Links into the catalog with a number: query, words and the number."""
    found = re.findall(r'<a href="catalog\.html\?([^"]*)">([^<]*?) <span class="count">(\d+)', html)
    return [(unescape(query), unescape(words), int(count)) for query, words, count in found]


def test_it_counts_papers_methods_and_tags_that_were_seen(home: str) -> None:
    lead = plain(home)
    assert f"{len(ENTRIES)} papers in six dimensions of tags, 1 of their methods" in lead
    # Of the two tags that were looked for, one held.
    assert "1 tags of these methods were seen to hold" in lead


def test_every_number_is_what_the_catalog_shows_behind_it(home: str, shelf: Shelf) -> None:
    links = counted(home)
    assert len(links) > 12
    assert ("type=n%3Am", "2:4 and other N:M patterns", 1) in links
    for query, words, count in links:
        wanted = {name: values[0] for name, values in parse_qs(query).items()}
        fitting = [
            entry
            for entry in shelf.entries
            if all(
                shelf.method(entry) is not None
                if name == "has"
                else entry in shelf.papers_with(name, value)
                for name, value in wanted.items()
            )
        ]
        assert len(fitting) == count > 0, words


def test_six_questions_each_with_its_own_values(home: str, shelf: Shelf) -> None:
    items = re.findall(r'<li class="dim-([a-z-]+)">(.*?)</ul></li>', part(home, "questions"))
    assert [name for name, _ in items] == [each.id.replace("_", "-") for each in shelf.dimensions]
    for (_, html), dimension in zip(items, shelf.dimensions, strict=True):
        assert dimension.question in plain(html)
        assert {urlsplit(f"?{query}").query.partition("=")[0] for query, _, _ in counted(html)} == {
            dimension.id
        }


def test_the_newest_papers_lead_and_hostile_ones_are_text(home: str, shelf: Shelf) -> None:
    newest = re.findall(r'<li>.*?href="([^"]+)"', part(home, "newest"))
    assert newest == [addresses.paper(entry.key) for entry in shelf.entries[:6]]
    assert "<script>window" not in home
    assert 'href="javascript' not in home


def test_methods_that_others_refer_to_come_first(tmp_path: Path) -> None:
    """Not those whose names begin with an A: newcomers look for what they have heard of."""
    root = make_root(tmp_path / "root", ENTRIES)
    method = (root / "impl" / "methods" / "wanda.py").read_text(encoding="utf-8")
    for name in ("aaa", "sparsegpt"):
        text = method.replace('"wanda"', f'"{name}"').replace('r"""Wanda:', f'r"""{name}:')
        (root / "impl" / "methods" / f"{name}.py").write_text(text, encoding="utf-8")
    entry = root / "papers" / "frantar2023sparsegpt.yaml"
    text = entry.read_text(encoding="utf-8")
    named = text.replace('"kind": "method"', '"kind": "method",\n "implementation": "sparsegpt"')
    assert named != text
    entry.write_text(named, encoding="utf-8")
    shelf = Shelf(Catalog.load(root))
    assert {*shelf.catalog.methods} == {"aaa", "sparsegpt", "wanda"}
    runs = part(Pages(shelf, Repository()).home(), "runs")
    assert re.findall(r"<strong>([^<]+)</strong>", runs) == ["sparsegpt", "Wanda", "aaa"]


def test_an_empty_catalog_has_a_front_page_too(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", [], method="")
    write_tree(Catalog.load(root), tmp_path / "tree")
    text = (tmp_path / "tree" / "docs" / "index.md").read_text(encoding="utf-8")
    assert "0 papers in six dimensions" in plain(text)
    for name in ("runs", "newest"):
        assert f'id="{name}"' not in text
    assert counted(text) == []


def test_a_search_on_the_front_page_opens_the_catalog_with_it(page: Page) -> None:
    page.goto("index.html")
    page.get_by_role("searchbox", name="Search the catalog").fill("shortgpt")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/catalog\.html\?text=shortgpt$"))
    expect(page.locator("[data-rows] > [data-key]")).to_have_count(1)


def test_files_to_take_along_are_there(home: str, site: Path) -> None:
    files = re.findall(r'<a href="([^"]+)" download>', part(home, "take"))
    assert files == ["catalog.bib", "catalog.csv", "catalog.json"]
    for name in files:
        assert (site / name).stat().st_size > 100
