"""Mending what has one right answer in an entry, line by line, with comments and wrapping kept.

Every step changes text only; after each of them the file must still say the same (but for what
the step is there to correct) and hold the same comments, or else the step is left out. What
needs a person's judgement is not touched: `prunedex check` says what is closest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catalog.adding.draft import SCHEMA_LINE, scalar
from catalog.adding.identifiers import arxiv, doi
from catalog.errors import Problem, PrunedexError, shown
from catalog.inventory import Inventory
from catalog.reader import MAX_BYTES, Located, Location, parse_yaml, relative_name
from catalog.schema import DIMENSIONS, ROLES, Entry
from catalog.store import PAPERS, Catalog
from catalog.terms import Vocabulary
from catalog.validation import model_at, spoken
from catalog.writing import replace_text

_ROUNDS = 100
"""How many fields of one file are put into place at most, a guard against walking in circles."""


@dataclass(frozen=True)
class Change:
    """One thing that was mended; `line` is where it stood before the step that mended it."""

    line: int
    what: str


@dataclass(frozen=True)
class Fixed:
    """A file that was mended, with its new text and what changed."""

    file: Path
    path: str
    text: str
    changes: list[Change]


def fix_entries(catalog: Catalog, wanted: Callable[[str], bool]) -> list[Fixed]:
    """Mend the entries whose path is wanted, and write those that changed."""
    fixed = []
    for file in sorted((catalog.root / PAPERS).glob("*.yaml")):
        path = relative_name(catalog.root, file)
        if not wanted(path) or file.is_symlink() or not file.is_file():
            continue
        try:
            raw = file.read_bytes()
            before = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # reported by the check
        if len(raw) > MAX_BYTES:
            continue
        after, changes = fix_text(path, before, catalog.vocabulary, catalog.inventory)
        if after != before:
            replace_text(file, after)
            fixed.append(Fixed(file, path, after, changes))
    return fixed


def fix_text(
    path: str, text: str, vocabulary: Vocabulary, inventory: Inventory
) -> tuple[str, list[Change]]:
    """The text of an entry with what has one right answer mended, and what was."""
    text, changes = _lines(text)
    located, problems = _parsed(path, text)
    if located is None or problems or not isinstance(located.data, dict):
        return text, changes
    steps: tuple[Callable[[Located, str], tuple[str, list[Change]]], ...] = (
        _quotes,
        _identifiers,
        lambda found, old: _names(found, old, inventory),
        lambda found, old: _tags(found, old, vocabulary),
        _lists,
    )
    for step in steps:
        text, made = _guarded(path, text, step)
        changes += made
    refused: set[Location] = set()
    for _ in range(_ROUNDS):
        tried: list[Location] = []
        text, made = _guarded(path, text, partial(_order, refused=refused, tried=tried))
        changes += made
        if not tried:
            break
        if not made:
            refused.update(tried)  # this group has a form that is left as it is
    return text, changes


@lru_cache(maxsize=8)
def _parsed(path: str, text: str) -> tuple[Located | None, list[Problem]]:
    """Parsed once for all steps, none of which changes what it is given."""
    return parse_yaml(path, text)


def _guarded(
    path: str, text: str, step: Callable[[Located, str], tuple[str, list[Change]]]
) -> tuple[str, list[Change]]:
    """The result of a step, or the text as it was where the step would harm it."""
    located, _ = _parsed(path, text)
    if located is None:
        return text, []
    try:
        after, changes = step(located, text)
    except PrunedexError:  # a value that cannot be written as YAML
        return text, []
    if after == text:
        return text, []
    other, problems = _parsed(path, after)
    if other is None or problems or _comments(after) != _comments(text):
        return text, []
    if _shape(other.data) != _shape(located.data):
        return text, []
    return after, changes


def _comments(text: str) -> Counter[str]:
    """Everything that may be a comment; equal before and after each step."""
    found = (re.search(r"(?:^|\s)(#.*)", line) for line in text.split("\n"))
    return Counter(match[1].strip() for match in found if match is not None)


def _shape(data: object) -> object:
    """What no step may change: all text but identifiers and names, whatever its order."""
    if isinstance(data, dict):
        parts: dict[str, object] = {}
        for key, value in data.items():
            if key in ROLES and isinstance(value, list):
                parts[key] = len(value)
            elif key == "ids" and isinstance(value, dict):
                parts[key] = sorted(value)
            else:
                parts[key] = _shape(value)
        return dict(sorted(parts.items()))
    if isinstance(data, list):
        return sorted((repr(_shape(item)) for item in _once(data)), key=str)
    return str(data)


def _once(items: Iterable[Any]) -> list[Any]:
    """Items without repetitions, in order; they need not be hashable."""
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


# Lines -------------------------------------------------------------------------------------


def _lines(text: str) -> tuple[str, list[Change]]:
    """Line ends, spaces at the end of lines, the end of the file and the schema's line."""
    changes = []
    if text.startswith("\ufeff"):
        text = text[1:]
        changes.append(Change(1, "removed the byte order mark"))
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
        changes.append(Change(1, "ended the lines as on Unix"))
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if line != line.rstrip(" \t"):
            changes.append(Change(number, "removed the space at the end of the line"))
    lines = [line.rstrip(" \t") for line in lines]
    count = len(lines)
    while lines and not lines[-1]:
        lines.pop()
    if count != len(lines) + 1 and lines:
        what = "ended the file with one line feed"
        changes.append(Change(len(lines), what))
    if lines and lines[0] != SCHEMA_LINE:
        old = next((line for line in lines if "yaml-language-server" in line), None)
        if old is not None and old.startswith("#"):
            lines.remove(old)
        lines.insert(0, SCHEMA_LINE)
        changes.append(Change(1, "put the line by which editors find the schema first"))
    return ("\n".join(lines) + "\n" if lines else ""), changes


