"""The command `prunedex figures`, and the reported figures on a paper's page in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from catalog.cli import common
from catalog.cli.common import text

if TYPE_CHECKING:
    from catalog.figures import Figure, Protocol
    from catalog.schema import Entry
    from catalog.store import Catalog


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("figures")(figures)


def figures(
    model: Annotated[
        str | None,
        typer.Option("--model", help="Of a model or a family: --model LLaMA-2-7B"),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="On a data set: --dataset WikiText-2")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Of a method, by key or name: --method sun2023simple"),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="In a metric: --metric perplexity")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Reported by a paper or repository: --source yin2023outlier"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Under one protocol, by its name in the list: "
            "--protocol llama-2-7b-wikitext-2-perplexity-4096",
        ),
    ] = None,
    conflicts: Annotated[
        bool,
        typer.Option("--conflicts", help="Only where sources contradict each other: --conflicts"),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: figures --model LLaMA-2-7B --json")
    ] = False,
    root: common.Root = None,
) -> None:
    """List figures that papers and repositories report, ranked within one protocol only.

    Without options it lists the protocols. A figure counts as reported by its source, whoever's
    method it is of. For example: prunedex figures --model LLaMA-2-7B --metric perplexity
    """
    from catalog.figure_filter import FigureFilter, choose, differing

    catalog = common.load(root)
    wanted = FigureFilter(model, dataset, method, metric, source, protocol, conflicts)
    found = choose(catalog, wanted)
    groups = _grouped(catalog, found)
    if as_json:
        common.write_json([_protocol_data(catalog, each, kept) for each, kept in groups.items()])
        return
    if not found:
        common.note("no reported figure passes all of these filters")
        return
    if wanted.is_empty:
        _print_protocols(catalog, groups)
        return
    protocols = list(groups)
    for each, kept in common.apart(groups.items()):
        for line in _heading(each, None if each is protocols[0] else protocols[0]):
            common.out.print(line, soft_wrap=True)
        common.show_table(_table(catalog, each, kept))
    if len(protocols) > 1:
        fields = ", ".join(differing(protocols))
        common.note(
            f"{len(protocols)} protocols, which differ in {fields}: "
            "figures are ranked inside each of them, never across"
        )


def _grouped(catalog: Catalog, figures: Iterable[Figure]) -> dict[Protocol, list[Figure]]:
    """The figures by protocol, the protocols in their fixed order."""
    kept: dict[Protocol, list[Figure]] = {}
    for figure in figures:
        kept.setdefault(figure.protocol, []).append(figure)
    return {each: kept[each] for each in catalog.figures.protocols if each in kept}


def _protocol_data(catalog: Catalog, protocol: Protocol, kept: Sequence[Figure]) -> dict[str, Any]:
    return {
        "protocol": catalog.figures.slugs[protocol],
        "title": protocol.title,
        "conditions": protocol.conditions,
        "better": protocol.kind.better,
        **protocol.fields(),
        "figures": [
            {**_figure_data(catalog, figure), "rank": rank, "of": total}
            for figure, rank, total in _rows(catalog, protocol, kept, with_dense=False)
        ],
    }


def _figure_data(catalog: Catalog, figure: Figure) -> dict[str, Any]:
    return {
        **figure.to_dict(),
        "protocol": catalog.figures.slugs[figure.protocol],
        "conflicts_with": [
            {
                "value": other.value,
                "reported_by": other.origin.key or other.origin.identifier,
                "reported_as": other.table.kind,
            }
            for other in catalog.figures.against(figure)
        ],
    }


def _rows(
    catalog: Catalog, protocol: Protocol, kept: Sequence[Figure], *, with_dense: bool
) -> list[tuple[Figure, int | None, int]]:
    """Figure, rank and how many were ranked; ranks count all figures, also those not kept."""
    from catalog.figures import ranked

    chosen = {id(figure) for figure in kept}
    everything = ranked(catalog.figures.protocols[protocol])
    sizes: dict[object, int] = {}
    for each in everything:
        if each.rank is not None:
            budget = each.figure.budget
            identity = budget.identity if budget else None
            sizes[identity] = sizes.get(identity, 0) + 1
    return [
        (each.figure, each.rank, sizes.get(each.figure.budget and each.figure.budget.identity, 0))
        for each in everything
        if id(each.figure) in chosen or (with_dense and each.figure.is_dense)
    ]


def _heading(protocol: Protocol, first: Protocol | None) -> list[Text]:
    from catalog.figures import differences

    lines = [
        Text.assemble(
            text(protocol.title, "bold"), text(f"  ({protocol.kind.better} is better)", "dim")
        )
    ]
    if protocol.conditions:
        lines.append(text(protocol.conditions, "dim"))
    if first is not None:
        fields = ", ".join(differences(first, protocol))
        lines.append(text(f"differs from the first above in: {fields}", "dim"))
    return lines


def _table(catalog: Catalog, protocol: Protocol, kept: Sequence[Figure]) -> Table:
    from catalog.figures import plain

    table = common.new_table()
    table.add_column("Rank", justify="right")
    table.add_column("Method")
    table.add_column("Budget")
    table.add_column("Recovery")
    table.add_column("Value", justify="right")
    table.add_column("Whose word")
    table.add_column("Others say")
    for figure, rank, total in _rows(catalog, protocol, kept, with_dense=True):
        table.add_row(
            text(f"{rank} of {total}" if rank is not None else ""),
            text(figure.method, "cyan" if figure.about else ""),
            text(figure.budget_label),
            text("" if figure.recovery == "none" else figure.recovery),
            text(plain(figure.value), "bold"),
            _said(figure),
            _others(catalog, figure),
        )
    return table


def _said(figure: Figure) -> Text:
    """Whose word the figure is, linked to the place; never the rival's own."""
    return Text.assemble(
        text(figure.said, "", figure.table.url), text(f", {figure.table.where}", "dim")
    )


