"""Whether every paper is in the catalog once, under its own identifiers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from catalog.checks.base import Check
from catalog.errors import Problem, listed, shown
from catalog.query import fold
from catalog.schema import Entry
from catalog.store import Catalog


class _DuplicateId(Check, abstract=True):
    help = "Two entries for one paper: merge them, or correct the identifier."
    field: ClassVar[str]

    def run(self) -> Iterator[Problem]:
        # OpenReview's ids tell upper from lower case, the others do not.
        for value, entries in _groups(
            self.catalog,
            lambda entry: getattr(entry.ids, self.field),
            str if self.field == "openreview" else str.casefold,
        ):
            for entry in entries:
                message = f"{shown(value)} is also the {self.field} id of {_others(entry, entries)}"
                yield self.in_entry(entry, message, "ids", self.field)


def _groups(
    catalog: Catalog, read: Callable[[Entry], str | None], normal: Callable[[str], str]
) -> Iterator[tuple[str, list[Entry]]]:
    """The values that several entries share, with these entries.

    Each of them is reported, so that checking one file alone shows its duplicates too.
    """
    groups: dict[str, list[Entry]] = {}
    values: dict[str, str] = {}
    for entry in catalog.entries.values():
        value = read(entry)
        if value is not None:
            groups.setdefault(normal(value), []).append(entry)
            values.setdefault(normal(value), value)
    for same, entries in groups.items():
        if len(entries) > 1:
            yield values[same], entries


def _others(entry: Entry, entries: list[Entry]) -> str:
    return listed(other.key for other in entries if other is not entry)


class DuplicateArxiv(_DuplicateId):
    code = "duplicate-arxiv"
    field = "arxiv"


class DuplicateDoi(_DuplicateId):
    code = "duplicate-doi"
    field = "doi"


class DuplicateOpenReview(_DuplicateId):
    code = "duplicate-openreview"
    field = "openreview"


class DuplicateAcl(_DuplicateId):
    code = "duplicate-acl"
    field = "acl"


class DuplicatePmlr(_DuplicateId):
    code = "duplicate-pmlr"
    field = "pmlr"


def normal_title(entry: Entry) -> str:
    """A title without case, accents and punctuation."""
    return " ".join(re.findall(r"\w+", fold(entry.title)))


class DuplicateTitle(Check):
    code = "duplicate-title"
    help = "Two entries for one paper: merge them."

    def run(self) -> Iterator[Problem]:
        for _, entries in _groups(self.catalog, normal_title, str):
            for entry in entries:
                message = f"the title is also that of {_others(entry, entries)}"
                yield self.in_entry(entry, message, "title")


class SimilarTitle(Check):
    code = "similar-title"
    severity = "warning"
    help = "If the two are one paper, merge them; if not, leave them."
    threshold = 0.92

    def run(self) -> Iterator[Problem]:
        for entry, other in self._pairs():
            for one, two in ((entry, other), (other, entry)):
                message = f"the title is nearly that of {two.key}: {shown(two.title, 100)}"
                yield self.in_entry(one, message, "title")

    def _pairs(self) -> Iterator[tuple[Entry, Entry]]:
        titles = [(entry, normal_title(entry)) for entry in self.catalog.entries.values()]
        letters = [_letters(title) for _, title in titles]
        matcher = difflib.SequenceMatcher(autojunk=False)
        for number, (entry, title) in enumerate(titles):
            matcher.set_seq2(title)
            for other_number in range(number):
                other, other_title = titles[other_number]
                # Upper bounds of the ratio spare nearly all of the slow comparisons.
                least = self.threshold * (len(title) + len(other_title))
                if title == other_title or 2 * min(len(title), len(other_title)) < least:
                    continue
                if 2 * sum(map(min, letters[number], letters[other_number])) < least:
                    continue
                matcher.set_seq1(other_title)
                if matcher.ratio() >= self.threshold:
                    yield entry, other


def _letters(title: str) -> list[int]:
    """How often each letter occurs, and last how many other characters there are."""
    counts = [title.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz "]
    return [*counts, len(title) - sum(counts)]


class KeyYear(Check):
    code = "key-year"
    help = "A key holds the year of the first public version, as does the field year."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            found = re.search(r"[0-9]{4}", entry.key)
            if found is not None and int(found[0]) != entry.year:
                message = f"the year is {entry.year}, but the key says {found[0]}"
                yield self.in_entry(entry, message, "year")


class ArxivYear(Check):
    code = "arxiv-year"
    help = "The year is that of the first public version, and an arXiv id starts with its year."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            posted = arxiv_year(entry.ids.arxiv)
            # An earlier year is possible: a paper can be public elsewhere first.
            if posted is not None and entry.year > posted:
                message = (
                    f"the year is {entry.year}, but arXiv {entry.ids.arxiv} is of {posted} "
                    f"(the first public version counts)"
                )
                yield self.in_entry(entry, message, "year")


def arxiv_year(identifier: str | None) -> int | None:
    """The year in which an arXiv id was given; None without one."""
    if identifier is None:
        return None
    digits = identifier.rpartition("/")[2][:2]
    # arXiv began in 1991, with two digits for the year.
    return (1900 if int(digits) > 90 else 2000) + int(digits)


class VenueYear(Check):
    code = "venue-year"
    help = "Nothing is published before its first public version."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            if entry.venue.year < entry.year:
                message = f"the venue's year {entry.venue.year} is before the paper's, {entry.year}"
                yield self.in_entry(entry, message, "venue", "year")


class LinkMismatch(Check):
    code = "link-mismatch"
    help = "ids.arxiv and links.paper must mean the same paper; correct the wrong one."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            url = entry.links.paper or ""
            match = re.match(r"https?://(?:www\.|export\.)?arxiv\.org/[a-z]+/([^?#]+)", url)
            if match is None:
                continue
            linked = re.sub(r"(?:v[0-9]+)?(?:\.pdf)?/?$", "", match[1])
            if entry.ids.arxiv is None:
                message = f"the link is to arXiv {shown(linked)}, but ids.arxiv is missing"
            elif entry.ids.arxiv != linked:
                message = f"the link is to arXiv {shown(linked)}, but ids.arxiv is "
                message += shown(entry.ids.arxiv)
            else:
                continue
            yield self.in_entry(entry, message, "links", "paper")
