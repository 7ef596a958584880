"""Where papers and our measurements put two methods in another order.

Only pairs that one source reports under one protocol at one budget, and that were measured here
under one protocol at the same budget, are put beside each other. An order of ours counts only
where the paired interval of the difference excludes zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from catalog.boards import Board, Difference, Key, difference, key_of
from catalog.figures import Figure
from catalog.results import Result
from catalog.store import Catalog

Answer = Literal["agrees", "differs", "open"]


@dataclass(frozen=True)
class Claim:
    """What one source reports of a pair: the better of the two first, as figures."""

    better: Figure
    worse: Figure
    differing: list[tuple[str, str, str]]

    @property
    def source(self) -> str:
        """The source's name."""
        return self.better.origin.name


@dataclass(frozen=True)
class Order:
    """A pair of methods at one budget of one board, with what sources report of it.

    `first` is the method that the claims call better; `against` is how its value here differs
    from that of `second`.
    """

    board: Board
    key: Key
    first: Result
    second: Result
    against: Difference
    answer: Answer
    claims: list[Claim]


def orders(catalog: Catalog, boards: Iterable[Board]) -> list[Order]:
    """Every pair that is both reported and measured, by board and budget."""
    reported = _reported(catalog)
    found: list[Order] = []
    for board in boards:
        for group in board.groups:
            claims = reported.get((board.metric, group.key), [])
            if not claims:
                continue
            results = {row.result.method: row.result for row in group.rows}
            by_pair: dict[tuple[str, str], list[Claim]] = {}
            for first, second, better, worse in claims:
                if first not in results or second not in results:
                    continue
                if not (_is_form(better, results[first]) and _is_form(worse, results[second])):
                    continue
                claim = Claim(better, worse, _differing(better, board))
                by_pair.setdefault((first, second), []).append(claim)
            for (first, second), several in by_pair.items():
                against = difference(results[first], results[second])
                if against is None:
                    continue
                answer: Mapping[str, Answer] = {"better": "agrees", "worse": "differs"}
                found.append(
                    Order(
                        board,
                        group.key,
                        results[first],
                        results[second],
                        against,
                        answer.get(against.told, "open"),
                        several,
                    )
                )
    return found


_SCATTERED = ("", "unstructured", "semi-structured", "n:m")
"""Structures of which a share of weights means single weights, as it does here."""

_Pair = tuple[str, str, Figure, Figure]


def _reported(catalog: Catalog) -> dict[tuple[str, Key], list[_Pair]]:
    """Pairs of methods that run here, by metric and budget: the better one first."""
    found: dict[tuple[str, Key], list[_Pair]] = {}
    for protocol, figures in catalog.figures.protocols.items():
        if protocol.metric not in ("perplexity", "accuracy"):
            continue
        groups: dict[tuple[str, str, str, Key], list[tuple[str, Figure]]] = {}
        for figure in figures:
            name, key = _method(catalog, figure), _key(figure)
            # Trained or quantised besides, a method is not what was measured here.
            if name is None or key is None or figure.recovery != "none":
                continue
            structure = figure.structure or ""
            if key.unit == "weights" and structure not in _SCATTERED:
                continue
            place = (figure.origin.identifier, figure.table.kind, structure, key)
            groups.setdefault(place, []).append((name, figure))
        sign = 1 if protocol.kind.better == "lower" else -1
        for (_, _, _, key), members in groups.items():
            for (one, a), (two, b) in itertools.combinations(members, 2):
                if one == two or a.value == b.value:
                    continue
                pair = (one, two, a, b) if sign * a.value < sign * b.value else (two, one, b, a)
                found.setdefault((protocol.metric, key), []).append(pair)
    return found


def _method(catalog: Catalog, figure: Figure) -> str | None:
    """The method here that a figure is of."""
    if figure.is_dense:
        return None
    entry = catalog.entries.get(figure.about or "")
    if entry is not None:
        return entry.implementation if entry.implementation in catalog.methods else None
    measured = figure.measured
    named = measured.key or measured.arxiv or measured.url
    folded = figure.method.casefold()
    return folded if not named and folded in catalog.methods else None


def _key(figure: Figure) -> Key | None:
    """The budget of a figure in the terms of ours; None where they have no such unit."""
    budget = figure.budget
    if budget is None or budget.also is not None:
        return None
    if budget.unit == "pattern":
        return key_of("weights", {"pattern": budget.amount})
    if budget.unit == "layers":
        return key_of("blocks", {"drop": float(budget.amount)})
    share = float(budget.amount) / 100 if budget.unit in ("weights", "parameters", "heads") else 0
    option = {"weights": "sparsity", "parameters": "ratio", "heads": "ratio"}.get(budget.unit)
    return key_of(budget.unit, {option: round(share, 6)}) if option is not None else None


def _is_form(figure: Figure, result: Result) -> bool:
    """Whether a figure is of the form of the method that was measured.

    "with SparseGPT" is the run whose options name SparseGPT; any other form is another method.
    """
    variant = figure.measured.variant
    if variant is None:
        return True
    _, preposition, base = variant.partition(" ")
    named = {str(value).casefold() for value in result.options.values() if isinstance(value, str)}
    return bool(preposition) and variant.split()[0] in ("with", "from") and base.casefold() in named


def _differing(figure: Figure, board: Board) -> list[tuple[str, str, str]]:
    """The fields in which a report's protocol differs from ours: name, theirs, ours."""
    theirs, ours = figure.protocol, board.protocol
    text = ours.evaluation
    length = "not stated" if theirs.length is None else f"{theirs.length:,} tokens"
    pairs = [
        ("model", theirs.model or "not stated", ours.model.name),
        ("data", theirs.data or "not named", text.source),
        ("window", length, f"{text.length:,} tokens" if text.length else "labelled samples"),
    ]
    if theirs.special is not None:
        pairs.append(("protocol", theirs.special, ours.name))
    return [pair for pair in pairs if pair[1].casefold() != pair[2].casefold()]


def counted(found: Sequence[Order]) -> dict[Answer, int]:
    """How many reports there are of each answer."""
    count: dict[Answer, int] = {"agrees": 0, "differs": 0, "open": 0}
    for each in found:
        count[each.answer] += len(each.claims)
    return count
