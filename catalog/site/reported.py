"""Reported figures as the pages need them: one table a protocol, never two in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from catalog.figures import Figure, Figures, Protocol, Ranked, differences, ranked
from catalog.schema import Entry
from catalog.site import addresses
from catalog.site.shelf import Shelf

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

    def index(self) -> list[tuple[str, list[Group]]]:
        """The protocols that have pages, by data and metric; where most is to see comes first."""
        found: dict[str, list[Group]] = {}
        for protocol in self.pages:
            title = f"{protocol.data or 'Data not named'}: {protocol.metric}"
            found.setdefault(title, []).append(self.group(protocol))
        figures = {
            title: sum(len(group.lines) for group in groups) for title, groups in found.items()
        }
        return sorted(found.items(), key=lambda item: (-figures[item[0]], item[0]))

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
