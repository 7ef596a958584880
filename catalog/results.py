"""Measured results and observed tags, as the runs have written them.

`impl/results/<protocol>/*.json` holds one run each, `impl/results/tags/<method>.json` what a
method was seen to do. Fields that are not named here are ignored, so that a run may record
more than the catalog shows.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from catalog.errors import Problem, visible
from catalog.reader import Located, parse_yaml, read_text, relative_name
from catalog.validation import Model, validate

FOLDER = Path("impl") / "results"
"""Where the results are, below the root."""

TAGS = FOLDER / "tags"
"""Where the observed tags are, below the root."""

KEPT = ("shape", "rank", "cache")
"""Units of budgets that say what stays rather than what goes."""

COUNTED = ("blocks", "experts")
"""Units of budgets that are counts rather than shares."""

BUDGETS = (
    "sparsity", "pattern", "ratio", "slicing", "drop", "keep", "layers", "hidden", "heads", "neurons",
)  # fmt: skip
"""What options that set a budget are called."""

MAX_BYTES = 1024 * 1024

_HELP = {
    "json": "Write the file again with what made it, rather than by hand.",
    "unreadable": "Remove the file, or write it again.",
}

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    # Python mode would take a date only as an object, and JSON has none.
    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelUsed(_Record):
    """The model of a run; `parameters` counts them before pruning."""

    name: str
    revision: str
    parameters: Annotated[int, Field(ge=0)]
    dtype: str


class TextUsed(_Record):
    """Data of a run: `samples` windows of `length` tokens, or labelled samples without a length."""

    source: str
    revision: str
    samples: Annotated[int, Field(ge=0)]
    length: Annotated[int, Field(ge=0)] | None = None
    sha256: str


class Protocol(_Record):
    """Everything that two runs must share before their numbers may be compared."""

    name: str
    model: ModelUsed
    calibration: TextUsed | None = None
    evaluation: TextUsed
    seed: int


class Environment(_Record):
    """Where and when a run was made; it does not stand in the way of a comparison."""

    python: str
    torch: str
    transformers: str
    device: str
    hardware: str
    commit: str | None = None
    date: dt.date


class Budget(_Record):
    """What was asked for and what was done, in one unit; counts are of that unit."""

    unit: str
    asked: Finite
    achieved: Finite
    removed: Annotated[int, Field(ge=0)] | None = None
    total: Annotated[int, Field(ge=0)] | None = None


class Quality(_Record):
    """Perplexity or accuracy of the dense and of the pruned model; None where it was not finite."""

    perplexity_before: Finite | None = None
    perplexity_after: Finite | None = None
    accuracy_before: Finite | None = None
    accuracy_after: Finite | None = None

    @property
    def metric(self) -> Literal["perplexity", "accuracy"]:
        """What was measured. Of perplexity less is better, of accuracy more."""
        return "perplexity" if self.accuracy_before is None else "accuracy"

    @property
    def before(self) -> float | None:
        return self.perplexity_before if self.accuracy_before is None else self.accuracy_before

    @property
    def after(self) -> float | None:
        return self.perplexity_after if self.accuracy_before is None else self.accuracy_after

    @property
    def rank(self) -> float:
        """Smaller is better, whatever the metric; infinite where it was not finite."""
        if self.after is None:
            return float("inf")
        return self.after if self.metric == "perplexity" else -self.after


class Parameters(_Record):
    """Parameters of the whole model."""

    before: Annotated[int, Field(ge=0)]
    after: Annotated[int, Field(ge=0)]


class Cost(_Record):
    """Wall-clock seconds and peak memory in bytes of the pruning itself.

    No seconds where the machine was busy with other work at the time.
    """

    seconds: Annotated[Finite, Field(ge=0)] | None = None
    peak_memory_bytes: Annotated[int, Field(ge=0)] | None = None


class Result(_Record):
    """One run of one method; `path` is its file below the root."""

    path: str = ""
    schema_version: Literal[1] = Field(alias="schema")
    method: str
    options: dict[str, Any] = {}
    protocol: Protocol
    environment: Environment
    budget: Budget
    parameters: Parameters | None = None
    quality: Quality
    cost: Cost


class Observation(_Record):
    """Whether a tag was seen to hold, and what was seen."""

    holds: bool
    observed: str


class Verification(_Record):
    """What a method was seen to do: by dimension and tag id. `path` is its file."""

    path: str = ""
    schema_version: Literal[1] = Field(alias="schema")
    method: str
    checked: dt.date
    versions: dict[str, str] = {}
    families: list[str] = []
    tags: dict[str, dict[str, Observation]] = {}


def comparable(first: Protocol, second: Protocol) -> list[str]:
    """The protocol's fields in which two runs differ; empty if their numbers may be ranked.

    A method that needs no calibration has none recorded, which sets it apart from no other.
    """
    one, two = first.model_dump(), second.model_dump()
    if first.calibration is None or second.calibration is None:
        one.pop("calibration"), two.pop("calibration")
    return [path for path in _differences(one, two, "") if path]


def _differences(one: object, two: object, path: str) -> list[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        return [
            difference
            for name in sorted({*one, *two})
            for difference in _differences(
                one.get(name), two.get(name), f"{path}.{name}" if path else str(name)
            )
        ]
    return [] if one == two else [path]


def result_files(root: Path) -> list[Path]:
    """The result files of every protocol, sorted."""
    files = (root / FOLDER).glob("*/*.json")
    return sorted(file for file in files if file.parent != root / TAGS)


def verification_files(root: Path) -> list[Path]:
    """The files of observed tags, sorted."""
    return sorted((root / TAGS).glob("*.json"))


def read_result(root: Path, file: Path) -> tuple[Result | None, list[Problem]]:
    """One result file, or what is wrong with it."""
    return read_json(Result, root, file)


def read_verification(root: Path, file: Path) -> tuple[Verification | None, list[Problem]]:
    """One file of observed tags, or what is wrong with it."""
    return read_json(Verification, root, file)


class _NotFiniteError(ValueError):
    pass


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFiniteError(name)


def read_json(
    model: type[Model], root: Path, file: Path, limit: int = MAX_BYTES
) -> tuple[Model | None, list[Problem]]:
    """A JSON file as a model, or what is wrong with it; a field `path` is told the file's name."""
    text, problems = read_text(root, file, limit)
    if text is None:
        return None, problems
    path = relative_name(root, file)

    def refuse(line: int, column: int, message: str) -> tuple[None, list[Problem]]:
        return None, [Problem(path, line, column, "json", message, help=_HELP["json"])]

    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = error.msg[:1].lower() + error.msg[1:]
        return refuse(error.lineno, error.colno, f"this is not JSON ({message})")
    except _NotFiniteError as error:
        return refuse(1, 1, f"JSON has no number {visible(str(error))} (write null instead)")
    except (RecursionError, ValueError):
        return refuse(1, 1, "this JSON is nested too deeply or holds a number that is too long")
    if isinstance(data, dict) and "path" in model.model_fields:
        data["path"] = path
    found, problems = validate(model, Located(path, data=data))
    if not problems:
        return found, []
    # JSON is YAML, so the same reader tells where each part stands; it is slower, so it is
    # asked only now.
    located, _ = parse_yaml(path, text)
    if located is None:
        return None, problems
    located.data = data
    return None, validate(model, located)[1]
