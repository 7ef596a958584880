"""What the commands share: options, output and the catalog itself.

Text from entries, docstrings and results goes through `text` or `visible`, so that it is
neither read as rich's markup nor able to send the terminal an escape sequence.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from catalog.errors import visible

if TYPE_CHECKING:
    from catalog.query import Filter
    from catalog.store import Catalog

out = Console(highlight=False, emoji=False, markup=False)
"""Standard output."""

err = Console(stderr=True, highlight=False, emoji=False, markup=False)
"""Standard error, for everything that is no answer."""

_Thing = TypeVar("_Thing")

PIPE_WIDTH = 100
"""Columns of text and panels where the output is no terminal."""


def load(root: Path | None) -> Catalog:
    """The catalog, with a note on standard error about entries that could not be read."""
    from catalog.store import Catalog

    catalog = Catalog.load(root)
    if catalog.unread:
        count = len(catalog.unread)
        noun = "entry is" if count == 1 else "entries are"
        note(f"{count} {noun} left out, being unreadable; `prunedex check` says why")
    return catalog


def note(message: str) -> None:
    """One line on standard error."""
    err.print(Text(visible(message), style="yellow"), soft_wrap=True)


def total(message: str) -> None:
    """One line below an answer that counts what was listed, on standard error."""
    err.print(Text(message, style="dim"), soft_wrap=True)


def fail(message: str, hint: str = "") -> None:
    """An error on standard error: what was wrong in red, what to do below it."""
    err.print(Text(f"Error: {visible(message)}", style="red"), soft_wrap=True)
    if hint:
        err.print(Text(visible(hint), style="red"), soft_wrap=True)


def text(value: object, style: str = "", link: str | None = None) -> Text:
    """Any value as text that means nothing but itself; `link` must be an address."""
    written = Text(visible(str(value)), style=style)
    if link is not None and link.startswith(("https://", "http://")):
        written.stylize(f"link {visible(link)}")
    return written


def show(renderable: RenderableType) -> None:
    """Print for reading: as wide as the terminal, or `PIPE_WIDTH` through a pipe."""
    if not out.is_terminal:
        # Set every time: the console keeps the width that it began with, or the last table's.
        columns = os.environ.get("COLUMNS", "")
        out.width = int(columns) if columns.isdecimal() and int(columns) > 0 else PIPE_WIDTH
    out.print(renderable)


def new_table() -> Table:
    """A table without lines between its columns, which narrow terminals cannot spare."""
    return Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def show_table(table: Table) -> None:
    """Print a table; through a pipe, every row is one line, however long."""
    if out.is_terminal:
        out.print(table)
        return
    for column in table.columns:
        column.no_wrap = True
        column.max_width = None
    out.width = 1_000_000
    out.width = out.measure(table).maximum
    with out.capture() as capture:
        out.print(table)
    lines = (line.rstrip() for line in capture.get().splitlines())
    write("\n".join(line for line in lines if line) + "\n")


def apart(things: Iterable[_Thing], console: Console = out) -> Iterator[_Thing]:
    """The things to print one after the other, with an empty line before all but the first."""
    for number, thing in enumerate(things):
        if number:
            console.print()
        yield thing


def write(content: str) -> None:
    """Content for other programs: as it is, without colours or wrapping."""
    sys.stdout.write(content)


def write_json(data: object) -> None:
    """JSON, indented; in ASCII where the terminal could not show the rest."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    write(json.dumps(data, indent=2, ensure_ascii=encoding != "utf8") + "\n")


# Options that several commands take -------------------------------------------------------


def complete_keys(incomplete: str) -> list[str]:
    """Keys for the shell's completion; from file names, so that a keystroke stays quick."""
    from catalog.errors import PrunedexError
    from catalog.root import find_root

    try:
        files = sorted((find_root() / "papers").glob("*.yaml"))
    except (PrunedexError, OSError):
        return []
    return [file.stem for file in files if file.stem.startswith(incomplete)]


def _values_of(dimension: str) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        from catalog.errors import PrunedexError
        from catalog.root import find_root
        from catalog.store import load_vocabulary

        try:
            vocabulary = load_vocabulary(find_root())
        except (PrunedexError, OSError):
            return []
        return [value for value in vocabulary.ids(dimension) if value.startswith(incomplete)]

    return complete


Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        help="Folder of the catalog, if it is not here: --root ~/prunedex",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: --json | jq '.[0]'")]

