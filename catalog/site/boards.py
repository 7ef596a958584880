"""The leaderboards as pages: tables, charts, and what masks look like."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catalog import amounts, disagreements
from catalog.boards import VERDICTS, Board, Difference, Group, Row, differing
from catalog.overlap import Profile, overlap, profile
from catalog.protocols import Declared
from catalog.results import COUNTED, Change, Result
from catalog.site import addresses, charts
from catalog.site.plots import Panel, section_of, styles_of
from catalog.site.shelf import Shelf

LEVELS = 8
"""Shades of a heat table; see.css has one class each."""

LEAST = 0.02
"""The spread of values that a heat table's shades cover at least."""

UNIT_TITLES = {
    "weights": "Weights",
    "parameters": "Parameters",
    "shape": "Shape",
    "hidden": "Hidden channels",
    "blocks": "Blocks",
    "heads": "Attention heads",
    "experts": "Experts",
    "channels": "Channels",
    "rank": "Rank",
    "cache": "Key-value cache",
    "activations": "Activations",
}
"""What the units of budgets are called as headings."""

UNIT_TEXTS = {
    "weights": "Single weights are set to zero; shapes stay.",
    "parameters": "Heads, neurons or channels are taken out until this share of the blocks' "
    "parameters is gone.",
    "shape": "The model is cut to a smaller shape of the same architecture.",
    "hidden": "This share of the residual stream's channels is sliced off.",
    "blocks": "Whole blocks are taken out.",
    "heads": "Attention heads are taken out.",
    "experts": "Experts are taken out of every block.",
    "channels": "Convolution channels are taken out.",
    "rank": "Matrices are replaced by their best approximation of a lower rank.",
    "cache": "The cache of keys and values holds this share of the window at most.",
    "activations": "This share of heads and neurons is skipped for each token.",
}
"""What each unit of a budget counts."""


@dataclass(frozen=True)
class HeatCell:
    """A value of a heat table: as text, and how dark from 0 to `LEVELS`."""

    text: str
    level: int
    tip: str


@dataclass(frozen=True)
class Heat:
    """A table in which a darker cell means more; `head` names the columns."""

    title: str
    head: list[str]
    rows: list[tuple[str, list[HeatCell]]]


@dataclass(frozen=True)
class Look:
    """What the masks of one budget look like: where the zeros are, and what masks share."""

    group: Group
    blocks: Heat | None
    kinds: Heat | None
    even: list[str]
    overlaps: Heat | None
    chance: str


class BoardPages:
    """What the templates of leaderboards ask for."""

    verdicts = VERDICTS
    unit_titles = UNIT_TITLES
    unit_texts = UNIT_TEXTS
    signed = staticmethod(amounts.signed)

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def name(self, method: str) -> str:
        """What people call a method."""
        return self.shelf.method_name(method)

    def page(self, method: str) -> str:
        """Where a method is described."""
        return self.shelf.method_page(method)

    @staticmethod
    def file(result: Result) -> str | None:
        """The address of a result's file."""
        return addresses.measured(result.path)

    @staticmethod
    def quality(value: float | None, board: Board) -> str:
        """A perplexity or an accuracy."""
        if value is not None and board.metric == "accuracy":
            return amounts.percent(round(value, 4))
        return amounts.number(value, 4)

    @staticmethod
    def achieved(result: Result) -> str:
        """What was really gone, or stayed, in the unit that the heading names."""
        amount = result.budget.achieved
        if result.budget.unit in COUNTED:
            return amounts.number(amount if amount != int(amount) else int(amount))
        return amounts.percent(amount)

    @staticmethod
    def point(found: Difference | None, board: Board) -> str:
        """A difference without its interval, in nats or in percentage points."""
        scale, places = _scale(board)
        return "" if found is None else amounts.signed(scale * found.value, places)

    @staticmethod
    def ends(found: Difference, board: Board) -> str:
        """The interval of a difference; empty where it has none."""
        scale, places = _scale(board)
        if found.low is None or found.high is None:
            return ""
        low, high = (amounts.signed(scale * each, places) for each in (found.low, found.high))
        return f"{low} to {high}"

    @staticmethod
    def difference(found: Difference | None, board: Board) -> str:
        """A difference with its interval, in nats or in percentage points."""
        if found is None:
            return ""
        ends = BoardPages.ends(found, board)
        return BoardPages.point(found, board) + (f" ({ends})" if ends else "")

    @staticmethod
    def times(found: Difference | None, board: Board) -> str:
        """A difference of log-perplexities as the ratio of the perplexities."""
        if found is None or board.metric != "perplexity" or abs(found.value) > 600:
            return ""
        return f"×\u202f{amounts.number(math.exp(found.value))}"

    @staticmethod
    def left(change: Change | None) -> str:
        """What is left of a count, as a share of the dense model's."""
        ratio = change.ratio if change is not None else None
        return "" if ratio is None else amounts.percent(round(ratio, 3))

    @staticmethod
    def share(value: float | None) -> str:
        """A share with a decimal."""
        return "" if value is None else amounts.percent(round(value, 3))

    @staticmethod
    def speed(value: float | None) -> str:
        """A ratio of speeds."""
        return "" if value is None else f"{value:.2f}\u202f×"

    @staticmethod
    def has(rows: Sequence[Row], *path: str) -> bool:
        """Whether any of the results has a field."""
        for row in rows:
            value: Any = row.result
            for name in path:
                value = getattr(value, name, None)
            if value is not None:
                return True
        return False


