"""The plain tree of Markdown and JSON from which the site is built.

It depends on the catalog, the methods' docstrings and the results alone, holds its own
settings, theme and assets, and so can be built by any program that reads `mkdocs.yml`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from catalog.bibtex import to_bibtex
from catalog.errors import PrunedexError
from catalog.site import addresses
from catalog.site.data import catalog_data, to_json
from catalog.site.pages import Pages, Repository
from catalog.site.shelf import Shelf
from catalog.store import Catalog

SOURCES = Path("site")
"""Settings, theme, assets and hand-written pages, below the root."""


def sources(root: Path) -> Path:
    """The folder of the hand-made part: the catalog's own, or that of the package's checkout.

    Raises PrunedexError where neither has one.
    """
    checkout = Path(__file__).resolve().parents[2]
    for folder in (root / SOURCES, checkout / SOURCES):
        if (folder / "mkdocs.yml").is_file():
            return folder
    raise PrunedexError(
        f"{root / SOURCES} has no mkdocs.yml",
        "the site's theme and settings are part of a checkout; run this inside one",
    )


def repository(settings: Path) -> Repository:
    """`repo_url` and `edit_uri` of the settings, the latter as on GitHub if unset.

    Raises PrunedexError if they cannot be read.
    """
    try:
        read = YAML(typ="safe", pure=True).load(settings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise PrunedexError(f"{settings} cannot be read ({reason})") from error
    if not isinstance(read, dict):
        raise PrunedexError(f"{settings} holds no settings")
    url, edit = read.get("repo_url"), read.get("edit_uri")
    return Repository(str(url) if url else None, str(edit or "edit/main/"))


def write_tree(catalog: Catalog, tree: Path) -> list[str]:
    """Write the tree of one catalog into an empty or missing folder.

    Returns what could not be shown as it should, one sentence each. Raises PrunedexError
    where two pages would get the same address.
    """
    origin = sources(catalog.root)
    documents = tree / "docs"
    tree.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin / "mkdocs.yml", tree / "mkdocs.yml")
    shutil.copytree(origin / "theme", tree / "theme")
    shutil.copytree(origin / "pages", documents)
    shutil.copytree(origin / "assets", documents / "assets")
    fonts = [*sorted((origin / "fonts").glob("*.woff2")), *sorted((origin / "fonts").glob("*.txt"))]
    (documents / "assets" / "fonts").mkdir()
    for font in fonts:
        shutil.copyfile(font, documents / "assets" / "fonts" / font.name)

    shelf = Shelf(catalog)
    pages = Pages(shelf, repository(origin / "mkdocs.yml"))
    written = [page.relative_to(documents) for page in documents.rglob("*.md")]
    names = [page.as_posix().removesuffix(".md") + ".html" for page in written]
    generated = [*pages.all()]
    twice = addresses.collisions([*names, *(page for page, _ in generated)])
    if twice:
        raise PrunedexError(
            f"two pages have the address {twice[0]}", "rename the tag value or the page"
        )
    for page, text in generated:
        file = documents / addresses.source(page)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    data = to_json(catalog_data(shelf))
    (documents / "catalog.json").write_text(data, encoding="utf-8", newline="\n")
    citations = to_bibtex(shelf.entries) if shelf.entries else ""
    (documents / "catalog.bib").write_text(citations, encoding="utf-8", newline="\n")
    return pages.flaws
