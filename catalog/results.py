"""Measured results and observed tags, as the runs have written them.

`impl/results/<protocol>/*.json` holds one run each, `impl/results/tags/<method>.json` what a
method was seen to do. Fields that are not named here are ignored, so that a run may record
more than the catalog shows.

A result never changes. A later run of the same cell (a method at a setting under a protocol) is
a file of its own that supersedes the earlier one; those that nothing supersedes are the heads.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

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

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "weights": ("sparsity",),
    "parameters": ("ratio",),
    "shape": ("layers", "hidden", "heads", "neurons"),
    "hidden": ("slicing",),
    "blocks": ("drop",),
    "heads": ("ratio",),
    "experts": ("drop",),
    "channels": ("ratio",),
    "rank": ("keep",),
    "cache": ("keep",),
    "activations": ("sparsity",),
}
"""Every unit of a budget, with the options that set it; a pattern stands in for a sparsity."""

FAILED = ".failed.json"
"""How the name of a file ends that records a run which failed."""

MAX_BYTES = 4 * 1024 * 1024

MAX_OPTION_DEPTH = 8
"""Levels of lists and groups in a run's options, the options themselves being the first."""

_HELP = {
    "json": "Write the file again with what made it, rather than by hand.",
    "unreadable": "Remove the file, or write it again.",
}

# Numbers are taken as JSON has them: a text that looks like one is a mistake of whoever wrote it.
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[Finite, Field(ge=0, le=1)]
Short = Annotated[str, StringConstraints(max_length=500)]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")]
FileName = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]


def _shallow(value: Any) -> Any:
    """Refuse what is nested deeper than options are: printing it would fail much later."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_OPTION_DEPTH:
            raise ValueError(f"options are nested more than {MAX_OPTION_DEPTH} levels deep")
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
    return value


Options = Annotated[dict[Short, Any], Field(max_length=100), BeforeValidator(_shallow)]


class _Record(BaseModel):
    # Python mode would take a date only as an object, and JSON has none.
    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelUsed(_Record):
    """The model of a run; `parameters` counts them before pruning."""

    name: Short
    revision: Short
    parameters: Count
    dtype: Short


class TextUsed(_Record):
    """Data of a run: `samples` windows of `length` tokens, or labelled samples without a length."""

    source: Short
    revision: Short
    samples: Count
    length: Count | None = None
    sha256: Short


class Protocol(_Record):
    """Everything that two runs must share before their numbers may be compared."""

    name: Short
    model: ModelUsed
    calibration: TextUsed | None = None
    evaluation: TextUsed
    seed: Annotated[int, Field(strict=True)]


class Environment(_Record):
    """Where and when a run was made; it does not stand in the way of a comparison."""

    python: Short
    torch: Short
    transformers: Short
    device: Short
    hardware: Short
    threads: Annotated[Count, Field(ge=1)] | None = None
    commit: Short | None = None
    date: dt.date


class Budget(_Record):
    """What was asked for and what was done, in one unit; counts are of that unit."""

    unit: Short
    asked: Finite
    achieved: Finite
    removed: Count | None = None
    total: Count | None = None


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


class Change(_Record):
    """A count of the dense and of the pruned model."""

    before: Count
    after: Count

    @property
    def ratio(self) -> float | None:
        """What is left, as a share; None of nothing."""
        return self.after / self.before if self.before else None


class Cost(_Record):
    """What a run took: wall-clock seconds and bytes of memory.

    `seconds` are those of the pruning alone, `phases` those of each part of the run. Neither is
    there where the machine was busy with other work at the time.
    """

    seconds: Annotated[Finite, Field(ge=0)] | None = None
    phases: Annotated[dict[Short, Annotated[Finite, Field(ge=0)]], Field(max_length=50)] = {}
    peak_memory_bytes: Count | None = None
    memory_before_bytes: Count | None = None


class Scores(_Record):
    """A number for every evaluation window, or labelled sample, in their order.

    Mean token loss of a window in nats, or 1 and 0 for a sample that was right or wrong; None
    where the loss was not finite.
    """

    dense: Annotated[list[Finite | None], Field(max_length=200_000)]
    pruned: Annotated[list[Finite | None], Field(max_length=200_000)]


class Distance(_Record):
    """How far the pruned model's predictions are from the dense model's.

    `kl` is KL(dense || pruned) in nats per prediction, `agreement` the share of predictions
    whose likeliest outcome is the same.
    """

    kl: Finite | None = None
    agreement: Share | None = None


class Size(_Record):
    """What the model has: non-zero parameters, multiply-adds and bytes, before and after."""

    nonzeros: Change | None = None
    macs: Change | None = None
    checkpoint_bytes: Change | None = None
    cache_bytes: Change | None = None


class Speed(_Record):
    """How many times as fast as the dense model on the same machine."""

    prefill: Annotated[Finite, Field(gt=0)] | None = None
    decode: Annotated[Finite, Field(gt=0)] | None = None
    prefill_tokens: Count | None = None
    decode_tokens: Count | None = None
    repeats: Count | None = None


class Sketch(_Record):
    """A sample of a mask: for each matrix of `layers`, `positions` bits, 1 where it is zero.

    Runs with equal `positions` and `seed` looked at the same places. `bits` is base64.
    """

    positions: Annotated[Count, Field(ge=1, le=65_536)]
    seed: Count
    bits: Annotated[str, StringConstraints(max_length=3_000_000)]


TaskValues = Annotated[dict[Short, Finite | Short | None], Field(max_length=100)]


class Result(_Record):
    """One run of one method; `path` is its file below the root.

    `layers` has the share of zeros of each prunable matrix in order, and `scores`, `distance`,
    `size`, `speed`, `sketch` and `tasks` are there since schema 2, each where it was measured.
    """

    path: str = ""
    schema_version: Literal[1, 2] = Field(alias="schema")
    method: Name
    options: Options = {}
    protocol: Protocol
    environment: Environment
    budget: Budget
    parameters: Change | None = None
    quality: Quality
    cost: Cost
    supersedes: FileName | None = None
    scores: Scores | None = None
    distance: Distance | None = None
    size: Size | None = None
    speed: Speed | None = None
    layers: Annotated[dict[Short, Share], Field(max_length=20_000)] = {}
    sketch: Sketch | None = None
    tasks: Annotated[dict[Short, TaskValues], Field(max_length=200)] = {}
    harness: Short | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """The folder of the file, below the root."""
        return PurePosixPath(self.path).parent.as_posix()

    @property
    def cell(self) -> tuple[str, str, str]:
        """What is measured once only: protocol, method and setting."""
        return self.protocol.name, self.method, setting_of(self.budget.unit, self.options)


class ProtocolNamed(_Record):
    """The protocol of a run that failed, by its name alone."""

    name: Short


class Failure(_Record):
    """A run that failed: `failed` says why in one line, `phase` what was being done."""

    path: str = ""
    schema_version: Literal[2] = Field(alias="schema")
    method: Name
    options: Options = {}
    protocol: ProtocolNamed
    environment: Environment | None = None
    failed: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    phase: Short | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return PurePosixPath(self.path).name


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


# Settings and versions ----------------------------------------------------------------------


def budget_options(unit: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that set a budget of a unit; a pattern says the sparsity too."""
    if options.get("pattern") is not None:
        return {"pattern": options["pattern"]}
    names = ARGUMENTS.get(unit or "", BUDGETS)
    return {name: options[name] for name in names if options.get(name) is not None}


