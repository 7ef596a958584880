"""Every kind of page that the site has, one address each, found in what was built."""

from __future__ import annotations

from pathlib import Path

ALONE = ("papers", "tags", "concepts", "models", "datasets", "tools", "reported")
"""Folders of pages of one kind, but for their front pages."""


def kinds(site: Path) -> list[str]:
    """Each page at the top, each front page of a folder, and two of every kind below."""
    found = sorted(page.name for page in site.glob("*.html"))
    for folder in sorted({page.parent for page in site.rglob("*.html")} - {site}):
        pages = sorted(page.relative_to(site).as_posix() for page in folder.glob("*.html"))
        index = [page for page in pages if page.endswith("/index.html")]
        others = [page for page in pages if page not in index]
        # Below tags every folder holds pages of the same kind.
        below = folder.relative_to(site).as_posix().startswith("tags/")
        others = others[:1] if below else [*others[:1], *others[-1:]]
        found += [*index, *dict.fromkeys(others)]
    for page in ("papers/sun2023simple.html", "papers/mallory2022escape.html"):
        if (site / page).is_file() and page not in found:
            found.append(page)
    return found
