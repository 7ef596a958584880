"""A quick way through YAML files that are written as plainly as ours.

The parser of ruamel.yaml is written in Python and takes several milliseconds a file, which a
catalog of thousands of entries feels. Nearly all of its files use a small part of YAML: blocks
of `key: value`, items after `- `, texts that fit on a line or are folded after `>-`, lists in
brackets on a line. `plain_events` reads exactly that part, line by line, into the same events,
and declines everything else, so that what YAML means, and what is wrong with a file, is left
to the real parser. A test compares the two on every file and on mutations of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ruamel.yaml import events

_BLANK_OR_COMMENT = re.compile(r" *(?:#.*)?\Z")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,99}):(?: +|\Z)(.*)\Z")
# A first character without a meaning of its own, and nothing that could end or change a text.
_PLAIN = re.compile(r"[^\W_](?:[^:#]|:(?=\S)|(?<=\S)#)*\Z")
_FLOW_ITEM = r"(?:'(?:[^']|'')*'|[^\W_](?:[^:#,\[\]{}'\"]*[^\s:#,\[\]{}'\"])?)"
_FLOW_LIST = re.compile(rf"\[(?: *{_FLOW_ITEM}(?: *, *{_FLOW_ITEM})*)? *\]\Z")
_FLOW_PART = re.compile(_FLOW_ITEM)
_WIDEST = 60
"""The column after which no block starts, so that recursion ends."""
_QUOTED = re.compile(r"'(?:[^']|'')*'\Z|\"[^\"\\]*\"\Z")


class _Mark(NamedTuple):
    """A place in the text, from 0, as the parser's own marks give it."""

    line: int
    column: int


class _DeclinedError(Exception):
    """The text uses more of YAML than is read here."""


def plain_events(text: str) -> list[events.Event] | None:
    """The parser's events for a text in plain form; None where the real parser is needed."""
    if "\t" in text:
        return None
    try:
        return _Reader(text).document()
    except _DeclinedError:
        return None


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.number = 0
        self.found: list[events.Event] = []

    def document(self) -> list[events.Event]:
        if self.lines.pop():
            raise _DeclinedError  # the last line does not end
        while self.number < len(self.lines) and _BLANK_OR_COMMENT.match(self.lines[self.number]):
            self.number += 1
        if self.number == len(self.lines) or self._indent() != 0:
            raise _DeclinedError
        mark = _Mark(self.number, 0)
        self.found.append(events.DocumentStartEvent(mark, mark))
        self._block(0)
        if self.number != len(self.lines):
            raise _DeclinedError
        return self.found

    def _indent(self) -> int:
        line = self.lines[self.number]
        return len(line) - len(line.lstrip(" "))

    def _block(self, column: int, is_inner: bool = False) -> None:
        """A mapping or a sequence whose entries start in a column.

        With `is_inner` its first line begins with the dash of the sequence around it.
        """
        if column > _WIDEST:
            raise _DeclinedError
        line = self.lines[self.number]
        is_sequence = line.startswith("- ", column)
        mark = _Mark(self.number, column)
        start = events.SequenceStartEvent if is_sequence else events.MappingStartEvent
        self.found.append(start(None, None, True, mark, mark, flow_style=False))
        while self.number < len(self.lines):
            line = self.lines[self.number]
            indent = len(line) - len(line.lstrip(" ")) if not is_inner else column
            if indent < column:
                break
            if indent > column or line.startswith("- ", column) != is_sequence:
                raise _DeclinedError
            is_inner = False
            if is_sequence:
                self._item(line, column)
            else:
                self._field(line, column)
        mark = _Mark(self.number, 0)
        end = events.SequenceEndEvent if is_sequence else events.MappingEndEvent
        self.found.append(end(mark, mark))

    def _item(self, line: str, column: int) -> None:
        inner = column + 2
        if line[inner : inner + 1] in ("", " ", "-"):
            raise _DeclinedError
        if _FIELD.match(line[inner:]):
            self._block(inner, is_inner=True)
        else:
            self._value(line, inner, column)

    def _field(self, line: str, column: int) -> None:
        match = _FIELD.match(line[column:])
        if match is None:
            raise _DeclinedError
        mark = _Mark(self.number, column)
        self.found.append(events.ScalarEvent(None, None, (True, False), match[1], mark, mark))
        if match[2]:
            self._value(line, column + match.start(2), column)
            return
        if line.endswith(" "):
            raise _DeclinedError
        self.number += 1
        if self.number == len(self.lines) or self._indent() <= column:
            raise _DeclinedError  # an empty value, or a sequence in the column of its key
        if not self.lines[self.number].strip():
            raise _DeclinedError
        self._block(self._indent())

    def _value(self, line: str, at: int, column: int) -> None:
        """A text or a list in brackets, in a line of a block that starts in a column."""
        value, mark = line[at:], _Mark(self.number, at)
        first = value[0]
        if value == ">-":
            self._folded(mark, column)
            return
        if value.endswith(" "):
            raise _DeclinedError
        if first in "'\"":
            if not _QUOTED.match(value):
                raise _DeclinedError
            self.found.append(_quoted(value, mark))
        elif first == "[":
            if not _FLOW_LIST.match(value):
                raise _DeclinedError
            self.found += _flow_list(value, mark)
        elif _PLAIN.match(value) and not value.endswith(":"):
            self.found.append(events.ScalarEvent(None, None, (True, False), value, mark, mark))
        else:
            raise _DeclinedError
        self.number += 1
        if self.number < len(self.lines):
            after = self.lines[self.number]
            if not after.strip() or len(after) - len(after.lstrip(" ")) > column:
                raise _DeclinedError  # the text may go on there

    def _folded(self, mark: _Mark, column: int) -> None:
        """Lines of one indentation, without empty ones, that make one line of text."""
        self.number += 1
        first = self.number
        margin = 0
        while self.number < len(self.lines):
            line = self.lines[self.number]
            indent = len(line) - len(line.lstrip(" "))
            if line and indent <= column and not line.isspace():
                break
            margin = margin or indent
            if indent != margin or indent == len(line) or line.endswith(" "):
                raise _DeclinedError
            self.number += 1
        if self.number == first or self.lines[self.number : self.number + 1] == [""]:
            raise _DeclinedError
        value = " ".join(line[margin:] for line in self.lines[first : self.number])
        self.found.append(
            events.ScalarEvent(None, None, (False, True), value, mark, mark, style=">")
        )


def _quoted(text: str, mark: _Mark) -> events.ScalarEvent:
    style, value = text[0], text[1:-1]
    if style == "'":
        value = value.replace("''", "'")
    return events.ScalarEvent(None, None, (False, True), value, mark, mark, style=style)


def _flow_list(text: str, mark: _Mark) -> Iterator[events.Event]:
    yield events.SequenceStartEvent(None, None, True, mark, mark, flow_style=True)
    for match in _FLOW_PART.finditer(text):
        place = _Mark(mark.line, mark.column + match.start())
        if match[0].startswith("'"):
            yield _quoted(match[0], place)
        else:
            yield events.ScalarEvent(None, None, (True, False), match[0], place, place)
    end = _Mark(mark.line, mark.column + len(text) - 1)
    yield events.SequenceEndEvent(end, end)
