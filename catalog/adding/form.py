"""The issue form "Suggest a paper" as the draft of an entry.

GitHub renders a form as Markdown: each field a heading `### Label` with its value below. What a
person filled in goes into the entry; what is missing carries the marks of `prunedex add`, so that
`prunedex check` says what is left. Nothing is taken over that the schema would refuse.
"""

from __future__ import annotations

import datetime as dt
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from catalog.adding import known
from catalog.adding.draft import SCHEMA_LINE, WIDTH, make_key, marks, scalar
from catalog.adding.identifiers import FIELDS, of_address
from catalog.adding.record import Record, VenueGuess, checked_name, checked_url, plain
from catalog.checks.drafts import MARK
from catalog.errors import PrunedexError, details, shown
from catalog.reader import parse_yaml
from catalog.schema import DIMENSIONS, Entry
from catalog.store import PAPERS, Catalog
from catalog.upkeep.repositories import on_github
from catalog.validation import validate

FORM = Path(".github") / "ISSUE_TEMPLATE" / "paper.yml"
"""The form, below the root of a checkout; it says which heading is which field."""

MAX_CHARACTERS = 65_536
"""Length of an issue's text on GitHub."""

ORIGIN = "the form"

EMPTY = ("", "_No response_", "None")
"""What GitHub writes for a field that was left empty."""


class _Open(str):
    """What a person has to fill in: a comment in the place of a value."""


@dataclass(frozen=True)
class Filled:
    """The draft that a form gives, with line and field of what is left to do."""

    key: str
    text: str
    open: list[tuple[int, str]]