_TAGS = "Tags (a parent finds its children; repeat for alternatives)"
_OTHER = "Other filters (all must hold)"
Type = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="What is removed: --type structured",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("type"),
    ),
]
Criterion = Annotated[
    list[str] | None,
    typer.Option(
        "--criterion",
        help="How importance is judged: --criterion taylor --criterion wanda",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("criterion"),
    ),
]
Budget = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        help="What is fixed in advance: --budget latency",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("budget"),
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="What data it needs: --data calibration,data-free",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("data"),
    ),
]
Retraining = Annotated[
    list[str] | None,
    typer.Option(
        "--retraining",
        help="What training follows: --retraining without",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("retraining"),
    ),
]
WeightUpdate = Annotated[
    list[str] | None,
    typer.Option(
        "--weight-update",
        help="What happens to the weights that stay: --weight-update frozen",
        rich_help_panel=_TAGS,
        autocompletion=_values_of("weight_update"),
    ),
]
KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Kind of paper: --kind survey", rich_help_panel=_OTHER),
]
YearOption = Annotated[
    str | None,
    typer.Option(
        "--year",
        help="First public version: --year 2023, --year 2022-2024, --year 2023-",
        rich_help_panel=_OTHER,
    ),
]
HasCode = Annotated[
    bool | None,
    typer.Option(
        "--has-code/--without-code", help="Code is linked: --has-code", rich_help_panel=_OTHER
    ),
]
RunsHere = Annotated[
    bool | None,
    typer.Option(
        "--runs-here/--not-here",
        help="The method is implemented in this repository: --runs-here",
        rich_help_panel=_OTHER,
    ),
]
TextOption = Annotated[
    str | None,
    typer.Option(
        "--text",
        help="Words in title, name, authors, takeaway or identifiers: --text 'kv cache'",
        rich_help_panel=_OTHER,
    ),
]

_NAMED = "Experiments (a family finds its members; repeat for alternatives)"


def _names_of(group: str) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        from catalog.errors import PrunedexError
        from catalog.root import find_root
        from catalog.store import load_inventory

        try:
            inventory = load_inventory(find_root())
        except (PrunedexError, OSError):
            return []
        names = (item.name for item in inventory.items(group))
        return [name for name in names if name.casefold().startswith(incomplete.casefold())]

    return complete


ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A model that the paper evaluates: --model LLaMA-2-7B",
        rich_help_panel=_NAMED,
        autocompletion=_names_of("models"),
    ),
]
CalibratedOn = Annotated[
    list[str] | None,
    typer.Option(
        "--calibrated-on",
        help="Data that it calibrates on: --calibrated-on C4",
        rich_help_panel=_NAMED,
        autocompletion=_names_of("datasets"),
    ),
]
FinetunedOn = Annotated[
    list[str] | None,
    typer.Option(
        "--finetuned-on",
        help="Data that it trains on: --finetuned-on Alpaca",
        rich_help_panel=_NAMED,
        autocompletion=_names_of("datasets"),
    ),
]
EvaluatedOn = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluated-on",
        help="Data that it evaluates on: --evaluated-on BoolQ",
        rich_help_panel=_NAMED,
        autocompletion=_names_of("datasets"),
    ),
]
ToolOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        help="A tool that it evaluates with: --tool lm-evaluation-harness",
        rich_help_panel=_NAMED,
        autocompletion=_names_of("tools"),
    ),
]


def make_filter(
    *,
    type: Type = None,
    criterion: Criterion = None,
    budget: Budget = None,
    data: Data = None,
    retraining: Retraining = None,
    weight_update: WeightUpdate = None,
    kind: KindOption = None,
    year: YearOption = None,
    has_code: HasCode = None,
    runs_here: RunsHere = None,
    text: TextOption = None,
    model: ModelOption = None,
    calibrated_on: CalibratedOn = None,
    finetuned_on: FinetunedOn = None,
    evaluated_on: EvaluatedOn = None,
    tool: ToolOption = None,
) -> Filter:
    """The filter that the options ask for; values may also be joined by commas."""
    from catalog.query import Filter, parse_years

    def split(values: Sequence[str] | None) -> tuple[str, ...]:
        return tuple(part.strip() for value in values or () for part in value.split(","))

    first, last = parse_years(year) if year is not None else (None, None)
    return Filter(
        type=split(type),
        criterion=split(criterion),
        budget=split(budget),
        data=split(data),
        retraining=split(retraining),
        weight_update=split(weight_update),
        kind=split(kind),
        year_from=first,
        year_to=last,
        has_code=has_code,
        runs_here=runs_here,
        text=text,
        models=split(model),
        calibrated_on=split(calibrated_on),
        finetuned_on=split(finetuned_on),
        evaluated_on=split(evaluated_on),
        tools=split(tool),
    )


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with all options of `make_filter` in place of its parameter `wanted`."""
    # Typer reads options off the signature; Filter is known to type checkers only.
    known = {"Filter": object}
    options = inspect.signature(make_filter, eval_str=True, locals=known).parameters
    own = inspect.signature(command, eval_str=True, locals=known).parameters

    @functools.wraps(command)
    def filtering(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(wanted=make_filter(**chosen), **given)

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in own.items()
        for each in (options.values() if name == "wanted" else (one,))
    ]
    filtering.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    filtering.__annotations__ = {each.name: each.annotation for each in parameters}
    return filtering
