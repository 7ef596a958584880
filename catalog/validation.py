"""Data checked against the schema, with pydantic's errors retold for people.

Each error names the line and column of the offending value (or of the group of fields that
lacks one), what was found, what is allowed or closest, and what to do.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from catalog.errors import Problem, closest, details, did_you_mean, listed, shown
from catalog.reader import MAX_PROBLEMS, Located, Location
from catalog.schema import DIMENSIONS
from catalog.terms import Vocabulary

Model = TypeVar("Model", bound=BaseModel)

FORMS: dict[str, str] = {
    "key": "first author, year and one word of the title in lower case, such as sun2023simple",
    "superseded_by": "the key of another entry, such as sun2023simple",
    "arxiv": "an arXiv id without version, such as '2306.11695'",
    "arxiv_class": "an arXiv class such as cs.CL",
    "doi": "a DOI such as 10.18653/v1/2024.emnlp-main.987, without https://doi.org/",
    "openreview": "the id after forum?id= in OpenReview's address, such as PxoFut3dWW",
    "acl": "the last part of the ACL Anthology's address, such as 2024.emnlp-main.987",
    "pmlr": "volume and paper of PMLR's address, such as v202/frantar23a",
    "repository": "owner/name, such as locuslab/wanda",
    "implementation": "the name of a file in impl/methods with hyphens, such as wanda",
    "id": "a short name in lower case with hyphens, such as semi-structured or n:m",
    "parent": "the id of another value, such as structured",
    "parameters": "the size as the name says it, such as 7B or 8x7B",
    **dict.fromkeys(DIMENSIONS, "a tag id in lower case with hyphens, such as semi-structured"),
}
"""What a field that follows a pattern looks like."""

HELP = {
    "missing-field": "Add the field; other entries show what it looks like.",
    "unknown-field": "Correct the field's name, or move it to where it belongs.",
    "unquoted": "Put the value in quotes, so that YAML keeps it as it is written.",
    "wrong-type": "Give the value in the form that the message names.",
    "bad-value": "Give a value of the form that the message names.",
    "not-allowed": "Choose one of the allowed values.",
    "too-many": "Correct these first; one mistake is often the cause of many.",
    "empty-value": "Give a value, or remove the line if the field is optional.",
}


def validate(
    model: type[Model], located: Located, vocabulary: Vocabulary | None = None
) -> tuple[Model | None, list[Problem]]:
    """The data as a model, or None with all that the schema has against it.

    The vocabulary only serves to suggest tags where one is misspelt.
    """
    if located.flawed:
        # The flawed parts are reported already; validating shows what else is wrong.
        return None, _explain(model, located, vocabulary)
    try:
        return model.model_validate(located.data), []
    except ValidationError:
        return None, _explain(model, located, vocabulary)
    except RecursionError:
        place = located.at()
        message = "the data is nested too deeply"
        return None, [Problem(located.path, *place, "wrong-type", message, help=HELP["wrong-type"])]


def _explain(
    model: type[BaseModel], located: Located, vocabulary: Vocabulary | None
) -> list[Problem]:
    try:
        model.model_validate(located.data)
        return []
    except ValidationError as failure:
        errors = [
            error
            for error in failure.errors(include_url=False)
            if not located.is_flawed(_location(error))
        ]
    missing = {_location(error) for error in errors if error["type"] == "missing"}
    problems: list[Problem] = []
    explained: set[Location] = set()
    for error in errors:
        location = _location(error)
        if error["type"] == "extra_forbidden":
            absent = [str(other[-1]) for other in missing if other[:-1] == location[:-1]]
            near = closest(str(location[-1]), absent)
            if near is not None:
                # One slip of the pen, one message: the misspelt field is the missing one.
                explained.add((*location[:-1], near))
    for error in errors:
        location = _location(error)
        if error["type"] == "missing" and location in explained:
            continue
        if len(problems) == MAX_PROBLEMS:
            message = f"more is wrong in this file than these {MAX_PROBLEMS} problems"
            place = problems[-1].line, problems[-1].column
            problems.append(
                Problem(located.path, *place, "too-many", message, help=HELP["too-many"])
            )
            break
        problems.append(_problem(model, located, vocabulary, error, location))
    return problems


def _location(error: ErrorDetails) -> Location:
    # pydantic marks an error in a dictionary's key with an extra last part.
    parts = error["loc"]
    return tuple(parts[:-1]) if parts and parts[-1] == "[key]" else tuple(parts)


def _problem(
    model: type[BaseModel],
    located: Located,
    vocabulary: Vocabulary | None,
    error: ErrorDetails,
    location: Location,
) -> Problem:
    kind = error["type"]
    if kind == "missing":
        code, message = _missing(model, location)
        place = located.at(*location[:-1])
    elif kind == "extra_forbidden":
        code, message = _unknown(model, location)
        place = located.at_key(*location)
    elif error["loc"][-1:] == ("[key]",):
        allowed = _allowed(error)
        hint = details(did_you_mean(str(location[-1]), allowed), f"allowed: {listed(allowed)}")
        where = spoken(location[:-1])
        code, message = "unknown-field", f"unknown field {shown(location[-1])} in {where}{hint}"
        place = located.at_key(*location)
    else:
        code, message = _unfit(model, located, vocabulary, error, location)
        place = located.at(*location)
    return Problem(located.path, *place, code, message, help=HELP[code])


def _missing(model: type[BaseModel], location: Location) -> tuple[str, str]:
    name = str(location[-1])
    where = f" in {spoken(location[:-1])}" if len(location) > 1 else ""
    meaning = _meaning(model, location) or FORMS.get(name, "")
    return "missing-field", f"the field '{name}' is missing{where}{details(meaning)}"


def _meaning(model: type[BaseModel], location: Location) -> str:
    """What a field is for, as the schema says it; empty for an item of a list."""
    owner = model_at(model, location[:-1]) if location and isinstance(location[-1], str) else None
    field = owner.model_fields.get(str(location[-1])) if owner is not None else None
    return field.description or "" if field is not None else ""


def _unknown(model: type[BaseModel], location: Location) -> tuple[str, str]:
    name = str(location[-1])
    owner = model_at(model, location[:-1])
    allowed = list(owner.model_fields) if owner else []
    near = did_you_mean(name, allowed)
    where = f" in {spoken(location[:-1])}" if len(location) > 1 else ""
    return (
        "unknown-field",
        f"unknown field {shown(name)}{where}{details(near, 'allowed: ' + listed(allowed))}",
    )


def _unfit(
    model: type[BaseModel],
    located: Located,
    vocabulary: Vocabulary | None,
    error: ErrorDetails,
    location: Location,
) -> tuple[str, str]:
    kind = error["type"]
    value: object = error["input"]
    written = located.spelling.get(location)
    found = f"found {shown(written)}" if written is not None else _kind_of(value)
    name = spoken(location)
    plain = next((str(part) for part in reversed(location) if isinstance(part, str)), "")
    form = FORMS.get(plain, "")
    if value is None and (kind.endswith("_type") or kind == "literal_error"):
        known = f"allowed: {listed(_allowed(error))}" if kind == "literal_error" else ""
        return "empty-value", f"{name} is empty{details(form or _meaning(model, location), known)}"
    if not location:
        return "wrong-type", f"the file must hold fields such as 'key: value' ({found})"
    if kind == "string_type":
        if isinstance(value, list | dict):
            return "wrong-type", f"{name} must be one text ({found})"
        quoted = "'" + (written or str(value)).replace("'", "''")[:60] + "'"
        key = shown(plain)[1:-1]  # a name that the file made up may hold anything
        return "unquoted", f"{name} must be text ({found}; put it in quotes: {key}: {quoted})"
    if kind == "string_pattern_mismatch":
        near = ""
        if vocabulary is not None and plain in DIMENSIONS:
            near = did_you_mean(str(value).replace(" ", "-"), vocabulary.ids(plain))
        return "bad-value", f"{name} must be {form or 'of another form'} ({found}{_also(near)})"
    if kind == "string_too_short":
        return "empty-value", f"{name} must not be empty{details(form)}"
    if kind == "literal_error":
        allowed = _allowed(error)
        near = did_you_mean(str(value), allowed)
        code = "not-allowed"
        return code, f"{name} has no such value ({found}{_also(near)}; allowed: {listed(allowed)})"
    if kind == "value_error":
        return "bad-value", f"{name}: {error.get('ctx', {}).get('error', error['msg'])} ({found})"
    if kind in _WANTED:
        return "wrong-type", f"{name} must be {_WANTED[kind]} ({found})"
    message = error["msg"].removeprefix("Input ").rstrip(".")
    message = message[:1].lower() + message[1:]
    return "bad-value", f"{name}: {message} ({found})"


def _allowed(error: ErrorDetails) -> list[str]:
    """The values that a literal admits; pydantic states them only in words."""
    return re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))


_WANTED = {
    "list_type": "a list, one '- ' line for each item or [in, brackets]",
    "model_type": "a group of fields, indented below its name",
    "model_attributes_type": "a group of fields, indented below its name",
    "dict_type": "a group of fields, indented below its name",
    "int_type": "a whole number without quotes",
    "float_type": "a number without quotes",
    "bool_type": "true or false",
    "date_type": "a date such as 2026-11-22, without quotes and without a time",
    "finite_number": "a finite number",
}


def _also(part: str) -> str:
    return f"; {part}" if part else ""


def _kind_of(value: object) -> str:
    if isinstance(value, dict):
        return "found a group of fields"
    if isinstance(value, list):
        return "found a list"
    return f"found {shown(value)}"


def spoken(location: Sequence[str | int]) -> str:
    """A location in words: `tags.type, item 2`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f", item {part + 1}"
        else:
            # Names come from the file, so they may hold anything.
            text += ("." if text else "") + shown(part)[1:-1]
    return text or "the file"


def model_at(model: type[BaseModel], location: Iterable[str | int]) -> type[BaseModel] | None:
    """The model that describes the group of fields at a location; None if none does."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = _item_type(current)
        else:
            described = _model_of(current)
            if described is None:
                # The names in a mapping are free; only its values are described.
                current = _value_type(current)
                continue
            if part not in described.model_fields:
                return None
            current = described.model_fields[part].annotation
    return _model_of(current)


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for option in get_args(annotation) for part in _alternatives(option)]
    return [annotation]


def _item_type(annotation: Any) -> Any:
    lists = (option for option in _alternatives(annotation) if get_origin(option) is list)
    return next((get_args(option)[0] for option in lists), None)


def _value_type(annotation: Any) -> Any:
    mappings = (option for option in _alternatives(annotation) if get_origin(option) is dict)
    return next((get_args(option)[1] for option in mappings), None)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for option in _alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