def _scale(board: Board) -> tuple[int, int]:
    """What a difference is multiplied with, and its decimals: nats, or percentage points."""
    return (100, 1) if board.metric == "accuracy" else (1, 3)


def pages(
    shelf: Shelf, write: Callable[..., str], *, taught: bool = False
) -> Iterator[tuple[str, str]]:
    """Address and text of each page; `write` as for `catalog.site.see`.

    `taught`: whether there is a page of lessons to link to.
    """
    every = shelf.boards
    words = BoardPages(shelf)

    def made(address: str, title: str, text: str, template: str, **values: Any) -> tuple[str, str]:
        meta = {"style": "assets/see.css", **values.pop("meta", {})}
        return address, write(
            template, address, title, text, meta=meta, board_words=words, boards=every, **values
        )

    yield made(
        addresses.RESULTS,
        "Results",
        "What was measured here: leaderboards of pruning methods, each under one protocol, with "
        "intervals that say which differences can be told.",
        "results.html",
        waiting=_waiting(shelf),
        performance=shelf.catalog.benchmarks.costs,
        taught=taught,
    )
    found = disagreements.orders(shelf.catalog, every)
    yield made(
        addresses.DISAGREEMENTS,
        "Where papers and we disagree",
        "Pairs of methods that papers put in one order and our measurements in another, with both "
        "numbers and what differs between the two ways of measuring.",
        "disagreements.html",
        orders=found,
        counts=disagreements.counted(found),
    )
    for board in every:
        section = section_of(shelf, board)
        yield made(
            addresses.board(board.slug),
            f"{board.title} (results)",
            f"{len(board.results)} results of {len(board.methods)} pruning methods under the "
            f"protocol {board.protocol.name}, by budget.",
            "board.html",
            meta={"module": "assets/results.js"},
            board=board,
            section=section,
            speeds=speeds(shelf, board),
            looks=looks(shelf, board),
            others=differing(board, every),
        )


def _waiting(shelf: Shelf) -> list[Declared]:
    """Protocols under which nothing has been measured yet."""
    measured = {board.protocol.name for board in shelf.boards}
    protocols = shelf.catalog.protocols.values()
    return [each for each in protocols if each.name not in measured]


# Speed --------------------------------------------------------------------------------------


def speeds(shelf: Shelf, board: Board) -> list[Panel]:
    """Quality against speed: a chart for each kind of speed that two methods have."""
    panels = []
    for name, title in (
        ("prefill", "Times as fast as the dense model, reading a text"),
        ("decode", "Times as fast as the dense model, writing token by token"),
    ):
        points: dict[str, list[charts.Point]] = {}
        for row in board.rows:
            result = row.result
            ratio = getattr(result.speed, name, None)
            if ratio is None or result.quality.after is None:
                continue
            method = shelf.method_name(result.method)
            shown = BoardPages.quality(result.quality.after, board)
            group = next(each for each in board.groups if row in each.rows)
            tip = f"{method}, {group.key.short}: {shown} at {ratio:.2f} times the speed"
            points.setdefault(method, []).append(charts.Point(ratio, result.quality.after, tip))
        if len(points) < 2:
            continue
        style = styles_of(shelf, board)
        series = [
            charts.Series(method, style[method], sorted(some, key=lambda p: p.x), joined=False)
            for method, some in points.items()
        ]
        series.sort(key=lambda each: (-each.points[-1].y, each.name))
        quality = charts.Axis(
            f"{board.metric.capitalize()} ({board.better} is better)",
            lambda value: amounts.number(value, 4),
        )
        svg = charts.line_chart(
            f"{board.title}. {title}",
            series,
            charts.Axis(title, lambda value: f"{value:g}×"),
            quality,
            board.dense,
            round_ticks=True,
        )
        panels.append(Panel(title, svg))
    return panels


