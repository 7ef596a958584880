"""The plain tree of Markdown and JSON from which the site is built.

It depends on the catalog, the methods' docstrings and the results alone, holds its own
settings, theme and assets, and so can be built by any program that reads `mkdocs.yml`.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from catalog.bibtex import to_bibtex
from catalog.concepts import CONCEPTS, Concept, read_concepts, split, unknown_tags
from catalog.errors import PrunedexError, details, did_you_mean, shown
from catalog.root import own_root
from catalog.site import addresses, columns
from catalog.site.cards import Painter, write_cards
from catalog.site.compare import compare_data
from catalog.site.data import catalog_data, to_json
from catalog.site.exports import write_exports
from catalog.site.pages import Pages, Repository
from catalog.site.prose import prepared
from catalog.site.shelf import Shelf
from catalog.store import Catalog

SOURCES = Path("site")
"""Settings, theme, assets and hand-written pages, below the root."""


def sources(root: Path) -> Path:
    """The folder of the hand-made part: the catalog's own, or the one that comes with the package.

    Raises PrunedexError where neither has one.
    """
    for folder in (root / SOURCES, own_root() / SOURCES):
        if (folder / "mkdocs.yml").is_file():
            return folder
    raise PrunedexError(
        f"{root / SOURCES} has no mkdocs.yml",
        "the site's theme and settings are part of a checkout; run this inside one",
    )


def settings_of(settings: Path) -> dict[str, object]:
    """The site's settings. Raises PrunedexError if they cannot be read."""
    try:
        read = YAML(typ="safe", pure=True).load(settings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise PrunedexError(f"{settings} cannot be read ({reason})") from error
    if not isinstance(read, dict):
        raise PrunedexError(f"{settings} holds no settings")
    return read


def repository(settings: dict[str, object]) -> Repository:
    """`repo_url` and `edit_uri` of the settings, the latter as on GitHub if unset."""
    url, edit = settings.get("repo_url"), settings.get("edit_uri")
    return Repository(str(url) if url else None, str(edit or "edit/main/"))


def write_tree(catalog: Catalog, tree: Path, earlier: Path | None = None) -> list[str]:
    """Write the tree of one catalog into an empty or missing folder.

    Of a site that was built before, `earlier`, pictures that would come out the same are taken.
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
    concepts, flaws = _concepts(catalog, origin.parent)
    settings = settings_of(origin / "mkdocs.yml")
    site_url = settings.get("site_url")
    # A picture of a page must have a whole address; without one nobody would ask for it.
    painter = _painter(documents / "assets" / "fonts") if site_url else None
    pages = Pages(shelf, repository(settings), concepts, cards=painter is not None)
    _hand_written(pages, documents, concepts)
    pages.flaws += flaws
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
    parts = [("compare.json", compare_data(shelf))]
    parts += [(addresses.COLUMNS + name, content) for name, content in columns.files(shelf)]
    (documents / addresses.COLUMNS).mkdir()
    for name, content in parts:
        compact = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (documents / name).write_text(compact + "\n", encoding="utf-8", newline="\n")
    citations = to_bibtex(shelf.entries) if shelf.entries else ""
    (documents / "catalog.bib").write_text(citations, encoding="utf-8", newline="\n")
    if painter is not None:
        write_cards(shelf, painter, documents, earlier)
    write_exports(shelf, documents, concepts=concepts, site_url=str(site_url) if site_url else None)
    return pages.flaws


def _painter(fonts: Path) -> Painter | None:
    """Who draws the cards; None where Pillow cannot, so that all pages share one."""
    try:
        return Painter(fonts)
    except OSError:
        return None


def _concepts(catalog: Catalog, root: Path) -> tuple[list[Concept], list[str]]:
    """The concept pages that come with the theme, and what is wrong with them."""
    concepts, problems = read_concepts(root)
    flaws = [str(problem) for problem in problems]
    for concept in concepts:
        for location, dimension, tag in unknown_tags(concept, catalog.vocabulary):
            line, column = concept.located.at(*location)
            near = details(did_you_mean(tag, catalog.vocabulary.ids(dimension)))
            flaws.append(
                f"{concept.path}:{line}:{column}: {dimension} has no value {shown(tag)}{near}"
            )
    return concepts, flaws


def _hand_written(pages: Pages, documents: Path, concepts: list[Concept]) -> None:
    """Draw the formulas of every hand-written page, and put the papers below the concepts."""
    by_name = {addresses.source(addresses.concept(each.name)): each for each in concepts}
    for file in sorted(documents.rglob("*.md")):
        name = file.relative_to(documents).as_posix()
        concept = by_name.get(name)
        if concept is None and name.startswith(f"{CONCEPTS.name}/"):
            # Its head could not be read, which is reported; shown as it is, it might be anything.
            file.unlink()
            continue
        text = file.read_text(encoding="utf-8")
        _, body, start = split(text)
        page = name.removesuffix(".md") + ".html"
        drawn, flaws = prepared(body, f"site/pages/{name}", start, partial(pages.source_of, page))
        pages.flaws += flaws
        if concept is not None:
            made = pages.concept(concept, drawn)
        elif drawn != body:
            made = text.removesuffix(body) + drawn
        else:
            continue
        file.write_text(made, encoding="utf-8", newline="\n")