# Single values -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    """A scalar as it is written on one line: from `start` to `end` of line `line` (from 0)."""

    line: int
    start: int
    end: int
    text: str


def _token(located: Located, lines: list[str], location: Location) -> _Token | None:
    """The scalar at a location; None where it spans lines or cannot be told."""
    spelling, place = located.spelling.get(location), located.values.get(location)
    if not spelling or place is None:
        return None
    number, start = place[0] - 1, place[1] - 1
    rest = lines[number][start:]
    for quote, pattern in (("'", r"'(?:[^']|'')*'"), ('"', r'"(?:[^"\\]|\\.)*"')):
        if rest.startswith(quote):
            match = re.match(pattern, rest)
            if match is None:
                return None
            return _Token(number, start, start + match.end(), match[0])
    if not rest.startswith(spelling):
        return None
    return _Token(number, start, start + len(spelling), spelling)


def _put(lines: list[str], replacements: list[tuple[_Token, str]]) -> str:
    """The lines with tokens replaced; those of one line from right to left."""
    changed = list(lines)
    for token, new in sorted(replacements, key=lambda each: -each[0].start):
        line = changed[token.line]
        changed[token.line] = line[: token.start] + new + line[token.end :]
    return "\n".join(changed)


def _quotes(located: Located, text: str) -> tuple[str, list[Change]]:
    """Quotes where YAML would read text as a number, none where a number or date is wanted."""
    try:
        Entry.model_validate(located.data)
        return text, []
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
    lines, replacements, changes = text.split("\n"), [], []
    for error in errors:
        location: Location = tuple(error["loc"])
        token, value = _token(located, lines, location), error["input"]
        if token is None:
            continue
        is_text = isinstance(value, str)
        if error["type"] == "string_type" and not is_text and token.text[0] not in "'\"":
            replacements.append((token, f"'{token.text}'"))
            changes.append(Change(token.line + 1, f"quoted {spoken(location)}: '{token.text}'"))
        elif is_text and token.text[0] in "'\"" and _fits(error["type"], str(value)):
            replacements.append((token, str(value)))
            changes.append(Change(token.line + 1, f"unquoted {spoken(location)}: {value}"))
    return _put(lines, replacements), changes


