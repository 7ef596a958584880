"""The coverage matrix: how many papers have each pair of tags, and which pairs have none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from urllib.parse import urlencode

from catalog.schema import Dimension
from catalog.site.shelf import Node, Shelf

LEVELS = 5
"""Steps of the shading."""

_GAPS = 8


@dataclass(frozen=True)
class Cell:
    """The papers with both tags; `runs` of them have a method here. `level` is the shade."""

    count: int
    runs: int
    level: int
    query: str


@dataclass(frozen=True)
class Line:
    """A row of a table."""

    node: Node
    cells: list[Cell]


@dataclass(frozen=True)
class Gap:
    """A pair without a paper, though both of its tags are common."""

    row: Node
    column: Node


@dataclass(frozen=True)
class Matrix:
    """One pair of dimensions; `filled` of the `pairs` of values have a paper."""

    id: str
    rows: Dimension
    columns: Dimension
    heads: list[Node]
    lines: list[Line]
    pairs: int
    filled: int
    gaps: list[Gap]


def matrices(shelf: Shelf) -> list[Matrix]:
    """A table for every pair of dimensions, type by criterion first."""
    found = [matrix(shelf, *_upright(shelf, *pair)) for pair in combinations(shelf.dimensions, 2)]
    return [each for each in found if each.lines and each.heads]


def _upright(shelf: Shelf, one: Dimension, two: Dimension) -> tuple[Dimension, Dimension]:
    """The dimension with more values goes down, where there is room."""
    # Type has hardly more than criterion, and stays the row by name.
    if len(shelf.nodes(two)) > len(shelf.nodes(one)) + 6:
        return two, one
    return one, two


def matrix(shelf: Shelf, rows: Dimension, columns: Dimension) -> Matrix:
    """The table of two dimensions. A parent counts the papers of its children, each once."""
    down = [node for node in shelf.nodes(rows) if node.count]
    across = [node for node in shelf.nodes(columns) if node.count]
    running = {entry.key for entry in shelf.entries if shelf.method(entry) is not None}
    papers = {
        (node.dimension.id, node.value.id): {
            entry.key for entry in shelf.papers_with(node.dimension.id, node.value.id)
        }
        for node in [*down, *across]
    }
    both = [
        [papers[rows.id, row.value.id] & papers[columns.id, column.value.id] for column in across]
        for row in down
    ]
    most = max((len(keys) for line in both for keys in line), default=0)
    lines = [
        Line(
            row,
            [
                Cell(
                    len(keys),
                    len(keys & running),
                    _level(len(keys), most),
                    urlencode([(rows.id, row.value.id), (columns.id, column.value.id)]),
                )
                for column, keys in zip(across, line, strict=True)
            ],
        )
        for row, line in zip(down, both, strict=True)
    ]
    empty = [
        Gap(row, column)
        for row, line in zip(down, both, strict=True)
        for column, keys in zip(across, line, strict=True)
        if not keys
    ]
    pairs = len(down) * len(across)
    return Matrix(
        f"{rows.id}-{columns.id}".replace("_", "-"),
        rows,
        columns,
        across,
        lines,
        pairs,
        pairs - len(empty),
        _remarkable(empty),
    )


def _level(count: int, most: int) -> int:
    """The shade of a count: 0 for none, else 1 to LEVELS by its square root, so that 1 shows."""
    if not count:
        return 0
    return max(1, round(LEVELS * math.sqrt(count / most)))


def _remarkable(empty: list[Gap]) -> list[Gap]:
    """The gaps where most papers would be expected, each value at most twice.

    Where a parent has the same gap, that one is enough.
    """
    known = {(gap.row.value.id, gap.column.value.id) for gap in empty}
    ranked = sorted(
        (
            gap
            for gap in empty
            if "other" not in (gap.row.value.id, gap.column.value.id)
            and (gap.row.value.parent, gap.column.value.id) not in known
            and (gap.row.value.id, gap.column.value.parent) not in known
        ),
        key=lambda gap: (
            -gap.row.count * gap.column.count,
            gap.row.value.id,
            gap.column.value.id,
        ),
    )
    found: list[Gap] = []
    used: dict[str, int] = {}
    for gap in ranked:
        names = (f"row {gap.row.value.id}", f"column {gap.column.value.id}")
        if all(used.get(name, 0) < 2 for name in names):
            found.append(gap)
            for name in names:
                used[name] = used.get(name, 0) + 1
        if len(found) == _GAPS:
            break
    return found
