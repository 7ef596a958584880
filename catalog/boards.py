"""Leaderboards of what was measured here: one a protocol, ranked within equal budgets only.

Whether a method is told apart from the best is a question for the windows that both were
measured on, see `catalog.intervals`; a rank alone says nothing about it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from catalog import amounts
from catalog.intervals import Interval, exponential, interval, paired
from catalog.methods import MethodDoc
from catalog.protocols import Declared
from catalog.results import (
    ARGUMENTS,
    KEPT,
    Failure,
    Protocol,
    Result,
    budget_options,
    comparable,
    earlier,
    setting_of,
    task_differences,
    windows,
)
from catalog.store import Catalog

Verdict = Literal["best", "alone", "worse", "open", "unknown", "broken"]
"""How a method stands to the best at its budget; `VERDICTS` has the words."""

VERDICTS: Mapping[Verdict, str] = {
    "best": "best",
    "alone": "the only one measured",
    "worse": "worse than the best",
    "open": "not told apart from the best",
    "unknown": "cannot be told",
    "broken": "not finite",
}

RESERVED = ("index", "reading", "disagreements", "performance", "lessons")
"""Names of other pages beside the leaderboards."""


@dataclass(frozen=True)
class Key:
    """An amount of a budget: unit, the option that asks for it, and its value as text.

    Results whose keys are equal may be ranked together, if their protocols are alike.
    """

    unit: str
    argument: str
    value: str

    @property
    def title(self) -> str:
        """The budget for readers."""
        if self.argument == "pattern":
            kept, _, group = self.value.partition(":")
            return f"{self.value}: {kept} of every {group} weights stay"
        if self.argument == "default":
            return "At each method's defaults"
        if self.argument == "setting":
            return self.value[:1].upper() + self.value[1:]
        return amounts.budget(float(self.value), self.unit)

    @property
    def short(self) -> str:
        """The budget in as few words as tell it from others."""
        return self.value if self.argument == "pattern" else self.title

    @property
    def order(self) -> tuple[int, int, float, str]:
        """Unit by unit, the mildest first, patterns after shares."""
        units = [*ARGUMENTS]
        place = units.index(self.unit) if self.unit in units else len(units)
        kinds = ("pattern", "setting", "default")
        if self.argument in kinds:
            return place, 1 + kinds.index(self.argument), 0.0, self.value
        amount = float(self.value)
        return place, 0, -amount if self.unit in KEPT else amount, ""

    @property
    def id(self) -> str:
        """The budget as an anchor on a page."""
        text = f"{self.unit}-{self.argument}-{self.value}".lower()
        return "".join(each if each.isalnum() and each.isascii() else "-" for each in text)


def key_of(unit: str, options: Mapping[str, Any], asked: float | None = None) -> Key:
    """The amount of a budget that a run was asked for."""
    chosen = budget_options(unit, options)
    if "pattern" in chosen:
        text = setting_of(unit, options)
        return Key(unit, "pattern", text.replace("-", ":", 1))
    numbers = {name: value for name, value in chosen.items() if _is_amount(value)}
    if len(numbers) == len(chosen) == 1:
        [(name, value)] = numbers.items()
        return Key(unit, name, f"{float(value):.12g}")
    if chosen:
        said = [f"{name} {value}" for name, value in chosen.items() if value != 1]
        return Key(unit, "setting", ", ".join(said) or "nothing removed")
    if asked is not None:
        return Key(unit, "asked", f"{asked:.12g}")
    return Key(unit, "default", "")


def _is_amount(value: object) -> bool:
    """Whether an option is a number that a budget can be; JSON has numbers beyond any use."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


@dataclass(frozen=True)
class Difference:
    """A difference with its interval, where there are scores to make one from.

    Of perplexities it is that of their logarithms, the mean token losses in nats; of accuracies
    their own. `better` says which sign is good.
    """

    value: float
    low: float | None
    high: float | None
    better: Literal["lower", "higher"]

    @property
    def told(self) -> Literal["better", "worse", "open", "unknown"]:
        """What the interval allows to say."""
        if self.low is None or self.high is None:
            return "unknown"
        if self.low <= 0 <= self.high:
            return "open"
        return "better" if (self.value < 0) == (self.better == "lower") else "worse"


