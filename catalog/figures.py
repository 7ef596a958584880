"""Reported figures, one by one: which may be compared, which contradict each other, and ranks.

A figure counts as reported by its source, whoever's method it measures. Two figures are
comparable only under one protocol, and a window length that a source does not state is never
taken to be a known one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from catalog.reported import (
    DENSE,
    METRICS,
    SPECIAL,
    Budget,
    Kind,
    Measured,
    Metric,
    Report,
    Row,
    Suite,
    Table,
)
from catalog.schema import Entry

FOLDER = "catalog/reported"
"""Where the files are, below the root."""


@dataclass(frozen=True)
class Origin:
    """The source of figures: `key` where it has an entry; `identifier` is the file's name."""

    identifier: str
    name: str
    title: str
    url: str | None = None
    key: str | None = None
    arxiv: str | None = None


@dataclass(frozen=True)
class Protocol:
    """All that two figures must share to be comparable; equal protocols compare equal.

    `data` names the data set, or the suite whose tasks are averaged. `dense` stands in for a
    length that is not stated: what the source reports for the dense model. `only` names the
    source where its figures can be compared with nobody else's.
    """

    metric: str
    model: str | None
    data: str | None
    tasks: tuple[str, ...] = ()
    length: int | None = None
    special: str | None = None
    dense: float | None = None
    only: str | None = None
    only_name: str | None = field(default=None, compare=False)

    @property
    def kind(self) -> Metric:
        """What the metric means."""
        return METRICS[self.metric]

    @property
    def conditions(self) -> str:
        """How it was measured, in words, apart from model, data and metric."""
        parts = []
        if self.special is not None:
            special = SPECIAL[self.special]
            parts.append(f"{special.name}, windows of {special.length:,} tokens")
        elif self.length is not None:
            parts.append(f"windows of {self.length:,} tokens")
        elif self.kind.windows:
            parts.append("window length not stated")
            if self.dense is not None:
                parts.append(f"dense model {plain(self.dense)}")
        if self.only is not None:
            parts.append(f"only as {self.only_name or self.only} measures")
        return ", ".join(parts)

    @property
    def title(self) -> str:
        """Model, data and metric in one line."""
        model = self.model or "model not stated"
        return f"{model}, {self.data or 'data not named'}: {self.metric}"

    def fields(self) -> dict[str, object]:
        """The fields by the names that people read, for comparisons and for JSON."""
        return {
            "model": self.model,
            "data": self.data,
            "tasks": list(self.tasks),
            "metric": self.metric,
            "sequence length": self.length,
            "special protocol": self.special,
            "dense value in place of a length": self.dense,
            "source": self.only,
        }

    @property
    def order(self) -> tuple[str, ...]:
        """A fixed order for lists of protocols."""
        return tuple(
            str(part)
            for part in (
                self.data or "~",
                self.metric,
                _natural(self.model or "~"),
                f"{self.length or 0:08}",
                self.special or "",
                self.dense if self.dense is not None else "",
                self.only or "",
                self.tasks,
            )
        )


def _natural(name: str) -> str:
    """A name that sorts by its numbers: 7B before 13B."""
    return re.sub(r"[0-9]+", lambda match: match[0].zfill(6), name.casefold())


def differences(one: Protocol, two: Protocol) -> list[str]:
    """The fields in which two protocols differ; empty if figures may be ranked together."""
    second = two.fields()
    return [name for name, value in one.fields().items() if value != second[name]]


