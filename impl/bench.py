"""A matrix of methods and budgets under one protocol, cell by cell, each in a process of its own.

A cell that is done is a file, so that an interrupted matrix goes on where it stopped. A cell that
fails is recorded as such and stops no other. What is measured once is never changed: a later
measurement supersedes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from impl.errors import BadInput, PrunedexError
from impl.registry import Method, find
from impl.standards import Standard, find_standard

SCHEMA = 2


@dataclass(frozen=True)
class Cell:
    """One run of the matrix: a method with options under a protocol, and how to carry it out.

    `protocol` is a name or a .toml file, see `find_standard`.
    `tasks` are of lm-evaluation-harness, `include` a folder with tasks of your
    own, `limit` how many samples of each are taken. `timed` False leaves times
    out of the record.
    """

    method: str
    options: Mapping[str, Any]
    protocol: str
    device: str = "auto"
    threads: int | None = None
    timed: bool = True
    tasks: tuple[str, ...] = ()
    include: str | None = None
    limit: int | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        values = "-".join(str(value).replace(":", "-") for value in self.options.values())
        object.__setattr__(self, "name", f"{self.method}-{values or 'default'}")

    def to_json(self) -> str:
        return json.dumps({k: v for k, v in asdict(self).items() if k != "name"})

    @staticmethod
    def from_json(text: str) -> Cell:
        data = json.loads(text)
        return Cell(**{**data, "tasks": tuple(data["tasks"])})


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: a record, or why there is none and in which phase it ended."""

    cell: Cell
    record: dict[str, Any] | None = None
    failed: str | None = None
    phase: str | None = None
    environment: dict[str, Any] | None = None
    """Of a failure, as far as there was somebody to tell it"""


Watch = Callable[[Cell, str, int, int], None]
"""Is called with (cell, phase, done, total) while a cell runs"""


def cells(
    protocol: str,
    methods: Iterable[str],
    budgets: Mapping[str, Iterable[Any]] | None = None,
    **how: Any,
) -> list[Cell]:
    """The matrix: every method with every budget of its unit that it can take.

    `budgets` are values by argument (`sparsity`, `pattern`, `drop`, …); without,
    those of the protocol are taken. Methods for other kinds of models, or with
    no budget among those asked for, have no cells.
    Raises `BadInput` for a protocol, a method or an argument that does not exist.
    """
    standard = find_standard(protocol)
    found = [find(name) for name in methods]
    chosen = [method for method in found if standard.kind in method.on]
    if budgets is not None:
        known = {name for method in found for name in _arguments(method)}
        for name in budgets:
            if name not in known:
                raise BadInput(
                    f"none of these methods has a budget called '{name}'",
                    f"Their budgets: {', '.join(sorted(known)) or 'none'}.",
                )
    return [
        Cell(method.name, options, protocol, **how)
        for method in chosen
        for options in _settings(standard, method, budgets)
    ]


def _arguments(method: Method) -> list[str]:
    return [*method.budgets, *(["pattern"] if method.patterned else [])]


def _settings(
    standard: Standard, method: Method, budgets: Mapping[str, Iterable[Any]] | None
) -> list[dict[str, Any]]:
    own = standard.budgets.get(method.unit.name)
    if own is None:
        return []
    asked = own if budgets is None else budgets
    found = [
        {argument: value}
        for argument, values in asked.items()
        if argument in _arguments(method)
        for value in values
    ]
    return found or ([{}] if budgets is None and not own else [])


