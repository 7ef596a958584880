"""Named protocols, as `impl/protocols/<name>.toml` states them.

A protocol is what must be the same in every run whose numbers are compared. The runs read the
same files, so that what a leaderboard says and what a run does come from one place.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from catalog.errors import Problem, visible
from catalog.reader import Located, Location, read_text, relative_name
from catalog.results import Name, Protocol, TextUsed
from catalog.validation import validate

FOLDER = Path("impl") / "protocols"
"""Where the protocols are, below the root."""

MAX_BYTES = 64 * 1024

_HELP = {
    "toml": "Correct the line; other protocols show the form.",
    "file-name": "Name the file as the protocol, with the ending .toml.",
}

Line = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Number = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DeclaredModel(_Strict):
    """The model of a protocol."""

    name: Line
    revision: Line


class DeclaredText(_Strict):
    """Data of a protocol: windows of `length` tokens, or labelled samples without a length.

    `sha256` is left out where nobody has stated it yet.
    """

    source: Line
    revision: Line
    samples: Number
    length: Number | None = None
    sha256: Line | None = None


class Declared(_Strict):
    """One protocol. `budgets`: by unit and argument, the values that are to be measured.

    A unit without an argument is measured at what each of its methods leaves by default.
    """

    name: Name
    title: Line
    description: Line
    kind: Literal["decoder", "encoder", "convnet"]
    seed: Number
    dtype: Line
    requires: list[Literal["network", "gpu"]] = []
    model: DeclaredModel
    calibration: DeclaredText
    evaluation: DeclaredText
    budgets: dict[Line, dict[Line, Annotated[list[float | int | Line], Field(max_length=100)]]] = {}


def protocol_files(root: Path) -> list[Path]:
    """The files of protocols, sorted."""
    return sorted((root / FOLDER).glob("*.toml"))


def read_protocol(root: Path, file: Path) -> tuple[Declared | None, list[Problem]]:
    """One protocol, or what is wrong with it and where."""
    text, problems = read_text(root, file, MAX_BYTES)
    if text is None:
        return None, problems
    path = relative_name(root, file)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line, column = _explained(str(error), text)
        return None, [Problem(path, line, column, "toml", message, help=_HELP["toml"])]
    except RecursionError:
        message = "this TOML is nested too deeply"
        return None, [Problem(path, 1, 1, "toml", message, help=_HELP["toml"])]
    located = Located(path, data=data, text=text, values=_places(text))
    declared, problems = validate(Declared, located)
    if declared is not None and declared.name != file.stem:
        message = f"name is '{declared.name}', but the file is called '{visible(file.name)}'"
        place = located.at("name")
        return None, [Problem(path, *place, "file-name", message, help=_HELP["file-name"])]
    return declared, problems


def _explained(said: str, text: str) -> tuple[str, int, int]:
    """What the parser said, with the line and column that it names in words."""
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", said)
    message = visible(said[: found.start()] if found else said).replace("\n", " ")
    message = f"this is not TOML ({message[:1].lower()}{message[1:]})"
    if found is not None and found[1]:
        return message, int(found[1]), int(found[2])
    return message, max(text.count("\n"), 1), 1


_HEAD = re.compile(r"\s*\[\s*([A-Za-z0-9_\-.\s]+?)\s*\]")
_FIELD = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*")


def _places(text: str) -> dict[Location, tuple[int, int]]:
    """Where each table and each plain field stands; tomllib keeps no places.

    What is written in a rarer way, such as a dotted key, is placed at its table.
    """
    found: dict[Location, tuple[int, int]] = {}
    table: tuple[str, ...] = ()
    inside = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if head := _HEAD.match(line):
            table = tuple(part.strip() for part in head[1].split("."))
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], (number, line.index("[") + 1))
        elif field := _FIELD.match(line):
            found[(*table, field[1])] = (number, field.end() + 1)
            rest = line[field.end() :]
            # A text over several lines may hold what looks like a field.
            opened = rest[:3] if rest[:3] in ('"""', "'''") else ""
            inside = opened if opened and opened not in rest[3:] else ""
    return found


def departures(declared: Declared, used: Protocol) -> list[tuple[str, object, object]]:
    """The fields in which a run's protocol differs from the declared one: name, found, declared.

    A run without calibration differs in none of its fields, since its method was given none; nor
    does a run whose data have a hash that nobody has declared.
    """
    model = used.model
    pairs: list[tuple[str, object, object]] = [
        ("seed", used.seed, declared.seed),
        ("model.dtype", model.dtype, declared.dtype),
        ("model.name", model.name, declared.model.name),
        ("model.revision", model.revision, declared.model.revision),
    ]
    for name, given, wanted in (
        ("calibration", used.calibration, declared.calibration),
        ("evaluation", used.evaluation, declared.evaluation),
    ):
        if given is not None:
            pairs += _data_pairs(name, given, wanted)
    return [each for each in pairs if each[1] != each[2]]


def _data_pairs(
    name: str, given: TextUsed, wanted: DeclaredText
) -> list[tuple[str, object, object]]:
    fields = ["source", "revision", "samples", "length"]
    if wanted.sha256 is not None:
        fields.append("sha256")
    return [(f"{name}.{field}", getattr(given, field), getattr(wanted, field)) for field in fields]
