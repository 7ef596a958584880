"""A small catalog, the site built from it once, and a browser to look at it."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from small_catalog import ENTRIES, REPORTS, RESULT, add_figures, add_results, make_root
from watch import Watch

from catalog.site import build_site
from catalog.store import Catalog

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small catalog with one measured method and one hostile entry."""
    made = make_root(tmp_path_factory.mktemp("catalog") / "root")
    pattern = {
        **RESULT,
        "options": {"sparsity": 0.5, "pattern": "2:4"},
        "quality": {"perplexity_before": 19.123, "perplexity_after": 31.5},
    }
    add_results(made, RESULT, pattern)
    add_figures(made)
    return made


@pytest.fixture(scope="session")
def catalog(root: Path) -> Catalog:
    """The small catalog, read; every entry must have been taken."""
    loaded = Catalog.load(root)
    assert set(loaded.entries) == {each["key"] for each in ENTRIES}, loaded.reading_problems
    assert loaded.results
    assert set(loaded.reports) == set(REPORTS), loaded.problems
    assert loaded.verified
    return loaded


@pytest.fixture(scope="session")
def site(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the small catalog, built strictly, below a path as on a shared server."""
    out = tmp_path_factory.mktemp("served") / "some" / "where"
    build_site(catalog, out)
    return out


LATE = 0.3
"""Seconds by which rows of the catalog come late, so that a test has to wait for what a page draws."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain file server, as it comes with Python, whose rows take a moment as on a network."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if "/assets/data/rows-" in self.path:
            time.sleep(LATE)
        super().do_GET()


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing of a browser that was closed before its answer came."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """A function that serves a folder and returns its address."""
    servers: list[_Server] = []

    def start(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=str(folder))
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def base(site: Path, serve: Callable[[Path], str]) -> str:
    """The address of the built site: below a path, not at the server's root."""
    return serve(site.parents[1]) + "some/where/"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Where there is none, tests are skipped, but in continuous integration they fail."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = "no chromium on PATH; install it to test the site in a browser"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test at its end if a page complained or went elsewhere."""
    made = Watch()
    yield made
    assert made.complaints == []
    assert made.foreign == []


@pytest.fixture
def context(browser: Browser, base: str, watch: Watch) -> Iterator[BrowserContext]:
    """A window of a desktop, light, with the clipboard allowed."""
    made = browser.new_context(
        base_url=base,
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        permissions=["clipboard-read", "clipboard-write"],
    )
    made.set_default_timeout(10_000)
    watch.attach(made, base)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab."""
    return context.new_page()
