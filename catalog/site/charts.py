"""Charts as SVG, drawn here rather than by a plotting library.

Two forms are all that the site needs, and a library's SVG would have to be taken apart again:
its colours are fixed where ours must follow the reader's light or dark scheme, its text becomes
outlines where ours stays text, and it weighs more than the rest of the site's dependencies.
Every colour comes from a class; site/assets/see.css says what that is in each scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from catalog.amounts import number
from catalog.site.glance import cut

COLOURS = 8
"""Colours of series; see.css has one class each, and `_SHAPES` one shape each."""

_CHARACTER = 6.6
_LINE = 17.0


@dataclass(frozen=True)
class Point:
    """A value at a budget; `tip` says all of it."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class Series:
    """One line: what it is, which colour and shape, and its points by growing x.

    `dashed`: the weights were trained or the survivors changed afterwards. `joined`: whether a
    line through the points means anything.
    """

    name: str
    style: int
    points: Sequence[Point]
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """What an axis shows; `show` writes a value."""

    title: str
    show: Callable[[float], str] = number


@dataclass(frozen=True)
class Bar:
    """A row of a dot plot."""

    name: str
    style: int
    value: float
    tip: str
    dashed: bool = False


class Scale:
    """From values to places, linear or by their logarithm, with ticks at round numbers."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool) -> None:
        if not values:
            raise ValueError("a scale needs values")
        self.start, self.end, self.log = start, end, log and min(values) > 0
        low, high = min(values), max(values)
        if self.log:
            # Half a step of air on both sides.
            low, high = low / 1.12, high * 1.12
            self.ticks = _log_ticks(low, high)
        else:
            if low == high:
                low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
            air = (high - low) * 0.07
            low, high = low - air, high + air
            self.ticks = _linear_ticks(low, high)
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


def needs_log(values: Sequence[float]) -> bool:
    """Whether small differences would vanish on a linear axis."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 5


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [
            step * 10.0**decade for decade in decades for step in steps
            if low <= step * 10.0**decade <= high
        ]  # fmt: skip
        if len(found) <= 8:
            break
    return found if len(found) > 1 else _linear_ticks(low, high)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(each * step, 10) for each in range(first, last + 1)]


def marker(style: int, x: float, y: float, *, hollow: bool = False) -> Markup:
    """The sign of a series: its shape differs with its colour."""
    kind = "c-open" if hollow else "c-fill"
    path = _SHAPES[style % COLOURS].format(x=x, y=y)
    return Markup('<path class="{}" d="{}"/>').format(kind, path)


def _shape(*corners: tuple[float, float]) -> str:
    first, *rest = corners
    text = "M{{x}} {{y}}m{} {}".format(*first)
    before = first
    for corner in rest:
        text += f"l{round(corner[0] - before[0], 2)} {round(corner[1] - before[1], 2)}"
        before = corner
    return text + "z"


_SHAPES = (
    "M{x} {y}m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    _shape((-4, -4), (4, -4), (4, 4), (-4, 4)),
    _shape((0, -5), (4.8, 3.8), (-4.8, 3.8)),
    _shape((0, -5.4), (5.4, 0), (0, 5.4), (-5.4, 0)),
    _shape((0, 5), (4.8, -3.8), (-4.8, -3.8)),
    _shape((-1.7, -5), (1.7, -5), (1.7, -1.7), (5, -1.7), (5, 1.7), (1.7, 1.7), (1.7, 5),
           (-1.7, 5), (-1.7, 1.7), (-5, 1.7), (-5, -1.7), (-1.7, -1.7)),
    _shape((-5, -2.6), (-2.6, -5), (0, -2.4), (2.6, -5), (5, -2.6), (2.4, 0), (5, 2.6), (2.6, 5),
           (0, 2.4), (-2.6, 5), (-5, 2.6), (-2.4, 0)),
    _shape((0, -5), (4.8, -1.5), (3, 4.2), (-3, 4.2), (-4.8, -1.5)),
)  # fmt: skip


def line_chart(
    title: str,
    series: Sequence[Series],
    x_axis: Axis,
    y_axis: Axis,
    dense: float | None = None,
    *,
    round_ticks: bool = False,
) -> Markup:
    """Quality against budget, one line a series, each with its name at its right end.

    `dense` is the unpruned model's value, a dashed line across. The order of `series` is the
    order of drawing; every series has a point. The places of the points are marked on the lower
    axis, or with `round_ticks` round numbers instead.
    """
    values = [point.y for each in series for point in each.points]
    everything = [*values, dense] if dense is not None else values
    right, width = 560.0, 860.0
    height = max(380.0, 90 + _LINE * (len(series) + 1))
    top, bottom = 34.0, height - 52
    x = Scale([p.x for each in series for p in each.points], 70, right - 14, log=False)
    if not round_ticks:
        x.ticks = sorted({point.x for each in series for point in each.points})
    y = Scale(everything, bottom, top, log=needs_log(everything))
    parts = [_y_axis(y, y_axis, 58, right, top)]
    before = -1e9
    for tick in x.ticks:
        place = x(tick)
        parts.append(_line("c-grid", place, top, place, bottom))
        if place - before > 34:
            parts.append(_text(place, bottom + 19, x_axis.show(tick), "middle"))
            before = place
    parts.append(_text((58 + right) / 2, height - 12, x_axis.title, "middle", "c-title"))
    parts.append(_line("c-axis", 58, bottom, right, bottom))
    wanted = []
    if dense is not None:
        parts.append(_line("c-dense", 58, y(dense), right, y(dense)))
        wanted.append(y(dense))
    wanted += [y(each.points[-1].y) for each in series]
    places = _apart(wanted, top, bottom + 30)
    if dense is not None:
        parts.append(_text(right + 22, places[0] + 4, f"dense model {y_axis.show(dense)}", "start"))
        parts.append(_line("c-lead", right, y(dense), right + 18, places[0]))
        places = places[1:]
    for each, place in zip(series, places, strict=True):
        parts.append(_series(each, x, y, right, place))
    return _svg(title, width, height, parts)


