"""`prunedex site`: build the published site, and look at it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli.common import Root, err, load, note, out, text

DEFAULT_OUT = Path("build") / "site"
DEFAULT_PORT = 8000

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the site: --out public  [build/site]"),
]
Strict = Annotated[
    bool,
    typer.Option("--strict/--no-strict", help="Fail on a warning: --no-strict goes on instead."),
]
Port = Annotated[
    int,
    typer.Option("--port", "-p", min=0, max=65535, help="Port on this machine: --port 8080"),
]


def register(app: typer.Typer) -> None:
    """Add the command and its two parts."""
    site = typer.Typer(
        help="Build the published site, and look at it.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    site.command("build")(build)
    site.command("serve")(serve)
    app.add_typer(site, name="site")


def build(root: Root = None, out_dir: Out = None, strict: Strict = True) -> None:
    """Build the site into a folder, ready for any file server.

    Example: prunedex site build --out public
    """
    folder = _build(root, out_dir, strict)
    command = "prunedex site serve"
    if out_dir is not None:
        command = shlex.join(["python", "-m", "http.server", "--directory", str(folder)])
    out.print(text("Look at it with "), text(command, "bold"), sep="")


def serve(root: Root = None, port: Port = DEFAULT_PORT, strict: Strict = False) -> None:
    """Build the site and show it on this machine until Ctrl-C.

    Example: prunedex site serve --port 8080
    """
    from catalog.site.serve import HOST, open_server

    # The port first: who waits for a build does not want to hear only then that it is taken.
    with open_server(_site_folder(root, None), port) as server:
        _build(root, None, strict)
        address = f"http://{HOST}:{server.server_address[1]}/"
        out.print(text("Open "), text(address, "bold", address), text(" (Ctrl-C ends it)"), sep="")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            out.print(text("Ended."))


def _site_folder(root: Path | None, out_dir: Path | None) -> Path:
    from catalog.root import find_root, is_installed

    if out_dir is not None:
        return out_dir.absolute()
    found = find_root(root)
    # What was installed is not ours to write to; there the site goes to where the person is.
    return ((Path.cwd() if is_installed(found) else found) / DEFAULT_OUT).absolute()


def _build(root: Path | None, out_dir: Path | None, strict: bool) -> Path:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from catalog.site import build_site

    catalog = load(root)
    folder = _site_folder(root, out_dir)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=not shown) as progress:
        task = progress.add_task("Starting", total=None)
        report = build_site(
            catalog,
            folder,
            strict=strict,
            step=lambda words: progress.update(task, description=words),
        )
    for warning in report.warnings:
        note(warning)
    count = len(catalog.entries)
    papers = "1 paper" if count == 1 else f"{count} papers"
    out.print(text(f"{papers} on {report.pages} pages in "), text(report.out, "bold"), sep="")
    return report.out