def _others(catalog: Catalog, figure: Figure) -> Text:
    from catalog.figures import plain

    other = catalog.figures.against(figure)
    if not other:
        return text("")
    said = ", ".join(f"{plain(each.value)} {each.said}" for each in other)
    return text(f"conflict: {said}", "yellow")


def _print_protocols(catalog: Catalog, groups: dict[Protocol, list[Figure]]) -> None:
    table = common.new_table()
    table.add_column("Figures", justify="right")
    table.add_column("Model")
    table.add_column("Data", max_width=40)
    table.add_column("Metric")
    table.add_column("Measured with", max_width=40)
    table.add_column("Conflicts", justify="right")
    table.add_column("Name", overflow="fold")
    for protocol, kept in groups.items():
        disputed = sum(bool(catalog.figures.against(figure)) for figure in kept)
        table.add_row(
            text(len(kept)),
            text(protocol.model or "not stated"),
            text(protocol.data or "not named"),
            text(protocol.metric),
            text(protocol.conditions),
            text(disputed or ""),
            text(catalog.figures.slugs[protocol], "cyan"),
        )
    common.show_table(table)
    total = sum(map(len, groups.values()))
    sources = len({figure.origin.identifier for kept in groups.values() for figure in kept})
    common.total(f"{total} figures from {sources} sources under {len(groups)} protocols")


# show -------------------------------------------------------------------------------------


def shown_data(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """The figures by and about a paper, for JSON."""
    return {
        "by_this_paper": [_figure_data(catalog, each) for each in catalog.figures.by(entry.key)],
        "by_others": [_figure_data(catalog, each) for each in catalog.figures.about(entry.key)],
    }


def sections(catalog: Catalog, entry: Entry) -> list[tuple[str, list[RenderableType]]]:
    """The figures by and about a paper for the terminal: titles with tables by protocol."""
    found: list[tuple[str, list[RenderableType]]] = []
    for title, figures in (
        ("Reported by this paper", catalog.figures.by(entry.key)),
        ("Reported by others about its method", catalog.figures.about(entry.key)),
    ):
        content: list[RenderableType] = []
        for protocol, kept in _grouped(catalog, figures).items():
            content += [*_heading(protocol, None), _short_table(catalog, kept)]
        if content:
            found.append((title, content))
    return found


def _short_table(catalog: Catalog, kept: Sequence[Figure]) -> Table:
    from catalog.figures import plain, ranked

    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column()
    grid.add_column()
    for each in ranked(kept):
        figure = each.figure
        setting = figure.budget_label
        if figure.recovery != "none":
            setting += f", {figure.recovery}"
        grid.add_row(
            text(figure.method, "cyan" if figure.about else ""),
            text(setting),
            text(plain(figure.value), "bold"),
            _said(figure),
            _others(catalog, figure),
        )
    return grid
