"""The page for a wrong address: where the site's root is, and what may have been meant."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from small_catalog import HOSTILE
from watch import Watch


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A server that answers every unknown address with the site's own page, as most hosts do."""

    site: Path

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        body = (self.site / "404.html").read_bytes()
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[str]:
    """The address of the site, below a path, on a host that shows its 404 page."""
    made = type("Handler", (_Handler,), {"site": site})
    handler = functools.partial(made, directory=str(site.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/some/where/"
        server.shutdown()


@pytest.fixture
def lost(browser: Browser, host: str, watch: Watch) -> Iterator[Page]:
    """A tab in which a page that is missing is no complaint, but everything else is."""
    context = browser.new_context(base_url=host)
    watch.attach(context, host.removesuffix("some/where/"))
    yield context.new_page()
    context.close()
    watch.complaints[:] = [each for each in watch.complaints if "404" not in each]


def suggestions(page: Page) -> list[str]:
    expect(page.locator("[data-near]")).to_be_visible()
    found: list[str] = page.eval_on_selector_all(
        "[data-near] a", "all => all.map((each) => each.href)"
    )
    return found


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("papers/sun2023simpel.html", "papers/sun2023simple.html"),
        ("papers/sun2024simple.html", "papers/sun2023simple.html"),
        ("papers/sun2023simple", "papers/sun2023simple.html"),
        ("papers/sparse-gpt.html", "papers/frantar2023sparsegpt.html"),
        ("papers/a/b/ShortGPT/index.html", "papers/men2024shortgpt.html"),
        ("wanda", "papers/sun2023simple.html"),
        ("tags/type/unstructure.html", "tags/type/unstructured.html"),
        ("tags/weight_update.html", "tags/weight-update.html"),
        ("LLM%20Pruner", "papers/ma2023llmpruner.html"),
        # Below folders that the site does not have, the root is found by looking.
        ("no/such/place/llm-pruner.html", "papers/ma2023llmpruner.html"),
    ],
)
def test_the_page_that_was_meant_comes_first(lost: Page, host: str, path: str, meant: str) -> None:
    lost.goto(path)
    assert suggestions(lost)[0] == host + meant
    assert len(suggestions(lost)) <= 5
    lost.locator("[data-near] a").first.click()
    expect(lost.locator("#content h1")).to_be_visible()


@pytest.mark.parametrize("path", ["zzzz/qqqq.html", "%E0%A4%A", "%FE", "x" * 2000])
def test_nothing_is_proposed_where_nothing_is_near(lost: Page, host: str, path: str) -> None:
    lost.goto(path)
    lost.wait_for_load_state("networkidle")
    expect(lost.locator("[data-near]")).to_be_hidden()
    expect(lost.get_by_role("link", name="All papers")).to_have_attribute(
        "href", "/some/where/catalog.html"
    )


@pytest.mark.parametrize(
    "path", ["gone.html", "papers/gone.html", "tags/type/x/y/gone.html", "a/b/"]
)
def test_the_search_opens_the_catalog_from_any_depth(lost: Page, path: str) -> None:
    lost.goto(path)
    lost.wait_for_load_state("networkidle")
    lost.get_by_role("searchbox", name="Search the catalog").fill("wanda")
    lost.keyboard.press("Enter")
    lost.wait_for_selector("[data-ready]")
    found = lost.eval_on_selector_all("[data-rows] > li", "all => all.map(e => e.dataset.key)")
    assert found == ["sun2023simple"]


def test_hostile_names_are_proposed_as_text(lost: Page) -> None:
    lost.goto("papers/mallory2022escap.html")
    first = lost.locator("[data-near] li").first
    expect(first).to_contain_text(HOSTILE[0])
    assert lost.locator("[data-near] :is(script, img, b)").count() == 0
    assert lost.evaluate("window.hacked") is None


def test_a_hostile_address_does_nothing(lost: Page) -> None:
    lost.goto("papers/%3Cimg%20src=x%20onerror=window.hacked=1%3E.html?x=%3Cscript%3E#javascript:1")
    lost.wait_for_load_state("networkidle")
    assert lost.evaluate("window.hacked") is None
    assert lost.locator("main img").count() == 0


def test_it_helps_without_javascript_too(browser: Browser, host: str) -> None:
    context = browser.new_context(base_url=host, java_script_enabled=False)
    page = context.new_page()
    page.goto("papers/gone.html")
    expect(page.get_by_role("heading", name="This page has been pruned.")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search the catalog")).to_be_visible()
    context.close()