def labels(form: Path) -> dict[str, str]:
    """The fields of a form by their headings, in order. Raises PrunedexError if it has none."""
    try:
        read = YAML(typ="safe", pure=True).load(form.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        raise PrunedexError(f"{form} cannot be read", "run this inside a checkout") from None
    items = read.get("body", []) if isinstance(read, dict) else []
    return {item["attributes"]["label"]: item["id"] for item in items if "id" in item}


def answers(markdown: str, headings: Mapping[str, str]) -> dict[str, str]:
    """What was filled in, by field. A heading counts where it comes in the order of the form.

    Raises PrunedexError where the text is no such form.
    """
    if len(markdown) > MAX_CHARACTERS:
        raise PrunedexError(f"the text has more than {MAX_CHARACTERS} characters: it is no issue")
    order = list(headings)
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    position = 0
    for line in markdown.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        title = line.removeprefix("### ").strip() if line.startswith("### ") else None
        if title in order[position:]:
            position = order.index(title) + 1
            current = found.setdefault(headings[title], [])
        elif current is not None:
            current.append(line)
    if not found:
        raise PrunedexError(
            "this is not the form 'Suggest a paper'",
            "give the text of the issue as it is, with its headings",
        )
    given = {name: "\n".join(lines).strip() for name, lines in found.items()}
    return {name: text for name, text in given.items() if text not in EMPTY}


def entry_of(catalog: Catalog, given: Mapping[str, str], today: dt.date) -> Filled:
    """The draft of an entry. Raises PrunedexError if the paper is here, or cannot be told."""
    urls = [str(checked_url(line, ORIGIN)) for line in _lines(given.get("links", ""))]
    ids = _ids(urls)
    title = " ".join(given.get("title", "").split())
    authors = [_author(line) for line in _lines(given.get("authors", ""))]
    year = _year(given, "year")
    if not title or not authors or year is None:
        # Not enough to name the file; the paper's record has all of it.
        paper = _known(catalog, ids, title, authors, year)
        if paper is not None:
            raise PrunedexError(paper)
        where = f": prunedex add {urls[0]}" if urls else ""
        missing = [
            name
            for name, value in (("title", title), ("authors", authors), ("year", year))
            if not value
        ]
        raise PrunedexError(
            f"the form leaves {' and '.join(missing)} open", f"start from the paper's record{where}"
        )
    paper = _known(catalog, ids, title, authors, year)
    if paper is not None:
        raise PrunedexError(paper)
    title = plain(title, "the title", ORIGIN)
    record = Record(
        title=title, authors=authors, year=year, venue=VenueGuess(None, "", year, "other"),
        ids=ids, paper=urls[0] if urls else None, source=None,
    )  # fmt: skip
    taken = {each.key for each in known.papers(catalog)} | catalog.unread | set(catalog.entries)
    key = make_key(record, taken)
    text = _written(_fields(given, record, key, urls, today))
    _verify(key, text)
    return Filled(key, text, marks(text))


def _known(
    catalog: Catalog, ids: Mapping[str, str], title: str, authors: list[str], year: int | None
) -> str | None:
    papers = known.papers(catalog)
    for name, value in ids.items():
        paper = known.by_id(papers, name, value)
        if paper is not None:
            return f"it is here already: {paper.key} (the same {name} id, {value})"
    match = known.by_title(papers, title, authors, year)
    if match is None or not match.certain:
        return None
    return f"it is here already: {match.paper.key} ({match.how})"


def _lines(text: str) -> list[str]:
    """The lines of a list, without bullets and empty ones."""
    bare = (
        re.sub(r"^\s*(?:[-*+]|[0-9]{1,3}[.)])\s+", "", line).strip() for line in text.split("\n")
    )
    return [line for line in bare if line]


def _author(line: str) -> str:
    return checked_name(plain(line, "an author's name", ORIGIN, 150), ORIGIN)


def _year(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{4}", text, re.ASCII):
        raise PrunedexError(f"the form gives {shown(text, 30)} as a year", "give four digits")
    return int(text)


def _ids(urls: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for url in urls:
        meant = of_address(url)
        if meant is not None:
            if meant.flaw is not None:
                raise PrunedexError(f"{shown(url, 80)}: {meant.flaw}", "correct the link")
            found.setdefault(meant.field, meant.value)
    return {name: found[name] for name in FIELDS if name in found}


def _mark(words: str) -> _Open:
    return _Open(f"{MARK} {words}")


def _fields(
    given: Mapping[str, str], record: Record, key: str, urls: list[str], today: dt.date
) -> dict[str, Any]:
    """The entry as data in the schema's order; what is `_Open` is left to a person."""
    kind = given.get("kind") or _mark("method, survey, analysis, system or benchmark")
    short = given.get("venue_short")
    venue_type = given.get("venue_type")
    entry: dict[str, Any] = {"key": key, "title": record.title}
    if "name" in given:
        entry["name"] = given["name"]
    entry |= {"authors": record.authors, "year": record.year}
    entry["venue"] = {
        "short": short or _mark("as people say it, with the year, such as ICLR 2024"),
        "full": given.get("venue_full") or _mark("the proceedings' or journal's full name"),
        "year": _year(given, "venue_year") or record.year,
        "type": venue_type or _mark("conference, journal, workshop, preprint, thesis or other"),
    }
    entry["kind"] = kind
    entry["ids"] = record.ids
    entry["links"] = _links(given, urls)
    entry["takeaway"] = given.get("takeaway") or _mark("in your words, what a reader should do")
    entry["mechanism"] = given.get("mechanism") or _mark("in your words, what exactly is computed")
    challenges = _lines(given.get("challenges", ""))
    entry["challenges"] = challenges or _mark("a list of what it leaves open, in your words")
    tags = {
        name: [part.strip() for part in given[name].split(",")]
        for name in DIMENSIONS
        if name in given
    }
    if tags or kind in ("method", "system"):
        entry["tags"] = {
            name: tags.get(name) or _mark(f"prunedex tags {name} says what there is")
            for name in DIMENSIONS
        }
    experiments = {
        name: [part.strip() for part in given[name].split(",") if part.strip()]
        for name in ("models", "calibration", "evaluation")
        if name in given
    }
    if experiments:
        entry["evaluated_on"] = experiments
    status = "preprint" if venue_type == "preprint" else "published"
    entry["lifecycle"] = {
        "status": status if venue_type else _mark("preprint or published"),
    }
    entry["sources"] = _sources(given.get("sources", ""), today)
    return {name: value for name, value in entry.items() if value not in ({}, [])}


def _links(given: Mapping[str, str], urls: list[str]) -> dict[str, Any]:
    links: dict[str, Any] = {"paper": urls[0]} if urls else {}
    if "code" in given:
        url = str(checked_url(given["code"], ORIGIN))
        repository = on_github(url)
        links["code"] = {"url": url} | ({"repository": repository} if repository else {})
    return links


def _sources(text: str, today: dt.date) -> Any:
    found = []
    for line in _lines(text):
        what, _, url = line.rpartition(" ")
        found.append(
            {
                "what": what.strip(" :,-") or _mark("what you confirmed there"),
                "url": checked_url(url, ORIGIN),
                "seen": today,
            }
        )
    return found or _mark("where you confirmed what, and when")


def _written(entry: Mapping[str, Any]) -> str:
    lines = [SCHEMA_LINE]
    for name, value in entry.items():
        lines += _block(name, value, "")
    return "\n".join(lines) + "\n"


def _block(name: str, value: Any, margin: str) -> list[str]:
    """One field as YAML, in the form that entries have."""
    if isinstance(value, dict):
        inner = [line for key, each in value.items() for line in _block(key, each, margin + "  ")]
        return [f"{margin}{name}:", *inner]
    if isinstance(value, list) and margin:
        return [f"{margin}{name}: [{', '.join(scalar(each, flow=True) for each in value)}]"]
    if isinstance(value, list):
        return [f"{name}:", *(line for each in value for line in _item(each))]
    if isinstance(value, _Open):
        return [f"{margin}{name}:  {value}"]
    if not isinstance(value, str):
        return [f"{margin}{name}: {value}"]
    if name == "arxiv":
        return [f"{margin}{name}: '{value}'"]
    text = _paragraphs(value)
    if "\n" not in text:
        written = f"{margin}{name}: {scalar(text)}"
        if len(written) <= WIDTH:
            return [written]
    return [f"{margin}{name}: >-", *_folded(text, margin + "  ")]


def _item(value: Any) -> list[str]:
    if isinstance(value, dict):
        inner = [line for key, each in value.items() for line in _block(key, each, "    ")]
        return [f"  - {inner[0].lstrip()}", *inner[1:]]
    text = _paragraphs(value)
    written = f"  - {scalar(text)}"
    return [written] if len(written) <= WIDTH else ["  - >-", *_folded(text, "    ")]


def _paragraphs(text: str) -> str:
    """Lines joined to paragraphs, with an empty line between two of them."""
    parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(part for part in parts if part)


def _folded(text: str, margin: str) -> list[str]:
    lines: list[str] = []
    for number, part in enumerate(text.split("\n\n")):
        # Folding takes one line break away: two empty lines stay one.
        lines += ["", ""] if number else []
        wrapped = textwrap.wrap(
            part, WIDTH - len(margin), break_long_words=False, break_on_hyphens=False
        )
        lines += [margin + line for line in wrapped]
    return lines


def _verify(key: str, text: str) -> None:
    """Refuse a draft that the schema would refuse for more than what is left open."""
    located, problems = parse_yaml(f"{PAPERS}/{key}.yaml", text)
    if located is not None:
        _, flaws = validate(Entry, located)
        problems += [flaw for flaw in flaws if flaw.code != "empty-value"]
    if problems:
        more = f"and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise PrunedexError(
            f"the form gives what no entry may hold: {problems[0].message}{details(more)}",
            "correct the issue, or write the entry by hand",
        )
