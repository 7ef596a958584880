"""Quality against budget: one section for every protocol, none of which shares a chart.

Figures measured here and figures that papers report become the same plain marks; everything
after that treats them alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from catalog.amounts import number, percent
from catalog.boards import Board
from catalog.figures import Figure, Protocol, differences, plain, ranked
from catalog.results import COUNTED, KEPT, comparable
from catalog.site import addresses, charts
from catalog.site.shelf import Measured, Shelf, setting

FEWEST = 3
"""Figures of pruned models, of two methods at least, that make a protocol worth a chart."""

CLOSE = 8
"""Times the dense model's perplexity up to which a chart is drawn once more, larger."""

UNITS = {
    "weights": "Share of the weights removed",
    "parameters": "Share of the parameters removed",
    "ratio": "Share removed, as the source counts",
    "heads": "Share of the attention heads removed",
    "layers": "Layers removed",
    "blocks": "Blocks removed",
    "experts": "Experts removed or kept",
    "size": "Parameters left, in billions",
    "shape": "Share of the parameters kept",
    "hidden": "Share of the hidden channels removed",
    "rank": "Share of the full rank kept",
    "cache": "Share of the cache kept",
    "pattern": "Patterns",
}
"""Axes, by the unit of a budget."""

_SHARED = ("model", "data", "metric", "sequence length")
"""Fields that a protocol of figures reported has as well as one of runs made here."""


@dataclass(frozen=True)
class Mark:
    """One figure: a method at a budget. `amount` is None where the budget is no number.

    `line` tells which figures one method's line joins; `group` the budgets that share an axis.
    """

    method: str
    detail: str
    trained: bool
    line: tuple[str, ...]
    group: str
    unit: str
    budget: str
    amount: float | None
    value: float
    source: str
    link: str | None = None
    inner: str | None = None
    disputed: bool = False

    @property
    def shown(self) -> str:
        """The value: as a source writes it, or with the digits that a run deserves."""
        return number(self.value, 4) if self.link is None else plain(self.value)

    @property
    def name(self) -> str:
        """Method and form, for a label."""
        return f"{self.method}, {self.detail}" if self.detail else self.method


