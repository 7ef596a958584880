"""The site of the real catalog, built once: links, weights, origins, and no complaint."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from kinds import kinds
from playwright.sync_api import Browser, Page
from small_catalog import REPOSITORY
from test_site_build import Links
from watch import Watch

from catalog.site import build_site
from catalog.store import Catalog

pytestmark = pytest.mark.xdist_group("real site")  # built once, not once a process

HEAVIEST = 300_000
"""Bytes that a page may weigh as it travels, compressed."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real site, below a path as on a shared server, built with warnings as errors."""
    out = tmp_path_factory.mktemp("real") / "some" / "where"
    build_site(Catalog.load(REPOSITORY), out)
    return out


@pytest.fixture(scope="module")
def parsed(real: Path) -> dict[Path, Links]:
    """Every page's links and anchors; that no anchor occurs twice is seen on the way."""
    found = {}
    for file in real.rglob("*.html"):
        if file.name != "404.html":
            found[file] = Links()
            found[file].feed(file.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def real_base(real: Path, serve: Callable[[Path], str]) -> str:
    return serve(real.parents[1]) + "some/where/"


@pytest.fixture
def tab(browser: Browser, real_base: str, watch: Watch) -> Iterator[Page]:
    """A tab whose page may load from anywhere, so that the watch sees who tries."""
    context = browser.new_context(base_url=real_base, bypass_csp=True)
    watch.attach(context, real_base)
    yield context.new_page()
    context.close()


def test_every_link_and_anchor_inside_the_site_leads_somewhere(
    real: Path, parsed: dict[Path, Links]
) -> None:
    wrong = []
    for file, links in parsed.items():
        name = file.relative_to(real)
        for target in set(links.targets):
            parts = urlsplit(target)
            if parts.scheme in ("http", "https"):
                continue
            if parts.scheme or target.startswith("/"):
                wrong.append(f"{name}: {target} leaves the path that the site is under")
                continue
            goal = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not goal.is_file():
                wrong.append(f"{name}: {target} is not there")
            elif parts.fragment and goal in parsed and parts.fragment != "__search":
                known = parsed[goal].anchors
                if parts.fragment not in known and unquote(parts.fragment) not in known:
                    wrong.append(f"{name}: {target} has no such place")
    assert wrong == []


def test_links_in_plain_files_lead_somewhere(real: Path) -> None:
    index = (real / "llms.txt").read_text(encoding="utf-8")
    feed = (real / "feed.xml").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^()\s]+)\): ", index)
    targets += re.findall(r'href="([^"]+)"', feed)
    assert len(targets) > 100
    assert [each for each in targets if not (real / each).is_file()] == []


def test_no_page_names_a_script_style_font_or_picture_of_another_origin(real: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe|source|video|audio|embed|object|use)\b[^>]*?"""
        r"""\b(?:src|srcset|data|href)=["']?(?:https?:)?//|"""
        r"""<link\b[^>]*?rel=["']?(?:stylesheet|preload|preconnect|dns-prefetch|modulepreload|icon)"""
        r"""[^>]*?href=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//""",
        re.IGNORECASE,
    )
    assert loaded.search('<script src="https://cdn.example.org/a.js">')
    assert loaded.search('<link rel="stylesheet" href="//example.org/a.css">')
    for file in [*real.rglob("*.html"), *(real / "assets").glob("*.css")]:
        match = loaded.search(file.read_text(encoding="utf-8"))
        assert match is None, (file.name, match[0] if match else "")


def test_no_kind_of_page_complains_or_asks_another_origin(tab: Page, real: Path) -> None:
    """The watch fails the test at its end."""
    for name in kinds(real):
        tab.goto(name)
        tab.wait_for_load_state("networkidle")
        broken = "[...document.fonts].filter((font) => font.status === 'error').length"
        assert tab.evaluate(broken) == 0, name


def test_pages_are_light(real: Path) -> None:
    weights = {
        file.relative_to(real).as_posix(): len(gzip.compress(file.read_bytes(), 6))
        for file in [*real.rglob("*.html"), real / "catalog.json"]
    }
    assert {name: weight for name, weight in weights.items() if weight > HEAVIEST} == {}


def test_the_catalog_page_is_light_with_all_that_it_loads(tab: Page, real: Path) -> None:
    """Whatever is asked for before anybody does anything, as it travels: fonts as they are."""
    loaded: set[str] = set()
    tab.on("request", lambda request: loaded.add(urlsplit(request.url).path))
    tab.goto("catalog.html")
    tab.wait_for_selector("[data-ready]")
    tab.wait_for_load_state("networkidle")
    weights = {}
    for path in loaded:
        file = real / unquote(path).removeprefix("/some/where/")
        content = file.read_bytes()
        plain = file.suffix in (".woff2", ".png")
        weights[path] = len(content if plain else gzip.compress(content, 6))
    assert any(path.endswith(".woff2") for path in weights)
    assert any(path.endswith("filters.json") for path in weights)
    assert sum(weights.values()) < HEAVIEST, weights