@dataclass(frozen=True)
class Row:
    """A result with its place among those at the same budget."""

    result: Result
    rank: int
    quality: Interval | None
    against_dense: Difference | None
    against_best: Difference | None
    verdict: Verdict
    history: list[Result] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """A public task, as one version of a harness asks it: metric, and a value for each row."""

    name: str
    metric: str
    harness: str | None
    version: str | None
    samples: str | None
    values: list[tuple[Result, float, float | None]]
    others: list[str]


@dataclass
class Group:
    """One amount of one budget: its ranking, what failed, and which methods are missing."""

    key: Key
    rows: list[Row]
    failures: list[Failure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @cached_property
    def tasks(self) -> list[Task]:
        """Tables of tasks; those of unlike harness or task versions are apart."""
        return _tasks([row.result for row in self.rows])


@dataclass
class Board:
    """All that was measured under one protocol. `slug` names it in addresses.

    `declared` is the file of the protocol, where its name has one and the runs keep to it;
    `others` are protocols of other boards of that name, with the fields in which they differ.
    """

    slug: str
    protocol: Protocol
    declared: Declared | None
    metric: Literal["perplexity", "accuracy"]
    results: list[Result]
    groups: list[Group]

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Which values are good."""
        return "lower" if self.metric == "perplexity" else "higher"

    @property
    def title(self) -> str:
        """The protocol for readers."""
        if self.declared is not None:
            return self.declared.title
        return f"{self.protocol.model.name} on {self.protocol.evaluation.source}"

    @property
    def dense(self) -> float | None:
        """The dense model's quality; machines differ in the last digits, so that of the first."""
        return next((r.quality.before for r in self.results if r.quality.before is not None), None)

    @cached_property
    def dense_interval(self) -> Interval | None:
        """The dense model's quality with its interval."""
        scored = next((each for each in self.results if each.scores is not None), None)
        return _quality(scored.scores.dense, self.metric) if scored and scored.scores else None

    @property
    def units(self) -> list[tuple[str, list[Group]]]:
        """The groups by the unit of their budgets."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.key.unit, []).append(group)
        return [*found.items()]

    @property
    def rows(self) -> list[Row]:
        """All rows, group by group."""
        return [row for group in self.groups for row in group.rows]

    @property
    def failures(self) -> list[Failure]:
        """All runs that failed."""
        return [each for group in self.groups for each in group.failures]

    @property
    def missing(self) -> int:
        """How many cells are not measured yet."""
        return sum(len(group.missing) for group in self.groups)

    @property
    def methods(self) -> list[str]:
        """The methods that have a result, by name."""
        return sorted({each.method for each in self.results})


def alike(results: Iterable[Result]) -> list[list[Result]]:
    """Results in groups within which every two may be compared; see `comparable`."""
    # Without calibration a run fits several groups; those that set one apart come first.
    ordered = sorted(results, key=lambda each: each.protocol.calibration is None)
    groups: list[list[Result]] = []
    for result in ordered:
        for group in groups:
            if all(_may_rank(each, result) for each in group):
                group.append(result)
                break
        else:
            groups.append([result])
    return groups


def _may_rank(one: Result, two: Result) -> bool:
    same = one.quality.metric == two.quality.metric
    return same and not comparable(one.protocol, two.protocol)


def boards(catalog: Catalog) -> list[Board]:
    """Every leaderboard: declared protocols first, larger ones before smaller."""
    found: list[Board] = []
    taken: set[str] = set()
    groups = sorted(alike(catalog.heads), key=lambda group: (-len(group), group[0].path))
    for group in groups:
        protocol = group[0].protocol
        declared = catalog.protocols.get(protocol.name)
        slug = _slug(protocol, taken)
        # Of several boards that claim a name, the largest has it; only that one can have gaps.
        own = declared if protocol.name not in {each.protocol.name for each in found} else None
        found.append(_board(catalog, slug, group, own))
        taken.add(slug)
    return sorted(
        found, key=lambda board: (board.declared is None, -len(board.results), board.slug)
    )


def _slug(protocol: Protocol, taken: set[str]) -> str:
    name = "".join(each if each.isascii() and each.isalnum() else "-" for each in protocol.name)
    name = name.lower().strip("-")[:80] or "protocol"
    if name in RESERVED or name in taken:
        digest = hashlib.sha256(json.dumps(protocol.model_dump(), sort_keys=True).encode())
        name = f"{name}-{digest.hexdigest()[:8]}"
    return name


def _board(catalog: Catalog, slug: str, results: list[Result], declared: Declared | None) -> Board:
    # A run that was given calibration says more about the protocol than one that needs none.
    protocol = results[0].protocol
    cells: dict[Key, list[Result]] = {}
    for result in results:
        key = key_of(result.budget.unit, result.options, result.budget.asked)
        cells.setdefault(key, []).append(result)
    groups = {key: Group(key, _ranked(catalog, members)) for key, members in cells.items()}
    if declared is not None:
        _add_failures(catalog, groups, declared)
        _add_missing(catalog, groups, declared)
    return Board(
        slug,
        protocol,
        declared,
        results[0].quality.metric,
        results,
        sorted(groups.values(), key=lambda group: group.key.order),
    )


def _ranked(catalog: Catalog, members: Sequence[Result]) -> list[Row]:
    ordered = sorted(members, key=lambda each: (each.quality.rank, each.method, each.path))
    ranks = [each.quality.rank for each in ordered]
    best = ordered[0]
    rows = []
    for result in ordered:
        metric = result.quality.metric
        scored = result.scores
        against_best = None if result is best else difference(result, best)
        rows.append(
            Row(
                result,
                ranks.index(result.quality.rank) + 1,
                _quality(scored.pruned, metric) if scored else None,
                _against_dense(result),
                against_best,
                _verdict(result, best, against_best, alone=len(ordered) == 1),
                earlier(result, catalog.beside(result)),
            )
        )
    return rows


def _verdict(result: Result, best: Result, against: Difference | None, *, alone: bool) -> Verdict:
    if result.quality.after is None:
        return "broken"
    if result is best:
        return "alone" if alone else "best"
    if against is None or against.told == "unknown":
        return "unknown"
    return "worse" if against.told == "worse" else "open"


def _quality(scores: Sequence[float | None], metric: str) -> Interval | None:
    values = windows(scores)
    if values is None:
        return None
    return exponential(interval(values)) if metric == "perplexity" else interval(values)


def difference(one: Result, two: Result) -> Difference | None:
    """How much `one` is above `two`, measured under one protocol; None if one is not finite."""
    metric = one.quality.metric
    return _difference(
        (one.quality.after, two.quality.after),
        (one.scores.pruned, two.scores.pruned) if one.scores and two.scores else None,
        metric,
    )


def _against_dense(result: Result) -> Difference | None:
    scored = result.scores
    return _difference(
        (result.quality.after, result.quality.before),
        (scored.pruned, scored.dense) if scored else None,
        result.quality.metric,
    )


def _difference(
    values: tuple[float | None, float | None],
    scores: tuple[Sequence[float | None], Sequence[float | None]] | None,
    metric: str,
) -> Difference | None:
    one, two = values
    if one is None or two is None:
        return None
    better: Literal["lower", "higher"] = "lower" if metric == "perplexity" else "higher"
    if metric == "perplexity" and min(one, two) <= 0:
        return None
    plain = math.log(one / two) if metric == "perplexity" else one - two
    if scores is not None:
        first, second = windows(scores[0]), windows(scores[1])
        found = paired(first, second) if first is not None and second is not None else None
        if found is not None:
            return Difference(found.value, found.low, found.high, better)
    return Difference(plain, None, None, better)


# What is not there --------------------------------------------------------------------------


def _add_failures(catalog: Catalog, groups: dict[Key, Group], declared: Declared) -> None:
    measured = {(key, row.result.method) for key, group in groups.items() for row in group.rows}
    for failure in catalog.failures:
        if failure.protocol.name != declared.name:
            continue
        method = catalog.methods.get(failure.method)
        unit = method.budget if method is not None else None
        key = key_of(unit or "unknown", failure.options)
        if (key, failure.method) not in measured:
            groups.setdefault(key, Group(key, [])).failures.append(failure)


def _add_missing(catalog: Catalog, groups: dict[Key, Group], declared: Declared) -> None:
    for unit, arguments in declared.budgets.items():
        methods = [
            method
            for method in catalog.methods.values()
            if method.budget == unit and declared.kind in method.on
        ]
        if not arguments:
            done = {
                name
                for key, group in groups.items()
                if key.unit == unit
                for name in _present(group)
            }
            _miss(groups, Key(unit, "default", ""), [m for m in methods if m.name not in done])
        for argument, values in arguments.items():
            able = [method for method in methods if argument in _options(method)]
            for value in values:
                key = key_of(unit, {argument: value})
                done = _present(groups[key]) if key in groups else set()
                _miss(groups, key, [method for method in able if method.name not in done])


def _present(group: Group) -> set[str]:
    return {row.result.method for row in group.rows} | {each.method for each in group.failures}


def _options(method: MethodDoc) -> set[str]:
    return {parameter.name for parameter in method.parameters}


def _miss(groups: dict[Key, Group], key: Key, methods: Sequence[MethodDoc]) -> None:
    if methods:
        group = groups.setdefault(key, Group(key, []))
        group.missing += sorted(method.name for method in methods)


# Tasks --------------------------------------------------------------------------------------


def _tasks(results: Sequence[Result]) -> list[Task]:
    found: list[Task] = []
    for name in sorted({task for result in results for task in result.tasks}):
        versions: list[list[Result]] = []
        for result in results:
            if name not in result.tasks:
                continue
            for same in versions:
                if not task_differences(same[0], result, name):
                    same.append(result)
                    break
            else:
                versions.append([result])
        for same in versions:
            others = [
                ", ".join(task_differences(same[0], other[0], name))
                for other in versions
                if other is not same
            ]
            found += _metrics(name, same, others)
    return found


_ABOUT = ("version", "samples")


def _metrics(name: str, results: Sequence[Result], others: list[str]) -> list[Task]:
    values = results[0].tasks[name]

    def about(field_name: str) -> str | None:
        value = values.get(field_name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return None if value is None else str(value)

    metrics = {
        metric
        for result in results
        for metric, value in result.tasks[name].items()
        if isinstance(value, float) and metric not in _ABOUT and "_stderr" not in metric
    }
    found = []
    for metric in sorted(metrics):
        rows = []
        for result in results:
            of = result.tasks[name]
            value = of.get(metric)
            if isinstance(value, float):
                error = of.get(_stderr(metric))
                rows.append((result, value, error if isinstance(error, float) else None))
        found.append(
            Task(
                name,
                metric,
                results[0].harness,
                about("version"),
                about("samples"),
                rows,
                others,
            )
        )
    return found


def _stderr(metric: str) -> str:
    """The name of a metric's standard error: `acc_stderr`, `exact_match_stderr,strict`."""
    name, comma, kind = metric.partition(",")
    return f"{name}_stderr{comma}{kind}"


def differing(board: Board, every: Iterable[Board]) -> list[tuple[Board, list[str]]]:
    """The other boards with the fields in which their protocols differ; never empty ones.

    Where most of a part differs, the part is named: another model has another name, revision and
    size.
    """
    found = []
    for other in every:
        if other is board:
            continue
        fields = comparable(board.protocol, other.protocol)
        fields = [each for each in fields if each != "name"] or fields
        if board.metric != other.metric:
            fields = ["metric", *fields]
        parts = Counter(each.partition(".")[0] for each in fields)
        brief = [part if parts[part := each.partition(".")[0]] > 2 else each for each in fields]
        found.append((other, list(dict.fromkeys(brief))))
    return found
