"""What the drawn pages need of a paper: a short name, when it appeared, and what it removes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from catalog.schema import Entry
from catalog.site import shelf as shelves
from catalog.site.shelf import Shelf

MONTHS = "January February March April May June July August September October November December"
MONTHS_IN_WORDS = MONTHS.split()

NO_TYPE = "none"
"""The class of a paper without a tag in the dimension type, such as a survey."""

SHAPES = ("circle", "diamond", "square", "triangle", "cross")
"""One shape a class, so that no class is known by its colour alone."""

_MANY = 8
"""A year with more papers than this is shown in finer steps than a year."""


def month_of(entry: Entry) -> int | None:
    """The month in which a paper became public, as its arXiv id says; None where it does not.

    An id of another year than the entry's is that of a later version, which says nothing.
    """
    match = re.match(r"(?:[a-z.-]+/)?(\d\d)(0[1-9]|1[0-2])", entry.ids.arxiv or "", re.IGNORECASE)
    if match is None or entry.year % 100 != int(match[1]):
        return None
    return int(match[2])


def short_name(entry: Entry, limit: int = 20) -> str:
    """A name that fits into a drawing: the method's, or else first author and year."""
    name = entry.name
    if not name and entry.authors:
        name = f"{family(entry.authors[0])} {entry.year}"
    return cut(name or entry.title, limit)


def family(author: str) -> str:
    """The family name of an author, as far as the written form tells."""
    before, comma, _ = author.partition(",")
    return before.strip() if comma else author.split()[-1]


def cut(text: str, limit: int) -> str:
    """A text of at most `limit` characters, with an ellipsis where something is missing."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


@dataclass(frozen=True)
class Class:
    """A root of the type hierarchy, or none: its name and the shape by which it is drawn."""

    id: str
    name: str
    shape: str
    number: int


class Glance:
    """Classes and dates of one catalog's papers."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    @cached_property
    def classes(self) -> list[Class]:
        """The roots of the dimension type, then the class of papers that have no type."""
        vocabulary = self.shelf.catalog.vocabulary
        known = "type" in vocabulary.dimensions
        named = [
            (root, vocabulary.value("type", root).name)
            for root in (vocabulary.roots("type") if known else [])
        ]
        named.append((NO_TYPE, "No type (surveys and the like)"))
        return [
            Class(identifier, name, SHAPES[min(number, len(SHAPES) - 1)], number + 1)
            for number, (identifier, name) in enumerate(named)
        ]

    def classes_of(self, entry: Entry) -> list[Class]:
        """The classes of a paper, in the order of the vocabulary; never empty."""
        vocabulary = self.shelf.catalog.vocabulary
        reached: set[str] = set()
        for tag in entry.tags.type if entry.tags else []:
            reached |= {tag, *vocabulary.ancestors("type", tag)}
        found = [each for each in self.classes if each.id in reached]
        return found or [self.classes[-1]]

    @cached_property
    def by_year(self) -> dict[int, list[Entry]]:
        """The papers of each year that has one, the years in order."""
        found: dict[int, list[Entry]] = {}
        for entry in sorted(self.shelf.entries, key=_order):
            found.setdefault(entry.year, []).append(entry)
        return dict(sorted(found.items()))

    def is_full(self, year: int) -> bool:
        """Whether a year has so many papers that it is shown in finer steps."""
        return len(self.by_year.get(year, [])) > _MANY

    def spans(self) -> list[tuple[int, int]]:
        """Neighbouring years that share a column, as first and last; full years stand alone."""
        found: list[tuple[int, int]] = []
        held = 0
        for year, entries in self.by_year.items():
            joins = held and held + len(entries) <= _MANY and not self.is_full(year)
            if joins:
                found[-1] = (found[-1][0], year)
                held += len(entries)
            else:
                found.append((year, year))
                held = 0 if self.is_full(year) else len(entries)
        return found


def _order(entry: Entry) -> tuple[int, int, str, str]:
    return (entry.year, month_of(entry) or 13, shelves.called(entry).casefold(), entry.key)


def when(entry: Entry) -> str:
    """Month and year as far as they are known."""
    month = month_of(entry)
    return f"{MONTHS_IN_WORDS[month - 1]} {entry.year}" if month else str(entry.year)