@dataclass(frozen=True)
class Panel:
    """A chart of a section."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class Other:
    """Another protocol of the same model and data, with the fields in which it differs."""

    id: str
    title: str
    fields: list[str]


@dataclass
class Section:
    """One protocol: what it is, its charts, and its figures."""

    id: str
    kind: Literal["measured", "reported"]
    title: str
    conditions: str
    metric: str
    better: str
    dense: str | None
    marks: list[Mark]
    panels: list[Panel]
    others: list[Other] = field(default_factory=list)
    page: str | None = None
    group: str = ""
    shared: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, dict[str, str]]:
        """All that the protocol fixes, by the names of fields, for telling any two apart.

        `shared` fields are those of every protocol, measured here or reported; `own` ones can be
        told apart only within one kind.
        """
        return {"shared": self.shared, "own": self.own}


@dataclass
class Plots:
    """All sections, those measured here first; `few` protocols have too few figures."""

    sections: list[Section]
    few: int

    @property
    def groups(self) -> list[tuple[str, list[Section]]]:
        """The sections by what they are about, for the chooser."""
        found: dict[str, list[Section]] = {}
        for section in self.sections:
            found.setdefault(section.group, []).append(section)
        return [*found.items()]


def plots(shelf: Shelf, reported_pages: Mapping[Protocol, str]) -> Plots:
    """Every protocol of a catalog that is worth a chart; some have a page of their own."""
    figures = shelf.catalog.figures
    # A method keeps its colour over the whole page; the frequent ones share none.
    styles = _Styles(
        [shelf.method_name(each.method) for group in shelf.measured() for each in group.results]
        + [each.method for each in figures.all if not each.is_dense]
    )
    sections = [
        made for group in shelf.measured() if (made := _of_runs(shelf, group, styles)) is not None
    ]
    measured = shelf.measured()
    few = len(measured) - len(sections)
    _tell_runs_apart(sections, measured)
    reported: dict[Protocol, Section] = {}
    for protocol, members in figures.protocols.items():
        section = _of_figures(shelf, protocol, members, styles)
        if section is None:
            few += 1
        else:
            section.page = reported_pages.get(protocol)
            reported[protocol] = section
    _tell_figures_apart(reported)
    order = sorted(
        reported.values(), key=lambda each: (each.metric != "perplexity", -len(each.marks), each.id)
    )
    return Plots([*sections, *order], few)


class _Styles:
    """A number for every method, the same wherever it is drawn."""

    def __init__(self, methods: Iterable[str]) -> None:
        count = Counter(method.casefold() for method in methods)
        ranked_names = sorted(count, key=lambda name: (-count[name], name))
        self._numbers = {name: number for number, name in enumerate(ranked_names)}

    def within(self, methods: Iterable[str]) -> dict[str, int]:
        """The styles of one chart: two methods share one only where there are more than styles."""
        found: dict[str, int] = {}
        taken: set[int] = set()
        for method in sorted(set(methods), key=lambda each: (self._of(each), each)):
            style = self._of(method) % charts.COLOURS
            free = [each for each in range(charts.COLOURS) if each not in taken]
            found[method] = style if style not in taken or not free else free[0]
            taken.add(found[method])
        return found

    def _of(self, method: str) -> int:
        return self._numbers.get(method.casefold(), 0)


def styles_of(shelf: Shelf, board: Board) -> dict[str, int]:
    """Colour and shape of each method of a leaderboard, by name."""
    names = [shelf.method_name(each.method) for each in board.results]
    return _Styles(names).within(names)


def section_of(shelf: Shelf, board: Board) -> Section | None:
    """The charts of one leaderboard; None where there is too little to draw."""
    styles = _Styles(shelf.method_name(each.method) for each in board.results)
    count = Counter(result.budget.unit for result in board.results)
    # One point makes no picture.
    drawn = [result for result in board.results if count[result.budget.unit] > 1]
    section = _of_runs(shelf, Measured(board.protocol, drawn), styles) if drawn else None
    if section is None or board.dense is None or board.metric != "perplexity":
        return section
    # A model that broke takes the whole scale, and those that did not fall on one line.
    limit = CLOSE * board.dense
    near = [
        each for each in drawn if each.quality.after is not None and each.quality.after <= limit
    ]
    closer = _of_runs(shelf, Measured(board.protocol, near), styles) if near else None
    if closer is not None:
        marks = Counter(mark.group for mark in closer.marks)
        cut = {mark.group for mark in section.marks if mark.value > limit and marks[mark.group] > 2}
        inside = {panel.title: panel for panel in closer.panels}
        panels = []
        for panel in section.panels:
            panels.append(panel)
            group = next((name for name in cut if UNITS.get(name) == panel.title), None)
            if group is not None and panel.title in inside:
                title = f"{panel.title}: the same up to {CLOSE} times the dense model's perplexity"
                panels.append(Panel(title, inside[panel.title].svg))
        section.panels = panels
    return section


def _tell_figures_apart(sections: dict[Protocol, Section]) -> None:
    for protocol, section in sections.items():
        section.others = [
            Other(other.id, other.conditions or other.title, differences(protocol, another))
            for another, other in sections.items()
            if another != protocol
            and (another.model, another.data, another.metric)
            == (protocol.model, protocol.data, protocol.metric)
        ]


def _tell_runs_apart(sections: list[Section], measured: list[Measured]) -> None:
    by_id = {f"measured-{i}": group for i, group in enumerate(measured, start=1)}
    for section in sections:
        for other in sections:
            if other is not section:
                one, two = by_id[section.id], by_id[other.id]
                fields = comparable(one.protocol, two.protocol)
                section.others.append(Other(other.id, other.title, fields))


def _told(value: object) -> str:
    """A field of a protocol in words."""
    if value is None or value == []:
        return "not stated"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return plain(value) if isinstance(value, float) else str(value)


def _flat(value: object, path: str = "") -> dict[str, str]:
    """The fields of a run's protocol by their paths, as `comparable` names them."""
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name, part in value.items():
            found |= _flat(part, f"{path}.{name}" if path else str(name))
        return found
    return {path: _told(value)}


