"""The figure of the front page: one small matrix, pruned in three ways."""

from __future__ import annotations

import random
from dataclasses import dataclass

from catalog.site import addresses
from catalog.site.shelf import Shelf

SIDE = 8
_PITCH = 10.0


@dataclass(frozen=True)
class Cell:
    """One weight: its corner, whether it stays, and how dark its magnitude makes it."""

    x: float
    y: float
    kept: bool
    opacity: float


@dataclass(frozen=True)
class Panel:
    """One way of pruning, with the page of its tag."""

    name: str
    text: str
    label: str
    page: str
    cells: list[Cell]
    width: float = SIDE * _PITCH
    height: float = SIDE * _PITCH


def weights() -> list[list[float]]:
    """Magnitudes, the same in every build, with a few strong input columns as real layers have."""
    source = random.Random(24)
    strength = [source.uniform(0.6, 1.6) for _ in range(SIDE)]
    return [[abs(source.gauss(0, 1)) * strength[j] for j in range(SIDE)] for _ in range(SIDE)]


def unstructured(matrix: list[list[float]]) -> list[list[bool]]:
    """Keeps the larger half of all weights."""
    ranked = sorted((matrix[i][j], i, j) for i in range(SIDE) for j in range(SIDE))
    kept = {(i, j) for _, i, j in ranked[SIDE * SIDE // 2 :]}
    return [[(i, j) in kept for j in range(SIDE)] for i in range(SIDE)]


def two_of_four(matrix: list[list[float]]) -> list[list[bool]]:
    """Keeps the two largest of every four neighbours in a row."""
    mask = []
    for row in matrix:
        kept: set[int] = set()
        for start in range(0, SIDE, 4):
            ranked = sorted(range(start, start + 4), key=lambda j: row[j])
            kept.update(ranked[2:])
        mask.append([j in kept for j in range(SIDE)])
    return mask


def columns(matrix: list[list[float]]) -> list[list[bool]]:
    """Keeps the half of the columns with the larger norms."""
    norms = [sum(row[j] ** 2 for row in matrix) for j in range(SIDE)]
    kept = {*sorted(range(SIDE), key=lambda j: norms[j])[SIDE // 2 :]}
    return [[j in kept for j in range(SIDE)] for _ in range(SIDE)]


def panels(shelf: Shelf) -> list[Panel]:
    """The three panels, each linked to its tag if the vocabulary has it."""
    matrix = weights()
    strongest = max(max(row) for row in matrix)
    found = []
    for name, text, label, tag, rule in [
        (
            "Unstructured",
            "zeros anywhere",
            "An 8 by 8 matrix in which the 32 smallest weights are gone, wherever they stand.",
            "unstructured",
            unstructured,
        ),
        (
            "2:4",
            "two of every four stay",
            "The same matrix with two weights left in every group of four along a row.",
            "n:m",
            two_of_four,
        ),
        (
            "Structured",
            "whole columns go",
            "The same matrix with four of its eight columns gone.",
            "structured",
            columns,
        ),
    ]:
        mask = rule(matrix)
        cells = [
            Cell(
                j * _PITCH + 0.7,
                i * _PITCH + 0.7,
                mask[i][j],
                round(0.35 + 0.65 * matrix[i][j] / strongest, 2),
            )
            for i in range(SIDE)
            for j in range(SIDE)
        ]
        known = shelf.catalog.vocabulary.has("type", tag)
        page = addresses.value("type", tag) if known else addresses.TAGS
        found.append(Panel(name, text, label, page, cells))
    return found
