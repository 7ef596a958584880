"""The commands `prunedex bench`, which measures methods under a protocol, and `protocols`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.cli.common import err, new_table, note, show, text, write_json
from catalog.cli.run import known_method, people_errors
from catalog.errors import UsageError

if TYPE_CHECKING:
    from impl.bench import Cell, Outcome


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command("bench")(bench)
    app.command("protocols")(protocols)


def bench(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            help="Methods; all that fit the protocol, if none is named: wanda sparsegpt"
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="A name from `prunedex protocols`, or a .toml file of yours like those in impl/protocols: smollm2-lee-1",
        ),
    ] = "smollm2-lee-1",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            help="Only these budgets instead of the protocol's: --budget sparsity=0.5,0.6 "
            "--budget pattern=2:4",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", help="Write results below this folder: --out impl/results"),
    ] = Path("results"),
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Runs at a time on this machine: --jobs 4")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Run on the Ray cluster at this address instead: --ray auto"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="Also run a task of lm-evaluation-harness: --task hellaswag"),
    ] = None,
    tasks_from: Annotated[
        Path | None,
        typer.Option("--tasks-from", help="A folder with tasks of your own: --tasks-from mine"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Only so many samples of each task: --limit 100"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps: --device cpu")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Cores of each run; by default all, shared: --threads 2"
        ),
    ] = None,
    busy: Annotated[
        bool,
        typer.Option(
            "--busy", help="Leave times out, since the machine does other work, too: --busy"
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Measure anew what is done; the new results supersede the old: --again"
        ),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again what failed before: --retry")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be run: --dry-run")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print what became of every cell: --json | jq '.[].state'"),
    ] = False,
) -> None:
    """Measure methods × budgets under a protocol, against the dense model, one file a run.

    Goes on where it was interrupted: what is done is not run again. A run that fails is recorded
    as such and stops no other. For example: prunedex bench wanda magnitude --budget sparsity=0.5
    """
    for name in methods or []:
        known_method(name)
    wanted = _budgets(budget)
    with people_errors():
        from impl import bench as matrix
        from impl.harness import check_tasks
        from impl.registry import method_names
        from impl.sources import resolve_device
        from impl.standards import find_standard

        resolve_device(device)
        if task:
            check_tasks(task, str(tasks_from) if tasks_from else None)
        found = matrix.cells(
            protocol,
            methods or method_names(),
            wanted,
            device=device,
            threads=threads or (max(1, (os.cpu_count() or 1) // jobs) if not ray else None),
            timed=not busy and jobs == 1 and ray is None,
            tasks=tuple(task or ()),
            include=str(tasks_from.resolve()) if tasks_from else None,
            limit=limit,
        )
        if not found:
            raise UsageError(
                f"there is nothing to measure under {protocol}",
                "none of these methods prunes its kind of model by one of its budgets",
            )
        shelf = matrix.Shelf(out / find_standard(protocol).name)
        states = {cell.name: _state(shelf, cell, again, retry) for cell in found}
        reasons: dict[str, str] = {}
        todo = [cell for cell in found if states[cell.name] == "to do"]
        if todo and not dry_run:
            with _shown(len(found), len(found) - len(todo)) as (watch, tick):

                def done(outcome: Outcome) -> None:
                    shelf.write(outcome)
                    states[outcome.cell.name] = "failed" if outcome.record is None else "done"
                    if outcome.failed:
                        reasons[outcome.cell.name] = outcome.failed
                    tick(outcome)

                if ray:
                    matrix.on_ray(todo, ray, watch, done)
                else:
                    matrix.locally(todo, jobs, watch, done)
        rows = [_row(shelf, cell, states[cell.name], reasons.get(cell.name)) for cell in found]
    if as_json:
        write_json(rows)
    else:
        _table(rows)
    if any(row["state"] == "failed" for row in rows):
        raise typer.Exit(1)


def _budgets(given: list[str] | None) -> dict[str, list[Any]] | None:
    """`sparsity=0.5,0.6` and `pattern=2:4` as values by argument. Raises `UsageError`."""
    if not given:
        return None
    found: dict[str, list[Any]] = {}
    for part in given:
        name, equals, values = part.partition("=")
        if not equals or not values:
            raise UsageError(f"--budget {part} is no budget", "say for example sparsity=0.5,0.6")
        for value in values.split(","):
            found.setdefault(name.strip(), []).append(_number(value.strip()))
    return found


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _state(shelf: Any, cell: Cell, again: bool, retry: bool) -> str:
    if shelf.done(cell) and not again:
        return "done before"
    if shelf.failure(cell).exists() and not retry:
        return "failed"
    return "to do"


def _row(shelf: Any, cell: Cell, state: str, failed: str | None) -> dict[str, Any]:
    row = {"cell": cell.name, "method": cell.method, "options": dict(cell.options), "state": state}
    if state.startswith("done"):
        path = shelf.versions(cell)[-1]
        row |= {"file": str(path), "quality": shelf.read(path)["quality"]}
    elif state == "failed":
        row["failed"] = failed or shelf.read(shelf.failure(cell))["failed"]
    return row


def _table(rows: list[dict[str, Any]]) -> None:
    table = new_table()
    for heading in ("cell", "state", "dense", "pruned", "why it failed"):
        table.add_column(heading, justify="right" if heading in ("dense", "pruned") else "left")
    for row in rows:
        before, after = [*row.get("quality", {}).values(), "", ""][:2]
        table.add_row(
            text(row["cell"]),
            row["state"],
            *("∞" if v is None else v if v == "" else f"{v:.3f}" for v in (before, after)),
            text(row.get("failed", "")),
        )
    show(table)


@contextmanager
def _shown(total: int, before: int) -> Iterator[tuple[Any, Callable[[Outcome], None]]]:
    """A bar for the matrix and one for every cell at work; plain lines through a pipe."""
    if not err.is_terminal:
        seen: dict[str, str] = {}

        def say(cell: Cell, phase: str, *_: int) -> None:
            if seen.get(cell.name) != phase:
                seen[cell.name] = phase
                note(f"{cell.name}: {phase}")

        yield say, lambda outcome: note(f"{outcome.cell.name}: {outcome.failed or 'done'}")
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:g} of {task.total:g}"),
        TimeElapsedColumn(),
        console=err,
    ) as progress:
        overall = progress.add_task("All cells", total=total, completed=before)
        at_work: dict[str, Any] = {}

        def watch(cell: Cell, phase: str, done: int, of: int) -> None:
            if cell.name not in at_work:
                at_work[cell.name] = progress.add_task(cell.name, total=1)
            progress.update(
                at_work[cell.name],
                description=f"{cell.name}: {phase}",
                completed=done,
                total=max(of, 1),
            )

        def tick(outcome: Outcome) -> None:
            progress.advance(overall)
            if outcome.cell.name in at_work:
                progress.remove_task(at_work.pop(outcome.cell.name))
            if outcome.failed:
                note(f"{outcome.cell.name} failed: {outcome.failed}")

        yield watch, tick


def protocols(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: --json | jq '.[].name'")
    ] = False,
) -> None:
    """List the protocols: what must be the same in every run whose numbers are compared."""
    from dataclasses import asdict

    from impl.standards import standards

    found = list(standards().values())
    if as_json:
        write_json([asdict(each) for each in found])
        return
    table = new_table()
    for heading in ("protocol", "what", "calibrates on", "evaluates on", "needs"):
        table.add_column(heading)
    for each in found:
        parts = (each.calibration, each.evaluation)
        table.add_row(
            text(each.name, style="bold"),
            text(each.title),
            *(
                f"{part.samples} × {part.length} of {part.source}"
                if part.length
                else f"{part.samples} of {part.source}"
                for part in parts
            ),
            ", ".join(each.requires) or "nothing",
        )
    show(table)
