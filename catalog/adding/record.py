"""What a public record says about a paper, cleaned, and refused where it cannot be trusted.

Records come from strangers. Text is one line without markup, control or direction characters;
everything else is refused with the field and the reason, never repaired in silence.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from catalog.errors import PrunedexError, is_unsafe, shown
from catalog.schema import Ids, VenueType

MAX_TITLE = 500
MAX_NAME = 150
MAX_AUTHORS = 3000
MAX_FIELD = 500

_HARMLESS_TAG = re.compile(
    r"</?(?:i|b|u|em|strong|sub|sup|scp|tt|span|italic|bold|sc|jats:[a-z-]+)\s*/?>", re.IGNORECASE
)
# A comparison such as "a < b" is no tag: it has a space.
_TAG = re.compile(r"<[A-Za-z/!?][^>]*>?")


@dataclass(frozen=True)
class VenueGuess:
    """Where a record says that the paper appeared; `doubt` is what a person has to settle."""

    short: str | None
    full: str
    year: int
    type: VenueType
    volume: str | None = None
    number: str | None = None
    pages: str | None = None
    publisher: str | None = None
    doubt: str | None = None


@dataclass(frozen=True)
class Record:
    """One paper as a public record describes it; `abstract` is only searched, never copied."""

    title: str
    authors: list[str]
    year: int
    venue: VenueGuess
    ids: dict[str, str]
    paper: str | None
    source: str | None
    abstract: str = ""
    proceedings: str | None = None
    year_doubt: str | None = None
    origin: str = ""
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON, without the abstract."""
        venue = {name: value for name, value in vars(self.venue).items() if value is not None}
        return {
            "title": self.title,
            "authors": self.authors,
            "year": self.year,
            "venue": venue,
            "ids": self.ids,
            "paper": self.paper,
            "source": self.source,
        }


def refuse(origin: str, what: str) -> PrunedexError:
    """The error for a record that is not taken over."""
    return PrunedexError(
        f"{origin} {what}: nothing is taken over",
        "compare with the paper itself; a corrected .bib file works as a source",
    )


def plain(value: object, what: str, origin: str, limit: int = MAX_FIELD) -> str:
    """One line of text from a record. Raises PrunedexError for text that cannot be that."""
    if not isinstance(value, str):
        raise refuse(origin, f"gives no text as {what}")
    if len(value) > limit * 4:
        raise refuse(origin, f"gives {len(value):,} characters as {what}")
    text = _HARMLESS_TAG.sub("", value)
    text = html.unescape(text) if "&" in text else text
    text = " ".join(unicodedata.normalize("NFC", text).split())
    for character in text:
        if is_unsafe(character):
            code = f"U+{ord(character):04X}"
            raise refuse(origin, f"gives {what} with the control character {code}")
    tag = _TAG.search(text)
    if tag is not None:
        raise refuse(origin, f"gives {what} with markup, {shown(tag[0], 30)}")
    if "$" in text or "\\" in text:
        text = from_latex(text)
        if any(map(is_unsafe, text)) or "\\" in text:
            raise refuse(origin, f"gives {what} with markup, {shown(text, 40)}")
    if len(text) > limit:
        raise refuse(origin, f"gives {len(text):,} characters as {what} (at most {limit})")
    return text


def plain_or_none(value: object, what: str, origin: str) -> str | None:
    """Like `plain`, but nothing where the record has nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return plain(value, what, origin)


def searchable(value: object) -> str:
    """An abstract as text to look for words in; it is never shown as a whole or written."""
    if not isinstance(value, str):
        return ""
    text = re.sub(r"<[^<>]{0,200}>", " ", value[:20_000])
    text = html.unescape(text)
    return " ".join("".join(" " if is_unsafe(c) else c for c in text).split())


def person(given: object, family: object, origin: str) -> str:
    """An author from the two parts of a name, written so that they can be told apart again."""
    first = plain(given, "an author's name", origin, MAX_NAME) if given else ""
    last = plain(family, "an author's name", origin, MAX_NAME) if family else ""
    if not first or not last:
        return checked_name(first or last, origin)
    name = f"{first} {last}"
    return checked_name(name if family_of(name) == last else f"{last}, {first}", origin)


def checked_name(name: str, origin: str) -> str:
    """The name, or PrunedexError if it is none."""
    letters = sum(map(str.isalpha, name))
    if not letters or letters * 2 < len(name) or re.search(r"[/\\<>{}$=;:|@]|\.\.", name):
        raise refuse(origin, f"names an author {shown(name, 40)}")
    return name


def family_of(name: str) -> str:
    """The family name, with the words in lower case before it that belong to it."""
    from bibtexparser.middlewares.names import InvalidNameError, parse_single_name_into_parts

    try:
        parts = parse_single_name_into_parts(name)
    except InvalidNameError:
        return name.split()[-1] if name.split() else name
    return " ".join([*parts.von, *parts.last]) or name


def checked_ids(ids: dict[str, str | None], origin: str) -> dict[str, str]:
    """The identifiers that are there, in the schema's order, each of its form."""
    present = {name: ids[name] for name in Ids.model_fields if ids.get(name)}
    try:
        Ids.model_validate(present)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise refuse(origin, f"gives {shown(present[name], 60)} as {name} id") from None
    return {name: value for name, value in present.items() if value}


def checked_year(value: object, origin: str) -> int:
    """A year between those that the schema allows."""
    text = str(value).strip() if isinstance(value, str | int) else ""
    if re.fullmatch(r"[0-9]{4}", text, re.ASCII) and 1980 <= int(text) <= 2100:
        return int(text)
    raise refuse(origin, f"gives {shown(text or value, 30)} as the year")


def checked_url(value: object, origin: str) -> str | None:
    """A link as the schema takes it, or nothing."""
    if not isinstance(value, str) or not value:
        return None
    if not re.fullmatch(r"https?://[^\s<>\"'`\\]{3,500}", value) or any(map(is_unsafe, value)):
        raise refuse(origin, f"gives {shown(value, 40)} as a link")
    return value


@lru_cache(maxsize=1)
def _decoder() -> Any:
    from pylatexenc.latex2text import LatexNodes2Text

    return LatexNodes2Text(math_mode="text", strict_latex_spaces=False)


def from_latex(text: str) -> str:
    """LaTeX as plain text, as far as it can be said in plain text."""
    try:
        found = str(_decoder().latex_to_text(text))
    except Exception:  # the decoder raises anything on odd input
        return text
    return " ".join(unicodedata.normalize("NFC", found).split())
