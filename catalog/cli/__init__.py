"""The command `prunedex`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from catalog.cli import bench, catalog, contribute, figures, results, run, site
from catalog.cli.common import fail, write
from catalog.errors import PrunedexError, visible

app = typer.Typer(
    name="prunedex",
    help="The literature on pruning large language models: filter it, cite it, run it.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("prunedex")
        except PackageNotFoundError:
            number = "(not installed)"
        write(f"prunedex {number}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        write(context.get_help() + "\n")


catalog.register(app)
figures.register(app)
results.register(app)
contribute.register(app)
run.register(app)
bench.register(app)
site.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    0: done; 1: the catalog has errors, or something failed; 2: asked for something that does
    not exist; 130: interrupted. What went wrong is one or two lines on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        # Where a terminal cannot show a character, show its code rather than fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        status = app(args=arguments, prog_name="prunedex", standalone_mode=False)
        sys.stdout.flush()
    except PrunedexError as error:
        fail(error.message, error.hint)
        return error.exit_status
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "prunedex"
        message = error.format_message().replace("Value error, ", "")
        fail(message, f"run `{command} --help` to see what it takes")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f": {error.filename}" if error.filename is not None else ""
        fail(f"{error.strerror or type(error).__name__}{where}")
        return 1
    except Exception as error:
        # The implementations have their own error for people; importing it would import impl.
        for_people = getattr(sys.modules.get("impl.errors"), "PrunedexError", None)
        if for_people is not None and isinstance(error, for_people):
            fail(error.message, error.hint or "")
            return 1
        if os.environ.get("PRUNEDEX_DEBUG"):
            raise
        fail(
            f"{type(error).__name__}: {visible(str(error))}",
            "this is a mistake in Prunedex: set PRUNEDEX_DEBUG=1 to see where, and report it",
        )
        return 1
    if status == 130:
        fail("Interrupted")
    return status if isinstance(status, int) else 0
