"""Builds the site: writes the tree, runs MkDocs on it, and puts the result in place at once.

Nothing is written to the output folder until all is done, so neither a failure nor Ctrl-C
leaves half a site.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import PrunedexError
from catalog.site.tree import write_tree
from catalog.store import Catalog

MARKER = ".prunedex-site"
"""The file by which a folder is known as an earlier build, which may be replaced."""

TREE = "tree"
"""Below the working folder: what MkDocs reads."""


@dataclass(frozen=True)
class Report:
    """What a build made."""

    out: Path
    pages: int
    warnings: list[str]


def build_site(
    catalog: Catalog,
    out: Path,
    *,
    strict: bool = True,
    step: Callable[[str], None] = lambda text: None,
) -> Report:
    """Build the catalog's site into `out`, which is missing, empty or an earlier build.

    With `strict`, a warning of MkDocs or a formula that cannot be drawn is a failure. `step`
    is told what is being done. Raises PrunedexError; `out` is then as it was.
    """
    out = out.absolute()
    _check_target(out)
    with _working_folder(out) as work:
        step("Writing pages")
        flaws = write_tree(catalog, work / TREE, earlier=out)
        if flaws and strict:
            raise PrunedexError(
                flaws[0] + (f", and {len(flaws) - 1} more like it" if len(flaws) > 1 else ""),
                "correct it, or build with --no-strict",
            )
        step("Building the site")
        warnings = _mkdocs(work / TREE, work / "site", strict=strict)
        built = work / "site"
        (built / MARKER).write_text("Made by `prunedex site build`.\n", encoding="utf-8")
        pages = sum(1 for _ in built.rglob("*.html"))
        step("Putting it in place")
        _replace(built, out, work / "before")
    return Report(out, pages, [*flaws, *warnings])


def _check_target(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise PrunedexError(f"{out} is not a folder", "name another folder with --out")
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
            raise PrunedexError(
                f"{out} has files in it that are not an earlier build of the site",
                "name another folder with --out, or empty this one",
            )
    except OSError as error:
        raise _unusable(out, error) from error


def _unusable(path: Path, error: OSError) -> PrunedexError:
    reason = error.strerror or type(error).__name__
    return PrunedexError(
        f"cannot write to {path} ({reason})", "name another folder with --out, or make room there"
    )


@contextmanager
def _working_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, on its disk, so that the last step is a mere renaming."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise _unusable(out.parent, error) from error
    try:
        yield Path(made)
    except OSError as error:
        raise _unusable(out, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(built: Path, out: Path, before: Path) -> None:
    # mkdtemp closes its folder to others; a site is there to be served.
    built.chmod(0o755)
    if not out.exists():
        built.rename(out)
        return
    out.rename(before)
    try:
        built.rename(out)
    except BaseException:
        before.rename(out)
        raise


def _mkdocs(tree: Path, out: Path, *, strict: bool) -> list[str]:
    """Run MkDocs as a process of its own, since it changes logging for good. Returns warnings."""
    command = [sys.executable, "-m", "mkdocs", "build", "--clean"]
    command += ["--config-file", str(tree / "mkdocs.yml"), "--site-dir", str(out)]
    command += ["--strict" if strict else "--no-strict"]
    environment = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "PYTHONUTF8": "1",
        # MkDocs stamps the compressed sitemap with the time; equal catalogs give equal bytes.
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "0"),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    complaints = [
        re.sub(r"^(WARNING|ERROR|CRITICAL)\s+-\s+", "", line)
        for line in said
        if re.match(r"(WARNING|ERROR|CRITICAL)\b", line)
    ]
    if done.returncode != 0:
        shown = complaints or said[-5:] or ["it said nothing"]
        raise PrunedexError(
            "MkDocs could not build the site: " + "; ".join(shown[:5]),
            "correct the page that it names"
            if complaints
            else "check that mkdocs 1.6 and mkdocs-material 9.8 are installed",
        )
    return complaints
