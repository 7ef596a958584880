"""YAML files as plain data in which every part knows its line and column.

Files are read as YAML 1.2 (so that `2:4` and `no` stay text) and only in the subset that
can be reviewed line by line: one document, no tags, anchors, aliases, merge keys or
directives, and no key twice. Whatever bytes a file holds, the answer is data or a list of
problems, never an exception.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML, events, nodes
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from catalog.errors import Problem, is_unsafe, shown, visible
from catalog.plain_yaml import plain_events

MAX_BYTES = 256 * 1024
"""Size in bytes above which a YAML file is refused."""

MAX_DEPTH = 16
"""Nesting depth above which a YAML file is refused."""

MAX_PROBLEMS = 100
"""Problems in one file after which no more of them are told."""

Location = tuple[str | int, ...]
"""The way to a part of a document: field names and list indices from 0."""

_HELP = {
    "outside-root": "Replace the link by the file itself.",
    "unreadable": "Check that the file exists, is a regular file and may be read.",
    "too-large": "Keep facts in the entry and long text elsewhere.",
    "encoding": "Save the file as UTF-8 without a byte order mark.",
    "control-character": (
        "Delete the character; it is often invisible and comes from copying out of a PDF or page."
    ),
    "tab": "Indent with spaces; YAML forbids tabs there.",
    "yaml": "Quote any text that holds ': ', ' #' or starts with a special character.",
    "empty-file": "Fill the file, starting from another one as a template, or delete it.",
    "directive": "Remove the line that starts with %.",
    "several-documents": "Give each document a file of its own.",
    "too-deep": "No field of an entry is nested this deeply; check the indentation.",
    "alias": "Write the value out in every place.",
    "yaml-tag": "Remove the word that starts with '!'; quote the value if it starts with one.",
    "merge-key": "Write the fields out instead of merging them in.",
    "key-form": "A field's name is one plain word, such as title.",
    "duplicate-key": "Keep one of the two; YAML would silently drop the other.",
    "bad-scalar": "Put the value in quotes if it is meant as text.",
}


@dataclass
class Located:
    """Plain data of one document, with the place and the spelling of each part of it."""

    path: str
    data: object = None
    values: dict[Location, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Location, tuple[int, int]] = field(default_factory=dict)
    spelling: dict[Location, str] = field(default_factory=dict)
    flawed: set[Location] = field(default_factory=set)
    text: str = field(default="", repr=False)

    def at(self, *location: str | int) -> tuple[int, int]:
        """Line and column of a part, or of the nearest thing around it that exists."""
        for length in range(len(location), -1, -1):
            place = self.values.get(location[:length])
            if place is not None:
                return place
        return (1, 1)

    def at_key(self, *location: str | int) -> tuple[int, int]:
        """Line and column of a field's name, or else of the part itself."""
        return self.keys.get(location) or self.at(*location)

    def is_flawed(self, location: Location) -> bool:
        """Whether a problem was already reported for this part or for one around it."""
        return any(location[:length] in self.flawed for length in range(len(location) + 1))


def relative_name(root: Path, file: Path) -> str:
    """A file's name from the root, with forward slashes, made safe to print."""
    try:
        name = file.relative_to(root).as_posix()
    except ValueError:
        name = file.as_posix()
    return visible(name).replace("\n", "\\n")


