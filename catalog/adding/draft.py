"""A record as the draft of an entry: facts filled in, and marks where a person has to decide.

What nobody but a person can say is left empty, which `prunedex check` reports field by field;
what is only proposed carries a comment `# decide: …`, which it reports until it is deleted.
No sentence of an abstract is written: only the few words that speak for a tag, as a comment.
"""

from __future__ import annotations

import datetime as dt
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.adding.record import Record, VenueGuess, family_of
from catalog.adding.rules import Proposal, guess_kind, propose_tags
from catalog.checks.drafts import MARK
from catalog.errors import PrunedexError, UsageError, listed, shown
from catalog.inventory import Inventory
from catalog.query import fold
from catalog.reader import parse_yaml
from catalog.schema import DIMENSIONS, Entry, Kind
from catalog.store import PAPERS, Catalog
from catalog.validation import FORMS, validate

SCHEMA_LINE = "# yaml-language-server: $schema=../catalog/schema/entry.schema.json"
"""The first line of every entry, by which editors find its schema."""

WIDTH = 100

_SMALL = """
a an the on of in for to and or with by from is are be can do does at as into via it its
your our you we really there that this
"""
_SMALL_WORDS = frozenset(_SMALL.split())


@dataclass(frozen=True)
class Draft:
    """The text of a new entry, with what it proposes and what it leaves open."""

    key: str
    text: str
    tags: list[Proposal]
    kind: Kind
    open: list[tuple[int, str]]
    """Line and field of everything that a person has to fill in or decide"""


def make_key(record: Record, taken: Iterable[str]) -> str:
    """First author, year and the first telling word of the title that makes the key unique.

    Raises PrunedexError where the record has no letters to make one of.
    """
    used = set(taken)
    family = family_of(record.authors[0]) if record.authors else "anonymous"
    name = re.sub(r"[^a-z]", "", fold(family))
    words = [re.sub(r"[^a-z0-9]", "", fold(word)) for word in re.split(r"[\s/:,]+", record.title)]
    telling = [word for word in words if word and word not in _SMALL_WORDS] or [
        *filter(None, words)
    ]
    if not name or not telling:
        raise PrunedexError(
            f"no key can be made of {shown(family, 40)} and {shown(record.title, 60)}",
            f"give one: --key, {FORMS['key']}",
        )
    keys = [f"{name[:40]}{record.year}{word[:40]}" for word in telling]
    keys += [f"{keys[0]}{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"]
    free = next((key for key in keys if key not in used), None)
    if free is None:
        raise PrunedexError(f"every key like {keys[0]} is taken", "give one: --key")
    return free


def check_key(key: str, year: int, taken: Iterable[str]) -> str:
    """A key that a person chose. Raises UsageError if it cannot be the key of this paper."""
    if not re.fullmatch(r"[a-z]+[0-9]{4}[a-z0-9]+", key):
        raise UsageError(f"{shown(key)} is no key", FORMS["key"])
    if key in set(taken):
        raise UsageError(f"the key {key} is taken", "give another one")
    if f"{year}" not in key:
        raise UsageError(f"the key {key} does not hold the year {year}", FORMS["key"])
    return key


def method_name(title: str) -> str | None:
    """What the title calls its method: one word before the colon, or one in brackets."""
    head, colon, _ = title.partition(":")
    if colon and len(head.split()) == 1 and any(map(str.isupper, head)):
        return head
    match = re.search(r"\(([A-Za-z0-9@.+-]*[A-Z][A-Za-z0-9@.+-]*)\)", title)
    return match[1] if match is not None else None


