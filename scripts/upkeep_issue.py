"""Keep one issue with everything in the catalog that wants looking at again.

    python scripts/upkeep_issue.py --dry-run
    GITHUB_TOKEN=… python scripts/upkeep_issue.py --repository owner/name

Lists what `prunedex stale` lists, dead links (catalog/state/links.json), and repositories that
moved or are gone (catalog/state/repositories.json). The issue is updated in place, closed when
nothing is left, and known by a marker in its text, whatever its title.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from catalog.ageing import before
from catalog.errors import PrunedexError
from catalog.root import find_root
from catalog.script import parser_of, run_script
from catalog.store import Catalog
from catalog.upkeep.issue import Tracker, body, report
from catalog.upkeep.repositories import API
from catalog.upkeep.state import State


def run(given: argparse.Namespace) -> int:
    root = find_root(given.root)
    state = State.load(root)
    if state.problems:
        raise PrunedexError(str(state.problems[0]), "run `prunedex check` to see all")
    found = report(Catalog.load(root), state, before(given.older_than))
    if given.dry_run:
        print(body(found), end="")
        return 0
    token = os.environ.get("GITHUB_TOKEN", "")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", given.repository):
        raise PrunedexError("no repository is named", "give --repository owner/name")
    if not token:
        raise PrunedexError("there is no token", "set GITHUB_TOKEN, or look with --dry-run")
    done, number = Tracker(given.repository, token, given.api).settle(found)
    print(done if number is None else f"{done} #{number}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--older-than", default="1y", help="as of `prunedex stale`: 30d, 6m, 1y")
    parser.add_argument("--dry-run", action="store_true", help="print the text, ask nobody")
    parser.add_argument("--repository", default=os.environ.get("GITHUB_REPOSITORY", ""))
    parser.add_argument("--api", default=os.environ.get("GITHUB_API_URL", API), help="of GitHub")
    return run_script(run, parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