def read_text(root: Path, file: Path, limit: int = MAX_BYTES) -> tuple[str | None, list[Problem]]:
    """The text of a file below the root, or the one problem that prevents reading it."""
    name = relative_name(root, file)

    def refuse(
        code: str, message: str, line: int = 1, column: int = 1
    ) -> tuple[None, list[Problem]]:
        return None, [Problem(name, line, column, code, message, help=_HELP[code])]

    try:
        target = file.resolve(strict=True)
        if not target.is_relative_to(root.resolve()):
            return refuse("outside-root", "the file is a link that leaves the repository")
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            return refuse("unreadable", "this is not a regular file")
        if status.st_size > limit:
            size = -(-status.st_size // 1024)
            return refuse("too-large", f"the file has {size} KiB (allowed: {limit // 1024} KiB)")
        raw = target.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        return refuse("unreadable", f"the file cannot be read ({reason})")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return refuse("encoding", "the file starts with a byte order mark")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        found = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        return refuse("encoding", found, line, column)
    return text.replace("\r\n", "\n"), []


def read_yaml(root: Path, file: Path) -> tuple[Located | None, list[Problem]]:
    """A YAML file below the root as located data, with everything that is wrong with its form.

    The data is None where the file cannot be read at all. Where single parts are refused
    (an alias, a second value for a key), the rest is still returned and those parts are
    marked as flawed.
    """
    text, problems = read_text(root, file)
    if text is None:
        return None, problems
    return parse_yaml(relative_name(root, file), text)


def parse_yaml(name: str, text: str) -> tuple[Located | None, list[Problem]]:
    """Like `read_yaml`, for text that is already in memory; `name` stands for the file."""
    problems = list(_forbidden_characters(name, text))
    if problems:
        return None, problems
    builder = _Builder(name, text)
    try:
        builder.build(YAML(typ="safe", pure=True), text)
    except _RefusedError:
        return None, builder.problems
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        builder.report("yaml", _plain_words(error), line, column)
        return None, builder.problems
    except YAMLError as error:
        builder.report("yaml", visible(str(error)).replace("\n", " "), *builder.last)
        return None, builder.problems
    except Exception as error:  # the parser raises anything on odd input
        builder.report(
            "yaml", f"the YAML parser gave up here ({type(error).__name__})", *builder.last
        )
        return None, builder.problems
    return builder.located, builder.problems


def _forbidden_characters(name: str, text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.split("\n"), start=1):
        margin = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in margin:
            message = "a tab is used for indentation"
            yield Problem(name, number, margin.index("\t") + 1, "tab", message, help=_HELP["tab"])
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line, start=1):
            if is_unsafe(character) and character != "\t":
                message = f"the text holds the control character U+{ord(character):04X}"
                code = "control-character"
                yield Problem(name, number, column, code, message, help=_HELP[code])
                break


def _plain_words(error: MarkedYAMLError) -> str:
    """The parser's complaint, in the words of somebody who edits a file."""
    problem = " ".join(visible(str(error.problem or "this is not YAML")).split())
    context = " ".join(visible(str(error.context or "")).split())
    if "mapping values are not allowed" in problem:
        return "there is a second ': ' in this line; put the whole value in quotes"
    if "could not find expected ':'" in problem:
        return "a ':' after the field's name is missing here or in the line above"
    if "expected <block end>" in problem:
        return "the indentation does not match the lines above, or a quote above is not closed"
    if "quoted scalar" in context and "end of stream" in problem:
        return "a quote is opened but never closed"
    if "found character" in problem and "cannot start any token" in problem:
        return f"{problem}; put the value in quotes"
    return f"{problem} ({context})" if context else problem


# Names of fields that are text without a closer look; YAML has three words of its own.
_COMMON_NAME = re.compile(r"(?!(?:null|true|false)\Z)[a-z][a-z_]*\Z")


@lru_cache(maxsize=1)
def _special_starts() -> frozenset[str]:
    """The first characters of values that YAML 1.2 may take for something else than text."""
    resolver = YAML(typ="safe", pure=True).resolver
    return frozenset(start for start in resolver.versioned_resolver if start)


class _RefusedError(Exception):
    """Reading stops here; the problem has been reported."""


