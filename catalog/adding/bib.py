"""BibTeX as records: what people export, and what OpenReview and the ACL Anthology hand out."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from catalog.adding.identifiers import Identifier, address, arxiv, doi, of_address
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
    family_of,
    from_latex,
    plain,
    plain_or_none,
    refuse,
    searchable,
)
from catalog.adding.rules import short_venue
from catalog.checks.identity import arxiv_year
from catalog.errors import PrunedexError
from catalog.schema import VenueType

MAX_ENTRIES = 200
"""Entries in one file above which it is a library, not papers to add."""

_TYPES: dict[str, VenueType] = {
    "inproceedings": "conference",
    "conference": "conference",
    "incollection": "conference",
    "article": "journal",
    "phdthesis": "thesis",
    "mastersthesis": "thesis",
}


def read_bib(text: str, origin: str, source: str | None = None) -> list[Record]:
    """Every entry of a BibTeX text as a record; `source` is the address that it came from.

    Raises PrunedexError, naming the line, where the text is no BibTeX or an entry is no paper.
    """
    from bibtexparser.entrypoint import parse_string

    # The parser reports what it skips through logging as well as in its result.
    logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)
    try:
        library = parse_string(text)
    except Exception as error:  # the parser raises anything on odd input
        raise PrunedexError(f"{origin} cannot be read as BibTeX ({type(error).__name__})") from None
    if library.failed_blocks:
        line = (library.failed_blocks[0].start_line or 0) + 1
        raise PrunedexError(
            f"{origin}:{line}: this is no BibTeX entry, or one whose key is taken",
            "look for a missing brace or comma",
        )
    if not library.entries:
        raise PrunedexError(f"{origin} holds no BibTeX entry", "an entry starts with @article{…")
    if len(library.entries) > MAX_ENTRIES:
        raise PrunedexError(
            f"{origin} holds {len(library.entries)} entries (at most {MAX_ENTRIES})",
            "give a file with the papers to add",
        )
    records = []
    for entry in library.entries:
        fields = {field.key.lower(): str(field.value) for field in entry.fields}
        line = (entry.start_line or 0) + 1
        where = origin if len(library.entries) == 1 else f"{origin}:{line}"
        records.append(_record(entry.entry_type.lower(), fields, where, source))
    return records


def _decoded(value: str | None) -> str | None:
    """A field's text: LaTeX commands as characters, without the braces that protect capitals."""
    if value is None:
        return None
    text = value.strip()
    if len(text) > 50_000:
        return text  # refused for its length where it is used
    if any(character in text for character in "\\{$~") or "--" in text:
        # Comments are no part of BibTeX: a percent sign is one.
        return from_latex(re.sub(r"(?<!\\)%", r"\\%", text))
    return text


def _verbatim(value: str | None) -> str | None:
    """An address or identifier, in which only escapes are undone."""
    if value is None:
        return None
    return re.sub(r"\\([_&%#~{}])", r"\1", value.strip().strip("{}").strip()) or None


