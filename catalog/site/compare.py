"""What the comparison of papers needs beyond catalog.json: lineage, data and figures.

It is a file of its own, so that the catalog page does not have to load it.
"""

from __future__ import annotations

from typing import Any

from catalog.boards import Board, Group, Row
from catalog.figures import Figure, Protocol
from catalog.schema import Entry
from catalog.site import addresses
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
    boards = [board for board in shelf.boards if len(_papers(shelf, board)) > 1]
    measured: dict[str, list[dict[str, Any]]] = {}
    for number, board in enumerate(boards, start=len(shared)):
        for group in board.groups:
            for row in group.rows:
                for entry in shelf.catalog.papers_of.get(row.result.method, []):
                    made = _measured(board, group, row, number)
                    measured.setdefault(entry.key, []).extend([made] if made else [])
    return {
        "schema": SCHEMA,
        "protocols": [
            *(_protocol(protocol) for protocol in shared),
            *(_board(board) for board in boards),
        ],
        "papers": {
            entry.key: _paper(
                shelf, entry, about.get(entry.key, []), places, measured.get(entry.key, [])
            )
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


def _papers(shelf: Shelf, board: Board) -> set[str]:
    """The papers whose methods were measured under a protocol."""
    return {
        entry.key for method in board.methods for entry in shelf.catalog.papers_of.get(method, [])
    }


def _board(board: Board) -> dict[str, Any]:
    text = board.protocol.evaluation
    windows = f"windows of {text.length:,} tokens" if text.length else "labelled samples"
    return {
        "title": f"{board.title}, measured here: {board.metric}",
        "conditions": f"{text.samples:,} {windows}, protocol {board.protocol.name}",
        "better": board.better,
    }


def _measured(board: Board, group: Group, row: Row, number: int) -> dict[str, Any] | None:
    """A result as the comparison shows it; None where it is not finite."""
    value, ends = row.result.quality.after, row.quality
    if value is None:
        return None
    return {
        "protocol": number,
        "budget": group.key.title,
        "value": float(f"{value:.4g}"),
        "form": f"95 % interval {ends.low:.4g} to {ends.high:.4g}" if ends else "",
        "by": "",
        "url": None,
        "page": f"{addresses.board(board.slug)}#{group.key.id}",
    }


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {
        "title": protocol.title,
        "conditions": protocol.conditions,
        "better": protocol.kind.better,
    }


def _paper(
    shelf: Shelf,
    entry: Entry,
    figures: list[Figure],
    places: dict[Protocol, int],
    measured: list[dict[str, Any]],
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
        ]
        + measured,
    }


def _related(all_of_them: list[Related]) -> list[dict[str, str]]:
    return [
        {"key": each.key, "name": called(each.entry), "words": each.words}
        for each in all_of_them
        if each.entry
    ]
