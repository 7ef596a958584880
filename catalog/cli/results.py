"""The command `prunedex results`: the leaderboards of what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from catalog.cli import common
from catalog.cli.common import text
from catalog.errors import UsageError, details, did_you_mean, listed

if TYPE_CHECKING:
    from catalog.boards import Board, Difference, Group, Row
    from catalog.store import Catalog


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("results")(results)


def results(
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="Under one protocol: --protocol smollm2-lee-1"),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Of one method: --method wanda")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="At one budget, by amount or unit: --budget 50%, --budget 2:4, --budget blocks",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: results --budget 2:4 --json")
    ] = False,
    root: common.Root = None,
) -> None:
    """List what was measured here, ranked within one protocol and one budget only.

    A method is called worse than the best only where the paired interval over the evaluation
    windows excludes zero. For example: prunedex results --protocol smollm2-lee-1 --budget 50%
    """
    from catalog.boards import boards

    catalog = common.load(root)
    every = boards(catalog)
    chosen = _of_protocol(every, protocol)
    name = _method(catalog, method)
    found = [(board, _groups(board, name, budget)) for board in chosen]
    found = [(board, groups) for board, groups in found if groups]
    if as_json:
        common.write_json([_board_data(board, groups, name) for board, groups in found])
        return
    if not found:
        common.note("no measured result passes all of these filters")
        return
    for number, (board, groups) in enumerate(found):
        if number:
            common.out.print()
        for line in _heading(board):
            common.out.print(line, soft_wrap=True)
        for group in groups:
            common.out.print()
            common.out.print(text(_title(group), "bold"), soft_wrap=True)
            if any(name in (None, row.result.method) for row in group.rows):
                common.show_table(_table(board, group, name))
            for line in _absent(group, name):
                common.out.print(line, soft_wrap=True)
    if len(found) > 1:
        common.note(f"{len(found)} protocols: results are ranked inside each of them, never across")


def _of_protocol(every: Sequence[Board], wanted: str | None) -> list[Board]:
    if wanted is None:
        return [*every]
    names = [board.slug for board in every]
    found = [board for board in every if wanted in (board.slug, board.protocol.name)]
    if not found:
        raise UsageError(
            f"nothing was measured under the protocol '{wanted}'"
            f"{details(did_you_mean(wanted, names))}",
            f"measured: {listed(names)}",
        )
    return found


def _method(catalog: Catalog, wanted: str | None) -> str | None:
    """The method that is meant: by its own name, or that of its paper."""
    if wanted is None or wanted in catalog.methods:
        return wanted
    folded = wanted.casefold()
    for name, entries in catalog.papers_of.items():
        if any(folded in ((entry.name or "").casefold(), entry.key) for entry in entries):
            return name
    raise UsageError(
        f"there is no method '{wanted}'{details(did_you_mean(wanted, catalog.methods))}",
        "run `prunedex methods` to see which run here",
    )


def _groups(board: Board, method: str | None, budget: str | None) -> list[Group]:
    return [
        group
        for group in board.groups
        if (budget is None or _is_budget(group, budget))
        and (
            method is None
            or method in [row.result.method for row in group.rows]
            or method in [each.method for each in group.failures]
            or method in group.missing
        )
        # Without a filter, what nobody has measured is only counted.
        and (group.rows or group.failures or method is not None or budget is not None)
    ]


def _is_budget(group: Group, wanted: str) -> bool:
    key, folded = group.key, wanted.strip().casefold().replace(" ", "")
    if folded in (key.unit, key.value.casefold(), f"{key.unit}={key.value}".casefold()):
        return True
    number = folded.removesuffix("%")
    try:
        amount = float(number) / (100 if folded.endswith("%") else 1)
        return (
            key.argument not in ("pattern", "setting", "default")
            and abs(amount - float(key.value)) < 1e-9
        )
    except ValueError:
        return False


def _heading(board: Board) -> list[Text]:
    from catalog.amounts import number

    text_of = board.protocol.evaluation
    length = f" of {text_of.length:,} tokens" if text_of.length else ""
    noun = "windows" if text_of.length else "samples"
    interval = board.dense_interval
    ends = f" [{number(interval.low, 4)}, {number(interval.high, 4)}]" if interval else ""
    missing = f"; {board.missing} cells not measured yet" if board.missing else ""
    return [
        Text.assemble(
            text(board.title, "bold"), text(f"  {board.slug}  ", "cyan"),
            text(f"({board.better} {board.metric} is better)", "dim"),
        ),
        text(
            f"{board.protocol.model.name}, {text_of.samples} {noun}{length} of {text_of.source}; "
            f"the dense model has {number(board.dense, 4)}{ends}{missing}",
            "dim",
        ),
    ]  # fmt: skip


def _title(group: Group) -> str:
    title = group.key.title
    return f"{title} ({group.key.unit})" if group.key.argument in ("default", "setting") else title


WIDE = 130
"""Columns of a terminal from which on a table also says what a run took and left."""


def _table(board: Board, group: Group, method: str | None) -> Table:
    rows = [_cells(row, board) for row in group.rows if method in (None, row.result.method)]
    titles = [*rows[0]]
    if common.out.is_terminal and common.out.width < WIDE:
        titles = titles[:_BRIEF]
    table = common.new_table()
    # What no row has would only take room.
    kept = [title for title in titles if any(row[title].plain for row in rows)]
    for title in kept:
        left = title in ("Method", "Told apart")
        table.add_column(title, justify="left" if left else "right")
    for row in rows:
        table.add_row(*(row[title] for title in kept))
    return table


_BRIEF = 7
"""Columns that a narrow terminal has room for."""


def _cells(row: Row, board: Board) -> dict[str, Text]:
    from catalog import amounts
    from catalog.boards import VERDICTS

    result = row.result
    distance, speed, cost = result.distance, result.speed, result.cost
    size = result.parameters.ratio if result.parameters else None
    style = {"best": "green", "open": "green", "broken": "red"}.get(row.verdict, "")

    def share(value: float | None) -> str:
        return "" if value is None else amounts.percent(round(value, 3))

    ends = (
        [amounts.number(each, 4) for each in (row.quality.low, row.quality.high)]
        if row.quality
        else []
    )
    memory = cost.peak_memory_bytes
    return {
        "Rank": text(row.rank),
        "Method": text(result.method, "cyan"),
        board.metric.capitalize(): text(amounts.number(result.quality.after, 4), "bold"),
        "95 % interval": text(" to ".join(ends)),
        "Against dense": text(_difference(row.against_dense)),
        "Against best": text(_difference(row.against_best)),
        "Told apart": text(VERDICTS[row.verdict], style),
        "KL": text("" if distance is None or distance.kl is None else f"{distance.kl:.3f}"),
        "Agreement": text(share(distance.agreement if distance else None)),
        "Parameters": text(share(size)),
        "Prefill": text("" if speed is None or speed.prefill is None else f"{speed.prefill:.2f}×"),
        "Time": text("" if cost.seconds is None else amounts.duration(cost.seconds)),
        "Memory": text("" if memory is None else amounts.size(memory)),
    }


def _difference(found: Difference | None) -> str:
    from catalog.amounts import signed

    if found is None:
        return ""
    if found.low is None or found.high is None:
        return signed(found.value)
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def _absent(group: Group, method: str | None) -> list[Text]:
    lines = [
        text(
            f"{each.method} failed: {each.failed}{f' ({each.phase})' if each.phase else ''}", "red"
        )
        for each in group.failures
        if method in (None, each.method)
    ]
    missing = [name for name in group.missing if method in (None, name)]
    if missing:
        lines.append(text(f"not measured yet: {listed(missing)}", "dim"))
    return lines


# JSON -------------------------------------------------------------------------------------


def _board_data(board: Board, groups: Iterable[Group], method: str | None) -> dict[str, Any]:
    interval = board.dense_interval
    return {
        "protocol": board.slug,
        "title": board.title,
        **board.protocol.model_dump(mode="json", exclude={"name"}),
        "metric": board.metric,
        "better": board.better,
        "dense": {
            "value": board.dense,
            "interval": [interval.low, interval.high] if interval else None,
        },
        "budgets": [
            {
                "unit": group.key.unit,
                "argument": group.key.argument,
                "value": group.key.value,
                "results": [
                    row_data(row) for row in group.rows if method in (None, row.result.method)
                ],
                "failed": [
                    {"method": each.method, "failed": each.failed, "phase": each.phase}
                    for each in group.failures
                    if method in (None, each.method)
                ],
                "not_measured": [name for name in group.missing if method in (None, name)],
            }
            for group in groups
        ],
    }


def row_data(row: Row) -> dict[str, Any]:
    """A row as plain data; differences of perplexities are in nats per token."""
    result = row.result
    kept = {
        "method",
        "options",
        "budget",
        "parameters",
        "distance",
        "size",
        "speed",
        "cost",
        "tasks",
    }
    return {
        **result.model_dump(mode="json", include=kept),
        "rank": row.rank,
        "value": result.quality.after,
        "interval": [row.quality.low, row.quality.high] if row.quality else None,
        "against_dense": _difference_data(row.against_dense),
        "against_best": _difference_data(row.against_best),
        "verdict": row.verdict,
        "hardware": result.environment.hardware,
        "commit": result.environment.commit,
        "date": result.environment.date.isoformat(),
        "file": result.path,
        "supersedes": [each.path for each in row.history],
    }


def _difference_data(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}