def _fits(kind: str, value: str) -> bool:
    """Whether text is plainly the number or date that a field wants."""
    if kind == "int_type":
        return re.fullmatch(r"0|[1-9][0-9]{0,8}", value, re.ASCII) is not None
    if kind == "date_type":
        return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII) is not None
    return False


def _identifiers(located: Located, text: str) -> tuple[str, list[Change]]:
    """Identifiers without the address around them, quoted as everywhere."""
    data: Any = located.data
    ids = data.get("ids")
    lines, replacements, changes = text.split("\n"), [], []
    for name, value in ids.items() if isinstance(ids, dict) else ():
        token = _token(located, lines, ("ids", name))
        if token is None or not isinstance(value, str):
            continue
        bare = value
        if name == "arxiv":
            bare = re.sub(
                r"^(https?://(www\.)?arxiv\.org/(abs|pdf)/|arxiv:\s*)", "", value, flags=re.I
            )
            found = arxiv(bare)
            bare = found.value if found.flaw is None else value
        elif name == "doi":
            bare = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)", "", value, flags=re.I)
            bare = value if doi(bare).flaw is not None else bare
        # Inside braces, a comma would end a plain value.
        flow = "{" in lines[token.line][: token.start]
        written = f"'{bare}'" if name == "arxiv" or flow else scalar(bare)
        if written != token.text:
            replacements.append((token, written))
            changes.append(Change(token.line + 1, f"ids.{name}: {token.text} is written {written}"))
    return _put(lines, replacements), changes


def _names(located: Located, text: str, inventory: Inventory) -> tuple[str, list[Change]]:
    """Models, data sets and tools by the one name that they have here."""
    data: Any = located.data
    experiments = data.get("evaluated_on")
    lines, replacements, changes = text.split("\n"), [], []
    for role, group in ROLES.items() if isinstance(experiments, dict) else ():
        names = experiments.get(role)
        for number, name in enumerate(names if isinstance(names, list) else ()):
            token = _token(located, lines, ("evaluated_on", role, number))
            item = inventory.meant(group, name) if isinstance(name, str) else None
            if token is None or item is None or item.name == name:
                continue
            replacements.append((token, scalar(item.name, flow=True)))
            what = f"evaluated_on.{role}: {shown(name)} is called {shown(item.name)}"
            changes.append(Change(token.line + 1, what))
    return _put(lines, replacements), changes


# Lists whose order means nothing -----------------------------------------------------------


def _tags(located: Located, text: str, vocabulary: Vocabulary) -> tuple[str, list[Change]]:
    """Tags in the order of the vocabulary, each once."""
    data: Any = located.data
    tags = data.get("tags")
    lines, changes = text.split("\n"), []
    for dimension in DIMENSIONS if isinstance(tags, dict) else ():
        values, known = tags.get(dimension), vocabulary.ids(dimension)
        if not isinstance(values, list) or not all(value in known for value in values):
            continue
        wanted = sorted(set(values), key=known.index)
        if wanted == values:
            continue
        located_now, _ = _parsed(located.path, "\n".join(lines))
        if located_now is None:
            continue
        place = ("tags", dimension)
        tokens = [_token(located_now, lines, (*place, number)) for number in range(len(values))]
        present = [token for token in tokens if token is not None]
        if len(present) != len(values):
            continue
        line = lines[present[0].line]
        start = located_now.at(*place)[1] - 1
        single = len({token.line for token in present}) == 1 and line[start : start + 1] == "["
        of_value = {value: token.text for value, token in zip(values, present, strict=True)}
        if single and (end := line.find("]", present[-1].end)) >= 0:
            inside = ", ".join(of_value[value] for value in wanted)
            lines[present[0].line] = f"{line[:start]}[{inside}]{line[end + 1 :]}"
        elif len(wanted) == len(values) and not any("#" in lines[t.line] for t in present):
            order = [of_value[value] for value in wanted]
            lines = _put(lines, list(zip(present, order, strict=True))).split("\n")
        else:
            continue
        what = f"tags.{dimension}: in the order of the vocabulary, each once"
        changes.append(Change(present[0].line + 1, what))
    return "\n".join(lines), changes


