"""From an identifier to a record: arXiv, Crossref, OpenReview and the ACL Anthology."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from catalog.adding import web
from catalog.adding.bib import read_bib
from catalog.adding.identifiers import Identifier, address, arxiv, doi
from catalog.adding.record import (
    MAX_AUTHORS,
    MAX_NAME,
    MAX_TITLE,
    Record,
    VenueGuess,
    checked_ids,
    checked_name,
    checked_url,
    checked_year,
    person,
    plain,
    plain_or_none,
    refuse,
    searchable,
)
from catalog.adding.rules import short_venue
from catalog.checks.identity import arxiv_year
from catalog.errors import PrunedexError, shown
from catalog.schema import VenueType


def fetch(identifier: Identifier) -> Record:
    """The record that the service of an identifier has. Raises PrunedexError in one line."""
    return {
        "arxiv": _from_arxiv,
        "doi": _from_crossref,
        "openreview": _from_openreview,
        "acl": _from_acl,
    }[identifier.field](identifier)


def _unknown(service: str, identifier: Identifier) -> PrunedexError:
    return PrunedexError(
        f"{service} knows no paper {shown(identifier.value)}", "look for a slip in the identifier"
    )


def _unreadable(service: str, what: str) -> PrunedexError:
    return PrunedexError(
        f"{service} sends {what} instead of a record",
        "try again later, or give a .bib file, which needs no network",
    )


# arXiv -------------------------------------------------------------------------------------


class _ArxivSession:
    """What the arxiv package asks for pages: one that keeps to our limits."""

    def get(self, url: str, **_: object) -> web.Answer:
        parts = urlsplit(url)
        answer = web.get("arXiv", f"{parts.path}?{parts.query}")
        if answer.status_code == 200 and "xml" not in answer.media_type:
            raise _unreadable("arXiv", "a page for people")
        return answer


def _from_arxiv(identifier: Identifier) -> Record:
    try:
        import arxiv as package
    except ImportError:
        raise PrunedexError(
            "the package 'arxiv' is not installed", "install it: pip install arxiv"
        ) from None

    # Entries that it cannot read are missing from its answer, which is reported below.
    logging.getLogger("arxiv").setLevel(logging.CRITICAL)
    client = package.Client(page_size=1, delay_seconds=0, num_retries=0)
    client._session = _ArxivSession()
    try:
        found = next(
            client.results(package.Search(id_list=[identifier.value], max_results=1)), None
        )
    except PrunedexError:
        raise
    except package.HTTPError:
        raise _unknown("arXiv", identifier) from None
    except Exception as error:  # on odd dates, for example
        raise _unreadable("arXiv", f"something odd ({type(error).__name__})") from None
    if found is None:
        raise _unknown("arXiv", identifier)
    given = arxiv(found.get_short_id())
    if given.value != identifier.value:
        raise refuse("arXiv", f"answers with another paper, {shown(given.value, 40)}")
    source = address(identifier)
    if len(found.authors) > MAX_AUTHORS:
        raise refuse("arXiv", f"names {len(found.authors):,} authors")
    year = min(found.published.year, arxiv_year(identifier.value) or found.published.year)
    notes = [found.journal_ref, found.comment]
    hint = next((note for text in notes if (note := _venue_words(text))), None)
    given_doi = plain_or_none(found.doi, "the DOI", "arXiv")
    outside = doi(re.sub(r"^https?://(dx\.)?doi\.org/", "", given_doi)) if given_doi else None
    ids: dict[str, str | None] = {
        "arxiv": identifier.value,
        "arxiv_class": found.primary_category or None,
        "doi": outside.value if outside is not None and outside.field == "doi" else None,
    }
    if outside is not None and outside.field == "acl":
        ids["acl"] = outside.value
    doubt = None
    if hint is not None:
        doubt = f"arXiv notes {shown(hint, 70)}: give that venue if it holds, and its year"
    elif given_doi is not None:
        doubt = "arXiv names a DOI: give the venue that it leads to"
    return Record(
        title=plain(found.title, "the title", "arXiv", MAX_TITLE),
        authors=[
            checked_name(plain(author.name, "an author's name", "arXiv", MAX_NAME), "arXiv")
            for author in found.authors
        ],
        year=checked_year(year, "arXiv"),
        venue=VenueGuess(f"arXiv {year}", "arXiv preprint", year, "preprint", doubt=doubt),
        ids=checked_ids(ids, "arXiv"),
        paper=source,
        source=source,
        abstract=searchable(found.summary),
        origin="arXiv",
    )


def _venue_words(text: object) -> str | None:
    """What a free remark says about a venue, if anything: 'Accepted at ICLR 2024'."""
    if not isinstance(text, str):
        return None
    found = plain(text, "its comment", "arXiv", 1000)
    match = re.search(
        r"[^.;,]*\b(?:accepted|published|appear|camera|proceedings|[A-Z]{3,8}\s?(?:20|')[0-9]{2})\b"
        r"[^.;]*",
        found,
        re.IGNORECASE,
    )
    return match[0].strip() if match is not None else None


# Crossref ----------------------------------------------------------------------------------

_CROSSREF_TYPES: dict[str, VenueType] = {
    "proceedings-article": "conference",
    "journal-article": "journal",
    "posted-content": "preprint",
    "dissertation": "thesis",
    "book-chapter": "conference",
}


def _from_crossref(identifier: Identifier) -> Record:
    answer = web.get("Crossref", f"/works/{quote(identifier.value, safe='')}")
    if answer.status_code == 404:
        raise _unknown("Crossref", identifier)
    message = _json("Crossref", answer).get("message")
    if not isinstance(message, dict):
        raise _unreadable("Crossref", "JSON of another form")
    origin = "Crossref"
    given = _first(message.get("DOI")) or ""
    if given.casefold() != identifier.value.casefold():
        raise refuse(origin, f"answers with another paper, {shown(given, 40)}")
    title = plain(_first(message.get("title")) or "", "the title", origin, MAX_TITLE)
    subtitle = plain_or_none(_first(message.get("subtitle")), "the subtitle", origin)
    if not title:
        raise refuse(origin, "gives no title")
    if subtitle and subtitle.casefold() not in title.casefold():
        title = plain(f"{title}: {subtitle}", "the title", origin, MAX_TITLE)
    authors = []
    people = _list(message.get("author"))
    if len(people) > MAX_AUTHORS:
        raise refuse(origin, f"names {len(people):,} authors")
    for each in people:
        if not isinstance(each, dict):
            raise refuse(origin, "gives an author of another form")
        if isinstance(each.get("name"), str) and not each.get("family"):
            authors.append("{" + checked_name(plain(each["name"], "a name", origin), origin) + "}")
        else:
            authors.append(person(each.get("given"), each.get("family"), origin))
    published = checked_year(_year_of(message), origin)
    preprint = _preprint(message)
    posted = arxiv_year(preprint.value) if preprint is not None else None
    full = plain_or_none(_first(message.get("container-title")), "the venue", origin)
    kind = _CROSSREF_TYPES.get(str(message.get("type")), "other")
    if full is not None and re.search(r"workshop", full, re.IGNORECASE):
        kind = "workshop"
    publisher = plain_or_none(message.get("publisher"), "the publisher", origin)
    short = short_venue(full or "", None)
    if full is None:
        full = publisher
    if full is None:
        raise refuse(origin, "names neither a venue nor a publisher")
    pages = plain_or_none(message.get("page"), "the pages", origin)
    ids: dict[str, str | None] = {
        "doi": identifier.value,
        "arxiv": preprint.value if preprint is not None else None,
    }
    return Record(
        title=title,
        authors=authors,
        year=min(published, posted) if posted is not None else published,
        venue=VenueGuess(
            short=f"{short} {published}" if short else None,
            full=full,
            year=published,
            type=kind,
            volume=plain_or_none(message.get("volume"), "the volume", origin),
            number=plain_or_none(message.get("issue"), "the number", origin),
            pages=re.sub(r"\s*[-–—]+\s*", "--", pages) if pages else None,
            publisher=publisher,
        ),
        ids=checked_ids(ids, origin),
        paper=address(preprint) if preprint is not None else address(identifier),
        proceedings=_landing_page(message, origin),
        source=address(identifier),
        abstract=searchable(message.get("abstract")),
        year_doubt=None if posted is not None else "was it public earlier, as a preprint?",
        origin=origin,
    )


def _json(service: str, answer: web.Answer) -> dict[str, Any]:
    if "html" in answer.media_type or answer.content.lstrip()[:1] == b"<":
        raise _unreadable(service, "a page for people")
    try:
        data = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise _unreadable(service, "no valid JSON") from None
    if not isinstance(data, dict):
        raise _unreadable(service, "JSON of another form")
    return data


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: object) -> str | None:
    """A text that a service may wrap into a list."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def _year_of(message: dict[str, Any]) -> object:
    for name in ("published", "published-print", "published-online", "issued"):
        date = message.get(name)
        parts = _list(date.get("date-parts")) if isinstance(date, dict) else []
        if parts and _list(parts[0]) and isinstance(parts[0][0], int):
            return parts[0][0]
    return None


