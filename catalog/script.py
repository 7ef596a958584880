"""How the maintenance scripts begin and end: what was asked for, and one line for a failure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from catalog.errors import PrunedexError, visible


def parser_of(documentation: str | None) -> argparse.ArgumentParser:
    """A parser for a script's own options, described by the first line of its docstring."""
    return argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])


def run_script(
    run: Callable[[argparse.Namespace], int],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
    interrupted: str = "Interrupted",
) -> int:
    """The exit status of `run` on the arguments, which may name a catalog with --root.

    What a person got wrong is said without a traceback; Ctrl-C says `interrupted` and is 130.
    """
    parser.add_argument("--root", type=Path, help="folder of the catalog")
    try:
        return run(parser.parse_args(arguments))
    except PrunedexError as error:
        print(f"Error: {visible(str(error))}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
