"""Whether every paper is in the catalog once, under its own identifiers."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
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
            lambda entry: _identifier(entry, self.field)[0],
            str if self.field == "openreview" else str.casefold,
        ):
            for entry in entries:
                message = f"{shown(value)} is also the {self.field} id of {_others(entry, entries)}"
                yield self.in_entry(entry, message, "ids", _identifier(entry, self.field)[1])


_DOI_PREFIXES = {"arxiv": "10.48550/arxiv.", "acl": "10.18653/v1/"}
"""How the DOIs start that these registries make of their own ids."""


def _identifier(entry: Entry, field: str) -> tuple[str | None, str]:
    """An id of an entry and the field that holds it, which may be its DOI."""
    value: str | None = getattr(entry.ids, field)
    prefix = _DOI_PREFIXES.get(field, "\0")
    if value is None and entry.ids.doi and entry.ids.doi.casefold().startswith(prefix):
        return entry.ids.doi[len(prefix) :], "doi"
    return value, field


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


class DuplicateLink(Check):
    code = "duplicate-link"
    help = "Two entries for one paper: merge them, or correct the link."
    fields = ("paper", "proceedings", "reviews")

    def run(self) -> Iterator[Problem]:
        places: dict[str, list[tuple[Entry, str]]] = {}
        for entry in self.catalog.entries.values():
            for field in self.fields:
                url = getattr(entry.links, field)
                if url is not None:
                    places.setdefault(_address(url), []).append((entry, field))
        for found in places.values():
            keys = list(dict.fromkeys(entry.key for entry, _ in found))
            for entry, field in found if len(keys) > 1 else ():
                others = listed(key for key in keys if key != entry.key)
                message = f"the address is also in the links of {others}"
                yield self.in_entry(entry, message, "links", field)


def _address(url: str) -> str:
    """An address without what may differ between links to one page."""
    address = re.sub(r"^https?://(www\.)?|#.*$", "", url)
    if address.casefold().startswith(("arxiv.org/", "export.arxiv.org/")):
        return "arxiv.org/" + _arxiv_id(address.rpartition("/")[2])
    if address.startswith("openreview.net/"):
        return re.sub(r"^openreview\.net/\w+\?(?:.*&)?id=([\w-]+).*", r"openreview.net/\1", address)
    return re.sub(r"(\.pdf)?/?$", "", address)


def _arxiv_id(text: str) -> str:
    return re.sub(r"(?:v[0-9]+)?(?:\.pdf)?/?$", "", text)


def normal_title(entry: Entry) -> str:
    """A title without case, accents and punctuation."""
    return _plain(entry.title)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", fold(text)))


class DuplicateTitle(Check):
    code = "duplicate-title"
    help = "Two entries for one paper: merge them."

    def run(self) -> Iterator[Problem]:
        for _, entries in _groups(self.catalog, normal_title, str):
            for entry in entries:
                message = f"the title is also that of {_others(entry, entries)}"
                yield self.in_entry(entry, message, "title")


class SimilarTitle(Check):
    """Titles that are one but for a slip, the order of words, a version or a subtitle.

    A published version is often renamed; then most authors and most words of the title are the same.
    No pair is compared that shares neither a rare word, nor an author in first place, nor the
    neighbourhood in the alphabet, so the work grows about linearly with the catalog.
    """

    code = "similar-title"
    severity = "warning"
    help = "If the two are one paper, merge them; if not, leave them."
    threshold = 0.92

    def run(self) -> Iterator[Problem]:
        titles = [_Title(entry) for entry in self.catalog.entries.values()]
        for one, two in sorted(_candidates(titles)):
            first, second = titles[one], titles[two]
            if first.plain != second.plain and self.is_near(first, second):
                for title, other in ((first, second), (second, first)):
                    message = f"the title is nearly that of {other.entry.key}: "
                    message += shown(other.entry.title, 100)
                    yield self.in_entry(title.entry, message, "title")

    @classmethod
    def is_near(cls, one: _Title, two: _Title) -> bool:
        if not one.forms.isdisjoint(two.forms):
            return True
        fewer = min(len(one.words), len(two.words))
        if 3 * len(one.words & two.words) >= 2 * fewer and one.has_authors_of(two):
            return True
        shorter, longer = sorted((len(one.plain), len(two.plain)))
        if 2 * shorter < cls.threshold * (shorter + longer):
            return False
        matcher = difflib.SequenceMatcher(None, one.plain, two.plain, autojunk=False)
        return matcher.quick_ratio() >= cls.threshold and matcher.ratio() >= cls.threshold


class _Title:
    """An entry's title in the forms in which it is compared."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.plain = normal_title(entry)
        self.words = frozenset(self.plain.split())
        self.families = frozenset(map(_family, entry.authors))
        # Preprints and journals mark their versions at the end.
        bare = re.sub(_VERSION, "", fold(entry.title))
        self.forms = {_sorted(bare)}
        head, _, tail = bare.partition(": ")
        # A name before the colon or a subtitle after it comes and goes between versions.
        self.forms |= {_sorted(part) for part in (head, tail) if len(part.split()) > 3}

    def has_authors_of(self, other: _Title) -> bool:
        """Whether four of five authors are the same, among at least three."""
        shared = len(self.families & other.families)
        return shared >= 3 and 5 * shared >= 4 * len(self.families | other.families)