# Files ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shelf:
    """The result files of one folder; every cell has at most one that counts."""

    folder: Path

    def versions(self, cell: Cell) -> list[Path]:
        """The files of a cell, the newest last."""
        pattern = re.compile(re.escape(cell.name) + r"(?:\.(\d+))?\.json")
        found = {}
        for path in self.folder.glob(f"{cell.name}*.json"):
            if match := pattern.fullmatch(path.name):
                found[int(match[1] or 1)] = path
        return [found[number] for number in sorted(found)]

    def failure(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.failed.json"

    def done(self, cell: Cell) -> bool:
        """Whether the newest file holds all that a run of this cell would record."""
        versions = self.versions(cell)
        if not versions:
            return False
        record = self.read(versions[-1])
        return record.get("schema") == SCHEMA and set(cell.tasks) <= set(record.get("tasks", {}))

    def write(self, outcome: Outcome) -> Path:
        """File what became of a cell: beside, then renamed. A result supersedes the one before.

        A failure is not filed beside a result, which still holds.
        """
        cell = outcome.cell
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self.versions(cell)
        if outcome.record is None:
            path = self.failure(cell)
            if before:
                return path
            content: dict[str, Any] = {
                "schema": SCHEMA,
                "method": cell.method,
                "options": dict(cell.options),
                "protocol": {"name": find_standard(cell.protocol).name},
                "environment": outcome.environment,
                "failed": outcome.failed,
                "phase": outcome.phase,
            }
        else:
            number = f".{len(before) + 1}" if before else ""
            path = self.folder / f"{cell.name}{number}.json"
            content = {**outcome.record, "supersedes": before[-1].name if before else None}
        draft = path.with_suffix(".draft")
        try:
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            draft.write_text(text, "utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        if outcome.record is not None:
            self.failure(cell).unlink(missing_ok=True)
        return path

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """The content of a file of this shelf. Raises `BadInput` if it is not JSON."""
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} is not a result: {error}", "Move it away.") from error
        return found if isinstance(found, dict) else {}


# One cell ---------------------------------------------------------------------------------------


def measure(cell: Cell, watch: Watch | None = None) -> dict[str, Any]:
    """Carry out one cell in this process; returns the record. Raises what the run raises."""
    import torch

    from impl.pipeline import Request, run

    if cell.threads:
        torch.set_num_threads(cell.threads)
    standard = find_standard(cell.protocol)

    @contextlib.contextmanager
    def stage(title: str) -> Iterator[Callable[[int, int, str], None]]:
        def advance(done: int, total: int, _: str) -> None:
            if watch:
                watch(cell, title, done, total)

        advance(0, 0, "")
        yield advance

    after = None
    if cell.tasks:
        from impl.harness import check_tasks, evaluator

        check_tasks(cell.tasks, cell.include)
        after = evaluator(cell.tasks, cell.include, cell.limit)
    record, _ = run(
        Request(
            cell.method,
            standard.loads,
            calibration=standard.calibration.source,
            evaluation=standard.evaluation.source,
            samples=standard.calibration.samples,
            evaluation_samples=standard.evaluation.samples,
            length=standard.calibration.length,
            seed=standard.seed,
            device=cell.device,
            dtype=standard.dtype,
            options=dict(cell.options),
            dense=True,
            timed=cell.timed,
            after=after,
        ),
        stage,
    )
    if fields := standard.differs(record["protocol"]):
        raise PrunedexError(
            f"this run does not follow {standard.name}: it differs in {', '.join(fields)}",
            "Fetch the model and the text anew, or define a protocol of your own.",
        )
    record["protocol"]["name"] = standard.name
    return record


def _child() -> int:
    """`python -m impl.bench`: one cell as JSON on standard input, events as lines of JSON out."""
    cell = Cell.from_json(sys.stdin.read())
    out, last = os.fdopen(os.dup(1), "w"), ""
    os.dup2(2, 1)  # whatever libraries print does not get between the events

    def say(**event: Any) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    def watch(_: Cell, phase: str, done: int, total: int) -> None:
        nonlocal last
        last = phase
        say(phase=phase, done=done, total=total)

    try:
        say(record=measure(cell, watch))
    except Exception as error:
        say(failed=_reason(error), phase=last or None, environment=_environment())
    return 0


def _environment() -> dict[str, Any]:
    import torch

    from impl.pipeline import environment

    return environment(torch.device("cpu"))


def _reason(error: BaseException) -> str:
    """An error in one line; of one that is not for people also where it was raised."""
    said = str(getattr(error, "message", None) or error).strip().partition("\n")[0]
    if isinstance(error, PrunedexError):
        return said
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {said}{where}"


def in_process(cell: Cell, watch: Watch, started: Callable[[Any], None]) -> Outcome:
    """Run a cell in a new process; `started` is given the process, so that it can be ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "impl.bench"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # an interruption is for us, who then end it
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    started(process)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
    reader.start()
    phase = None
    with process, contextlib.suppress(BrokenPipeError):
        process.stdin.write(cell.to_json())
        process.stdin.close()
        for line in process.stdout:
            event = json.loads(line)
            if "record" in event:
                return Outcome(cell, event["record"])
            if "failed" in event:
                return Outcome(cell, **event)
            phase = event["phase"]
            watch(cell, phase, event["done"], event["total"])
    code = process.wait()
    reader.join(5)
    if code < 0:
        why = f"the process was ended by {signal.Signals(-code).name}"
        why += ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
    else:
        why = f"the process ended with status {code}: " + (errors[-1].strip() if errors else "")
    return Outcome(cell, failed=why.rstrip(": "), phase=phase)


# All cells --------------------------------------------------------------------------------------


def locally(todo: Iterable[Cell], jobs: int, watch: Watch, done: Callable[[Outcome], None]) -> None:
    """Run cells on this machine, `jobs` at a time; `done` is given each outcome as it comes.

    On an interruption the processes are ended and nothing more is started;
    cells that were not complete are run again next time.
    """
    running: set[Any] = set()
    pool = ThreadPoolExecutor(jobs)
    queue = iter(todo)
    pending: set[Future[Outcome]] = set()
    try:
        for cell in queue:
            pending.add(pool.submit(in_process, cell, watch, running.add))
            if len(pending) == jobs:
                pending = _take(pending, done)
        while pending:
            pending = _take(pending, done)
    finally:
        for future in pending:  # what was complete when an interruption came is not lost
            if future.done():
                done(future.result())
        for process in running:
            if process.poll() is None:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _take(pending: set[Future[Outcome]], done: Callable[[Outcome], None]) -> set[Future[Outcome]]:
    ready, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in ready:
        done(future.result())
    return set(rest)


def on_ray(
    todo: Iterable[Cell], address: str, watch: Watch, done: Callable[[Outcome], None]
) -> None:
    """Run cells on the Ray cluster at `address`, as many at a time as it has room for.

    Every node needs this version of Prunedex. A cell takes as many cores as
    its `threads` (one without), and a GPU if its device is cuda. Raises
    `PrunedexError` if Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise PrunedexError(
            "Ray is not installed", "Install it: pip install 'prunedex[ray]'."
        ) from error
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PrunedexError(f"no Ray cluster answers at {address}: {reason}") from error
    try:
        # A process of its own for each cell, so that peak memory is of that cell alone.
        remote = ray.remote(max_calls=1, max_retries=0)(_on_worker)
        running = {}
        for cell in todo:
            room = {"num_cpus": cell.threads or 1, "num_gpus": int("cuda" in cell.device)}
            running[remote.options(**room).remote(cell.to_json())] = cell
            watch(cell, "Waiting for the cluster", 0, 0)
        while running:
            ready, _ = ray.wait(list(running))
            for reference in ready:
                cell = running.pop(reference)
                try:
                    outcome = Outcome(cell, **ray.get(reference))
                except ray.exceptions.RayError as error:
                    outcome = Outcome(cell, failed=f"the worker was lost: {_reason(error)}")
                done(outcome)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody answers. Raises `OSError`."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _on_worker(text: str) -> dict[str, Any]:
    last: list[str] = []
    try:
        return {"record": measure(Cell.from_json(text), lambda _, phase, *__: last.append(phase))}
    except Exception as error:
        phase = last[-1] if last else None
        return {"failed": _reason(error), "phase": phase, "environment": _environment()}


if __name__ == "__main__":
    sys.exit(_child())
