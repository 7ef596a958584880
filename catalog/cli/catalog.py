"""The commands that read the catalog: check, list, show, cite, tags, methods and more."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from catalog.cli import changes, common, figures
from catalog.cli.common import text
from catalog.errors import Problem, UsageError, details, did_you_mean, listed
from catalog.results import BUDGETS
from catalog.schema import DIMENSIONS, RESOURCES

if TYPE_CHECKING:
    from catalog.methods import MethodDoc
    from catalog.query import Filter
    from catalog.schema import Entry
    from catalog.store import Catalog


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("check", cls=changes.CheckCommand)(check)
    app.command("list")(list_entries)
    app.command("show")(show)
    app.command("cite")(cite)
    app.command("tags")(tags)
    app.command("methods")(methods)
    app.command("resources")(resources)
    app.command("stale")(stale)


# check ------------------------------------------------------------------------------------


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Report on these files or folders only: papers/sun2023simple.yaml",
            metavar="[PATH]...",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Also give advice and known gaps, and fail on warnings: check --strict",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Same as --format json: check --json | jq length")
    ] = False,
    form: Annotated[
        CheckFormat | None,
        typer.Option(
            "--format",
            help="text, json, or github for annotations on a pull request: --format github",
            show_default="text",
        ),
    ] = None,
    fix: changes.Fix = False,
    changed: changes.Changed = None,
    root: common.Root = None,
) -> None:
    """Find everything that is wrong with entries, vocabulary, methods and results.

    The whole catalog is read even where only some files are reported on, since an entry may
    clash with any other. Exit status 1 if there are errors, and with --strict if there are
    warnings. Notices never fail: a gap that an entry declares is known, not wrong.
    """
    from catalog.checks import advice_codes
    from catalog.store import Catalog

    if as_json and form not in (None, CheckFormat.JSON):
        raise UsageError(f"--json and --format {form} ask for different things", "give one")
    form = CheckFormat.JSON if as_json else form or CheckFormat.TEXT
    catalog = Catalog.load(root)
    wanted = [_below(catalog.root, path) for path in paths or ()]
    only, rewritten = changes.changed_files(catalog.root, changed)

    def reported(path: str) -> bool:
        return (not wanted or _is_wanted(path, wanted)) and (only is None or path in only)

    if fix:
        catalog = changes.fixed(catalog, reported)
    hidden = frozenset[str]() if strict else advice_codes()
    everything = [
        problem for problem in sorted([*catalog.problems, *rewritten]) if problem.code not in hidden
    ]
    problems = [problem for problem in everything if reported(problem.path)]
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = sum(problem.severity == "warning" for problem in problems)
    if form is CheckFormat.JSON:
        common.write_json([problem.to_dict() for problem in problems])
    elif form is CheckFormat.GITHUB:
        common.write("".join(map(_annotation, problems)))
    else:
        _print_problems(problems)
    if form is not CheckFormat.JSON:
        _print_summary(catalog, errors, warnings, len(problems) - errors - warnings)
        # A new entry may be what makes another file wrong.
        elsewhere = sum(problem.severity == "error" for problem in everything) - errors
        if elsewhere:
            found = "1 error" if elsewhere == 1 else f"{elsewhere} errors"
            common.note(f"{found} in other files; `prunedex check` alone says where")
    if errors or (strict and warnings):
        raise typer.Exit(1)


def _below(root: Path, path: Path) -> str:
    """A path that was given on the command line, as problems name it."""
    try:
        if not path.exists():
            raise UsageError(f"there is no {path}", "give a file or folder of the catalog")
        # Only the folder is resolved: a link is reported under its own name.
        resolved = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        return resolved.relative_to(root).as_posix()
    except ValueError:
        raise UsageError(f"{path} is outside the catalog in {root}", "") from None


def _is_wanted(path: str, wanted: Sequence[str]) -> bool:
    return any(place in (".", path) or path.startswith(f"{place}/") for place in wanted)


def _print_problems(problems: Sequence[Problem]) -> None:
    styles = {"error": "bold red", "warning": "bold yellow", "notice": "bold blue"}
    for problem in problems:
        line = Text.assemble(
            text(f"{problem.path}:{problem.line}:{problem.column}: "),
            text(problem.code, styles[problem.severity]),
            text(f": {problem.message}"),
        )
        common.out.print(line, soft_wrap=True)
    helps = {problem.code: problem.help for problem in problems if problem.help}
    if helps:
        common.err.print()
    for code, help_text in sorted(helps.items()):
        line = Text.assemble(text(code, "bold"), text(f": {help_text}"))
        common.err.print(line, soft_wrap=True)


def _print_summary(catalog: Catalog, errors: int, warnings: int, notices: int) -> None:
    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    read = ", ".join(
        [
            count(len(catalog.entries) + len(catalog.unread), "paper"),
            count(len(catalog.vocabulary.dimensions), "dimension"),
            count(len(catalog.methods), "method"),
            count(len(catalog.results), "result"),
        ]
    )
    style = "red" if errors else "yellow" if warnings else "green"
    found = f"{count(errors, 'error')}, {count(warnings, 'warning')}"
    if notices:
        found += f", {count(notices, 'notice')}"
    common.err.print(Text(f"{read}: {found}", style=style), soft_wrap=True)


def _annotation(problem: Problem) -> str:
    """A problem as a workflow command, escaped as GitHub reads it."""

    def data(value: str) -> str:
        return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def attribute(value: str) -> str:
        return data(value).replace(":", "%3A").replace(",", "%2C")

    message = f"{problem.message}\n{problem.help}" if problem.help else problem.message
    return (
        f"::{problem.severity} file={attribute(problem.path)},line={problem.line},"
        f"col={problem.column},title={attribute(problem.code)}::{data(message)}\n"
    )


# list and cite ----------------------------------------------------------------------------


class ListFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    BIB = "bib"


class Sort(StrEnum):
    KEY = "key"
    YEAR = "year"
    TITLE = "title"
    NAME = "name"
    VENUE = "venue"


@common.with_filters
def list_entries(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Words to look for, as with --text: wanda, 2306.11695, 'Kurtić'",
            metavar="[WORD]...",
            show_default=False,
        ),
    ] = None,
    *,
    wanted: Filter,
    sort: Annotated[
        Sort, typer.Option("--sort", help="Order; year puts the newest first: --sort year")
    ] = Sort.KEY,
    form: Annotated[
        ListFormat, typer.Option("--format", help="How to print it: --format csv > papers.csv")
    ] = ListFormat.TABLE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Same as --format json: list --json | jq '.[].key'")
    ] = False,
    root: common.Root = None,
) -> None:
    """List the papers that pass all filters.

    For example: prunedex list --type depth --model LLaMA-2-7B --runs-here
    """
    from catalog.bibtex import to_bibtex
    from catalog.query import select

    texts = [*(words or ()), wanted.text or ""]
    wanted = replace(wanted, text=" ".join(texts).strip() or None)
    if as_json and form not in (ListFormat.TABLE, ListFormat.JSON):
        raise UsageError(f"--json and --format {form} ask for different things", "give one")
    catalog = common.load(root)
    entries = _sorted(select(catalog, wanted), sort)
    if as_json or form is ListFormat.JSON:
        common.write_json([_entry_data(catalog, entry) for entry in entries])
    elif form is ListFormat.CSV:
        common.write(_csv(catalog, entries))
    elif form is ListFormat.BIB:
        common.write(to_bibtex(entries))
    elif entries:
        _print_entries(catalog, entries)
    if not entries:
        common.note("no paper passes all of these filters")
    _note_families(catalog, wanted, entries)


def _note_families(catalog: Catalog, wanted: Filter, entries: Sequence[Entry]) -> None:
    """Say which papers a filter may miss, since they name only the family of what is asked for."""
    from catalog.query import select_by_family
    from catalog.schema import ROLES

    for role in ROLES:
        families, others = select_by_family(catalog, wanted, role)
        missed = [entry.key for entry in others if entry not in entries]
        if missed:
            papers = "1 paper names" if len(missed) == 1 else f"{len(missed)} papers name"
            common.note(f"{papers} {listed(families)} without saying which: {listed(missed, 8)}")


@common.with_filters
def cite(
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            help="Papers by key, arXiv id, DOI or name: sun2023simple 2301.00774",
            metavar="[KEY]...",
            show_default=False,
            autocompletion=common.complete_keys,
        ),
    ] = None,
    *,
    wanted: Filter,
    root: common.Root = None,
) -> None:
    """Print BibTeX: of the papers named, of those that pass the filters, or of all.

    For example: prunedex cite sun2023simple frantar2023sparsegpt > pruning.bib
    """
    from catalog.bibtex import to_bibtex
    from catalog.query import select

    if keys and not wanted.is_empty:
        raise UsageError("keys and filters together leave open what to cite", "give one of them")
    catalog = common.load(root)
    if keys:
        entries = list({entry.key: entry for entry in map(catalog.find, keys)}.values())
    else:
        entries = select(catalog, wanted)
    common.write(to_bibtex(entries))
    if not entries:
        common.note("no paper passes all of these filters")


def _sorted(entries: list[Entry], order: Sort) -> list[Entry]:
    from catalog.query import fold

    if order is Sort.YEAR:
        return sorted(entries, key=lambda entry: (-entry.year, entry.key))
    if order is Sort.TITLE:
        return sorted(entries, key=lambda entry: (fold(entry.title), entry.key))
    if order is Sort.NAME:
        return sorted(
            entries, key=lambda entry: (not entry.name, fold(entry.name or ""), entry.key)
        )
    if order is Sort.VENUE:
        return sorted(entries, key=lambda entry: (fold(entry.venue.short), entry.key))
    return entries


def _entry_data(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    from catalog.query import runs_here

    return {**entry.model_dump(mode="json"), "runs_here": runs_here(catalog, entry)}


def _csv(catalog: Catalog, entries: Iterable[Entry]) -> str:
    from catalog.query import runs_here

    columns = ["key", "name", "title", "authors", "year", "venue", "kind", "arxiv", "doi", "paper"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*columns, "code", *DIMENSIONS, "runs_here", "takeaway"])
    for entry in entries:
        cells = [
            entry.key,
            entry.name or "",
            entry.title,
            "; ".join(entry.authors),
            str(entry.year),
            entry.venue.short,
            entry.kind,
            entry.ids.arxiv or "",
            entry.ids.doi or "",
            entry.links.paper or "",
            entry.links.code.url if entry.links.code else "",
            *("; ".join(entry.tags.of(name)) if entry.tags else "" for name in DIMENSIONS),
            "yes" if runs_here(catalog, entry) else "no",
            " ".join(entry.takeaway.split()),
        ]
        writer.writerow(map(_inert, cells))
    return buffer.getvalue()


def _inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _print_entries(catalog: Catalog, entries: Sequence[Entry]) -> None:
    from catalog.query import has_code, runs_here

    width = common.out.width if common.out.is_terminal else 1_000_000
    table = common.new_table()
    table.add_column("Key", no_wrap=True)
    table.add_column("Year", justify="right")
    table.add_column("Name", max_width=24)
    table.add_column("Title", ratio=1, min_width=20)
    # Narrow terminals get fewer columns rather than unreadable ones.
    shown_tags = [name for name, least in _TAG_COLUMNS.items() if width >= least]
    for name in shown_tags:
        table.add_column(catalog.vocabulary.dimensions[name].name, max_width=24)
    if width >= 150:
        table.add_column("Venue", max_width=20)
        table.add_column("Code", justify="center")
    table.add_column("Here", justify="center")
    for entry in entries:
        cells: list[RenderableType] = [
            text(entry.key, "cyan", entry.links.paper),
            text(entry.year),
            text(entry.name or ""),
            text(entry.title),
        ]
        cells += [text(", ".join(entry.tags.of(n)) if entry.tags else "") for n in shown_tags]
        if width >= 150:
            cells += [text(entry.venue.short), text("yes" if has_code(entry) else "")]
        cells.append(text("yes" if runs_here(catalog, entry) else "", "green"))
        table.add_row(*cells)
    common.show_table(table)
    total = len(catalog.entries)
    papers = "paper" if total == 1 else "papers"
    common.total(f"{len(entries)} of {total} {papers}")


_TAG_COLUMNS = {
    "type": 100,
    "criterion": 120,
    "budget": 190,
    "data": 190,
    "retraining": 170,
    "weight_update": 190,
}
"""The least width of a terminal, in columns, at which a dimension gets a column of its own."""


# show -------------------------------------------------------------------------------------


def show(
    key: Annotated[
        str,
        typer.Argument(
            help="A paper by key, arXiv id, DOI or name: sun2023simple",
            metavar="KEY",
            autocompletion=common.complete_keys,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: show sun2023simple --json | jq .tags")
    ] = False,
    root: common.Root = None,
) -> None:
    """Show all that is known about one paper.

    For example: prunedex show sun2023simple
    """
    catalog = common.load(root)
    entry = catalog.find(key)
    if as_json:
        common.write_json(_show_data(catalog, entry))
    else:
        common.show(_page(catalog, entry))


def _show_data(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    from catalog.bibtex import to_bibtex

    name = entry.implementation or ""
    method, verified = catalog.methods.get(name), catalog.verified.get(name)
    return {
        **_entry_data(catalog, entry),
        "built_on_by": [
            {"key": other.key, "relation": edge.relation, "note": edge.note}
            for other, edge in catalog.built_on_by(entry.key)
        ],
        "method": method.model_dump(mode="json", exclude={"source", "code"}) if method else None,
        "verified": verified.model_dump(mode="json", by_alias=True) if verified else None,
        "results": [
            result.model_dump(mode="json", by_alias=True) for result in catalog.results_of(name)
        ],
        "reported": figures.shown_data(catalog, entry),
        "bibtex": to_bibtex([entry]),
    }


def _page(catalog: Catalog, entry: Entry) -> RenderableType:
    from catalog.bibtex import to_bibtex
    from catalog.gaps import NAMES
    from catalog.inventory import names_in

    head = [text(entry.title, "bold"), text(", ".join(entry.authors) or "Authors unknown", "dim")]
    facts = [entry.venue.short, entry.kind, f"first public {entry.year}"]
    if entry.name:
        facts.insert(0, entry.name)
    head.append(text(" · ".join(facts)))
    if entry.lifecycle.superseded_by:
        head.append(text(f"Superseded by {entry.lifecycle.superseded_by}", "yellow"))
    parts: list[RenderableType] = [*head]

    def section(title: str, *content: RenderableType) -> None:
        parts.extend([text(""), Rule(text(title, "bold"), align="left", style="dim"), *content])

    section("Take-away", text(entry.takeaway))
    section("Mechanism", text(entry.mechanism))
    if entry.challenges:
        section("Open", *(_bullet(text(challenge)) for challenge in entry.challenges))
    if entry.tags is not None:
        section("Tags", _tag_grid(catalog, entry))
    experiments = [
        (title, text(", ".join(names)))
        for role, title in _ROLE_NAMES.items()
        if (names := names_in(entry, role))
    ]
    if experiments:
        section("Experiments", _facts(experiments))
    if entry.gaps:
        section("Not confirmed", _facts((NAMES[gap], text(why)) for gap, why in entry.gaps.items()))
    links = _link_grid(entry)
    if links.row_count:
        section("Links", links)
    lineage = _lineage(catalog, entry)
    if lineage:
        section("Lineage", *lineage)
    method = catalog.methods.get(entry.implementation or "")
    if method is not None:
        section("Runs here", *_method_lines(method))
        measured = _measured(catalog, method.name)
        if measured is not None:
            section("Measured", measured)
    for title, content in figures.sections(catalog, entry):
        section(title, *content)
    section("Citation", text(to_bibtex([entry]).strip()))
    return Panel(Group(*parts), title=text(entry.key, "cyan"), title_align="left", padding=(1, 2))


_ROLE_NAMES = {
    "models": "Models",
    "calibration": "Calibrated on",
    "finetuning": "Fine-tuned on",
    "evaluation": "Evaluated on",
    "tools": "Tools",
}
"""What each field of `evaluated_on` is called."""


def _bullet(content: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column()
    grid.add_row(text("•"), content)
    return grid


def _facts(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, value in rows:
        grid.add_row(text(name, "dim"), value)
    return grid


def _tag_grid(catalog: Catalog, entry: Entry) -> Table:
    vocabulary = catalog.vocabulary
    verified = catalog.verified.get(entry.implementation or "")
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column()
    for dimension, described in vocabulary.dimensions.items():
        tags = entry.tags.of(dimension) if entry.tags is not None else []
        for number, tag in enumerate(tags or [""]):
            if not tag:
                value = text("does not apply", "dim")
            elif vocabulary.has(dimension, tag):
                above = [*reversed(vocabulary.ancestors(dimension, tag)), tag]
                names = [vocabulary.value(dimension, name).name for name in above]
                value = text(" › ".join(names))
            else:
                value = text(tag, "red")
            seen = verified.tags.get(dimension, {}).get(tag) if verified is not None else None
            mark = text("")
            if seen is not None:
                mark = text(
                    "observed" if seen.holds else "refuted", "green" if seen.holds else "red"
                )
            grid.add_row(text(described.name if number == 0 else "", "dim"), value, mark)
        note = entry.tags.notes.get(dimension) if entry.tags is not None else None  # type: ignore[call-overload]
        if note:
            grid.add_row("", text(note, "dim italic"), "")
    return grid


def _link_grid(entry: Entry) -> Table:
    links, ids = entry.links, entry.ids
    rows: list[tuple[str, str | None]] = [
        ("Paper", links.paper),
        ("Proceedings", links.proceedings),
        ("DOI", f"https://doi.org/{ids.doi}" if ids.doi else None),
        ("Code", links.code.url if links.code else None),
        *(("Code by others", code.url) for code in links.code_unofficial),
        ("Reviews", links.reviews),
        ("Models", links.models),
        ("Website", links.website),
        ("Blog", links.blog),
        ("Summary", links.summary),
        ("Discussion", links.discussion),
    ]
    return _facts((name, text(url, "blue", url)) for name, url in rows if url)


def _lineage(catalog: Catalog, entry: Entry) -> list[RenderableType]:
    def line(verb: str, key: str, note: str | None) -> RenderableType:
        other = catalog.entries.get(key)
        named = f" ({other.name})" if other is not None and other.name else ""
        content = Text.assemble(text(f"{verb} "), text(key, "cyan"), text(named))
        if note:
            content.append_text(text(f": {note}", "dim"))
        return _bullet(content)

    lines = [line(edge.relation, edge.key, edge.note) for edge in entry.builds_on]
    for other, edge in catalog.built_on_by(entry.key):
        named = f" ({other.name})" if other.name else ""
        content = Text.assemble(text(other.key, "cyan"), text(f"{named} {edge.relation} it"))
        lines.append(_bullet(content))
    return lines


def _method_lines(method: MethodDoc) -> list[RenderableType]:
    options = ", ".join(
        f"{parameter.name}={parameter.default}" if parameter.default else parameter.name
        for parameter in method.parameters
    )
    return [
        text(method.summary),
        _facts(
            [
                ("Command", text(f"prunedex run {method.name}", "green")),
                ("Options", text(options or "none")),
                ("Needs", text(method.needs or "not stated")),
                ("Budget", text(f"in {method.budget}" if method.budget else "not stated")),
                ("File", text(f"{method.path}:{method.line}")),
            ]
        ),
    ]


def _measured(catalog: Catalog, method: str) -> Table | None:
    results = catalog.results_of(method)
    if not results:
        return None
    table = common.new_table()
    for title in ("Protocol", "Options", "Achieved", "Quality", "Seconds", "Device"):
        table.add_column(title, overflow="fold")

    def number(value: float | None) -> str:
        return "not finite" if value is None else f"{value:.4g}"

    for result in results:
        set_options = (
            f"{k}={v}" for k, v in result.options.items() if v is not None and k in BUDGETS
        )
        before, after = result.quality.before, result.quality.after
        table.add_row(
            text(result.protocol.name),
            text(", ".join(set_options)),
            text(f"{result.budget.achieved:.4g} of {result.budget.unit}"),
            text(f"{result.quality.metric} {number(before)} → {number(after)}"),
            text("–" if result.cost.seconds is None else f"{result.cost.seconds:.1f}"),
            text(result.environment.device),
        )
    return table


# tags and methods -------------------------------------------------------------------------


def tags(
    dimension: Annotated[
        str | None,
        typer.Argument(
            help="One dimension only: type, criterion, budget, data, retraining, weight_update",
            metavar="[DIMENSION]",
            show_default=False,
            autocompletion=lambda: list(DIMENSIONS),
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: tags type --json | jq '.[0].values'")
    ] = False,
    root: common.Root = None,
) -> None:
    """Show what the tags mean, and how many papers have each of them.

    A paper counts for its tags and for all tags above them. For example: prunedex tags type
    """
    catalog = common.load(root)
    vocabulary = catalog.vocabulary
    names = [vocabulary.dimension(dimension).id] if dimension else list(vocabulary)
    if as_json:
        common.write_json([_dimension_data(catalog, name) for name in names])
        return
    for name in common.apart(names):
        common.show(_dimension_tree(catalog, name))


def _count(catalog: Catalog, dimension: str, identifiers: set[str]) -> int:
    return sum(
        entry.tags is not None and not identifiers.isdisjoint(entry.tags.of(dimension))
        for entry in catalog.entries.values()
    )


def _dimension_data(catalog: Catalog, name: str) -> dict[str, Any]:
    vocabulary = catalog.vocabulary
    described = vocabulary.dimension(name).model_dump(mode="json")
    for value in described["values"]:
        identifiers = vocabulary.descendants(name, value["id"])
        value["papers"] = _count(catalog, name, identifiers)
        value["papers_directly"] = _count(catalog, name, {value["id"]})
    return described


def _dimension_tree(catalog: Catalog, name: str) -> Tree:
    vocabulary = catalog.vocabulary
    described = vocabulary.dimension(name)
    head = Text.assemble(
        text(described.name, "bold"), text(f" ({name})  ", "dim"), text(described.question)
    )
    tree = Tree(head, guide_style="dim")

    def grow(branch: Tree, identifier: str) -> None:
        value = vocabulary.value(name, identifier)
        count = _count(catalog, name, vocabulary.descendants(name, identifier))
        label = Text.assemble(
            text(identifier, "cyan"),
            text(f"  {count}  ", "bold" if count else "dim"),
            text(value.name if value.name.lower() != identifier else ""),
        )
        label.append_text(text(f"\n{' '.join(value.definition.split())}", "dim"))
        below = branch.add(label)
        for child in vocabulary.children(name, identifier):
            grow(below, child)

    for identifier in vocabulary.roots(name):
        grow(tree, identifier)
    return tree


def methods(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: methods --json | jq '.[].name'")
    ] = False,
    root: common.Root = None,
) -> None:
    """List the methods that are implemented here: `prunedex run NAME` runs one.

    For example: prunedex methods
    """
    catalog = common.load(root)
    if as_json:
        common.write_json(
            [
                {
                    **method.model_dump(mode="json", exclude={"source", "code"}),
                    "papers": [entry.key for entry in catalog.papers_of.get(method.name, ())],
                }
                for method in catalog.methods.values()
            ]
        )
        return
    if not catalog.methods:
        common.note("there is no method in impl/methods")
        return
    table = common.new_table()
    table.add_column("Method", no_wrap=True)
    table.add_column("Needs")
    table.add_column("Budget")
    table.add_column("Paper", no_wrap=True)
    table.add_column("Summary", ratio=1)
    for method in catalog.methods.values():
        papers = listed(entry.key for entry in catalog.papers_of.get(method.name, ()))
        table.add_row(
            text(method.name, "cyan"),
            text(method.needs or ""),
            text(method.budget or ""),
            text(papers),
            text(method.summary),
        )
    common.show_table(table)


# resources --------------------------------------------------------------------------------


def resources(
    group: Annotated[
        str | None,
        typer.Argument(
            help="One list only: models, datasets or tools",
            metavar="[LIST]",
            show_default=False,
            autocompletion=lambda: list(RESOURCES),
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: resources models --json | jq '.[0]'")
    ] = False,
    root: common.Root = None,
) -> None:
    """List the models, data sets and tools of the papers' experiments, with numbers of papers.

    A paper counts for what it names and for the families above. For example: prunedex resources
    datasets
    """
    if group is not None and group.strip().lower() not in RESOURCES:
        raise UsageError(
            f"there is no list '{group}'{details(did_you_mean(group, RESOURCES))}",
            f"the lists are {listed(RESOURCES)}",
        )
    catalog = common.load(root)
    names = [group.strip().lower()] if group is not None else list(RESOURCES)
    rows = {name: _resource_rows(catalog, name) for name in names}
    if as_json:
        common.write_json([row for found in rows.values() for row in found])
        return
    for name, found in rows.items():
        if found:
            _print_resources(name, found)


def _resource_rows(catalog: Catalog, group: str) -> list[dict[str, Any]]:
    """Everything in one list, parents first, with the papers that name it."""
    from catalog.schema import ROLES, ModelResource

    inventory, rows = catalog.inventory, []
    for item, depth in inventory.ordered(group):
        direct = catalog.uses.get((group, item.id), [])
        below = inventory.descendants(group, item.id)
        papers = {use.entry.key for each in below for use in catalog.uses.get((group, each), [])}
        row = {"list": group, "depth": depth, **item.model_dump(mode="json")}
        if isinstance(item, ModelResource):
            row["kind"] = inventory.kind_of(item)
        row["papers"] = len(papers)
        row["named_by"] = {
            role: [use.entry.key for use in direct if use.role == role]
            for role, home in ROLES.items()
            if home == group
        }
        rows.append(row)
    return rows


def _print_resources(group: str, rows: Sequence[dict[str, Any]]) -> None:
    from catalog.schema import ROLES

    table = common.new_table()
    table.add_column({"models": "Model", "datasets": "Data set", "tools": "Tool"}[group])
    about = {"models": "kind", "datasets": "task"}.get(group)
    if about is not None:
        table.add_column(about.capitalize())
    table.add_column("Papers", justify="right")
    roles = [role for role, home in ROLES.items() if home == group]
    if len(roles) > 1:
        for role in roles:
            table.add_column(_ROLE_NAMES[role], justify="right")
    for row in rows:
        cells = [text("  " * row["depth"] + row["name"], "" if row["depth"] else "bold")]
        if about is not None:
            cells.append(text(row[about] or "", "dim"))
        cells.append(text(row["papers"] or ""))
        if len(roles) > 1:
            cells += [text(len(row["named_by"][role]) or "") for role in roles]
        table.add_row(*cells)
    common.show_table(table)


# stale ------------------------------------------------------------------------------------


def stale(
    older_than: Annotated[
        str,
        typer.Option("--older-than", help="Days, months or years: 30d, 6m, 1y: --older-than 6m"),
    ] = "1y",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: stale --json | jq '.[].url'")
    ] = False,
    root: common.Root = None,
) -> None:
    """List entries whose bibliography nobody has looked at for long, oldest first.

    Each line names the place in the entry and the address to look at again. Entries without a
    dated source of their bibliography come first. For example: prunedex stale --older-than 6m
    """
    from catalog.ageing import before, stale_entries

    limit = before(older_than)
    catalog = common.load(root)
    found = stale_entries(catalog, limit)
    if as_json:
        common.write_json([each.to_dict() for each in found])
        return
    for each in found:
        when = "never dated" if each.seen is None else f"seen {each.seen.isoformat()}"
        line = Text.assemble(
            text(f"{each.path}:{each.line}:{each.column}: "),
            text(when, "bold yellow"),
            text(f": {each.url or 'no address is known'}"),
        )
        common.out.print(line, soft_wrap=True)
    entries = "1 entry" if len(found) == 1 else f"{len(found)} entries"
    total = len(catalog.entries)
    common.total(f"{entries} of {total} not looked at since {limit.isoformat()}")
