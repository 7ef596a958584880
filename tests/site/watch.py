"""What is seen of a page from outside."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page


def open_catalog(page: Page, query: str = "") -> Page:
    """The catalog page, once its script has taken over."""
    page.goto(f"catalog.html{query}")
    page.wait_for_selector("[data-ready]")
    return page


def keys(page: Page) -> list[str]:
    """The papers in the order in which they are shown, once all that was asked for is there."""
    page.wait_for_selector("[data-catalog]:not([aria-busy])", state="attached")
    found: list[str] = page.eval_on_selector_all(
        "[data-rows] > [data-key]", "rows => rows.map(row => row.dataset.key)"
    )
    return found


class Watch:
    """What a page must not do: complain, or ask another origin for anything."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.foreign: list[str] = []

    def attach(self, context: BrowserContext, origin: str) -> None:
        """Watch every page that the context opens."""

        def opened(page: Page) -> None:
            page.on(
                "console",
                lambda message: (
                    self.complaints.append(message.text)
                    if message.type in ("error", "warning")
                    else None
                ),
            )
            page.on("pageerror", lambda error: self.complaints.append(str(error)))

        def requested(url: str) -> None:
            if not url.startswith((origin, "data:", "blob:")):
                self.foreign.append(url)

        context.on("page", opened)
        context.on("request", lambda request: requested(request.url))


def assert_inert(page: Page, name: str) -> None:
    """Nothing that came with an entry's or a result's text runs, or stands there as an element."""
    content = page.locator("#content")
    assert content.locator("script, img, iframe, b").count() == 0, name
    assert content.locator("[onclick], [onerror], [onmouseover]").count() == 0, name
    assert content.locator("a[href^='javascript']").count() == 0, name
    assert page.evaluate("window.hacked") is None, name
