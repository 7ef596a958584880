"""The filters of the catalog page: which there are, with which choices, and which of them show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from catalog.schema import KINDS, Entry
from catalog.site.resources import Item, Resources
from catalog.site.shelf import Shelf, series

SHOWN = 9
"""So many choices of a filter show at first; a button shows the rest."""

LONG = 40
"""A filter with more choices than this has a field that narrows them."""

USES = (("model", "models", "Model pruned"), ("dataset", "datasets", "Data set used"))
"""Filters by what a paper names: the filter, the list that its choices are from, its heading."""


@dataclass(frozen=True)
class Choice:
    """A value of a filter. A minor one is folded away until somebody asks for it."""

    id: str
    name: str
    count: int
    depth: int = 0
    minor: bool = False


@dataclass(frozen=True)
class Facet:
    """A filter of the catalog page: alternatives, with a question if it is a dimension."""

    id: str
    name: str
    choices: list[Choice]
    question: str = ""
    dimension: bool = False

    @property
    def long(self) -> bool:
        """Whether nobody wants to read through all choices."""
        return len(self.choices) > LONG

    @property
    def folded(self) -> int:
        """How many choices do not show at first."""
        return sum(choice.minor for choice in self.choices)


def facets(shelf: Shelf, resources: Resources) -> list[Facet]:
    """All filters that have a choice, each parent before its children."""
    found = [
        Facet(
            dimension.id,
            dimension.name,
            [
                Choice(node.value.id, node.value.name, node.count, min(node.depth, 3))
                for node in shelf.nodes(dimension)
            ],
            dimension.question,
            dimension=True,
        )
        for dimension in shelf.dimensions
    ]
    entries = shelf.entries
    states: list[tuple[str, str, Iterable[bool]]] = [
        ("code", "Official code", (entry.links.code is not None for entry in entries)),
        ("runs", "Runs here", (shelf.method(entry) is not None for entry in entries)),
        ("verified", "Verified by running", (verified(shelf, entry) for entry in entries)),
    ]
    found.append(Facet("has", "Code", [Choice(key, name, sum(all_)) for key, name, all_ in states]))
    kinds = [Choice(kind, kind, sum(entry.kind == kind for entry in entries)) for kind in KINDS]
    found.append(Facet("kind", "Kind", kinds))
    by_series: dict[str, int] = {}
    for entry in entries:
        by_series[series(entry)] = by_series.get(series(entry), 0) + 1
    ranked = sorted(by_series.items(), key=lambda item: (-item[1], item[0]))
    found.append(Facet("venue", "Venue", [Choice(name, name, count) for name, count in ranked]))
    for key, group, title in USES:
        found.append(Facet(key, title, _named(resources, group)))
    with_choices = [
        replace(facet, choices=[choice for choice in facet.choices if choice.count])
        for facet in found
    ]
    return [_folded(facet) for facet in with_choices if facet.choices]


def verified(shelf: Shelf, entry: Entry) -> bool:
    """Whether a run showed at least one of a paper's tags."""
    return any(tag.seen and tag.seen.holds for tag in shelf.all_tags(entry))


def uses(shelf: Shelf, entry: Entry) -> dict[str, list[str]]:
    """By filter: the ids of what a paper names, with everything that each of them belongs to."""
    found = {}
    for key, group, _ in USES:
        ids: set[str] = set()
        for name in resources_named(shelf, entry, group):
            ids |= {name, *(each.id for each in shelf.catalog.inventory.ancestors(group, name))}
        if ids:
            found[key] = sorted(ids)
    return found


def resources_named(shelf: Shelf, entry: Entry, group: str) -> set[str]:
    """The ids of a list that a paper names, in whichever role."""
    return shelf.named.get((entry.key, group), set())


def _named(resources: Resources, group: str) -> list[Choice]:
    """Families by the number of papers, each with its members below it."""
    families: list[list[Item]] = []
    for item in resources.items(group):
        if item.depth == 0:
            families.append([])
        families[-1].append(item)
    families.sort(key=lambda family: (-family[0].count, family[0].resource.name.casefold()))
    return [
        Choice(item.resource.id, item.resource.name, item.count, min(item.depth, 3))
        for family in families
        for item in family
    ]


def _folded(facet: Facet) -> Facet:
    """The same filter with all but the most frequent choices folded away.

    A parent has at least as many papers as a child, so that it shows wherever the child does. A
    button for one or two choices would take as much room as they.
    """
    if len(facet.choices) <= SHOWN + 2:
        return facet
    order = range(len(facet.choices))
    ranked = sorted(order, key=lambda at: (-facet.choices[at].count, facet.choices[at].depth, at))
    shown = set(ranked[:SHOWN])
    return replace(
        facet,
        choices=[
            replace(choice, minor=place not in shown) for place, choice in enumerate(facet.choices)
        ],
    )
