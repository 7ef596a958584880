"""The site with the theme's instant navigation, which it does without: one document, many pages.

It is off, since it fetches the list of all pages before the first click, cannot bring a page back
as it was left (which the browser does by itself), and needs to know where the site is published.
Who builds the site with it on gets pages that work all the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from watch import Watch, keys

from catalog.site.tree import write_tree
from catalog.store import Catalog


@pytest.fixture(scope="module")
def instant(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str]
) -> str:
    """The address of the small catalog's site, with the one setting changed."""
    folder = tmp_path_factory.mktemp("instant")
    address = serve(folder) + "site/"
    write_tree(catalog, folder / "tree")
    settings = folder / "tree" / "mkdocs.yml"
    text = settings.read_text(encoding="utf-8")
    text, times = re.subn(r"(?m)^theme:\n", "theme:\n  features: [navigation.instant]\n", text)
    assert times == 1
    settings.write_text(f"site_url: {address}\n{text}", encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(settings)]
    subprocess.run([*command, "-d", str(folder / "site")], check=True, capture_output=True)
    return address


@pytest.fixture
def tab(browser: Browser, instant: str, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(
        base_url=instant,
        viewport={"width": 1280, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
    )
    watch.attach(context, instant)
    yield context.new_page()
    context.close()


LISTENERS = """
const live = [];
for (const target of [window, document]) {
  const { addEventListener: add, removeEventListener: remove } = target;
  target.addEventListener = function (type, listener, options) {
    live.push({ type, listener, signal: options?.signal });
    return add.call(target, type, listener, options);
  };
  target.removeEventListener = function (type, listener, options) {
    const place = live.findIndex((each) => each.type === type && each.listener === listener);
    if (place >= 0) live.splice(place, 1);
    return remove.call(target, type, listener, options);
  };
}
window.listening = (type) => live.filter((each) => each.type === type && !each.signal?.aborted).length;
"""


def listening(tab: Page) -> list[int]:
    """How many listeners window and document have that could be there twice."""
    kinds = ["popstate", "hashchange", "click"]
    found: list[int] = tab.evaluate("kinds => kinds.map(window.listening)", kinds)
    return found


def follow(tab: Page, file: str, ready: str) -> None:
    """Click a link, and wait for the page's module; the document must have stayed."""
    tab.locator(f"a[href$='{file}']").first.click()
    expect(tab).to_have_url(re.compile(re.escape(file)))
    tab.wait_for_selector(ready, state="attached")
    assert tab.evaluate("window.kept") is True, f"{file} was loaded anew"


def test_modules_start_on_every_page_and_end_with_it(tab: Page) -> None:
    tab.add_init_script(LISTENERS)
    tab.goto("catalog.html")
    tab.wait_for_selector("[data-catalog][data-ready]")
    tab.wait_for_load_state("networkidle")  # it takes over when it has the list of pages
    tab.evaluate("window.kept = true")

    at_first = listening(tab)
    assert at_first[0] > 0
    tab.locator("input[name=type][value='n:m']").check()
    assert keys(tab) == ["sun2023simple"]
    follow(tab, "sun2023simple.html", "#mechanism")
    expect(tab.locator("h1")).to_contain_text("A Simple and Effective")
    tab.get_by_role("button", name="Copy BibTeX").click()
    expect(tab.get_by_role("button", name="Copied")).to_be_visible()

    tab.go_back()
    tab.wait_for_selector("[data-catalog][data-ready]")
    assert tab.evaluate("window.kept") is True
    expect(tab.locator("input[name=type][value='n:m']")).to_be_checked()
    assert keys(tab) == ["sun2023simple"]
    assert listening(tab) == at_first
    tab.locator("input[name=type][value='n:m']").uncheck()
    expect(tab).to_have_url(re.compile(r"catalog\.html$"))
    tab.go_back()
    expect(tab.locator("input[name=type][value='n:m']")).to_be_checked()

    follow(tab, "see.html", "#content a[href$='lineage.html']")
    follow(tab, "lineage.html", "[data-graph][data-ready]")
    follow(tab, "see.html", "#content a[href$='lineage.html']")
    follow(tab, "plots.html", "html[data-ready]")
    choice = tab.locator("[data-protocol]")
    options = choice.locator("option").evaluate_all("all => all.map((each) => each.value)")
    assert len(options) > 1
    choice.select_option(options[1])
    expect(tab.locator(f"[data-plot='{options[1]}']")).to_be_visible()
    assert listening(tab)[1] == at_first[1] + 1

    follow(tab, "catalog.html", "[data-catalog][data-ready]")
    assert listening(tab) == at_first
    tab.go_back()
    tab.wait_for_selector("html[data-ready]", state="attached")
    expect(tab.locator(f"[data-plot='{options[1]}']")).to_be_visible()
    assert tab.evaluate("window.kept") is True