def make_draft(catalog: Catalog, record: Record, key: str, today: dt.date) -> Draft:
    """The entry of a record as far as it can be written without reading the paper.

    Raises PrunedexError if what was written would not say what the record says.
    """
    record = replace(record, venue=_as_elsewhere(catalog, record.venue))
    kind = guess_kind(record.title)
    tags = propose_tags(catalog.vocabulary, record.title, record.abstract)
    if kind in ("survey", "benchmark", "analysis"):
        tags = []
    lines = [SCHEMA_LINE]
    lines += _field(0, "key", key)
    lines += _field(0, "title", record.title)
    name = method_name(record.title)
    if name is not None:
        lines += _field(0, "name", name, "taken from the title; delete the line if nothing has it")
    if record.authors:
        lines += ["authors:", *(f"  - {scalar(author)}" for author in record.authors)]
    else:
        lines += [f"authors:  {MARK} the record names nobody; see the paper"]
    lines += _field(0, "year", record.year, record.year_doubt)
    lines += _venue(record)
    lines += _field(0, "kind", kind, "method, survey, analysis, system or benchmark")
    if record.ids:
        lines += ["ids:", *(f"  {n}: {_quoted(n, value)}" for n, value in record.ids.items())]
    lines += _links(record)
    lines += [
        f"takeaway:  {MARK} in your words, one to three sentences that a practitioner can act on",
        f"mechanism:  {MARK} in your words, what exactly is computed",
        f"challenges:  {MARK} a list of what it struggles with or leaves open, in your words",
    ]
    if kind in ("method", "system"):
        lines += ["tags:", *_tags(tags)]
    if kind != "survey":
        lines += _experiments(catalog.inventory, record)
    status = "preprint" if record.venue.type == "preprint" else "published"
    lines += ["lifecycle:", f"  status: {status}"]
    lines += _sources(record, kind, today)
    text = "\n".join(lines) + "\n"
    _verify(text, record, key)
    return Draft(key, text, tags, kind, marks(text))


def _as_elsewhere(catalog: Catalog, venue: VenueGuess) -> VenueGuess:
    """The venue in the words of the entries that have it already."""
    others = [
        entry.venue
        for entry in catalog.entries.values()
        if venue.short is not None and fold(entry.venue.short) == fold(venue.short)
    ]
    if not others or (others[0].type == "preprint") != (venue.type == "preprint"):
        return venue
    usual = Counter((each.full, each.type, each.publisher) for each in others).most_common(1)[0][0]
    full, kind, publisher = usual
    return replace(venue, short=others[0].short, full=full, type=kind, publisher=publisher)


def marks(text: str) -> list[tuple[int, str]]:
    """Line and field of every mark in a draft, in the order of the file."""
    found: list[tuple[int, str]] = []
    above: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        match = re.match(r"( *)(?:- )?([a-z_]+):(?: |$)", line)
        if match is not None:
            indent = len(match[1])
            above = [each for each in above if each[0] < indent] + [(indent, match[2])]
        # Two spaces: no text of a record has them.
        if f"  {MARK}" in line and above:
            found.append((number, ".".join(name for _, name in above)))
    return found


def scalar(value: str, flow: bool = False) -> str:
    """Text as YAML on one line: plain where YAML keeps it so, else in quotes."""
    around = "x: [{}]\n" if flow else "x: {}\n"
    wanted: object = {"x": [value] if flow else value}
    single = "'" + value.replace("'", "''") + "'"
    # Entries quote n:m, which older readers of YAML would take for a number in base 60.
    for written in (single,) if flow and ":" in value else (value, single):
        located, problems = parse_yaml("", around.format(written))
        if located is not None and not problems and located.data == wanted:
            return written
    raise PrunedexError(f"{shown(value)} cannot be written as YAML", "correct the record")


def _quoted(name: str, value: str) -> str:
    # An unquoted arXiv id is a number; the other identifiers are text as they stand.
    return f"'{value}'" if name == "arxiv" else scalar(value)


def _comment(text: str) -> str:
    return f"  {MARK} {' '.join(text.split())}"


def _field(indent: int, name: str, value: object, doubt: str | None = None) -> list[str]:
    """A field with its value, folded where it is long, and the doubt that a person settles."""
    margin = " " * indent
    comment = _comment(doubt) if doubt else ""
    if isinstance(value, int):
        return [f"{margin}{name}: {value}{comment}"]
    text = str(value)
    written = f"{margin}{name}: {scalar(text)}"
    if len(written) <= WIDTH:
        return [written + comment]
    folded = textwrap.wrap(text, WIDTH - indent - 2, break_long_words=False, break_on_hyphens=False)
    return [f"{margin}{name}: >-{comment}", *(f"{margin}  {line}" for line in folded)]


def _venue(record: Record) -> list[str]:
    venue = record.venue
    lines = ["venue:"]
    if venue.short is None:
        lines.append(f"  short:  {MARK} as people say it, with the year, such as ICLR {venue.year}")
    else:
        lines += _field(2, "short", venue.short)
    lines += _field(2, "full", venue.full)
    lines += _field(2, "year", venue.year)
    doubt = venue.doubt
    if doubt is None and venue.type == "other":
        doubt = "conference, journal, workshop, preprint, thesis or other"
    lines += _field(2, "type", venue.type, doubt)
    for name in ("volume", "number", "pages", "publisher"):
        value = getattr(venue, name)
        if value is not None:
            lines += _field(2, name, value)
    return lines


