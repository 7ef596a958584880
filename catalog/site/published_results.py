"""The published shape of results.json, from which `results.schema.json` is made.

The file holds the current result of every cell, flat: one object a run. As with
`catalog.site.published`, a field is renamed or removed, or changes its meaning, only together
with `SCHEMA`, and new fields may appear without that.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from pydantic import Field

from catalog.boards import Board, Difference, Group, Row
from catalog.results import Change
from catalog.site import addresses
from catalog.site.exports import cell
from catalog.site.published import Part, opened
from catalog.site.shelf import Shelf, setting

SCHEMA = 1
"""Grows when a field of results.json is renamed, removed or changes its meaning."""

SCHEMA_FILE = "results.schema.json"


class PublishedDifference(Part):
    """A difference; `low` and `high` end its 95 % interval, null where there are no scores."""

    value: float = Field(description="Nats per token for perplexity, a share for accuracy")
    low: float | None
    high: float | None


class PublishedResult(Part):
    """One run of one method."""

    protocol: str = Field(description="The protocol, by its `id`")
    method: str
    paper: str | None = Field(description="The key of the method's paper in catalog.json")
    setting: str = Field(description="The budget's options in words")
    unit: str = Field(description="What the budget counts")
    argument: str = Field(description="The option that asks for the budget")
    budget: str = Field(description="Its value; results are ranked within equal budgets only")
    asked: float
    achieved: float
    metric: str = Field(description="perplexity or accuracy")
    dense: float | None
    value: float | None = Field(description="Of the pruned model; null where not finite")
    low: float | None = Field(description="Lower end of the 95 % interval of `value`")
    high: float | None
    rank: int = Field(ge=1, description="Among the results at the same budget")
    verdict: str = Field(description="best, alone, worse, open, unknown or broken")
    against_dense: PublishedDifference | None
    against_best: PublishedDifference | None
    kl: float | None = Field(description="KL divergence from the dense model's predictions, nats")
    agreement: float | None = Field(description="Share of equal first choices")
    parameters: float | None = Field(description="Share of the dense model's that is left")
    nonzeros: float | None = Field(description="Share of the dense model's that is left")
    macs: float | None = Field(description="Share of the dense model's that is left")
    checkpoint_bytes: float | None = Field(description="Share of the dense model's that is left")
    cache_bytes: float | None = Field(description="Share of the dense model's that is left")
    prefill: float | None = Field(description="Times as fast as the dense model")
    decode: float | None = Field(description="Times as fast as the dense model")
    seconds: float | None = Field(description="Of pruning alone; null on a busy machine")
    peak_memory_bytes: int | None
    hardware: str
    device: str
    commit: str | None
    date: str
    supersedes: int = Field(ge=0, description="How many earlier runs of the same cell there are")
    file: str | None = Field(description="The run's own file, relative to the site's root")
    url: str = Field(description="The leaderboard")


class PublishedFailure(Part):
    """A run that failed."""

    protocol: str
    method: str
    unit: str
    argument: str
    budget: str
    failed: str = Field(description="Why, in one line")
    phase: str | None


class PublishedProtocol(Part):
    """A protocol under which something was measured; fields not named here are its own."""

    id: str
    title: str
    url: str
    metric: str
    better: str
    model: dict[str, Any]
    calibration: dict[str, Any] | None
    evaluation: dict[str, Any]
    seed: int


class PublishedResults(Part):
    """What was measured here: the current result of every method at every setting."""

    json_schema: str = Field(alias="$schema", description="Address of the schema of this file")
    schema_version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    name: str
    documentation: str
    protocols: list[PublishedProtocol]
    results: list[PublishedResult] = Field(description="By protocol, budget and rank")
    failures: list[PublishedFailure]


def results_schema() -> dict[str, Any]:
    """The JSON Schema of results.json, open to fields that come later."""
    schema: dict[str, Any] = PublishedResults.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **opened(schema),
        "title": "Prunedex results.json",
    }


def results_data(shelf: Shelf) -> dict[str, Any]:
    """Everything in results.json. Equal results give equal data."""
    return {
        "$schema": SCHEMA_FILE,
        "schema": SCHEMA,
        "name": "Prunedex results",
        "documentation": addresses.DATA,
        "protocols": [_protocol(board) for board in shelf.boards],
        "results": [
            _row(shelf, board, group, row)
            for board in shelf.boards
            for group in board.groups
            for row in group.rows
        ],
        "failures": [
            {
                "protocol": board.slug,
                "method": each.method,
                "unit": group.key.unit,
                "argument": group.key.argument,
                "budget": group.key.value,
                "failed": each.failed,
                "phase": each.phase,
            }
            for board in shelf.boards
            for group in board.groups
            for each in group.failures
        ],
    }


def _protocol(board: Board) -> dict[str, Any]:
    return {
        "id": board.slug,
        "title": board.title,
        "url": addresses.board(board.slug),
        "metric": board.metric,
        "better": board.better,
        **board.protocol.model_dump(mode="json", exclude={"name"}),
    }


def _row(shelf: Shelf, board: Board, group: Group, row: Row) -> dict[str, Any]:
    result = row.result
    papers = shelf.catalog.papers_of.get(result.method, [])
    distance, size, speed = result.distance, result.size, result.speed
    return {
        "protocol": board.slug,
        "method": result.method,
        "paper": papers[0].key if papers else None,
        "setting": setting(result),
        "unit": group.key.unit,
        "argument": group.key.argument,
        "budget": group.key.value,
        "asked": result.budget.asked,
        "achieved": result.budget.achieved,
        "metric": board.metric,
        "dense": result.quality.before,
        "value": result.quality.after,
        "low": row.quality.low if row.quality else None,
        "high": row.quality.high if row.quality else None,
        "rank": row.rank,
        "verdict": row.verdict,
        "against_dense": _difference(row.against_dense),
        "against_best": _difference(row.against_best),
        "kl": distance.kl if distance else None,
        "agreement": distance.agreement if distance else None,
        "parameters": _left(result.parameters),
        "nonzeros": _left(size.nonzeros if size else None),
        "macs": _left(size.macs if size else None),
        "checkpoint_bytes": _left(size.checkpoint_bytes if size else None),
        "cache_bytes": _left(size.cache_bytes if size else None),
        "prefill": speed.prefill if speed else None,
        "decode": speed.decode if speed else None,
        "seconds": result.cost.seconds,
        "peak_memory_bytes": result.cost.peak_memory_bytes,
        "hardware": result.environment.hardware,
        "device": result.environment.device,
        "commit": result.environment.commit,
        "date": result.environment.date.isoformat(),
        "supersedes": len(row.history),
        "file": addresses.measured(result.path),
        "url": f"{addresses.board(board.slug)}#{group.key.id}",
    }


def _left(change: Change | None) -> float | None:
    return change.ratio if change is not None else None


def _difference(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def results_csv(shelf: Shelf) -> str:
    """One line a result, as RFC 4180 has it; a difference takes three columns."""
    rows = results_data(shelf)["results"]
    head: list[str] = []
    for name in PublishedResult.model_fields:
        parts = ("value", "low", "high")
        nested = name.startswith("against_")
        head += [f"{name}_{part}" for part in parts] if nested else [name]
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        line: list[object] = []
        for name, value in row.items():
            if name.startswith("against_"):
                line += [value[part] if value else None for part in ("value", "low", "high")]
            else:
                line.append(value)
        # A negative number is none of the texts that a spreadsheet would run.
        writer.writerow(
            "" if each is None else cell(each) if isinstance(each, str) else each for each in line
        )
    return made.getvalue()
