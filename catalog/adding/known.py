"""Whether a paper is in the catalog already: by identifier, or by title, old or new.

Entries that cannot be read, such as drafts of yesterday, count too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from catalog.adding.identifiers import of_address
from catalog.adding.record import Record, family_of
from catalog.checks.identity import nearly_the_same
from catalog.gaps import has_id
from catalog.query import fold
from catalog.schema import Entry
from catalog.store import PAPERS, Catalog


@dataclass(frozen=True)
class Paper:
    """What tells one paper of the catalog from others, read from its file as it is."""

    key: str
    title: str
    authors: list[str]
    year: int | None
    name: str | None
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """A paper of the catalog that a record means, why, and whether that is beyond doubt."""

    paper: Paper
    how: str
    certain: bool


@lru_cache(maxsize=20_000)  # a list is compared with the same titles again and again
def normal(title: str) -> str:
    """A title without case, accents and punctuation."""
    return " ".join(re.findall(r"\w+", fold(title)))


def papers(catalog: Catalog) -> list[Paper]:
    """Every file of the catalog that says which paper it is about."""
    found = []
    for path, located in catalog.located.items():
        data = located.data
        if not path.startswith(f"{PAPERS}/") or not isinstance(data, dict):
            continue
        ids, authors, year = data.get("ids"), data.get("authors"), data.get("year")
        name, links = data.get("name"), data.get("links")
        told: dict[str, str] = {}
        for link in ("paper", "proceedings", "reviews"):
            url = links.get(link) if isinstance(links, dict) else None
            meant = of_address(url) if isinstance(url, str) else None
            if meant is not None and meant.flaw is None:
                told[meant.field] = meant.value
        found.append(
            Paper(
                key=path.removeprefix(f"{PAPERS}/").removesuffix(".yaml"),
                title=str(data.get("title") or ""),
                authors=[each for each in authors if isinstance(each, str)]
                if isinstance(authors, list)
                else [],
                year=year if isinstance(year, int) else None,
                name=name if isinstance(name, str) else None,
                ids=told
                | {
                    name: value
                    for name, value in (ids.items() if isinstance(ids, dict) else ())
                    if isinstance(value, str) and name != "arxiv_class"
                },
            )
        )
    return found


def by_id(known: Iterable[Paper], name: str, value: str) -> Paper | None:
    """The paper with an identifier; only OpenReview tells upper from lower case."""
    exact = name == "openreview"
    for paper in known:
        own = paper.ids.get(name)
        if own is not None and (own == value or (not exact and own.lower() == value.lower())):
            return paper
    return None


def find(known: list[Paper], record: Record) -> Match | None:
    """The paper that a record means, by identifier first, then by title."""
    for name, value in record.ids.items():
        paper = by_id(known, name, value) if name != "arxiv_class" else None
        if paper is not None:
            return Match(paper, f"the same {name} id, {value}", True)
    return by_title(known, record.title, record.authors, record.year)


def by_title(
    known: Iterable[Paper], title: str, authors: Sequence[str] = (), year: int | None = None
) -> Match | None:
    """The paper with the same title, or nearly so; a preprint's may have changed since."""
    wanted = normal(title)
    if not wanted:
        return None
    new = _titled(title, tuple(authors))
    author = _author(authors[0]) if authors else None
    near: Match | None = None
    words = set(wanted.split())
    for paper in known:
        if normal(paper.title) == wanted:
            return Match(paper, "the same title", True)
        same = author is not None and bool(paper.authors) and author == _author(paper.authors[0])
        close = paper.year is None or year is None or abs(paper.year - year) <= 2
        name = _name(title)
        if near is not None or not paper.title:
            continue
        own = set(normal(paper.title).split())
        shared = 2 * len(own & words) >= min(len(own), len(words))
        if shared and nearly_the_same(
            new, Entry.model_construct(title=paper.title, authors=paper.authors)
        ):
            near = Match(paper, "nearly the same title, or authors", False)
        elif same and close and name is not None and name == _name(paper.title):
            near = Match(paper, "the same first author and method", False)
    return near


@lru_cache(maxsize=20_000)
def _titled(title: str, authors: tuple[str, ...]) -> Entry:
    """As much of an entry as titles are compared by; made without validation, it is no entry."""
    return Entry.model_construct(title=title, authors=[*authors])


@lru_cache(maxsize=20_000)
def _author(name: str) -> str:
    return fold(family_of(name)) if name else ""


def _name(title: str) -> str | None:
    """What stands before the colon of a title, if it looks like a method's name."""
    head, colon, _ = title.partition(":")
    return normal(head) if colon and len(head.split()) <= 2 else None


def news(entry: Entry, record: Record) -> list[str]:
    """What a record says that the entry of the same paper does not have yet."""
    own = entry.ids.model_dump()
    found = [f"{name} {value}" for name, value in record.ids.items() if value and not own.get(name)]
    if entry.venue.type == "preprint" and record.venue.type not in ("preprint", "other"):
        found.append(f"published in {record.venue.short or record.venue.full}")
    if not has_id(entry) and record.paper and entry.links.paper is None:
        found.append(f"link {record.paper}")
    return found