def _links(record: Record) -> list[str]:
    lines = _field(2, "paper", record.paper) if record.paper else []
    match = re.search(
        r"https?://(?:www\.)?github\.com/([A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]*[A-Za-z0-9_-])",
        record.abstract,
    )
    if match is not None:
        repository = match[1].removesuffix(".git")
        lines += [f"  code:{_comment('named in the abstract: is this the code of the paper?')}"]
        lines += _field(4, "url", f"https://github.com/{repository}")
        lines += _field(4, "repository", repository)
    if record.proceedings and record.proceedings != record.paper:
        lines += _field(2, "proceedings", record.proceedings)
    return ["links:", *lines] if lines else []


def _tags(proposals: list[Proposal]) -> list[str]:
    lines = []
    for dimension in DIMENSIONS:
        found = [each for each in proposals if each.dimension == dimension]
        if not found:
            why = f"title and abstract give no hint; prunedex tags {dimension}"
            lines.append(f"  {dimension}:  {MARK} {why}")
            continue
        values = ", ".join(scalar(each.tag, flow=True) for each in found)
        evidence = "; ".join(f"{each.tag}: {each.words}" for each in found)
        lines.append(f"  {dimension}: [{values}]{_comment(evidence)}")
    return lines


def _experiments(inventory: Inventory, record: Record) -> list[str]:
    named = [
        item.name
        for item in inventory.items("models")
        if len(item.name) > 2
        and re.search(rf"(?<![\w-]){re.escape(item.name)}(?![\w-])", record.abstract)
    ]
    models = f"  models:  {MARK} a list, as prunedex resources models spells them"
    if named:
        values = ", ".join(scalar(name, flow=True) for name in named)
        models = f"  models: [{values}]{_comment('named in the abstract; which does it evaluate?')}"
    evaluation = f"  evaluation:  {MARK} a list, as prunedex resources datasets spells them"
    return ["evaluated_on:", models, evaluation]


def _sources(record: Record, kind: Kind, today: dt.date) -> list[str]:
    what = "mechanism and tags" if kind in ("method", "system") else "mechanism"
    lines = ["sources:"]
    if record.source is not None:
        lines += ["  - what: bibliography", *_field(4, "url", record.source)]
        lines += [f"    seen: {today.isoformat()}"]
    else:
        lines += ["  - what: bibliography", f"    url:  {MARK} where you confirmed it"]
        lines += [f"    seen:  {MARK} the day, such as {today.isoformat()}"]
    lines += [
        f"  - what: {what}",
        f"    url:  {MARK} where you read it",
        f"    seen:  {MARK} the day, such as {today.isoformat()}",
    ]
    return lines


def _verify(text: str, record: Record, key: str) -> None:
    """Refuse a draft that does not say exactly what the record says, whatever that holds."""
    located, problems = parse_yaml(f"{PAPERS}/{key}.yaml", text)
    data: Any = located.data if located is not None else None
    same = isinstance(data, dict) and (
        data.get("title") == record.title
        and (data.get("authors") or []) == record.authors
        and (data.get("ids") or {}) == record.ids
        and data.get("key") == key
        and list(data) == [name for name in Entry.model_fields if name in data]
    )
    if problems or not same:
        raise PrunedexError(
            f"{record.origin or 'the record'} holds text that cannot be written as YAML",
            "write the entry by hand",
        )
    assert located is not None
    _, flaws = validate(Entry, located)
    left = [flaw for flaw in flaws if flaw.code != "empty-value"]
    if left:
        raise PrunedexError(
            f"{record.origin or 'the record'} gives what no entry may hold: {left[0].message}",
            "write the entry by hand",
        )


def target_of(root: Path, key: str, output: Path | None) -> Path:
    """Where a draft goes: into papers/, or where `--output` says (a file or a folder)."""
    if output is None:
        return root / PAPERS / f"{key}.yaml"
    return output / f"{key}.yaml" if output.is_dir() else output


def describe(fields: Iterable[tuple[int, str]]) -> str:
    """Open fields in a sentence."""
    return listed(f"{name} (line {line})" for line, name in fields)
