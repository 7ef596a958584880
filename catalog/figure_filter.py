"""Choosing reported figures: by model, data, method, metric, source and protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from catalog.errors import UsageError, details, did_you_mean
from catalog.figures import Figure, Protocol, differences
from catalog.reported import METRICS
from catalog.store import Catalog


@dataclass(frozen=True)
class FigureFilter:
    """What to look for; an empty field excludes nothing, and all others must hold.

    A family of models finds its members, a suite of data sets its tasks. `method` and `source`
    are keys, arXiv ids or names, in the catalog or outside of it.
    """

    model: str | None = None
    dataset: str | None = None
    method: str | None = None
    metric: str | None = None
    source: str | None = None
    protocol: str | None = None
    conflicts: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether everything passes."""
        return self == FigureFilter()


def choose(catalog: Catalog, wanted: FigureFilter) -> list[Figure]:
    """The figures that pass, in the order of their files.

    Raises UsageError with the closest name for one that no figure has.
    """
    found = catalog.figures.all
    if wanted.model is not None:
        found = _named(catalog, "models", wanted.model, found, lambda figure: figure.model)
    if wanted.dataset is not None:
        found = _named(catalog, "datasets", wanted.dataset, found, _data)
    if wanted.metric is not None:
        metric = _one_of(wanted.metric, METRICS, "metric")
        found = [figure for figure in found if figure.table.metric == metric]
    if wanted.protocol is not None:
        slugs = catalog.figures.slugs
        slug = _one_of(wanted.protocol, slugs.values(), "protocol")
        found = [figure for figure in found if slugs[figure.protocol] == slug]
    if wanted.method is not None:
        found = _of_method(catalog, wanted.method, found)
    if wanted.source is not None:
        found = _of_source(catalog, wanted.source, found)
    if wanted.conflicts:
        found = [figure for figure in found if catalog.figures.against(figure)]
    return list(found)


def _data(figure: Figure) -> str | None:
    return figure.suite.name if figure.suite is not None else figure.dataset


def _one_of(text: str, options: Iterable[str], noun: str) -> str:
    known = list(options)
    folded = text.strip().casefold()
    for option in known:
        if option.casefold() == folded:
            return option
    hint = did_you_mean(text, known)
    raise UsageError(
        f"no figure has the {noun} '{text}'{details(hint)}",
        "run `prunedex figures` to see which there are",
    )


def _named(
    catalog: Catalog,
    group: str,
    text: str,
    figures: Sequence[Figure],
    read: Callable[[Figure], str | None],
) -> list[Figure]:
    """The figures whose model or data set is meant, or below the one that is."""
    item = catalog.inventory.meant(group, text.strip())
    if item is not None:
        below = catalog.inventory.descendants(group, item.id)
        ids = {
            name: found.id
            for figure in figures
            if (name := read(figure)) and (found := catalog.inventory.meant(group, name))
        }
        return [figure for figure in figures if ids.get(read(figure) or "") in below]
    noun = "model" if group == "models" else "data set"
    name = _one_of(text, {name for figure in catalog.figures.all if (name := read(figure))}, noun)
    return [figure for figure in figures if read(figure) == name]


def _of_method(catalog: Catalog, text: str, figures: Sequence[Figure]) -> list[Figure]:
    folded = text.strip().casefold()

    def is_named(figure: Figure) -> bool:
        name = figure.method.casefold()
        paper = (figure.measured.key, figure.measured.arxiv)
        return folded in (name, name.partition(" (")[0]) or text.strip() in paper

    named = {figure.measured.key for figure in catalog.figures.all if is_named(figure)}
    key = None
    try:
        key = catalog.find(text).key
    except UsageError:
        if not named:
            raise
    return [
        figure
        for figure in figures
        if is_named(figure) or (key is not None and figure.about == key)
    ]


def _of_source(catalog: Catalog, text: str, figures: Sequence[Figure]) -> list[Figure]:
    folded = text.strip().casefold()
    origins = {figure.origin.identifier: figure.origin for figure in catalog.figures.all}
    for identifier, origin in origins.items():
        if folded in (identifier.casefold(), origin.name.casefold()):
            return [figure for figure in figures if figure.origin.identifier == identifier]
    key = catalog.find(text).key
    return [figure for figure in figures if figure.origin.key == key]


def differing(protocols: Sequence[Protocol]) -> list[str]:
    """The fields in which any two of the protocols differ, in their fixed order."""
    found = {name for other in protocols[1:] for name in differences(protocols[0], other)}
    return [name for name in protocols[0].fields() if name in found] if protocols else []