class _Builder:
    """Builds located data from parser events, so that hostile input ends early.

    Working on events rather than on composed nodes means that an alias is seen before it
    is expanded and depth before it is recursed into.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.located = Located(name, text=text)
        self.problems: list[Problem] = []
        self.last = (1, 1)

    def report(self, code: str, message: str, line: int, column: int) -> None:
        self.problems.append(Problem(self.name, line, column, code, message, help=_HELP[code]))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _RefusedError

    def _refuse(self, code: str, message: str, line: int, column: int) -> _RefusedError:
        self.report(code, message, line, column)
        return _RefusedError()

    def build(self, yaml: YAML, text: str) -> None:
        self._yaml = yaml
        documents = 0
        plain = plain_events(text)
        stream = iter(yaml.parse(text) if plain is None else plain)
        for event in stream:
            self._mark(event)
            if isinstance(event, events.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse("several-documents", "a second document starts", *self.last)
                if event.version is not None or event.tags:
                    raise self._refuse("directive", "the file starts with a % directive", 1, 1)
                self.located.data = self._node(stream, next(stream), ())
        if documents == 0 or self.located.data is None:
            raise self._refuse("empty-file", "the file holds no data", 1, 1)

    def _mark(self, event: events.Event) -> None:
        mark = event.start_mark
        if mark is not None:
            self.last = (mark.line + 1, mark.column + 1)

    def _node(
        self, stream: Iterator[events.Event], event: events.Event, location: Location
    ) -> object:
        self._mark(event)
        if len(location) > MAX_DEPTH:
            raise self._refuse("too-deep", f"more than {MAX_DEPTH} levels of nesting", *self.last)
        self.located.values[location] = self.last
        if isinstance(event, events.AliasEvent):
            self.report("alias", f"{shown('*' + str(event.anchor))} is an alias", *self.last)
            self.located.flawed.add(location)
            return None
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self.report("alias", f"{shown('&' + str(anchor))} is an anchor", *self.last)
        if tag is not None:
            self.report("yaml-tag", f"{shown(tag)} is a type tag", *self.last)
            self.located.flawed.add(location)
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, location)
        if isinstance(event, events.SequenceStartEvent):
            return self._sequence(stream, location)
        return self._mapping(stream, location)

    def _sequence(self, stream: Iterator[events.Event], location: Location) -> list[object]:
        items: list[object] = []
        for event in stream:
            if isinstance(event, events.SequenceEndEvent):
                break
            items.append(self._node(stream, event, (*location, len(items))))
        return items

    def _mapping(self, stream: Iterator[events.Event], location: Location) -> dict[str, object]:
        fields: dict[str, object] = {}
        for event in stream:
            if isinstance(event, events.MappingEndEvent):
                break
            self._mark(event)
            place = self.last
            if not isinstance(event, events.ScalarEvent):
                raise self._refuse("key-form", "a field's name must be text", *place)
            key = str(event.value)
            inner = (*location, key)
            if key == "<<":
                self.report("merge-key", "'<<' merges other fields in", *place)
                # Read and dropped, under a location that no field has.
                self._node(stream, next(stream), (*inner, -len(self.problems)))
                continue
            if key in fields:
                first = self.located.keys[inner][0]
                message = f"{shown(key)} was already given in line {first}"
                self.report("duplicate-key", message, *place)
                self._node(stream, next(stream), (*inner, -len(self.problems)))
                continue
            if event.anchor is not None or event.tag is not None or not self._is_text(event):
                message = f"{shown(key)} is not the name of a field"
                self.report("key-form", message, *place)
                self.located.flawed.add(inner)
            self.located.keys[inner] = place
            fields[key] = self._node(stream, next(stream), inner)
        return fields

    def _tag(self, event: events.ScalarEvent) -> str:
        # A text in quotes, or folded, is text whatever it looks like.
        if not event.implicit[0] or (event.value and event.value[0] not in _special_starts()):
            return "tag:yaml.org,2002:str"
        return str(self._yaml.resolver.resolve(nodes.ScalarNode, event.value, event.implicit))

    def _is_text(self, event: events.ScalarEvent) -> bool:
        if _COMMON_NAME.match(event.value):
            return True
        return self._tag(event) == "tag:yaml.org,2002:str" and not any(map(is_unsafe, event.value))

    def _scalar(self, event: events.ScalarEvent, location: Location) -> object:
        value = str(event.value)
        self.located.spelling[location] = value
        if not value and event.style is None:
            # What is not there has no place; the parser gives that of whatever comes next.
            self.located.values[location] = self.located.at_key(*location)
        place = self.located.values[location]
        for character in () if value.isprintable() else value:
            if is_unsafe(character) and character != "\n":
                message = f"the text holds the control character U+{ord(character):04X}"
                self.report("control-character", message, *place)
                self.located.flawed.add(location)
                return None
        tag = self._tag(event)
        if tag == "tag:yaml.org,2002:str":
            return value
        try:
            plain: object = self._yaml.constructor.construct_object(nodes.ScalarNode(tag, value))
        except Exception:  # for example a month 13, or a number of 5,000 digits
            self.report("bad-scalar", f"{shown(value)} is no valid value", *place)
            self.located.flawed.add(location)
            return None
        return plain