@dataclass(frozen=True)
class Figure:
    """One reported value. `place` leads to it in its file; `about` is the key it concerns."""

    origin: Origin
    table: Table
    method: str
    measured: Measured
    model: str | None
    dataset: str | None
    suite: Suite | None
    structure: str | None
    budget: Budget | None
    recovery: str
    note: str | None
    value: float
    path: str
    place: tuple[str | int, ...]
    protocol: Protocol

    @property
    def is_dense(self) -> bool:
        """Whether the model was measured before pruning."""
        return self.method == DENSE

    @property
    def about(self) -> str | None:
        """The key of the method's paper, where it has an entry."""
        return self.measured.key

    @property
    def is_own(self) -> bool:
        """Whether the source measured its own method."""
        if self.origin.key is not None:
            return self.about == self.origin.key
        return self.origin.arxiv is not None and self.measured.arxiv == self.origin.arxiv

    @property
    def said(self) -> str:
        """Whose word the figure is; only its own authors' where they measured it themselves."""
        if self.is_own and self.table.kind not in ("reproduction", "quoted"):
            return "as its own authors report"
        return self.told

    @property
    def told(self) -> str:
        """Which source says so, and whether it measured, measured again or quotes."""
        verb = {"reproduction": "measured again by", "quoted": "quoted by"}
        return f"{verb.get(self.table.kind, 'as reported by')} {self.origin.name}"

    @property
    def identity(self) -> tuple[object, ...]:
        """Method, form, budget, structure and recovery: what a value is a value of."""
        measured = self.measured
        paper = measured.key or measured.arxiv or measured.url or self.method.casefold()
        budget = self.budget.identity if self.budget else ()
        return (paper, measured.variant or "", budget, self.structure or "", self.recovery)

    @property
    def setting(self) -> tuple[object, ...]:
        """`identity` under its protocol; figures that share it should agree."""
        return (self.protocol, *self.identity)

    @property
    def budget_label(self) -> str:
        """The budget for readers."""
        return DENSE if self.is_dense else self.budget.label if self.budget else "not stated"

    def to_dict(self) -> dict[str, object]:
        """The figure as plain data, for JSON."""
        budget = self.budget
        return {
            "method": self.method,
            "paper": self.about,
            "paper_arxiv": self.measured.arxiv,
            "variant": self.measured.variant,
            "model": self.model,
            "dataset": self.dataset,
            "suite": self.suite.model_dump() if self.suite else None,
            "metric": self.table.metric,
            "value": self.value,
            "budget": {
                "unit": budget.unit,
                "amount": budget.amount,
                "words": budget.words,
                "also": budget.also,
            }
            if budget
            else None,
            "structure": self.structure,
            "recovery": self.recovery,
            "note": self.note,
            "reported_by": self.origin.key or self.origin.identifier,
            "reported_as": self.table.kind,
            "own_method": self.is_own,
            "where": self.table.where,
            "url": self.table.url,
            "protocol": slug_of(self.protocol),
        }


@dataclass(frozen=True)
class Ranked:
    """A figure with its rank among those of equal budget; None for the dense model."""

    figure: Figure
    rank: int | None


@dataclass
class Figures:
    """All figures of the catalog, grouped by protocol."""

    all: list[Figure] = field(default_factory=list)

    @cached_property
    def protocols(self) -> dict[Protocol, list[Figure]]:
        """The figures of each protocol, the protocols in their fixed order."""
        found: dict[Protocol, list[Figure]] = {}
        for figure in self.all:
            found.setdefault(figure.protocol, []).append(figure)
        return {each: found[each] for each in sorted(found, key=lambda each: each.order)}

    @cached_property
    def _conflicts(self) -> dict[tuple[object, ...], list[Figure]]:
        groups: dict[tuple[object, ...], list[Figure]] = {}
        for figure in self.all:
            groups.setdefault(figure.setting, []).append(figure)
        precision = _precision(self.all)
        return {setting: group for setting, group in groups.items() if _disagree(group, precision)}

    @property
    def conflicts(self) -> list[list[Figure]]:
        """Figures of the same thing under the same protocol that differ beyond rounding."""
        return list(self._conflicts.values())

    def against(self, figure: Figure) -> list[Figure]:
        """The other figures of a conflict; empty where nobody reports anything else."""
        group = self._conflicts.get(figure.setting, [])
        return [other for other in group if other is not figure and other.value != figure.value]

    def by(self, key: str) -> list[Figure]:
        """What the authors of a paper report, of their own method and of others'."""
        return [figure for figure in self.all if figure.origin.key == key]

    def about(self, key: str) -> list[Figure]:
        """What others report about a paper's method."""
        return [figure for figure in self.all if figure.about == key and figure.origin.key != key]

    @cached_property
    def slugs(self) -> dict[Protocol, str]:
        """A short name of each protocol for addresses; no two are the same."""
        found: dict[Protocol, str] = {}
        taken: set[str] = set()
        for protocol in self.protocols:
            slug = slug_of(protocol)
            if slug in taken:
                slug = f"{slug}-{_digest(protocol)}"
            taken.add(slug)
            found[protocol] = slug
        return found