def names(value: str, origin: str) -> list[str]:
    """The authors of a BibTeX field in order, as entries write them."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"\\.|[{}]|\s+and\s+", value):
        token = match[0]
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
        elif depth == 0 and token.strip() == "and":
            parts.append(value[start : match.start()])
            start = match.end()
    parts.append(value[start:])
    if len(parts) > MAX_AUTHORS:
        raise refuse(origin, f"names {len(parts):,} authors")
    found = []
    for part in parts:
        text = plain(_decoded(" ".join(part.split())) or "", "an author's name", origin, MAX_NAME)
        if not text:
            continue
        if text.casefold() == "others":
            raise refuse(origin, "ends its authors with 'and others'")
        if re.fullmatch(r"\{[^{}]*\}", part.strip()):
            found.append("{" + checked_name(text, origin) + "}")  # an organisation
            continue
        family, comma, given = text.partition(",")
        if comma and "," not in given and family_of(f"{given.strip()} {family}") == family.strip():
            text = f"{given.strip()} {family.strip()}"
        found.append(checked_name(text, origin))
    return found


def _record(kind: str, fields: Mapping[str, str], origin: str, source: str | None) -> Record:
    title = plain(_decoded(fields.get("title")) or "", "the title", origin, MAX_TITLE)
    if not title:
        raise refuse(origin, "has an entry without a title")
    authors = names(fields.get("author", ""), origin)
    published = checked_year(
        _decoded(fields.get("year")) or (fields.get("date") or "").strip("{}")[:4], origin
    )
    found = _identifiers(fields)
    ids: dict[str, str | None] = {each.field: each.value for each in found}
    if "arxiv" in ids:
        primary = _verbatim(fields.get("primaryclass"))
        ids["arxiv_class"] = primary
    checked = checked_ids(ids, origin)
    url = checked_url(_verbatim(fields.get("url")), origin)
    venue = _venue(kind, fields, published, checked, origin)
    posted = arxiv_year(checked.get("arxiv"))
    year = min(published, posted) if posted is not None else published
    paper = address(Identifier("arxiv", checked["arxiv"])) if "arxiv" in checked else None
    page = url if url is not None and "arxiv.org" not in url else None
    if paper is None:
        paper = page or next((address(each) for each in found if each.field != "doi"), None)
        page = None
    return Record(
        title=title,
        authors=authors,
        year=year,
        venue=venue,
        ids=checked,
        paper=paper or next(map(address, found), None),
        proceedings=page if venue.type in ("conference", "journal", "workshop") else None,
        source=source or url or next(map(address, found), None),
        abstract=searchable(_decoded(fields.get("abstract", ""))),
        year_doubt=None if posted is not None else "was it public earlier, as a preprint?",
        origin=origin,
    )


def _identifiers(fields: Mapping[str, str]) -> list[Identifier]:
    """Every identifier that the fields hold, one of each kind."""
    candidates: list[Identifier | None] = []
    eprint = _verbatim(fields.get("eprint"))
    prefix = (_verbatim(fields.get("archiveprefix") or fields.get("eprinttype")) or "").lower()
    if eprint is not None and (prefix in ("arxiv", "") or "arxiv" in eprint.lower()):
        candidates.append(arxiv(re.sub(r"^arxiv:", "", eprint, flags=re.IGNORECASE)))
    if given := _verbatim(fields.get("doi")):
        candidates.append(doi(re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)", "", given)))
    if url := _verbatim(fields.get("url")):
        candidates.append(of_address(url))
    for name in ("journal", "volume", "note", "howpublished"):
        match = re.search(r"arxiv[:. ]\s*([0-9]{4}\.[0-9]{4,5})", fields.get(name, ""), re.I)
        if match is not None:
            candidates.append(arxiv(match[1]))
    kept: dict[str, Identifier] = {}
    for candidate in candidates:
        if candidate is not None and candidate.flaw is None:
            kept.setdefault(candidate.field, candidate)
    raw = _verbatim(fields.get("doi"))
    if "acl" in kept and "doi" not in kept and raw is not None and raw.startswith("10.18653/"):
        kept["doi"] = Identifier("doi", raw)
    return list(kept.values())


def _venue(
    kind: str, fields: Mapping[str, str], year: int, ids: Mapping[str, str], origin: str
) -> VenueGuess:
    def text(name: str) -> str | None:
        return plain_or_none(_decoded(fields.get(name)), f"the {name}", origin)

    journal, book = text("journal") or text("journaltitle"), text("booktitle")
    full = book or journal or text("school") or text("howpublished")
    preprint = "arxiv" in ids and (
        full is None or re.search(r"arxiv|corr\b", full, re.IGNORECASE) is not None
    )
    if preprint:
        return VenueGuess(f"arXiv {year}", "arXiv preprint", year, "preprint")
    if full is None and "openreview" in ids:
        return VenueGuess(
            f"OpenReview {year}",
            "OpenReview",
            year,
            "preprint",
            doubt="its BibTeX names no venue: was it accepted?",
        )
    if full is None:
        raise refuse(origin, "names neither a venue nor an arXiv id")
    guessed: VenueType = _TYPES.get(kind, "other")
    if re.search(r"workshop", full, re.IGNORECASE):
        guessed = "workshop"
    short = short_venue(full, ids.get("acl"))
    pages = _decoded(fields.get("pages"))
    return VenueGuess(
        short=f"{short} {year}" if short else None,
        full=full,
        year=year,
        type=guessed,
        volume=text("volume"),
        number=text("number"),
        pages=plain_or_none(re.sub(r"\s*[-–—]+\s*", "--", pages), "the pages", origin)
        if pages
        else None,
        publisher=text("publisher"),
    )
