"""The catalog as the site's own pages load it: in parts, each when it is needed.

`catalog.json` has everything about every paper and is for other programs. Of it a page needs
little at once: which papers have which value, as columns of numbers (`filters.json`). What a row
shows comes in blocks of papers (`rows-0.json` and so on), and the text in which words are looked
for when somebody searches (`words.json`). These files belong to the pages of the same build and
may change with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from catalog.query import fold, searched
from catalog.schema import DIMENSIONS, KINDS, Entry
from catalog.site import addresses
from catalog.site.facets import uses, verified
from catalog.site.shelf import Shelf, appeared, authors_in_short, called, series

BLOCK = 16
"""Papers in a block of rows. Few, since the papers of a filter may be in a block each."""

FILTERS = "filters.json"
WORDS = "words.json"


def files(shelf: Shelf) -> Iterator[tuple[str, Any]]:
    """Each file's name below `addresses.COLUMNS`, with its content to be written as JSON."""
    yield FILTERS, filters(shelf)
    yield WORDS, [searched(entry) for entry in shelf.entries]
    for first in range(0, len(shelf.entries), BLOCK):
        papers = shelf.entries[first : first + BLOCK]
        yield f"rows-{first // BLOCK}.json", [row(shelf, entry) for entry in papers]


def filters(shelf: Shelf) -> dict[str, Any]:
    """What filtering and sorting need. A paper is its place in `shelf.entries`, newest first.

    `appeared` is in months since the year 0. Ascending numbers are written as the first one and
    the steps between them, which compress better.
    """
    entries = shelf.entries
    places = {entry.key: place for place, entry in enumerate(entries)}

    def among(papers: Iterable[Entry]) -> list[int]:
        return steps([places[entry.key] for entry in papers])

    columns: dict[str, dict[str, list[int]]] = {
        dimension.id: {
            node.value.id: among(shelf.papers_with(dimension.id, node.value.id))
            for node in shelf.nodes(dimension)
            if node.count
        }
        for dimension in shelf.dimensions
    }
    states: dict[str, Callable[[Entry], bool]] = {
        "code": lambda entry: entry.links.code is not None,
        "runs": lambda entry: shelf.method(entry) is not None,
        "verified": lambda entry: verified(shelf, entry),
    }
    columns["has"] = {name: among(filter(holds, entries)) for name, holds in states.items()}
    columns["kind"] = {
        kind: among(entry for entry in entries if entry.kind == kind) for kind in KINDS
    }
    grouped: dict[str, dict[str, list[int]]] = {"venue": {}, "model": {}, "dataset": {}}
    for place, entry in enumerate(entries):
        grouped["venue"].setdefault(series(entry), []).append(place)
        for facet, ids in uses(shelf, entry).items():
            for each in ids:
                grouped[facet].setdefault(each, []).append(place)
    columns |= {
        facet: {value: steps(found) for value, found in sorted(values.items())}
        for facet, values in grouped.items()
    }
    order = range(len(entries))
    return {
        "entries": len(entries),
        "block": BLOCK,
        "dimensions": [
            {
                "id": dimension.id,
                "name": dimension.name,
                "values": [
                    {"id": node.value.id, "name": node.value.name, "url": node.page}
                    for node in shelf.nodes(dimension)
                    if node.count
                ],
            }
            for dimension in shelf.dimensions
        ],
        "appeared": steps([-appeared(entry) for entry in entries]),
        "facets": {
            facet: {value: found for value, found in values.items() if found}
            for facet, values in columns.items()
        },
        "observed": {
            str(place): len(seen)
            for place, entry in enumerate(entries)
            if (seen := _verified(shelf, entry))
        },
        "orders": {
            "name": sorted(order, key=lambda at: (fold(called(entries[at])), entries[at].key)),
            "key": sorted(order, key=lambda at: entries[at].key),
        },
    }


def steps(ascending: list[int]) -> list[int]:
    """The first number, then how much each is above the one before."""
    return [each - before for before, each in zip([0, *ascending], ascending, strict=False)]


def row(shelf: Shelf, entry: Entry) -> dict[str, Any]:
    """What a paper's row shows, here and in the guide."""
    method = shelf.method(entry)
    return {
        "key": entry.key,
        "title": entry.title,
        "name": entry.name,
        "authors": authors_in_short(entry),
        "year": entry.year,
        "venue": entry.venue.short,
        "kind": entry.kind,
        "tags": {
            name: found for name in DIMENSIONS if entry.tags and (found := entry.tags.of(name))
        },
        "verified": _verified(shelf, entry),
        "takeaway": entry.takeaway,
        "implementation": method.name if method else None,
        "code": entry.links.code is not None,
        "url": addresses.paper(entry.key),
    }


def _verified(shelf: Shelf, entry: Entry) -> dict[str, list[str]]:
    found = {
        name: [tag.value.id for tag in shelf.tags(entry, name) if tag.seen and tag.seen.holds]
        for name in DIMENSIONS
    }
    return {name: ids for name, ids in found.items() if ids}
