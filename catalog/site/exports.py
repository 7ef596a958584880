"""The catalog as files for other programs: citations, a table, a feed and plain text.

All of them are functions of the catalog alone. Links in them are relative to the file that they
are in, unless the address of publication is known.
"""

from __future__ import annotations

import csv
import datetime as dt
import html
import io
import json
import re
import uuid
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

from catalog.concepts import Concept
from catalog.schema import DIMENSIONS, Entry
from catalog.site import addresses
from catalog.site.data import to_json
from catalog.site.markup import paragraphs, plain
from catalog.site.published import published_schema
from catalog.site.shelf import (
    Shelf,
    address,
    authors_in_short,
    called,
    display_name,
    first_sentence,
)

CSV_FILE = "catalog.csv"
RESULTS_FILE = "results.json"
RESULTS_CSV = "results.csv"
FEED_FILE = "feed.xml"
INDEX_FILE = "llms.txt"
TEXT_FILE = "llms-full.txt"

FEED_LENGTH = 50
"""Papers in the feed, the newest ones."""

ABOUT = "The literature on pruning language models, which you can filter, cite and run."

# Ids of the feed are made from this and a paper's key, so they stay when the site moves.
_NAMESPACE = uuid.UUID("6a0f8c1e-5d0b-4c55-9a57-7b1e2f8f4a10")

_ATOM = "http://www.w3.org/2005/Atom"


def write_exports(
    shelf: Shelf, documents: Path, *, concepts: list[Concept], site_url: str | None
) -> None:
    """Write every file that is not a page below the documents' folder."""
    files = {
        CSV_FILE: to_csv(shelf),
        FEED_FILE: to_feed(shelf, site_url),
        INDEX_FILE: to_index(shelf, concepts, site_url),
        TEXT_FILE: to_text(shelf),
        "catalog.schema.json": json.dumps(published_schema(), indent=2) + "\n",
        **results_files(shelf),
    }
    files |= {addresses.citation(entry.key): shelf.bibtex(entry) + "\n" for entry in shelf.entries}
    for name, content in files.items():
        file = documents / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8", newline="")


def results_files(shelf: Shelf) -> dict[str, str]:
    """What was measured, as files by name: flat, and each run's own file as it was written."""
    from catalog.site.published_results import results_csv, results_data, results_schema

    files = {
        RESULTS_FILE: to_json(results_data(shelf)),
        RESULTS_CSV: results_csv(shelf),
        "results.schema.json": json.dumps(results_schema(), indent=2) + "\n",
    }
    for result in shelf.catalog.results:
        address = addresses.measured(result.path)
        if address is not None:
            text = (shelf.catalog.root / result.path).read_text(encoding="utf-8")
            files[address] = text
    return files


# A table ------------------------------------------------------------------------------------


def to_csv(shelf: Shelf) -> str:
    """One line a paper, as RFC 4180 has it; the catalog page exports the same of a selection."""
    head = ["key", "name", "title", "authors", "year", "venue", "kind", *DIMENSIONS]
    head += ["paper", "code", "runs here", "take-away"]
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\r\n")
    writer.writerow(head)
    for entry in shelf.entries:
        method = shelf.method(entry)
        writer.writerow(
            cell(text)
            for text in [
                entry.key,
                entry.name or "",
                entry.title,
                "; ".join(display_name(author) for author in entry.authors),
                str(entry.year),
                entry.venue.short,
                entry.kind,
                *("; ".join(entry.tags.of(name) if entry.tags else []) for name in DIMENSIONS),
                address(entry) or "",
                entry.links.code.url if entry.links.code else "",
                method.name if method else "",
                entry.takeaway,
            ]
        )
    return made.getvalue()


def cell(text: str) -> str:
    """A field that no spreadsheet takes for a formula: a quote stops it where it begins like one."""
    return f"'{text}" if re.match(r"[=+\-@\t\r\n＝＋－＠]", text) else text


# A feed -------------------------------------------------------------------------------------


def first_seen(entry: Entry) -> dt.date:
    """When the entry's facts were first confirmed; without a source, the start of its year.

    Dates of files or commits would not do: in a shallow clone all of them are those of today.
    """
    return min((source.seen for source in entry.sources), default=dt.date(entry.year, 1, 1))


def last_seen(entry: Entry) -> dt.date:
    """When a fact of the entry was last confirmed."""
    return max((source.seen for source in entry.sources), default=first_seen(entry))


def entry_id(key: str) -> str:
    """The id of a paper in the feed; that of the feed itself for an empty key."""
    name = f"paper/{key}" if key else "catalog"
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, name)}"


