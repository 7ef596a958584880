"""What the comparison of papers needs beyond catalog.json: lineage, data and figures.

It is a file of its own, so that the catalog page does not have to load it.
"""

from __future__ import annotations

from typing import Any

from catalog.figures import Figure, Protocol
from catalog.schema import Entry
from catalog.site.shelf import Related, Shelf, called

SCHEMA = 1
"""Grows when a field of compare.json is renamed, removed or changes its meaning."""


def compare_data(shelf: Shelf) -> dict[str, Any]:
    """Everything in compare.json, by key; a protocol's number is its place in `protocols`."""
    figures = shelf.catalog.figures
    about: dict[str, list[Figure]] = {}
    for figure in figures.all:
        if figure.about in shelf.catalog.entries:
            about.setdefault(figure.about, []).append(figure)
    # Only what two papers share can be compared.
    shared = [
        protocol
        for protocol, members in figures.protocols.items()
        if len({figure.about for figure in members if figure.about in about}) > 1
    ]
    places = {protocol: number for number, protocol in enumerate(shared)}
    return {
        "schema": SCHEMA,
        "protocols": [_protocol(protocol) for protocol in shared],
        "papers": {
            entry.key: _paper(shelf, entry, about.get(entry.key, []), places)
            for entry in sorted(shelf.entries, key=lambda entry: entry.key)
        },
    }


def suggestions(shelf: Shelf) -> list[tuple[str, list[Entry]]]:
    """Comparisons to begin with: papers that others refer to most, with those that run here."""
    ranked = sorted(
        (entry for entry in shelf.entries if entry.tags),
        key=lambda entry: (-len(shelf.catalog.built_on_by(entry.key)), entry.key),
    )
    found = []
    running = [entry for entry in ranked if shelf.method(entry)]
    for words, chosen in [
        ("Most referred to here", ranked[:3]),
        ("Among those that run here", [each for each in running if each not in ranked[:3]][:4]),
    ]:
        if len(chosen) > 1:
            found.append((words, chosen))
    return found


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {
        "title": protocol.title,
        "conditions": protocol.conditions,
        "better": protocol.kind.better,
    }


def _paper(
    shelf: Shelf, entry: Entry, figures: list[Figure], places: dict[Protocol, int]
) -> dict[str, Any]:
    used = entry.evaluated_on
    return {
        "builds_on": _related(shelf.builds_on(entry)),
        "built_on_by": _related(shelf.built_on_by(entry)),
        "models": used.models,
        "calibration": used.calibration,
        "finetuning": used.finetuning,
        "evaluation": used.evaluation,
        "figures": [
            {
                "protocol": places[figure.protocol],
                "budget": figure.budget_label,
                "value": figure.value,
                "form": ", ".join(
                    part
                    for part in (
                        figure.measured.variant,
                        figure.structure,
                        None if figure.recovery == "none" else figure.recovery,
                    )
                    if part
                ),
                "by": figure.origin.name,
                "url": figure.table.url,
            }
            for figure in figures
            if figure.protocol in places and not figure.is_dense
        ],
    }


def _related(all_of_them: list[Related]) -> list[dict[str, str]]:
    return [
        {"key": each.key, "name": called(each.entry), "words": each.words}
        for each in all_of_them
        if each.entry
    ]
