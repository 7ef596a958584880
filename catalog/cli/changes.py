"""What `prunedex check` does about changes: `--changed` finds them, `--fix` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperCommand

from catalog.cli import common
from catalog.cli.common import text
from catalog.errors import Problem, PrunedexError, visible
from catalog.root import is_installed

if TYPE_CHECKING:
    from catalog.store import Catalog

_OPTION = "--changed"

Fix = Annotated[
    bool,
    typer.Option("--fix", help="First mend entries where there is one right answer: check --fix"),
]
Changed = Annotated[
    str | None,
    typer.Option(
        _OPTION,
        help="Report only on files that git says changed since BASE, main if none is given: "
        "check --changed",
        metavar="[BASE]",
    ),
]


class CheckCommand(TyperCommand):
    """`--changed` may stand alone, or be followed by a revision; what is a file is a path."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if _OPTION in args:
            number = args.index(_OPTION)
            following = args[number + 1 : number + 2]
            alone = not following or following[0].startswith("-") or Path(following[0]).exists()
            base = "" if alone else following[0]
            args = [*args[:number], f"{_OPTION}={base}", *args[number + (1 if alone else 2) :]]
        return super().parse_args(ctx, args)


def changed_files(root: Path, base: str | None) -> tuple[frozenset[str] | None, list[Problem]]:
    """The paths to report on, as problems name them, and what is wrong with their changing.

    None for all paths, where nobody asked for changes.
    """
    if base is None:
        return None, []
    from catalog.changed import changed, rewritten

    found = changed(root, base or None)
    count = len(found.present)
    files = "1 file" if count == 1 else f"{count} files"
    common.err.print(Text(f"{files} changed since {visible(found.base)}", style="dim"))
    if found.deleted:
        gone = "1 file is" if len(found.deleted) == 1 else f"{len(found.deleted)} files are"
        common.note(f"{gone} deleted; `prunedex check` says who still refers to them")
    wrong = rewritten(found)
    paths = [*found.present, *(problem.path for problem in wrong)]
    return frozenset(visible(path).replace("\n", "\\n") for path in paths), wrong


def fixed(catalog: Catalog, wanted: Callable[[str], bool]) -> Catalog:
    """The catalog after mending the wanted entries; what was mended goes to standard error."""
    from catalog.fixing import fix_entries
    from catalog.store import Catalog as Store

    refuse_installed(catalog.root)
    files = fix_entries(catalog, wanted)
    for file in files:
        for change in file.changes:
            place = text(f"{file.path}:{change.line}: ")
            line = Text.assemble(place, text("fixed", "bold green"), text(f": {change.what}"))
            common.err.print(line, soft_wrap=True)
    count = sum(len(file.changes) for file in files)
    entries = "1 entry" if len(files) == 1 else f"{len(files)} entries"
    common.err.print(Text(f"{count} fixed in {entries}", style="dim"))
    return Store.load(catalog.root) if files else catalog


def refuse_installed(root: Path) -> None:
    """Raise PrunedexError for the catalog of an installation, where nothing is written."""
    if is_installed(root):
        raise PrunedexError(
            "this catalog belongs to an installed package and is only read",
            "run this inside a checkout, or name one with --root",
        )