def ranked(figures: Iterable[Figure]) -> list[Ranked]:
    """Figures of one protocol: the dense model first, then budget by budget from the best.

    Raises ValueError if the protocols are several: nothing could be ranked then.
    """
    rows = list(figures)
    if len({figure.protocol for figure in rows}) > 1:
        raise ValueError("figures of several protocols cannot be ranked")
    if not rows:
        return []
    sign = 1 if rows[0].protocol.kind.better == "lower" else -1
    dense = [figure for figure in rows if figure.is_dense]
    found = [Ranked(figure, None) for figure in sorted(dense, key=lambda each: sign * each.value)]
    budgets: dict[tuple[str, ...], list[Figure]] = {}
    for figure in rows:
        if not figure.is_dense:
            budgets.setdefault(figure.budget.identity if figure.budget else (), []).append(figure)
    for group in sorted(budgets.values(), key=_budget_order):
        group.sort(key=lambda each: (sign * each.value, each.method.casefold(), each.path))
        values = [figure.value for figure in group]
        found += [Ranked(figure, values.index(figure.value) + 1) for figure in group]
    return found


def _budget_order(group: Sequence[Figure]) -> tuple[int, float, str]:
    budget = group[0].budget
    return budget.order if budget else (99, 0.0, "")


def slug_of(protocol: Protocol) -> str:
    """A protocol's name in addresses, the same whatever else the catalog holds."""
    parts = [protocol.model or "model not stated", protocol.data or "data not named"]
    parts.append(protocol.metric)
    if protocol.special is not None:
        parts.append(protocol.special)
    elif protocol.length is not None:
        parts.append(str(protocol.length))
    elif protocol.dense is not None:
        parts.append(f"dense {plain(protocol.dense)}")
    if protocol.only is not None:
        parts.append(f"by {protocol.only}")
    name = re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
    # File systems have limits, and a name from another script leaves nothing behind.
    return name if 0 < len(name) <= 100 else f"{name[:90]}-{_digest(protocol)}".strip("-")


def _digest(protocol: Protocol) -> str:
    return hashlib.sha256(repr(protocol.fields()).encode()).hexdigest()[:8]


def _precision(figures: Iterable[Figure]) -> dict[tuple[str, int | str], int]:
    """Decimals of each table: a table of 5.12 and 6.6 has two, as YAML drops closing zeros."""
    found: dict[tuple[str, int | str], int] = {}
    for figure in figures:
        digits = len(f"{figure.value:.10f}".rstrip("0").partition(".")[2])
        table = (figure.path, figure.place[1])
        found[table] = max(found.get(table, 0), digits)
    return found


def _disagree(group: Sequence[Figure], precision: Mapping[tuple[str, int | str], int]) -> bool:
    """Whether two values cannot be roundings of one number."""
    bounds = []
    for figure in group:
        digits = precision[figure.path, figure.place[1]]
        if figure.value >= 100 and figure.value.is_integer():
            # 582 or 6.9e3 among values with decimals: who wrote it rounded by hand.
            digits = 0
        half = 0.5 * 10.0**-digits
        bounds.append((figure.value - half, figure.value + half))
    # A hair's breadth for sums that floating point does not hit.
    return max(low for low, _ in bounds) > min(high for _, high in bounds) + 1e-9


def collect(reports: Mapping[str, Report], entries: Mapping[str, Entry]) -> Figures:
    """The figures of all files; `reports` is by the name of the file without its ending."""
    found: list[Figure] = []
    for identifier, report in reports.items():
        found += _of_report(identifier, report, entries)
    return Figures(found)


def _origin(identifier: str, report: Report, entries: Mapping[str, Entry]) -> Origin:
    source = report.source
    entry = entries.get(source.key) if source.key is not None else None
    if entry is not None:
        url = entry.links.paper or (entry.links.code.url if entry.links.code else None)
        return Origin(identifier, entry.name or entry.key, entry.title, url, entry.key)
    name = source.name or source.key or identifier
    return Origin(identifier, name, source.title or name, source.url, source.key, source.arxiv)