def _preprint(message: dict[str, Any]) -> Identifier | None:
    """The arXiv version that the publisher names."""
    relation = message.get("relation")
    named = relation.get("has-preprint") if isinstance(relation, dict) else None
    for each in _list(named):
        text = each.get("id") if isinstance(each, dict) else None
        found = doi(text) if isinstance(text, str) else None
        if found is not None and found.field == "arxiv" and found.flaw is None:
            return found
    return None


def _landing_page(message: dict[str, Any], origin: str) -> str | None:
    resource = message.get("resource")
    primary = resource.get("primary") if isinstance(resource, dict) else None
    return checked_url(primary.get("URL") if isinstance(primary, dict) else None, origin)


# OpenReview and the ACL Anthology ----------------------------------------------------------


def _from_openreview(identifier: Identifier) -> Record:
    note: dict[str, Any] | None = None
    for service in ("OpenReview", "OpenReview's first API"):
        answer = web.get(service, f"/notes?id={quote(identifier.value, safe='')}")
        if answer.status_code == 404:
            continue
        found = _list(_json(service, answer).get("notes"))
        if found and isinstance(found[0], dict):
            note = found[0]
            break
    if note is None:
        raise _unknown("OpenReview", identifier)
    origin = "OpenReview"
    content = note.get("content")
    content = content if isinstance(content, dict) else {}

    def value(name: str) -> object:
        # The second API wraps every value.
        given = content.get(name)
        return given.get("value") if isinstance(given, dict) else given

    bibtex = value("_bibtex")
    if not isinstance(bibtex, str):
        raise refuse(origin, "gives no BibTeX")
    record = read_bib(bibtex, origin, address(identifier))[0]
    ids: dict[str, str | None] = {**record.ids, "openreview": identifier.value}
    year, doubt = record.year, record.year_doubt
    created = note.get("cdate") or note.get("tcdate")
    if "arxiv" not in ids and isinstance(created, int) and 0 < created < 4_102_444_800_000:
        # Submissions are public from the day on which they are made, or soon after.
        year = min(year, dt.datetime.fromtimestamp(created / 1000, dt.UTC).year)
    said = plain_or_none(value("venue"), "the venue", origin)
    venue = record.venue
    if said is not None and venue.type == "preprint":
        venue = replace(venue, doubt=f"OpenReview says {shown(said, 70)}")
    elif said is not None and venue.short is None:
        venue = replace(venue, short=re.sub(r"\s+(oral|poster|spotlight)$", "", said, flags=re.I))
    if said is not None and re.search(r"workshop", said, re.IGNORECASE):
        venue = replace(venue, type="workshop")
    return replace(
        record,
        year=year,
        year_doubt=doubt,
        venue=venue,
        ids=checked_ids(ids, origin),
        paper=record.paper if "arxiv" in ids else address(identifier),
        proceedings=None,
        abstract=searchable(value("abstract")),
    )


def _from_acl(identifier: Identifier) -> Record:
    answer = web.get("the ACL Anthology", f"/{quote(identifier.value, safe='')}.bib")
    if answer.status_code == 404:
        raise _unknown("the ACL Anthology", identifier)
    if "html" in answer.media_type or answer.content.lstrip()[:1] == b"<":
        raise _unreadable("the ACL Anthology", "a page for people")
    record = read_bib(answer.text, "the ACL Anthology", address(identifier))[0]
    if record.ids.get("acl", identifier.value) != identifier.value:
        raise refuse("the ACL Anthology", "answers with another paper")
    ids: dict[str, str | None] = {**record.ids, "acl": identifier.value}
    return replace(
        record,
        ids=checked_ids(ids, "the ACL Anthology"),
        paper=record.paper if "arxiv" in ids else address(identifier),
        proceedings=address(identifier) if "arxiv" in ids else None,
    )
