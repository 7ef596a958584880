"""Failures that people read: the exceptions of the catalog and one found problem.

Every message says what was wrong and what was allowed or closest; the hint says
what to do. Text that comes from files passes through `shown`, so that no message
can carry a line break or a terminal escape sequence.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "notice"]
"""A notice is information that never makes a check fail."""

# Format characters that are part of ordinary spelling: soft hyphen and the two joiners.
_HARMLESS_FORMAT = "\u00ad\u200c\u200d"


class PrunedexError(Exception):
    """A failure to report to the person at the keyboard, without a traceback.

    `message` says what was wrong, `hint` what to do about it; `exit_status` is what
    the command ends with.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(PrunedexError):
    """What was asked for does not exist or makes no sense: exit status 2."""

    exit_status = 2


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in one file; `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    code: str
    message: str
    severity: Severity = "error"
    help: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code}: {self.message}"

    def to_dict(self) -> dict[str, str | int]:
        """The same as plain data, for JSON."""
        return asdict(self)


def is_unsafe(character: str) -> bool:
    """Whether a character could move the cursor, reorder text or break an encoder."""
    category = unicodedata.category(character)
    if category == "Cf":
        return character not in _HARMLESS_FORMAT
    return category in ("Cc", "Cs", "Zl", "Zp")


def visible(text: str) -> str:
    """The text with every unsafe character but the line feed written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if is_unsafe(character) and character != "\n"
        else character
        for character in text
    )


def shown(value: object, limit: int = 60) -> str:
    """A value from a file as a short quoted piece of one line."""
    text = visible(str(value)).replace("\n", "\\n")
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return f"'{text}'"


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option that a misspelt word most likely meant; None if none is near."""
    by_folded = {option.casefold(): option for option in options}
    # Longer words cannot be near, and comparing them costs time that grows with their length.
    folded = word[:100].casefold()
    matches = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    if matches:
        return by_folded[matches[0]]
    # A truncated or extended name is a poor match by ratio, yet plainly meant.
    extended = [key for key in by_folded if len(folded) > 2 and key.startswith(folded)]
    return by_folded[min(extended)] if extended else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`did you mean 'x'?`, or an empty string if nothing is near."""
    near = closest(word, options)
    return f"did you mean '{near}'?" if near is not None else ""


def listed(options: Iterable[str], limit: int = 40) -> str:
    """Options as `a, b, c`; after `limit` of them as `a, b, … and 12 more`."""
    names = list(options)
    if not names:
        return "none"
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def details(*parts: str) -> str:
    """The parts that are not empty as ` (a; b)`, to end a message."""
    present = [part for part in parts if part]
    return f" ({'; '.join(present)})" if present else ""
