"""Reported figures as the pages need them: one table a protocol, never two in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from catalog.figures import Figure, Figures, Protocol, Ranked, differences, ranked
from catalog.schema import Entry
from catalog.site import addresses
from catalog.site.shelf import Shelf, called

ENOUGH = 3
"""Figures, of two methods at least, from which on a protocol has a page of its own."""

NEAR = 10
"""Other protocols that a page lists to say in what they differ."""


@dataclass(frozen=True)
class Line:
    """A row of a table: a figure, its rank, the page of its method, and what others report."""

    figure: Figure
    rank: int | None
    page: str | None
    others: list[Figure]
    new_budget: bool


@dataclass(frozen=True)
class Group:
    """Figures of one protocol, in the order of their ranks; `page` is None where it has none."""

    protocol: Protocol
    page: str | None
    lines: list[Line]

    @property
    def trained(self) -> bool:
        """Whether any of them was trained after pruning."""
        return any(line.figure.recovery != "none" for line in self.lines)

    @property
    def place(self) -> Figure | None:
        """A figure that stands for all, where all were read from one place in one way."""
        places = {
            (line.figure.table.url, line.figure.table.where, line.figure.told, line.figure.note)
            for line in self.lines
        }
        return self.lines[0].figure if len(places) == 1 and len(self.lines) > 1 else None

    @property
    def disputed(self) -> int:
        """How many of them others contradict."""
        return sum(bool(line.others) for line in self.lines)


@dataclass(frozen=True)
class Against:
    """What sources report of a later method beside an earlier one, each pair like for like.

    A pair has one source and place, one protocol, budget, kind of removal and training. `example`
    is not the greatest difference: it is the authors' own pair where there is one, then that of
    the setting that most figures of the catalog share.
    """

    later: Entry
    example: tuple[Figure, Figure]
    better: int
    equal: int
    pairs: int
    page: str | None

    @property
    def words(self) -> str:
        """In how many pairs the later method is better."""
        equal = f", level in {self.equal}" if self.equal else ""
        return f"better in {self.better} of {self.pairs}{equal}"


class Reported:
    """The figures of one catalog, prepared for writing pages."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    @property
    def figures(self) -> Figures:
        """All of them."""
        return self.shelf.catalog.figures

    def comparable(self, key: str) -> set[str]:
        """The other papers of which there are figures under one protocol with those of a paper."""
        return self._together.get(key, set()) - {key}

    @cached_property
    def _together(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for members in self.figures.protocols.values():
            abouts = {each.about for each in members if each.about is not None}
            keys = abouts & self.shelf.catalog.entries.keys()
            for each in keys:
                found.setdefault(each, set()).update(keys)
        return found

    def against(self, earlier: Entry) -> list[Against]:
        """What is reported of the papers that refer to one, beside its own method."""
        later = {each.key: each.entry for each in self.shelf.built_on_by(earlier)}
        found = [self._against(each, earlier) for each in later.values() if each is not None]
        return [each for each in found if each is not None]

    def _against(self, later: Entry, earlier: Entry) -> Against | None:
        bases: dict[tuple[object, ...], list[Figure]] = {}
        for figure in self._of.get(earlier.key, []):
            if not figure.measured.variant:
                bases.setdefault(_like(figure), []).append(figure)
        mine: dict[tuple[object, ...], list[Figure]] = {}
        for figure in self._of.get(later.key, []):
            # A method without one of its parts is no claim about the method.
            if "ablation" in f"{figure.method} {figure.measured.variant}".casefold():
                continue
            mine.setdefault(_like(figure), []).append(figure)
        name = called(earlier).casefold()
        pairs: list[tuple[Figure, Figure]] = []
        for like, figures in mine.items():
            # "OWL (with Wanda)" is the one to be seen beside Wanda, not "OWL (with SparseGPT)".
            on_it = [each for each in figures if name in (each.measured.variant or "").casefold()]
            whole = [each for each in figures if not each.measured.variant]
            pairs += product(on_it or whole or figures, bases.get(like, []))
        if not pairs:
            return None
        signs = [1 if each.protocol.kind.better == "lower" else -1 for each, _ in pairs]
        gaps = [
            sign * (base.value - each.value)
            for sign, (each, base) in zip(signs, pairs, strict=True)
        ]
        example = max(pairs, key=lambda pair: (pair[0].is_own, self._use[_setting(pair[0])]))
        return Against(
            later,
            example,
            sum(gap > 0 for gap in gaps),
            sum(gap == 0 for gap in gaps),
            len(pairs),
            self.pages.get(example[0].protocol),
        )

    @cached_property
    def _of(self) -> dict[str, list[Figure]]:
        found: dict[str, list[Figure]] = {}
        for figure in self.figures.all:
            if figure.about is not None:
                found.setdefault(figure.about, []).append(figure)
        return found

    @cached_property
    def _use(self) -> Counter[tuple[object, ...]]:
        return Counter(_setting(figure) for figure in self.figures.all if not figure.is_dense)

    @cached_property
    def pages(self) -> dict[Protocol, str]:
        """The page of each protocol that has one."""
        return {
            protocol: addresses.reported(self.figures.slugs[protocol])
            for protocol, all_of_it in self.figures.protocols.items()
            if len(all_of_it) >= ENOUGH
            and len({each.method for each in all_of_it if not each.is_dense}) > 1
        }

    @cached_property
    def _whole(self) -> dict[Protocol, Group]:
        return {
            each: self._group(each, all_of_it) for each, all_of_it in self.figures.protocols.items()
        }

    def group(self, protocol: Protocol) -> Group:
        """All figures of a protocol."""
        return self._whole[protocol]

    def _group(self, protocol: Protocol, figures: Iterable[Figure]) -> Group:
        lines: list[Line] = []
        for each in ranked(figures):
            budget = each.figure.budget_label
            apart = bool(lines) and lines[-1].figure.budget_label != budget
            lines.append(self._line(each, apart))
        return Group(protocol, self.pages.get(protocol), lines)

    def _line(self, each: Ranked, apart: bool) -> Line:
        figure = each.figure
        entry = self.shelf.catalog.entries.get(figure.about or "")
        page = addresses.paper(entry.key) if entry is not None else None
        return Line(figure, each.rank, page, self.figures.against(figure), apart)

    def groups(self, figures: Iterable[Figure]) -> list[Group]:
        """Any figures, a group for each of their protocols."""
        found: dict[Protocol, list[Figure]] = {}
        for figure in figures:
            found.setdefault(figure.protocol, []).append(figure)
        return [self._group(each, found[each]) for each in self.figures.protocols if each in found]

    def of_paper(self, entry: Entry) -> list[tuple[str, str, list[Group]]]:
        """What the paper reports and what others report about its method: id, title, groups."""
        parts = [
            ("reported-by", "By this paper", self.groups(self.figures.by(entry.key))),
            (
                "reported-about",
                "By others, about its method",
                self.groups(self.figures.about(entry.key)),
            ),
        ]
        return [part for part in parts if part[2]]

    def near(self, protocol: Protocol) -> list[tuple[Group, str]]:
        """Protocols with a page that differ little from one, with the fields in which they do."""
        found = []
        for other in self.pages:
            fields = differences(protocol, other)
            # Another data set or another metric is another question.
            if fields and not {"data", "metric"} & {*fields}:
                found.append((len(fields), self.group(other), ", ".join(fields)))
        found.sort(key=lambda each: each[0])
        return [(group, fields) for _, group, fields in found[:NEAR]]

    def index(self) -> list[tuple[str, list[tuple[str, list[Group]]]]]:
        """The protocols that have pages, by data and metric and then by model.

        Where most is to see comes first.
        """
        found: dict[str, dict[str, list[Group]]] = {}
        figures: Counter[str] = Counter()
        for protocol in self.pages:
            title = f"{protocol.data or 'Data not named'}: {protocol.metric}"
            title = title[:1].upper() + title[1:]
            group = self.group(protocol)
            models = found.setdefault(title, {})
            models.setdefault(protocol.model or "Model not stated", []).append(group)
            figures[title] += len(group.lines)
        titles = sorted(found, key=lambda title: (-figures[title], title))
        return [(title, [*found[title].items()]) for title in titles]

    def rest(self) -> list[Group]:
        """The protocols that have too few figures for a page."""
        return [self.group(each) for each in self.figures.protocols if each not in self.pages]

    def on(self, names: Iterable[str]) -> list[Group]:
        """The protocols with a page whose model, data set or task has one of the names."""
        wanted = {*names}
        return [
            self.group(each)
            for each in self.pages
            if each.model in wanted or each.data in wanted or wanted & {*each.tasks}
        ]


def _setting(figure: Figure) -> tuple[object, ...]:
    """Under what a value was measured, whatever the method."""
    return (figure.protocol, *figure.identity[2:])


def _like(figure: Figure) -> tuple[object, ...]:
    """What two figures must share to stand beside each other: also source, place and its kind."""
    table = figure.table
    return (figure.origin.identifier, table.url, table.kind, *_setting(figure))