def _of_runs(shelf: Shelf, group: Measured, styles: _Styles) -> Section | None:
    marks = []
    metric = group.results[0].quality.metric
    dense = group.results[0].quality.before
    for result in group.results:
        if result.quality.after is None or result.quality.metric != metric:
            continue
        method = shelf.method_name(result.method)
        pattern = result.options.get("pattern")
        unit = "pattern" if pattern else result.budget.unit
        amount = result.budget.achieved
        if pattern:
            budget = setting(result).removeprefix("pattern ")
        elif unit in COUNTED:
            budget = f"{amount:g} {unit}"
        else:
            budget = percent(amount) + (" kept" if unit in KEPT else "")
        marks.append(
            Mark(
                method,
                "",
                False,
                (result.method, unit),
                unit,
                unit,
                budget,
                None if pattern else amount,
                result.quality.after,
                "measured here",
                inner=shelf.method_page(result.method),
            )
        )
    model, text = group.protocol.model, group.protocol.evaluation
    length = f" of {text.length} tokens" if text.length else ""
    conditions = f"{text.samples} {'windows' if text.length else 'samples'}{length}, {model.dtype}"
    if group.protocol.calibration:
        used = group.protocol.calibration
        conditions += f", calibrated on {used.samples} windows of {used.source}"
    number_of = shelf.measured().index(group) + 1 if group in shelf.measured() else 1
    return _section(
        Section(
            f"measured-{number_of}",
            "measured",
            f"{model.name}, {text.source}: {metric}",
            f"{conditions}, protocol {group.protocol.name}",
            metric,
            "lower" if metric == "perplexity" else "higher",
            None,
            marks,
            [],
            page=shelf.board_page(group.results[0]),
            group="Measured here",
            shared={
                "measured": "here",
                "model": model.name,
                "data": text.source,
                "metric": metric,
                "sequence length": _told(text.length),
            },
            own=_flat(group.protocol.model_dump(mode="json")),
        ),
        dense,
        styles,
    )


