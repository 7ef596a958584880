"""The pages to look at: lineage, coverage, timeline, plots, and papers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from catalog.figures import Protocol
from catalog.site import addresses, compare
from catalog.site.lineage import graph
from catalog.site.matrix import matrices
from catalog.site.plots import plots
from catalog.site.shelf import Shelf
from catalog.site.timeline import timeline

PLACES = [
    (
        addresses.LINEAGE,
        "Lineage",
        "Which paper builds on, analyses or compares itself with which, as a graph and as a list.",
    ),
    (
        addresses.COVERAGE,
        "Coverage",
        "How many papers there are for each pair of tags, and which pairs nobody has filled.",
    ),
    (
        addresses.TIMELINE,
        "Timeline",
        "When the papers appeared, month by month, in lanes by what they remove.",
    ),
    (
        addresses.PLOTS,
        "Plots",
        "Quality against budget, measured here or reported by papers, one protocol a chart.",
    ),
    (
        addresses.COMPARE,
        "Compare",
        "Up to four papers side by side: tags, data, code, lineage, and figures that they share.",
    ),
]
"""Each page with its title and what it shows, in the order of the links between them."""

_STYLE = "assets/see.css"


def pages(
    shelf: Shelf, reported: Mapping[Protocol, str], write: Callable[..., str]
) -> Iterator[tuple[str, str]]:
    """Address and text of each page.

    `reported` has the pages of the protocols that have one; `write` takes a template, an address,
    title, description, and what the template shows.
    """

    def made(address: str, title: str, text: str, template: str, **values: Any) -> tuple[str, str]:
        meta = {"style": _STYLE, **values.pop("meta", {})}
        return address, write(
            template, address, title, text, meta=meta, places=PLACES, text=text, **values
        )

    about = {address: (address, title, text) for address, title, text in PLACES}
    yield made(
        addresses.SEE,
        "See",
        "The literature in pictures: who builds on whom, what is covered, when it appeared and "
        "how well it works.",
        "see.html",
    )
    yield made(
        *about[addresses.LINEAGE],
        "lineage.html",
        meta={"module": "assets/lineage.js"},
        graph=graph(shelf),
    )
    yield made(
        *about[addresses.COVERAGE],
        "coverage.html",
        meta={"module": "assets/coverage.js"},
        matrices=matrices(shelf),
    )
    yield made(
        *about[addresses.TIMELINE],
        "timeline.html",
        meta={"module": "assets/timeline.js"},
        timeline=timeline(shelf),
    )
    yield made(
        *about[addresses.PLOTS],
        "plots.html",
        meta={"module": "assets/plots.js"},
        plots=plots(shelf, reported),
    )
    yield made(
        *about[addresses.COMPARE],
        "compare.html",
        meta={"module": "assets/compare.js", "search": {"exclude": True}},
        suggestions=compare.suggestions(shelf),
    )
