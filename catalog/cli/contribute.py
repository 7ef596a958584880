"""The commands that add something: `add` and `new-method`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from catalog.cli import common
from catalog.cli.changes import refuse_installed
from catalog.cli.common import text
from catalog.errors import PrunedexError, UsageError, listed

if TYPE_CHECKING:
    from catalog.adding.draft import Draft
    from catalog.adding.known import Match
    from catalog.adding.record import Record
    from catalog.store import Catalog


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("add")(add)
    app.command("new-method")(new_method)


# add --------------------------------------------------------------------------------------


def add(
    source: Annotated[
        str | None,
        typer.Argument(
            help="An arXiv id, a DOI, an address on arxiv.org, doi.org, openreview.net or "
            "aclanthology.org, or a .bib file: 2306.11695",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    from_list: Annotated[
        Path | None,
        typer.Option(
            "--list",
            help="Compare a list of papers in Markdown instead: --list README.md",
            metavar="FILE",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Choose the key: --key sun2023simple")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write there instead of papers/: --output draft.yaml"),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Add it although a paper here has nearly its title"),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print the entry, write nothing")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: add 2306.11695 --json | jq '.[].key'")
    ] = False,
    root: common.Root = None,
) -> None:
    """Start the entry of a paper from its public record, with tags proposed and marked.

    What the record says is filled in; what only a person can say is left open, and prunedex
    check names it. A paper that is here already, also as its preprint, is shown instead.
    For example: prunedex add 2306.11695
    """
    if (source is None) == (from_list is None):
        raise UsageError("give either a paper or --list", "for example: prunedex add 2306.11695")
    if from_list is not None:
        if key or output or anyway or dry_run:
            raise UsageError("--list only compares and writes nothing", "give --list alone")
        _compare_list(from_list, root, as_json)
        return
    assert source is not None
    catalog = common.load(root)
    result = _known_by_id(catalog, source)
    if result is not None:
        if as_json:
            common.write_json([_result_data(result, dry_run)])
        else:
            _print_result(catalog, result, dry_run)
        return
    if not dry_run and output is None:
        refuse_installed(catalog.root)
    records = _records(source)
    if len(records) > 1 and (key or (output is not None and not output.is_dir())):
        raise UsageError(
            f"{source} holds {len(records)} papers", "--key and --output FILE are for one"
        )
    results = _prepare(catalog, records, key, output, anyway)
    if not dry_run:
        _write(results)
    if as_json:
        common.write_json([_result_data(result, dry_run) for result in results])
        return
    for result in common.apart(results, common.err):
        _print_result(catalog, result, dry_run)


class _Result:
    """One record, with the entry that it already has or the draft of a new one."""

    def __init__(self, record: Record | None) -> None:
        self.record = record
        self.match: Match | None = None
        self.news: list[str] = []
        self.draft: Draft | None = None
        self.file: Path | None = None
        self.path = ""


def _is_file(source: str) -> bool:
    return source.lower().endswith(".bib") and "://" not in source


def _known_by_id(catalog: Catalog, source: str) -> _Result | None:
    """The paper that an identifier already stands for here; no network is needed then."""
    from catalog.adding import known
    from catalog.adding.identifiers import of_source

    if _is_file(source):
        return None
    identifier = of_source(source)
    paper = known.by_id(known.papers(catalog), identifier.field, identifier.value)
    if paper is None:
        return None
    result = _Result(None)
    how = f"the same {identifier.field} id, {identifier.value}"
    result.match = known.Match(paper, how, True)
    return result


def _records(source: str) -> list[Record]:
    from catalog.adding.bib import read_bib
    from catalog.adding.fetch import fetch
    from catalog.adding.identifiers import of_source
    from catalog.adding.web import MAX_BYTES

    if _is_file(source):
        file = Path(source)
        try:
            content = _read(file, MAX_BYTES)
        except UnicodeDecodeError:
            raise PrunedexError(f"{file} is not UTF-8", "save it as UTF-8") from None
        return read_bib(content, file.name)
    identifier = of_source(source)
    with common.err.status(f"Asking for {identifier.value} …"):
        return [fetch(identifier)]


def _read(file: Path, limit: int) -> str:
    if not file.is_file():
        raise UsageError(f"there is no file {file}", "give the path of a file")
    if file.stat().st_size > limit:
        raise PrunedexError(f"{file} has more than {limit // 1024} KiB", "give a smaller file")
    return file.read_text(encoding="utf-8-sig")


def _prepare(
    catalog: Catalog, records: list[Record], key: str | None, output: Path | None, anyway: bool
) -> list[_Result]:
    """Everything that will be written, before anything is."""
    import datetime as dt

    from catalog.adding import draft as drafts
    from catalog.adding import known

    papers = known.papers(catalog)
    taken = {paper.key for paper in papers} | catalog.unread | set(catalog.entries)
    results = []
    for record in records:
        result = _Result(record)
        results.append(result)
        match = known.find(papers, record)
        if match is not None and not (anyway and not match.certain):
            result.match = match
            entry = catalog.entries.get(match.paper.key)
            result.news = known.news(entry, record) if entry is not None else []
            continue
        if key is not None:
            chosen = drafts.check_key(key, record.year, taken)
        else:
            chosen = drafts.make_key(record, taken)
        taken.add(chosen)
        result.draft = drafts.make_draft(catalog, record, chosen, dt.date.today())
        result.file = drafts.target_of(catalog.root, chosen, output)
        try:
            result.path = result.file.resolve().relative_to(Path.cwd()).as_posix()
        except ValueError:
            result.path = str(result.file)
        if result.file.exists():
            raise PrunedexError(f"{result.path} exists already", "nothing was written")
        # A second entry of the same file may be the same paper once more.
        papers.append(
            known.Paper(chosen, record.title, record.authors, record.year, None, record.ids)
        )
    return results


def _write(results: list[_Result]) -> None:
    from catalog.writing import write_new

    written: list[Path] = []
    try:
        for result in results:
            if result.draft is not None and result.file is not None:
                write_new(result.file, result.draft.text)
                written.append(result.file)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise


def _result_data(result: _Result, dry_run: bool) -> dict[str, Any]:
    if result.match is not None:
        return {
            "status": "known",
            "key": result.match.paper.key,
            "how": result.match.how,
            "certain": result.match.certain,
            "record": result.record.to_dict() if result.record is not None else None,
            "record_adds": result.news,
        }
    assert result.draft is not None
    assert result.record is not None
    return {
        "status": "proposed" if dry_run else "written",
        "key": result.draft.key,
        "path": result.path,
        "kind": result.draft.kind,
        "record": result.record.to_dict(),
        "tags": [
            {
                "dimension": each.dimension,
                "tag": each.tag,
                "evidence": [{"in": where, "words": words} for where, words in each.evidence],
            }
            for each in result.draft.tags
        ],
        "open": [{"line": line, "field": name} for line, name in result.draft.open],
        "entry": result.draft.text if dry_run else None,
    }


def _print_result(catalog: Catalog, result: _Result, dry_run: bool) -> None:
    if result.match is not None:
        _print_known(catalog, result)
        return
    draft, record = result.draft, result.record
    assert draft is not None
    assert record is not None
    if dry_run:
        common.write(draft.text)
        common.note(f"nothing was written; without --dry-run, this goes to {result.path}")
        return
    say = common.out.print
    say(Text.assemble("Wrote ", text(result.path, "cyan"), ": ", text(record.title)))
    if draft.tags:
        say("Proposed tags, with the words that speak for them:")
    for each in draft.tags:
        line = Text.assemble(f"  {each.dimension} ", text(each.tag, "bold"), "  ")
        say(line.append_text(text(each.words, "dim")), soft_wrap=True)
    fields = list(dict.fromkeys(name for _, name in draft.open))
    say(f"Left to you: {listed(fields)}", soft_wrap=True)
    say("Next:")
    say(f"  1. open {result.path} and settle every '# decide:'", soft_wrap=True)
    say(f"  2. prunedex check {result.path}", soft_wrap=True)


def _print_known(catalog: Catalog, result: _Result) -> None:
    match = result.match
    assert match is not None
    key, entry = match.paper.key, catalog.entries.get(match.paper.key)
    sure = "is here already" if match.certain else "may be here already"
    say = common.out.print
    say(Text.assemble("It ", sure, ": ", text(key, "cyan"), f" ({match.how})"), soft_wrap=True)
    say(text(f"  {match.paper.title}"), soft_wrap=True)
    if entry is not None:
        say(text(f"  {', '.join(entry.authors[:6])}; {entry.venue.short}", "dim"), soft_wrap=True)
    else:
        say(text("  its entry is unfinished: prunedex check says what is open"), soft_wrap=True)
    if result.news:
        say(f"The record says what the entry does not: {listed(result.news)}", soft_wrap=True)
    if entry is not None:
        say(f"  prunedex show {key}", soft_wrap=True)
    if not match.certain:
        common.note("if it is another paper, add it with --anyway")


# add --list --------------------------------------------------------------------------------


def _compare_list(file: Path, root: Path | None, as_json: bool) -> None:
    from catalog.adding import awesome, known

    try:
        content = _read(file, awesome.MAX_BYTES)
    except UnicodeDecodeError:
        raise PrunedexError(f"{file} is not UTF-8", "save it as UTF-8") from None
    catalog = common.load(root)
    reading = awesome.compare(catalog, known.papers(catalog), awesome.read_items(content))
    if as_json:
        common.write_json({"file": str(file), **reading.to_dict()})
        return
    name = str(file)
    say = common.out.print

    def heading(title: str, count: int) -> None:
        say(Text.assemble(text(title, "bold"), f": {count}"))

    heading("Here already", len(reading.here))
    for item, key in reading.here:
        line = Text.assemble(f"  {name}:{item.line}: ", text(key, "cyan"), "  ")
        say(line.append_text(text(item.title or "", "dim")), soft_wrap=True)
    heading("New", len(reading.new))
    for item in reading.new:
        say(Text.assemble(f"  {name}:{item.line}: ", text(item.title or "?")), soft_wrap=True)
        how = awesome.command(item) or "no identifier is given; find one, or use a .bib file"
        say(text(f"      {how}", "green" if how.startswith("prunedex") else "dim"), soft_wrap=True)
    heading("Wrong in the list", len(reading.faults))
    for fault in reading.faults:
        line = Text.assemble(f"  {name}:{fault.line}: ", text(fault.code, "bold yellow"))
        say(line.append_text(text(f": {fault.message}")), soft_wrap=True)


# new-method --------------------------------------------------------------------------------


def new_method(
    name: Annotated[
        str, typer.Argument(help="The method's name, lower case with hyphens: my-method")
    ],
    paper: Annotated[
        str,
        typer.Option(
            "--paper",
            help="The entry that it implements: --paper sun2023simple",
            autocompletion=common.complete_keys,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be written, write nothing")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: new-method x --paper y --json | jq .files")
    ] = False,
    root: common.Root = None,
) -> None:
    """Start the implementation of a paper: a method that runs, its test, and the entry's link.

    What is written is a plain magnitude method with marked places; prunedex check-method tells
    which tags of the entry it does not show yet. For example:
    prunedex new-method my-method --paper sun2023simple
    """
    from catalog.adding.method import plan, write_all

    catalog = common.load(root)
    planned = plan(catalog, name, catalog.find(paper))
    if not dry_run:
        refuse_installed(catalog.root)
        write_all(planned)
    shown_files = [path for path, _, _ in planned.summary(catalog.root)]
    if as_json:
        data = {"method": name, "paper": planned.key, "files": shown_files, "written": not dry_run}
        common.write_json(data)
        return
    verb = "Would write" if dry_run else "Wrote"
    for path, what, new in planned.summary(catalog.root):
        line = Text.assemble(verb if new else f"{'Would change' if dry_run else 'Changed'}", " ")
        line.append_text(text(path, "cyan"))
        common.out.print(line.append_text(text(f": {what}")), soft_wrap=True)
    if not dry_run:
        common.out.print("Next:")
        common.out.print(f"  1. prunedex run {name}", soft_wrap=True)
        common.out.print(f"  2. prunedex check-method {name} --family llama", soft_wrap=True)