def to_feed(shelf: Shelf, site_url: str | None = None) -> str:
    """An Atom feed (RFC 4287) of the entries that were added last."""
    papers = sorted(
        shelf.entries, key=lambda entry: (-first_seen(entry).toordinal(), -entry.year, entry.key)
    )[:FEED_LENGTH]
    ElementTree.register_namespace("", _ATOM)
    feed = ElementTree.Element(f"{{{_ATOM}}}feed", {"xml:lang": "en"})
    _add(feed, "id", entry_id(""))
    _add(feed, "title", "Prunedex: new papers")
    _add(feed, "subtitle", ABOUT)
    changed = max((last_seen(entry) for entry in papers), default=dt.date(1970, 1, 1))
    _add(feed, "updated", _moment(changed))
    _add(_add(feed, "author"), "name", "Prunedex")
    _add(feed, "link", rel="self", type="application/atom+xml", href=_at(FEED_FILE, site_url))
    _add(feed, "link", rel="alternate", type="text/html", href=_at(addresses.HOME, site_url))
    for entry in papers:
        item = _add(feed, "entry")
        _add(item, "id", entry_id(entry.key))
        _add(item, "title", _named(entry))
        _add(item, "published", _moment(first_seen(entry)))
        _add(item, "updated", _moment(last_seen(entry)))
        page = _at(addresses.paper(entry.key), site_url)
        _add(item, "link", rel="alternate", type="text/html", href=page)
        for tag in shelf.all_tags(entry):
            _add(
                item,
                "category",
                term=f"{tag.dimension.id}:{tag.value.id}",
                label=f"{tag.dimension.name}: {tag.value.name}",
            )
        lines = [f"{authors_in_short(entry)}. {entry.venue.short}.", *paragraphs(entry.takeaway)]
        text = "".join(f"<p>{html.escape(plain(line))}</p>" for line in lines)
        _add(item, "content", text, type="html")
    body = ElementTree.tostring(feed, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _add(
    parent: ElementTree.Element, name: str, text: str = "", **attributes: str
) -> ElementTree.Element:
    attributes = {key: plain(value) for key, value in attributes.items()}
    made = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
    made.text = plain(text) or None
    return made


def _moment(day: dt.date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def _at(page: str, site_url: str | None) -> str:
    return urljoin(site_url.rstrip("/") + "/", page) if site_url else page


# Plain text ---------------------------------------------------------------------------------


def to_index(shelf: Shelf, concepts: list[Concept], site_url: str | None = None) -> str:
    """What there is and where, in the form of llmstxt.org."""

    def link(text: str, page: str, about: str) -> str:
        return f"- [{_escaped(text)}]({_at(page, site_url)}): {_escaped(about)}"

    parts = ["# Prunedex", f"> {ABOUT}"]
    parts.append(
        f"{len(shelf.entries)} papers, each with a take-away, what exactly is computed, tags in six "
        "dimensions, links and a citation. Tags that a run was seen to fulfil are marked as "
        "verified. Figures of different protocols must not be compared."
    )
    parts.append("## Data")
    parts.append(
        "\n".join(
            [
                link("catalog.json", "catalog.json", "everything as data"),
                link("catalog.schema.json", "catalog.schema.json", "the shape of catalog.json"),
                link("catalog.bib", "catalog.bib", "every citation in BibTeX"),
                link("catalog.csv", CSV_FILE, "a table, one line a paper"),
                link("results.json", RESULTS_FILE, "what was measured here, flat"),
                link(TEXT_FILE, TEXT_FILE, "the text of all entries in one file"),
                link("Data", addresses.DATA, "what these files hold and what stays the same"),
            ]
        )
    )
    if concepts:
        parts.append("## Concepts")
        parts.append(
            "\n".join(
                link(each.head.title, addresses.concept(each.name), each.head.description)
                for each in concepts
            )
        )
    parts.append("## Tags")
    parts.append(
        "\n".join(
            link(each.name, addresses.dimension(each.id), each.question)
            for each in shelf.dimensions
        )
    )
    if shelf.entries:
        parts.append("## Papers")
        parts.append(
            "\n".join(
                link(_named(entry), addresses.paper(entry.key), first_sentence(entry.takeaway))
                for entry in shelf.entries
            )
        )
    return "\n\n".join(parts) + "\n"


def to_text(shelf: Shelf) -> str:
    """The text of every entry in one file."""
    parts = ["# Prunedex", f"> {ABOUT}"]
    for entry in shelf.entries:
        parts += _text_of(shelf, entry)
    return "\n\n".join(parts) + "\n"


def _text_of(shelf: Shelf, entry: Entry) -> list[str]:
    facts = [
        ("Key", entry.key),
        ("Authors", ", ".join(display_name(author) for author in entry.authors) or "unknown"),
        ("Year", str(entry.year)),
        ("Venue", entry.venue.short),
        ("Kind", entry.kind),
        ("Read it at", address(entry)),
        ("Official code", entry.links.code.url if entry.links.code else None),
    ]
    for name in DIMENSIONS:
        tags = shelf.tags(entry, name)
        said = [
            f"{tag.value.name} (verified by running)"
            if tag.seen and tag.seen.holds
            else tag.value.name
            for tag in tags
        ]
        if said:
            facts.append((tags[0].dimension.name, ", ".join(said)))
    method = shelf.method(entry)
    if method is not None:
        facts.append(("Runs here with", f"prunedex run {method.name}"))
    for related in shelf.builds_on(entry):
        other = _named(related.entry) if related.entry else related.key
        facts.append((related.words, other))
    parts = [f"## {_escaped(_named(entry))}"]
    parts.append("\n".join(f"- {name}: {_escaped(text)}" for name, text in facts if text))
    parts += ["### Take-away", *map(_escaped, paragraphs(entry.takeaway))]
    parts += ["### What it computes", *map(_escaped, paragraphs(entry.mechanism))]
    if entry.challenges:
        parts.append("### What it leaves open")
        parts.append("\n".join(f"- {_escaped(each)}" for each in entry.challenges))
    return parts


def _named(entry: Entry) -> str:
    """The title, after the method's name where the title does not begin with it."""
    name = called(entry)
    return (
        entry.title
        if entry.title.casefold().startswith(name.casefold())
        else (f"{name}: {entry.title}")
    )


def _escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is: no link, no HTML, no heading."""
    escaped = re.sub(r"([\\\[\]<>`*])", r"\\\1", plain(text))
    # What would begin a heading, a list or a rule if it stood first on a line.
    return re.sub(r"^(\d*)([#+=~|.)-])", r"\1\\\2", escaped)