def setting_of(unit: str | None, options: Mapping[str, Any]) -> str:
    """The budget of a run as the name of its file has it: 0.5, 2-4, default."""
    return "-".join(_plain(value) for value in budget_options(unit, options).values()) or "default"


def setting_names(unit: str | None, options: Mapping[str, Any]) -> list[str]:
    """What a file of a run may be named after, `setting_of` first.

    A method that takes several budgets is named after those that were asked for; the others
    are recorded all the same, at their defaults.
    """
    values = [_plain(value) for value in budget_options(unit, options).values()]
    some = [
        "-".join(chosen)
        for count in range(len(values), 0, -1)
        for chosen in itertools.combinations(values, count)
    ]
    return list(dict.fromkeys([*some, "default"]))


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_plain, value))
    if isinstance(value, dict):
        return "-".join(map(_plain, value.values()))
    return str(value).replace(":", "-")


def heads(results: Iterable[Result]) -> list[Result]:
    """The results that no other in their folder supersedes, in their order."""
    every = list(results)
    past = {(each.folder, each.supersedes) for each in every if each.supersedes is not None}
    return [each for each in every if (each.folder, each.file) not in past]


def earlier(result: Result, results: Iterable[Result]) -> list[Result]:
    """What a result supersedes, the latest first; a circle is walked once."""
    by_name = {each.file: each for each in results if each.folder == result.folder}
    found: list[Result] = []
    seen = {result.file}
    name = result.supersedes
    while name is not None and name in by_name and name not in seen:
        seen.add(name)
        found.append(by_name[name])
        name = by_name[name].supersedes
    return found


def windows(scores: Iterable[float | None]) -> list[float] | None:
    """The scores of all windows, or None where one of them was not finite."""
    values = [math.nan if value is None else value for value in scores]
    return None if any(map(math.isnan, values)) else values


# Comparing ----------------------------------------------------------------------------------


def comparable(first: Protocol, second: Protocol) -> list[str]:
    """The protocol's fields in which two runs differ; empty if their numbers may be ranked.

    A method that needs no calibration has none recorded, which sets it apart from no other.
    """
    one, two = first.model_dump(), second.model_dump()
    if first.calibration is None or second.calibration is None:
        one.pop("calibration"), two.pop("calibration")
    return [path for path in _differences(one, two, "") if path]


def task_differences(one: Result, two: Result, task: str) -> list[str]:
    """The fields in which two runs of a task differ beyond their protocols; see `comparable`.

    Another version of the harness or of the task may ask, cut and count differently.
    """
    first, second = one.tasks.get(task, {}), two.tasks.get(task, {})
    found = [] if one.harness == two.harness else ["harness"]
    return found + [
        f"{task}.{name}" for name in ("version", "samples") if first.get(name) != second.get(name)
    ]


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
    return [file for file in _run_files(root) if not file.name.endswith(FAILED)]


def failure_files(root: Path) -> list[Path]:
    """The files of runs that failed, sorted."""
    return [file for file in _run_files(root) if file.name.endswith(FAILED)]


def _run_files(root: Path) -> list[Path]:
    files = (root / FOLDER).glob("*/*.json")
    return sorted(file for file in files if file.parent != root / TAGS)


def verification_files(root: Path) -> list[Path]:
    """The files of observed tags, sorted."""
    return sorted((root / TAGS).glob("*.json"))


def read_result(root: Path, file: Path) -> tuple[Result | None, list[Problem]]:
    """One result file, or what is wrong with it."""
    return read_json(Result, root, file)


def read_failure(root: Path, file: Path) -> tuple[Failure | None, list[Problem]]:
    """One file of a run that failed, or what is wrong with it."""
    return read_json(Failure, root, file)


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