# Masks --------------------------------------------------------------------------------------


def looks(shelf: Shelf, board: Board) -> list[Look]:
    """What the masks look like, for every budget of which any were recorded."""
    found = []
    for group in board.groups:
        profiles = [each for row in group.rows if (each := profile(row.result)) is not None]
        uneven = [each for each in profiles if not each.is_even]
        overlaps, chance = _overlaps(shelf, group)
        if profiles or overlaps is not None:
            found.append(
                Look(
                    group,
                    _blocks(shelf, uneven),
                    _kinds(shelf, uneven),
                    [shelf.method_name(each.result.method) for each in profiles if each.is_even],
                    overlaps,
                    chance,
                )
            )
    return found


def _blocks(shelf: Shelf, profiles: Sequence[Profile]) -> Heat | None:
    numbers = sorted({number for each in profiles for number in each.blocks})
    if not numbers:
        return None
    values = [
        (shelf.method_name(each.result.method), [each.blocks.get(number) for number in numbers])
        for each in profiles
    ]
    heads = [str(number) for number in numbers]
    return _heat("Share of zeros in each block, per cent", heads, values, _per_cent)


def _kinds(shelf: Shelf, profiles: Sequence[Profile]) -> Heat | None:
    kinds = list(dict.fromkeys(kind for each in profiles for kind in each.kinds))
    if not 1 < len(kinds) <= 24:
        return None
    values = [
        (shelf.method_name(each.result.method), [each.kinds.get(kind) for kind in kinds])
        for each in profiles
    ]
    # The last word says it, unless two kinds share it.
    last = [kind.rpartition(".")[2] for kind in kinds]
    heads = last if len({*last}) == len(last) else kinds
    return _heat("Share of zeros in each kind of matrix, per cent", heads, values, _per_cent)


def _overlaps(shelf: Shelf, group: Group) -> tuple[Heat | None, str]:
    results = [row.result for row in group.rows if row.result.sketch is not None]
    values: list[tuple[str, list[float | None]]] = []
    chances = []
    for one in results:
        line: list[float | None] = []
        for two in results:
            # With itself a mask shares everything, which would only pale the rest.
            found = overlap(one, two) if one is not two else None
            line.append(found.index if found is not None else None)
            if found is not None:
                chances.append(found.chance)
        values.append((shelf.method_name(one.method), line))
    if not chances:
        return None, ""
    low, high = min(chances), max(chances)
    expected = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    heads = [name for name, _ in values]
    return _heat("Overlap of masks (Jaccard index)", heads, values, lambda v: f"{v:.2f}"), expected


def _per_cent(value: float) -> str:
    return f"{100 * value:.0f}"


def _heat(
    title: str,
    head: list[str],
    values: Sequence[tuple[str, list[float | None]]],
    show: Callable[[float], str],
) -> Heat:
    every = [value for _, line in values for value in line if value is not None]
    low, high = min(every), max(every)
    if high - low < LEAST:
        # Shades for differences that are none would lie.
        low, high = low - LEAST / 2, high + LEAST / 2

    def cell(name: str, column: str, value: float | None) -> HeatCell:
        if value is None:
            return HeatCell("–", 0, f"{name}, {column}")
        part = (value - low) / (high - low) if high > low else 0.5
        return HeatCell(show(value), 1 + round(part * (LEVELS - 1)), f"{name}, {column}")

    return Heat(
        title,
        head,
        [
            (name, [cell(name, column, value) for column, value in zip(head, line, strict=True)])
            for name, line in values
        ],
    )
