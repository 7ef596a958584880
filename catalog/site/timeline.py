"""The timeline: when papers appeared, in one lane for each kind of pruning."""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.schema import Entry
from catalog.site import addresses
from catalog.site.glance import MONTHS_IN_WORDS, Class, Glance, cut, month_of, when
from catalog.site.shelf import Shelf, called

_STEP = 13.0
_LEFT = 150.0
_TOP = 40.0
_GAP = 18.0
_FEWEST = 2


@dataclass(frozen=True)
class Point:
    """A paper in a lane."""

    entry: Entry
    x: float
    y: float
    page: str
    label: str
    runs: bool


@dataclass
class Lane:
    """The papers of one class; a paper of two classes is in two lanes."""

    kind: Class
    middle: float = 0.0
    top: float = 0.0
    height: float = 0.0
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Tick:
    """A year or a month below or above the lanes."""

    text: str
    x: float
    start: float
    major: bool


@dataclass(frozen=True)
class Period:
    """A row of the table: its name, the papers, and how many of them are of each class."""

    name: str
    entries: list[Entry]
    counts: list[int]


@dataclass
class Timeline:
    """The whole drawing, with its table."""

    width: float = 0.0
    height: float = 0.0
    classes: list[Class] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    undated: int = 0


def timeline(shelf: Shelf) -> Timeline:
    """The timeline of a catalog; without papers it is empty."""
    glance = Glance(shelf)
    if not glance.by_year:
        return Timeline()
    slots = _slots(glance)
    lanes = [Lane(each) for each in glance.classes]
    here: dict[tuple[str, int], list[Entry]] = {}
    for number, (_, _, entries) in enumerate(slots):
        for entry in entries:
            for kind in glance.classes_of(entry):
                here.setdefault((kind.id, number), []).append(entry)
    lanes = [lane for lane in lanes if any(kind == lane.kind.id for kind, _ in here)]

    # A column is as wide as its fullest lane needs, two dots at least; a lane five dots high.
    wide = [
        max([_FEWEST, *(-(-len(here.get((lane.kind.id, number), [])) // 5) for lane in lanes)])
        for number in range(len(slots))
    ]
    lefts, x = [], _LEFT
    for number, (year, month, _) in enumerate(slots):
        if number and (month in (1, None) or slots[number - 1][0] != year):
            x += 6
        lefts.append(x)
        x += wide[number] * _STEP + 5
    found = Timeline(classes=glance.classes, width=x + 8)
    y = _TOP
    for lane in lanes:
        rows = max(
            -(-len(here.get((lane.kind.id, number), [])) // wide[number])
            for number in range(len(slots))
        )
        lane.top, lane.height = y, max(rows, 3) * _STEP + _GAP
        lane.middle = y + lane.height / 2
        for number in range(len(slots)):
            lane.points += _points(
                shelf, here.get((lane.kind.id, number), []), lefts[number], wide[number], lane
            )
        y += lane.height
    found.lanes, found.height = lanes, y + 34
    shown: set[int] = set()
    for number, (year, month, _) in enumerate(slots):
        middle = lefts[number] + wide[number] * _STEP / 2
        if year not in shown:
            shown.add(year)
            found.ticks.append(Tick(str(year), lefts[number], lefts[number] - 5, True))
        if month is None and glance.is_full(year):
            found.ticks.append(Tick("?", middle, lefts[number], False))
        if month:
            found.ticks.append(Tick(MONTHS_IN_WORDS[month - 1][:1], middle, lefts[number], False))
    found.periods = _periods(glance)
    found.undated = sum(month_of(entry) is None for entry in shelf.entries)
    return found


def _slots(glance: Glance) -> list[tuple[int, int | None, list[Entry]]]:
    """The columns: a full year month by month, any other year as a whole, gaps included.

    Papers of a full year whose month is not known follow its December.
    """
    found: list[tuple[int, int | None, list[Entry]]] = []
    years = [*glance.by_year]
    for year in range(years[0], years[-1] + 1):
        entries = glance.by_year.get(year, [])
        if not glance.is_full(year):
            # A century without papers would be a wide nothing.
            if entries or year - max(each for each in years if each <= year) <= 3:
                found.append((year, None, entries))
            continue
        # After the newest paper there is nothing yet to show.
        last = 12 if year < years[-1] else max(month_of(each) or 1 for each in entries)
        for month in range(1, last + 1):
            found.append((year, month, [each for each in entries if month_of(each) == month]))
        rest = [each for each in entries if month_of(each) is None]
        if rest:
            found.append((year, None, rest))
    return found


def _points(shelf: Shelf, entries: list[Entry], left: float, wide: int, lane: Lane) -> list[Point]:
    """Dots in rows from the lane's ground up."""
    found = []
    ground = lane.top + lane.height - _GAP / 2
    for number, entry in enumerate(entries):
        row, place = divmod(number, wide)
        runs = shelf.method(entry) is not None
        found.append(
            Point(
                entry,
                round(left + (place + 0.5) * _STEP, 1),
                round(ground - (row + 0.5) * _STEP, 1),
                addresses.paper(entry.key),
                f"{cut(called(entry), 120)}, {when(entry)}{', runs here' if runs else ''}",
                runs,
            )
        )
    return found


def _periods(glance: Glance) -> list[Period]:
    """The rows of the table, newest first: months of full years, and other years as a whole."""
    found = []
    for year, entries in glance.by_year.items():
        if not glance.is_full(year):
            found.append(_period(glance, str(year), entries))
            continue
        for month in range(1, 13):
            members = [each for each in entries if month_of(each) == month]
            if members:
                found.append(_period(glance, f"{MONTHS_IN_WORDS[month - 1]} {year}", members))
        rest = [each for each in entries if month_of(each) is None]
        if rest:
            found.append(_period(glance, f"{year}, month not known", rest))
    return found[::-1]


def _period(glance: Glance, name: str, entries: list[Entry]) -> Period:
    counts = [sum(kind in glance.classes_of(entry) for entry in entries) for kind in glance.classes]
    return Period(name, entries, counts)