def _lists(located: Located, text: str) -> tuple[str, list[Change]]:
    """The public lists that name the paper, by name."""
    data: Any = located.data
    named = data.get("lists")
    if not isinstance(named, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in named
    ):
        return text, []
    order = sorted(range(len(named)), key=lambda number: _by_name(named[number]))
    if order == list(range(len(named))):
        return text, []
    lines = text.split("\n")
    dashes = []
    for number in range(len(named)):
        line, column = located.at("lists", number)
        dash = re.match(r"( *)- +", lines[line - 1])
        if dash is None or dash.end() != column - 1:
            return text, []
        dashes.append((line - 1, len(dash[1])))
    indent = dashes[0][1]
    segments = _segments(lines, [line for line, _ in dashes], indent, dash=True)
    start, end = segments[0][0], segments[-1][1]
    moved = [line for number in order for line in lines[slice(*segments[number])]]
    lines[start:end] = moved
    return "\n".join(lines), [Change(start + 1, "lists: sorted by name")]


def _by_name(item: dict[str, Any]) -> tuple[str, str]:
    return item["name"].casefold(), str(item.get("url", ""))


# Order of fields ---------------------------------------------------------------------------


def _segments(
    lines: list[str], starts: list[int], indent: int, dash: bool = False
) -> list[tuple[int, int]]:
    """First line and line after the last of each part that begins at one of `starts`.

    Comments and empty lines right above a part belong to it, unless they are indented deeper.
    """
    begins = []
    for number, start in enumerate(starts):
        begin = start
        least = starts[number - 1] + 1 if number else 1
        while begin > least and _leads(lines[begin - 1], indent):
            begin -= 1
        begins.append(begin if number else start)
    end = starts[-1] + 1
    last = end
    while end < len(lines):
        line = lines[end]
        depth = len(line) - len(line.lstrip(" "))
        inside = depth > indent or (
            not dash and depth == indent and re.match(r" *-(?: |$)", line) is not None
        )
        if line.strip() and not inside:
            break
        end += 1
        if line.strip():
            last = end
    return list(zip(begins, [*begins[1:], last], strict=True))


def _leads(line: str, indent: int) -> bool:
    bare = line.lstrip(" ")
    return not bare or (bare.startswith("#") and len(line) - len(bare) <= indent)


def _order(
    located: Located, text: str, refused: set[Location], tried: list[Location]
) -> tuple[str, list[Change]]:
    """The first group of fields that is not in the schema's order, put into it.

    Passes over groups that were `refused`, and says in `tried` which one it took.
    """
    lines = text.split("\n")
    groups: dict[Location, list[str]] = {}
    for location in located.keys:
        groups.setdefault(location[:-1], []).append(str(location[-1]))
    for location, names in groups.items():
        model = model_at(Entry, location)
        fields = list(model.model_fields) if model is not None else []
        if location == ("tags", "notes"):
            fields = list(DIMENSIONS)
        if location in refused or not fields or not all(name in fields for name in names):
            continue
        wanted = sorted(names, key=fields.index)
        if wanted == names:
            continue
        places = [located.keys[*location, name] for name in names]
        column = places[0][1] - 1
        starts = [line - 1 for line, _ in places]
        if any(place[1] - 1 != column for place in places) or len(set(starts)) != len(starts):
            continue  # a group in braces, on one line
        head = lines[starts[0]][:column]
        if head.strip() not in ("", "-"):
            continue
        segments = _segments(lines, starts, column)
        parts = {name: lines[slice(*part)] for name, part in zip(names, segments, strict=True)}
        first = parts[names[0]]
        first[0] = " " * column + first[0][column:]
        moved = [line for name in wanted for line in parts[name]]
        if head.strip():
            number = next(n for n, line in enumerate(moved) if not _leads(line, column))
            moved[number] = head + moved[number][column:]
        lines[segments[0][0] : segments[-1][1]] = moved
        tried.append(location)
        where = f" of {spoken(location)}" if location else ""
        return "\n".join(lines), [Change(starts[0] + 1, f"fields{where} in the schema's order")]
    return text, []