def nearly_the_same(one: Entry, two: Entry) -> bool:
    """Whether titles and authors of two entries may well be those of one paper."""
    return SimilarTitle.is_near(_Title(one), _Title(two))


_VERSION = (
    r"[\s:,(\[–—-]*\b(v(ersion)?\s?[0-9]+(\.[0-9]+)?"
    r"|(extended|full|short|long|revised|updated|journal|arxiv|preprint|camera.ready) version"
    r"|extended abstract|technical report|preprint)[)\].\s]*$"
)


def _sorted(text: str) -> str:
    return " ".join(sorted(_plain(text).split()))


def _family(author: str) -> str:
    name = fold(author)
    return name.partition(",")[0] if "," in name else name.rpartition(" ")[2]


def _candidates(titles: Sequence[_Title]) -> set[tuple[int, int]]:
    """Pairs of titles, by position, that are worth a comparison."""
    groups: dict[tuple[str, str], list[int]] = {}
    frequency = Counter(word for title in titles for word in title.words)
    for number, title in enumerate(titles):
        # Two titles of one paper share one of the rarest words of either.
        rare = sorted(title.words, key=lambda word: (frequency[word], word))[:4]
        marks = {("form", form) for form in title.forms} | {("word", word) for word in rare}
        if title.entry.authors:
            marks.add(("author", fold(title.entry.authors[0])))
        for mark in marks:
            groups.setdefault(mark, []).append(number)
    found: set[tuple[int, int]] = set()
    for members in groups.values():
        # What very many share tells nothing; slips in such titles are found below.
        if len(members) <= _CROWD:
            found.update(combinations(members, 2))
    for backwards in (False, True):
        order = sorted(
            range(len(titles)),
            key=lambda number: titles[number].plain[:: -1 if backwards else 1],
        )
        for distance in range(1, _NEIGHBOURS + 1):
            pairs = zip(order, order[distance:], strict=False)
            found.update((min(pair), max(pair)) for pair in pairs)
    return found


_CROWD = 40
_NEIGHBOURS = 3


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


class VenueForm(Check):
    code = "venue-form"
    severity = "warning"
    help = "Write a venue as the other entries do, so that lists and citations agree."
    fields = ("full", "type", "year", "publisher", "series")

    def run(self) -> Iterator[Problem]:
        venues: dict[str, list[Entry]] = {}
        for entry in self.catalog.entries.values():
            venues.setdefault(fold(entry.venue.short), []).append(entry)
        for entries in venues.values():
            for field in self.fields:
                yield from self._odd_ones(entries, field)

    def _odd_ones(self, entries: list[Entry], field: str) -> Iterator[Problem]:
        values = Counter(getattr(entry.venue, field) for entry in entries)
        usual, number = values.most_common(1)[0]
        for entry in entries:
            value = getattr(entry.venue, field)
            if value != usual or number == 1 < len(entries):
                others = [each for each in entries if getattr(each.venue, field) != value]
                named = "without one" if value is None else f"as {shown(value, 100)}"
                theirs = getattr(others[0].venue, field)
                message = (
                    f"{shown(entry.venue.short)} has its {field} {named}, but in {others[0].key} "
                    + ("without one" if theirs is None else f"as {shown(theirs, 100)}")
                )
                yield self.in_entry(entry, message, "venue", field)


class LinkMismatch(Check):
    code = "link-mismatch"
    help = "ids.arxiv and links.paper must mean the same paper; correct the wrong one."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            url = entry.links.paper or ""
            match = re.match(r"https?://(?:www\.|export\.)?arxiv\.org/[a-z]+/([^?#]+)", url)
            if match is None:
                continue
            linked = _arxiv_id(match[1])
            if entry.ids.arxiv is None:
                message = f"the link is to arXiv {shown(linked)}, but ids.arxiv is missing"
            elif entry.ids.arxiv != linked:
                message = f"the link is to arXiv {shown(linked)}, but ids.arxiv is "
                message += shown(entry.ids.arxiv)
            else:
                continue
            yield self.in_entry(entry, message, "links", "paper")
