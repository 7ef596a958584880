"""Where each page of the site is, and how one page links to another.

A page is named by its path below the site's root with the ending `.html`. Every link is
relative, so that the site works under any path and from a plain file server.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import cache

HOME = "index.html"
CATALOG = "catalog.html"
TAGS = "tags/index.html"
METHODS = "methods.html"
GUIDE = "guide.html"
CONCEPTS = "concepts/index.html"
CONTRIBUTE = "contribute.html"
MODELS = "models/index.html"
DATASETS = "datasets/index.html"
TOOLS = "tools/index.html"
REPORTED = "reported/index.html"
RESULTS = "results/index.html"
READING = "results/reading.html"
DISAGREEMENTS = "results/disagreements.html"
LESSONS = "results/lessons.html"
PERFORMANCE = "results/performance.html"
SEE = "see.html"
LINEAGE = "lineage.html"
COVERAGE = "coverage.html"
TIMELINE = "timeline.html"
PLOTS = "plots.html"
COMPARE = "compare.html"
ABOUT = "about.html"
DATA = "data.html"

COLUMNS = "assets/data/"
"""The folder of what the site's own pages load of the catalog, piece by piece."""


def slug(name: str) -> str:
    """A name as a part of an address: `n:m` gives `n-m`, since a colon would end a scheme."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def paper(key: str) -> str:
    """The page of a paper."""
    return f"papers/{key}.html"


def citation(key: str) -> str:
    """The file with a paper's citation."""
    return f"papers/{key}.bib"


def card(key: str) -> str:
    """The picture that links to a paper show elsewhere."""
    return f"assets/cards/{key}.png"


def year(number: int) -> str:
    """The page of the papers of a year, in a catalog that is too large for one page."""
    return f"years/{number}.html"


def dimension(name: str) -> str:
    """The page of a tag dimension."""
    return f"tags/{slug(name)}.html"


def value(dimension_name: str, value_id: str) -> str:
    """The page of a tag value."""
    return f"tags/{slug(dimension_name)}/{slug(value_id)}.html"


def value_year(dimension_name: str, value_id: str, number: int) -> str:
    """The page of the papers of a year with a tag that has too many for one page."""
    return value(dimension_name, value_id).removesuffix(".html") + f"/{number}.html"


def concept(name: str) -> str:
    """The page of a concept."""
    return f"concepts/{name}.html"


def resources(group: str) -> str:
    """The page of a list: models, datasets or tools."""
    return f"{group}/index.html"


def resource(group: str, identifier: str) -> str:
    """The page of a model, data set or tool."""
    return f"{group}/{identifier}.html"


def reported(name: str) -> str:
    """The page of the reported figures of one protocol."""
    return f"reported/{name}.html"


def board(name: str) -> str:
    """The leaderboard of one protocol."""
    return f"results/{name}.html"


def measured(path: str) -> str | None:
    """The file of a result, by its path below the root; None where its name fits no address."""
    folder, _, name = path.removeprefix("impl/results/").partition("/")
    safe = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
    fits = safe.fullmatch(folder) and safe.fullmatch(name)
    return f"results/{folder}/{name}" if fits else None


def source(page: str) -> str:
    """The Markdown file, below the documents' folder, that MkDocs turns into a page."""
    return page.removesuffix(".html") + ".md"


def link(target: str, page: str) -> str:
    """The relative link to `target` from `page`; a query or fragment of the target stays."""
    match = re.match(r"[^?#]*", target)
    path = match[0] if match else target
    return _relative(path, posixpath.dirname(page) or ".") + target[len(path) :]


@cache
def _relative(path: str, folder: str) -> str:
    # Pages of one folder link the same things again and again: the tags, above all.
    return posixpath.relpath(path, folder)


def collisions(pages: Iterable[str]) -> list[str]:
    """Pages that occur more than once; on some file systems case makes no difference."""
    seen: set[str] = set()
    twice = []
    for page in pages:
        folded = page.casefold()
        if folded in seen:
            twice.append(page)
        seen.add(folded)
    return twice
