"""Ask GitHub about every repository that the catalog links, and record what it says.

    python scripts/repositories.py [--only TEXT] [--dry-run]

Writes catalog/state/repositories.json. With GITHUB_TOKEN set, GitHub answers more questions an
hour; the token needs no permission. The exit status is 1 if GitHub could not be asked at all.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys

from catalog.errors import PrunedexError
from catalog.root import find_root
from catalog.script import parser_of, run_script
from catalog.store import Catalog
from catalog.upkeep.repositories import API, look_at_all, named
from catalog.upkeep.state import REPOSITORIES, Repositories, State, write


def run(given: argparse.Namespace) -> int:
    root = find_root(given.root)
    catalog = Catalog.load(root)
    state = State.load(root)
    if any(problem.path == REPOSITORIES.as_posix() for problem in state.problems):
        raise PrunedexError(f"{REPOSITORIES} cannot be read", "run `prunedex check` to see why")
    names = named(catalog)
    wanted = [name for name in names if given.only.casefold() in name.casefold()]
    if not wanted:
        raise PrunedexError(f"no repository has '{given.only}' in its name")

    def told(name: str, text: str) -> None:
        if text != "seen":
            print(f"{name}: GitHub {text}")

    seen, stopped = look_at_all(
        wanted,
        state.repositories,
        given.today or dt.date.today(),
        api=given.api,
        token=os.environ.get("GITHUB_TOKEN") or None,
        pause=given.pause,
        told=told,
    )
    others = {name: each for name, each in state.repositories.items() if name in names}
    after = {**others, **seen}
    if stopped is not None:
        print(f"{stopped}; the rest keeps what was known")
    gone = sum(each.gone for each in after.values())
    archived = sum(each.archived for each in after.values())
    print(f"{len(wanted)} repositories, {archived} archived, {gone} gone")
    content = Repositories(repositories=after)
    changed = False if given.dry_run else write(root, REPOSITORIES, content)
    print(f"{'wrote' if changed else 'did not change'} {REPOSITORIES}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="repositories with this text in their name")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two questions")
    parser.add_argument("--api", default=os.environ.get("GITHUB_API_URL", API), help="of GitHub")
    parser.add_argument("--today", type=dt.date.fromisoformat, help="the day to record")
    return run_script(run, parser, arguments, interrupted="Interrupted; nothing was recorded")


if __name__ == "__main__":
    sys.exit(main())