def _of_figures(
    shelf: Shelf, protocol: Protocol, members: Sequence[Figure], styles: _Styles
) -> Section | None:
    figures = shelf.catalog.figures
    dense = [figure.value for figure in members if figure.is_dense]
    marks = []
    for each in ranked(members):
        figure = each.figure
        budget = figure.budget
        if figure.is_dense or budget is None:
            continue
        trained = figure.recovery != "none"
        variant = figure.measured.variant or ""
        detail = figure.recovery if trained else ""
        if (
            variant
            and variant.casefold() not in figure.method.casefold()
            and "(" not in figure.method
        ):
            detail = ", ".join(filter(None, (variant, detail)))
        marks.append(
            Mark(
                figure.method,
                detail,
                trained,
                (
                    figure.method,
                    variant,
                    figure.structure or "",
                    figure.recovery,
                    budget.also or "",
                    figure.origin.identifier,
                    figure.table.kind,
                ),
                f"{budget.unit} {budget.also or ''}",
                budget.unit,
                budget.label,
                None if budget.unit in ("pattern", "experts") else float(budget.amount),
                figure.value,
                figure.origin.name,
                link=figure.table.url,
                inner=addresses.paper(figure.about)
                if figure.about in shelf.catalog.entries
                else None,
                disputed=bool(figures.against(figure)),
            )
        )
    name = protocol.kind.meaning
    fields = protocol.fields()
    return _section(
        Section(
            figures.slugs[protocol],
            "reported",
            protocol.title,
            protocol.conditions,
            protocol.metric,
            protocol.kind.better,
            None,
            marks,
            [],
            group=f"Reported: {name}",
            shared={"measured": "by the sources"}
            | {field: _told(fields[field]) for field in _SHARED},
            own={field: _told(each) for field, each in fields.items() if field not in _SHARED},
        ),
        # Where two sources differ by a digit, a line for each would only blur.
        sorted(dense)[len(dense) // 2] if dense else None,
        styles,
    )


def _section(section: Section, dense: float | None, styles: _Styles) -> Section | None:
    """The section with its charts; None where there is too little to draw."""
    methods = {mark.method for mark in section.marks}
    if len(section.marks) < FEWEST or len(methods) < 2:
        return None
    section.dense = plain(dense) if dense is not None and section.kind == "reported" else None
    if dense is not None and section.kind == "measured":
        section.dense = number(dense, 4)
    groups: dict[str, list[Mark]] = {}
    for mark in section.marks:
        groups.setdefault(mark.group, []).append(mark)
    sources = {mark.source for mark in section.marks}
    axis = charts.Axis(
        f"{section.metric.capitalize()} ({section.better} is better)",
        # What papers report is shown as they write it.
        plain if section.kind == "reported" else lambda value: number(value, 4),
    )
    order = [*UNITS]
    for members in sorted(
        groups.values(),
        key=lambda each: (
            order.index(each[0].unit) if each[0].unit in order else len(order),
            each[0].group,
        ),
    ):
        section.panels.append(_panel(section, members, axis, dense, styles, len(sources) > 1))
    return section


def _panel(
    section: Section,
    marks: list[Mark],
    axis: charts.Axis,
    dense: float | None,
    styles: _Styles,
    several: bool,
) -> Panel:
    """A line chart where methods have figures at several budgets, else a dot plot."""
    unit = marks[0].unit
    also = marks[0].group.partition(" ")[2]
    title = UNITS.get(unit, unit.capitalize()) + (f", {also}" if also else "")
    amounts = {mark.amount for mark in marks}
    lines: dict[tuple[str, ...], list[Mark]] = {}
    for mark in marks:
        lines.setdefault(mark.line, []).append(mark)
    longest = max(len({mark.amount for mark in line}) for line in lines.values())
    label = f"{section.title}. {title}"
    repeated = _repeated(lines)
    style = styles.within(mark.method for mark in marks)
    if None not in amounts and longest > 1:
        series = [_series(line, style, several and repeated[key]) for key, line in lines.items()]
        series.sort(key=lambda each: (-each.points[-1].y, each.name))
        share = unit not in ("layers", "size", *COUNTED)
        whole = section.kind == "measured" and share

        def show(value: float) -> str:
            if whole:
                return percent(value)
            return f"{value:g}\u202f%" if share else f"{value:g}"

        svg = charts.line_chart(label, series, charts.Axis(title, show), axis, dense)
        return Panel(title, svg)
    budgets: dict[str, list[Mark]] = {}
    for mark in marks:
        budgets.setdefault(mark.budget, []).append(mark)
    sign = 1 if section.better == "lower" else -1
    bars = [
        (
            budget,
            [
                charts.Bar(
                    _label(mark, several and repeated[mark.line]),
                    style[mark.method],
                    mark.value,
                    _tip(mark),
                    mark.trained,
                )
                for mark in sorted(members, key=lambda each: (sign * each.value, each.name))
            ],
        )
        for budget, members in budgets.items()
    ]
    return Panel(title, charts.dot_plot(label, bars, axis, dense))


def _repeated(lines: dict[tuple[str, ...], list[Mark]]) -> dict[tuple[str, ...], bool]:
    """Which lines have a name that another one has too, so that the source must be named."""
    names = Counter(line[0].name for line in lines.values())
    return {key: names[line[0].name] > 1 for key, line in lines.items()}


def _label(mark: Mark, with_source: bool) -> str:
    return f"{mark.name} ({mark.source})" if with_source else mark.name


def _series(line: list[Mark], styles: dict[str, int], with_source: bool) -> charts.Series:
    points = [
        charts.Point(mark.amount, mark.value, _tip(mark))
        for mark in sorted(line, key=lambda each: (each.amount or 0, each.value))
        if mark.amount is not None
    ]
    first = line[0]
    return charts.Series(
        _label(first, with_source),
        styles[first.method],
        points,
        dashed=first.trained,
        # Two values at one budget: a line would jump up and down.
        joined=len({point.x for point in points}) == len(points),
    )


def _tip(mark: Mark) -> str:
    tip = f"{mark.name}, {mark.budget}: {mark.shown} ({mark.source})"
    return tip + ("; other sources report another value" if mark.disputed else "")