def _series(each: Series, x: Scale, y: Scale, right: float, place: float) -> Markup:
    last = each.points[-1]
    parts = []
    if each.joined and len(each.points) > 1:
        path = "L".join(f"{x(point.x)} {y(point.y)}" for point in each.points)
        dashed = " c-dashed" if each.dashed else ""
        parts.append(Markup('<path class="c-line{}" d="M{}"/>').format(dashed, path))
    parts.append(_line("c-lead", x(last.x) + 7, y(last.y), right + 18, place))
    parts += [
        Markup("<g>{}<title>{}</title></g>").format(
            marker(each.style, x(point.x), y(point.y), hollow=each.dashed), point.tip
        )
        for point in each.points
    ]
    parts.append(marker(each.style, right + 27, place, hollow=each.dashed))
    parts.append(_text(right + 38, place + 4, cut(each.name, 38), "start", "c-name"))
    inner = Markup("").join(parts)
    return Markup('<g class="c-series s{}">{}</g>').format(each.style % COLOURS + 1, inner)


def dot_plot(
    title: str, groups: Sequence[tuple[str, Sequence[Bar]]], axis: Axis, dense: float | None = None
) -> Markup:
    """One row a method, best first, with its value beside it; a group for every budget."""
    values = [bar.value for _, bars in groups for bar in bars]
    everything = [*values, dense] if dense is not None else values
    # Short names leave the room to the values, which a small screen would cut off.
    named = max(len(cut(bar.name, 38)) for _, bars in groups for bar in bars)
    budgets = max(len(name) for name, _ in groups)
    left = min(270.0, max(120.0, 24 + _CHARACTER * named, 16 + _CHARACTER * budgets))
    right, width = left + 500, left + 590
    rows = sum(len(bars) for _, bars in groups)
    height = 84 + rows * 22.0 + len(groups) * 30 + (14 if dense is not None else 0)
    top, bottom = 18.0 + (14 if dense is not None else 0), height - 50
    x = Scale(everything, left + 6, right, log=needs_log(everything))
    parts = []
    for tick in x.ticks:
        parts.append(_line("c-grid", x(tick), top, x(tick), bottom))
        parts.append(_text(x(tick), bottom + 19, _tick(tick), "middle"))
    parts.append(
        _text((left + right) / 2, height - 10, axis.title + _scale(x), "middle", "c-title")
    )
    if dense is not None:
        parts.append(_line("c-dense", x(dense), top - 4, x(dense), bottom))
        parts.append(_text(x(dense), top - 9, f"dense model {axis.show(dense)}", "middle"))
    y = top
    for name, bars in groups:
        y += 22
        parts.append(_text(8, y, name, "start", "c-group"))
        for bar in bars:
            y += 22
            parts.append(
                Markup('<g class="c-series s{}">{}{}<g>{}<title>{}</title></g>{}</g>').format(
                    bar.style % COLOURS + 1,
                    _text(left - 10, y, cut(bar.name, 38), "end", "c-name"),
                    _line("c-lead", left, y - 4, x(bar.value) - 7, y - 4),
                    marker(bar.style, x(bar.value), y - 4, hollow=bar.dashed),
                    bar.tip,
                    _text(x(bar.value) + 11, y, axis.show(bar.value), "start"),
                )
            )
        y += 8
    return _svg(title, width, height, parts)


def _y_axis(y: Scale, axis: Axis, left: float, right: float, top: float) -> Markup:
    parts = [_text(8, top - 16, axis.title + _scale(y), "start", "c-title")]
    for tick in y.ticks:
        parts.append(_line("c-grid", left, y(tick), right, y(tick)))
        parts.append(_text(left - 8, y(tick) + 4, _tick(tick), "end"))
    return Markup("").join(parts)


def _tick(value: float) -> str:
    """A round number without the zeros that would claim precision."""
    if value and (abs(value) >= 1e7 or abs(value) < 1e-4):
        return f"{value:g}"
    return f"{value:,.10g}".replace(",", "\u202f")


def _scale(scale: Scale) -> str:
    return ", logarithmic" if scale.log else ""


def _apart(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Places at least a line apart, in the order of and near to the wanted ones."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    before = top - _LINE
    for i in order:
        before = places[i] = max(wanted[i], before + _LINE)
    limit = bottom + _LINE
    for i in reversed(order):
        limit = places[i] = min(places[i], limit - _LINE)
    return [round(place, 1) for place in places]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    look = Markup(' class="{}"').format(kind) if kind else ""
    side = "" if anchor == "start" else Markup(' text-anchor="{}"').format(anchor)
    return Markup('<text x="{}" y="{}"{}{}>{}</text>').format(
        round(x, 1), round(y, 1), side, look, text
    )


def _line(kind: str, x: float, y: float, to_x: float, to_y: float) -> Markup:
    return Markup('<path class="{}" d="M{} {}L{} {}"/>').format(
        kind, round(x, 1), round(y, 1), round(to_x, 1), round(to_y, 1)
    )


def _svg(title: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(round(width), round(height), title, Markup("").join(parts))