@dataclass(frozen=True)
class _Cell:
    """A value of a table with what its row and column say, before its protocol is known."""

    table: Table
    row: Row
    model: str | None
    dataset: str | None
    value: float
    place: tuple[str | int, ...]


def _cells(report: Report) -> list[_Cell]:
    found = []
    for t, table in enumerate(report.tables):
        for r, row in enumerate(table.rows):
            here = ("tables", t, "rows", r)
            if row.value is not None:
                place = (*here, "value")
                found.append(_Cell(table, row, table.model, table.dataset, row.value, place))
            for name, value in (row.values or {}).items():
                model, dataset = table.model, table.dataset
                if table.columns == "model":
                    model = name
                else:
                    dataset = name
                found.append(_Cell(table, row, model, dataset, value, (*here, "values", name)))
    return found


def _of_report(identifier: str, report: Report, entries: Mapping[str, Entry]) -> list[Figure]:
    origin = _origin(identifier, report, entries)
    cells = _cells(report)
    figures = []
    for cell in cells:
        table, row = cell.table, cell.row
        dense = row.method == DENSE
        figures.append(
            Figure(
                origin=origin,
                table=table,
                method=row.method,
                measured=report.methods.get(row.method, Measured()),
                model=cell.model,
                dataset=cell.dataset,
                suite=table.suite,
                structure=None if dense else row.structure or table.structure,
                budget=None if dense else row.budget or table.budget,
                recovery="none" if dense else row.recovery or table.recovery or "none",
                note=row.note or table.note,
                value=cell.value,
                path=f"{FOLDER}/{identifier}.yaml",
                place=cell.place,
                protocol=_protocol(origin, cell, cells),
            )
        )
    return figures


def _protocol(origin: Origin, cell: _Cell, cells: Sequence[_Cell]) -> Protocol:
    table = cell.table
    metric = METRICS[table.metric]
    length = SPECIAL[table.protocol].length if table.protocol else table.sequence_length
    named = cell.dataset is not None or bool(table.suite and table.suite.tasks)
    tasks = tuple(sorted(table.suite.tasks)) if table.suite else ()
    data = cell.dataset or (_suite_label(table.suite) if table.suite else None)
    dense, only = None, None
    if metric.own_setup or not named or cell.model is None:
        only = origin.identifier
    elif metric.windows and length is None:
        dense = _dense_value(cell, cells)
        only = origin.identifier if dense is None else None
    return Protocol(
        metric=table.metric,
        model=cell.model,
        data=data,
        tasks=tasks,
        length=length if metric.windows else None,
        special=table.protocol,
        dense=dense,
        only=only,
        only_name=origin.name if only is not None else None,
    )


def _suite_label(suite: Suite) -> str:
    if not suite.tasks:
        return suite.name
    # Two sources may call one suite differently, so its tasks are its name.
    return f"mean of {', '.join(sorted(suite.tasks))}"


def _dense_value(cell: _Cell, cells: Sequence[_Cell]) -> float | None:
    """What the source reports for the dense model where the cell stands, if that is plain.

    The table's own value counts before those of other tables; two that differ are none.
    """

    def values(tables: Iterable[_Cell]) -> set[float]:
        return {
            other.value
            for other in tables
            if other.row.method == DENSE
            and (other.model, other.dataset) == (cell.model, cell.dataset)
            and other.table.metric == cell.table.metric == "perplexity"
            and other.table.sequence_length is None
            and other.table.protocol is None
        }

    found = values(other for other in cells if other.table is cell.table) or values(cells)
    return found.pop() if len(found) == 1 else None


def plain(value: float) -> str:
    """A value as sources write it, without an exponent for the sizes that occur."""
    return f"{value:.10g}"


def source_kind(kind: Kind) -> str:
    """Where figures were read, in words."""
    return {
        "repository": "official repository",
        "image": "image in the official repository",
        "model-card": "official model card",
        "paper": "paper",
        "abstract": "abstract",
        "reproduction": "reproduction",
        "quoted": "quoted beside a reproduction",
    }[kind]
