"""The lineage graph: which paper builds on which, laid out at build time.

Time runs from left to right in columns. An edge that passes several columns is bent through a
place of its own in each; all edges of one kind that leave the same paper share these places, so
that they run as one bundle and part only where they must. The layout is a pure function of the
catalog: the usual layered drawing (orders by averages of the neighbours, then positions by
least squares), without a random step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog.schema import Entry
from catalog.site import addresses
from catalog.site.glance import Class, Glance, month_of, short_name, when
from catalog.site.shelf import RELATIONS, Shelf

FAMILIES = {
    "builds": ("extends", "simplifies", "allocates-for", "refines", "combines", "implements"),
    "analyses": ("analyses",),
    "compares": ("compares",),
}
"""Relations that are drawn alike. Only the first make a paper an ancestor of another."""

_PITCH = 152.0
_ROW = 25.0
_BEND = 9.0
_LOOSE_ROW = 22.0
_LEFT = 26.0
_TOP = 46.0
_LABEL = 7.0
_CHARACTER = 6.7
_SWEEPS = 24


@dataclass
class Column:
    """A span of time: its title, and where it stands."""

    title: str
    x: float


@dataclass
class Dot:
    """A paper in the drawing; `types` are the classes it has, the first of which is drawn."""

    entry: Entry
    name: str
    x: float
    y: float
    types: list[Class]
    label: str
    page: str
    on: int
    by: int
    width: float
    runs: bool

    @property
    def end(self) -> float:
        """Where the label ends and edges may leave."""
        return self.x + _LABEL + 4 + self.width


@dataclass(frozen=True)
class Line:
    """An edge: from the older paper to the newer one that refers to it."""

    older: str
    newer: str
    relation: str
    family: str
    path: str


@dataclass(frozen=True)
class Neighbour:
    """One line of the list below the drawing."""

    words: str
    entry: Entry


@dataclass(frozen=True)
class Told:
    """A paper with all its edges, in words."""

    entry: Entry
    on: list[Neighbour]
    by: list[Neighbour]


@dataclass
class Graph:
    """The whole drawing; `divide` is where the papers without any edge begin."""

    width: float = 0.0
    height: float = 0.0
    divide: float | None = None
    columns: list[Column] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    @property
    def classes(self) -> list[Class]:
        """The classes that a paper of the drawing has."""
        found = {kind.number: kind for dot in self.dots for kind in dot.types}
        return [found[each] for each in sorted(found)]

    @property
    def relations(self) -> list[tuple[str, str, str, int]]:
        """Each relation that occurs: its id, its words, its family, and how often."""
        return [
            (name, words[0].lower(), family, count)
            for family, members in FAMILIES.items()
            for name, words in RELATIONS.items()
            if name in members and (count := sum(line.relation == name for line in self.lines))
        ]


def family_of(relation: str) -> str:
    """The family of a relation; a new one counts as building until it is put elsewhere."""
    return next((name for name, each in FAMILIES.items() if relation in each), "builds")


class _Item:
    """A paper, or a bend of a bundle, in a column."""

    __slots__ = ("height", "key", "near", "y")

    def __init__(self, key: str, height: float) -> None:
        self.key = key
        self.height = height
        self.near: list[tuple[_Item, float]] = []
        self.y = 0.0


def graph(shelf: Shelf) -> Graph:
    """The drawing of a catalog; without papers it is empty."""
    glance = Glance(shelf)
    titles, place = _columns(glance)
    entries = shelf.catalog.entries
    edges: _Edges = [
        (edge.key, entry.key, edge.relation)
        for entry in sorted(entries.values(), key=lambda each: each.key)
        for edge in entry.builds_on
        if edge.key in entries and edge.key != entry.key
    ]
    if not titles:
        return Graph()
    items, columns, routes = _items(edges, place, len(titles))
    _arrange(columns)

    found = Graph(columns=[Column(title, _LEFT + i * _PITCH) for i, title in enumerate(titles)])
    lowest = max((item.y + item.height / 2 for item in items.values()), default=0.0)
    highest = min((item.y - item.height / 2 for item in items.values()), default=0.0)
    shift = _TOP - highest
    bottom = lowest + shift
    loose: list[list[str]] = [[] for _ in titles]
    for entries_of_year in glance.by_year.values():
        for entry in entries_of_year:
            if entry.key not in items:
                loose[place[entry.key]].append(entry.key)
    at: dict[str, tuple[float, float]] = {}
    for key, item in items.items():
        at[key] = (_LEFT + place[key] * _PITCH, item.y + shift)
    if any(loose):
        # With nothing above them they need no line that sets them apart.
        found.divide = bottom + 22 if items else None
        start = bottom + 66 if items else _TOP + _LOOSE_ROW / 2
        for number, keys in enumerate(loose):
            for row, key in enumerate(keys):
                at[key] = (_LEFT + number * _PITCH, start + row * _LOOSE_ROW)
        bottom = start + (max(map(len, loose)) - 0.5) * _LOOSE_ROW
    found.width = _LEFT + len(titles) * _PITCH
    found.height = bottom + 14

    by_key = _dots(shelf, glance, at)
    found.dots = sorted(by_key.values(), key=lambda dot: (dot.x, dot.y, dot.entry.key))
    for older, newer, relation in edges:
        bends = routes.get((older, newer, family_of(relation)), [])
        points = [(_LEFT + column * _PITCH, bend.y + shift) for column, bend in bends]
        path = _path(by_key[older], by_key[newer], points)
        found.lines.append(Line(older, newer, relation, family_of(relation), path))
    # What matters most is drawn last, above the others.
    found.lines.sort(key=lambda line: -[*FAMILIES].index(line.family))
    found.told = _told(shelf)
    return found


def _columns(glance: Glance) -> tuple[list[str], dict[str, int]]:
    """The titles of the columns, and each paper's column."""
    titles: list[str] = []
    place: dict[str, int] = {}
    for first, last in glance.spans():
        entries = [each for year in range(first, last + 1) for each in glance.by_year.get(year, [])]
        if not glance.is_full(first):
            titles.append(str(first) if first == last else f"{first} to {last}")
            place |= {entry.key: len(titles) - 1 for entry in entries}
            continue
        quarters: dict[int, list[Entry]] = {}
        for entry in entries:
            # Without a month a paper must not seem to come before what it builds on.
            quarters.setdefault(((month_of(entry) or 12) - 1) // 3, []).append(entry)
        for quarter, members in sorted(quarters.items()):
            titles.append(
                f"{first}, {('Jan to Mar', 'Apr to Jun', 'Jul to Sep', 'Oct to Dec')[quarter]}"
            )
            place |= {entry.key: len(titles) - 1 for entry in members}
    return titles, place


_Edges = list[tuple[str, str, str]]
_Routes = dict[tuple[str, str, str], list[tuple[int, _Item]]]


def _items(
    edges: _Edges, place: dict[str, int], count: int
) -> tuple[dict[str, _Item], list[list[_Item]], _Routes]:
    """What stands in each column, tied to its neighbours, and the bends of every edge."""
    linked = sorted({key for older, newer, _ in edges for key in (older, newer)})
    items = {key: _Item(key, _ROW) for key in linked}
    columns: list[list[_Item]] = [[] for _ in range(count)]
    for key in linked:
        columns[place[key]].append(items[key])
    bends: dict[tuple[str, str, int], _Item] = {}
    routes: _Routes = {}
    tied: set[tuple[int, int]] = set()

    def tie(one: _Item, two: _Item, weight: float) -> None:
        if (id(one), id(two)) not in tied:
            tied.add((id(one), id(two)))
            one.near.append((two, weight))
            two.near.append((one, weight))

    for older, newer, relation in edges:
        family = family_of(relation)
        start, end = place[older], place[newer]
        before, route = items[older], []
        for column in range(start + 1, end):
            name = (older, family, column)
            if name not in bends:
                bends[name] = _Item(f"{older} {family} {column}", _BEND)
                columns[column].append(bends[name])
            tie(before, bends[name], 2.0)
            before = bends[name]
            route.append((column, before))
        tie(before, items[newer], 1.0)
        routes[older, newer, family] = route
    return items, columns, routes


def _arrange(columns: list[list[_Item]]) -> None:
    """Order every column by where its neighbours are, then place all of it."""
    for column in columns:
        column.sort(key=lambda item: (-len(item.near), item.key))
        _stack(column)
    for _ in range(_SWEEPS):
        for column in [*columns, *reversed(columns)]:
            wanted = {id(item): _wish(item) for item in column}
            column.sort(key=lambda item: (round(wanted[id(item)], 3), item.key))
            _settle(column, [wanted[id(item)] for item in column])
        for column in columns:
            _swap(column)
    _close([item for column in columns for item in column])


def _close(items: list[_Item]) -> None:
    """Take out what is empty in every column, so that parts without a tie stand close."""
    lowest, taken = None, 0.0
    for item in sorted(items, key=lambda each: (each.y - each.height / 2, each.key)):
        top = item.y - item.height / 2
        if lowest is not None and top > lowest + 8:
            taken += top - lowest - 8
        lowest = max(item.y + item.height / 2, lowest if lowest is not None else top)
        item.y -= taken


def _wish(item: _Item) -> float:
    """Where an item would stand if nothing else did: amid its neighbours."""
    weight = sum(each for _, each in item.near)
    return sum(other.y * each for other, each in item.near) / weight if weight else item.y


def _stack(column: list[_Item]) -> None:
    total = sum(item.height for item in column)
    y = -total / 2
    for item in column:
        item.y = y + item.height / 2
        y += item.height


def _swap(column: list[_Item]) -> None:
    """Exchange neighbours where that makes fewer edges cross."""
    changed, rounds = True, 0
    while changed and rounds < 10:
        changed, rounds = False, rounds + 1
        for i in range(len(column) - 1):
            upper, lower = column[i], column[i + 1]
            if _crossings(lower, upper) < _crossings(upper, lower):
                top = upper.y - upper.height / 2
                column[i], column[i + 1] = lower, upper
                lower.y = top + lower.height / 2
                upper.y = top + lower.height + upper.height / 2
                changed = True


def _crossings(upper: _Item, lower: _Item) -> float:
    return sum(
        one * two
        for above, one in upper.near
        for below, two in lower.near
        if above.y > below.y and above is not lower and below is not upper
    )


def _settle(column: list[_Item], wanted: Sequence[float]) -> None:
    """Place items in their order, without overlap and as near to their wishes as can be.

    Least squares under an order: wishes less the room taken so far must not decrease, and
    neighbours for which they do are pooled at their mean.
    """
    taken, offsets = 0.0, []
    for number, item in enumerate(column):
        if number:
            taken += (column[number - 1].height + item.height) / 2
        offsets.append(taken)
    pools: list[tuple[float, int]] = []
    for wish, offset in zip(wanted, offsets, strict=True):
        mean, count = wish - offset, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    number = 0
    for mean, count in pools:
        for _ in range(count):
            column[number].y = mean + offsets[number]
            number += 1


def _dots(shelf: Shelf, glance: Glance, at: dict[str, tuple[float, float]]) -> dict[str, Dot]:
    found = {}
    for key, (x, y) in at.items():
        entry = shelf.catalog.entries[key]
        name = short_name(entry, 16)
        on = sum(edge.key in at and edge.key != key for edge in entry.builds_on)
        by = sum(other.key != key for other, _ in shelf.catalog.built_on_by(key))
        label = f"{entry.name}: {entry.title}" if entry.name else entry.title
        found[key] = Dot(
            entry,
            name,
            x,
            y,
            glance.classes_of(entry),
            f"{label}, {when(entry)}. Refers to {on} here, referred to by {by}.",
            addresses.paper(key),
            on,
            by,
            round(len(name) * _CHARACTER, 1),
            shelf.method(entry) is not None,
        )
    return found


def _path(older: Dot, newer: Dot, bends: list[tuple[float, float]]) -> str:
    """A curve that leaves to the right of a label and arrives at a dot from its left."""
    ahead = newer.x > older.x
    if not ahead:
        # In one column, or back in time: around the left of both.
        bulge = 14 + min(abs(newer.y - older.y) / 9, 18)
        left = min(older.x, newer.x) - 7 - bulge
        return (
            f"M{older.x - 7:.0f} {older.y:.1f}C{left:.1f} {older.y:.1f} "
            f"{left:.1f} {newer.y:.1f} {newer.x - 7:.0f} {newer.y:.1f}"
        )
    port = older.x + _PITCH - 40
    x, y = max(older.end, older.x), older.y
    text = f"M{x:.1f} {y:.1f}"
    if x < port:
        text += f"H{port:.0f}"
        x = port
    for bend_x, bend_y in bends:
        # Straight along the whole label's width, so that a bundle crosses no writing aslant.
        arrive, leave = bend_x - 8, bend_x + _PITCH - 40
        text += _curve(x, y, arrive, bend_y) + f"H{leave:.0f}"
        x, y = leave, bend_y
    return text + _curve(x, y, newer.x - 8, newer.y)


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"


def _told(shelf: Shelf) -> list[Told]:
    """Every paper that has an edge, in the order of the catalog pages."""
    found = []
    for entry in shelf.entries:
        on = [
            Neighbour(each.words, each.entry)
            for each in shelf.builds_on(entry)
            if each.entry and each.key != entry.key
        ]
        by = [
            Neighbour(each.words, each.entry)
            for each in shelf.built_on_by(entry)
            if each.entry and each.key != entry.key
        ]
        if on or by:
            found.append(Told(entry, on, by))
    return found
