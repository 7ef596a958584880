"""Look at every address that the catalog names, and record what was seen.

    python scripts/links.py [--only TEXT] [--dry-run]

Writes catalog/state/links.json. A link counts as dead after failures on two different days. The
exit status is 1 if nothing could be learnt, for example without a network; dead links are no
failure of this script.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys

from catalog.errors import PrunedexError, visible
from catalog.root import find_root
from catalog.script import parser_of, run_script
from catalog.store import Catalog
from catalog.upkeep.links import (
    DEADLINE_SECONDS,
    PAUSE_SECONDS,
    WAYBACK,
    Finding,
    addresses,
    archived_copy,
    is_offline,
    look_at_all,
    recorded,
)
from catalog.upkeep.state import LINKS, Links, State, write


def run(given: argparse.Namespace) -> int:
    root = find_root(given.root)
    catalog = Catalog.load(root)
    state = State.load(root)
    if any(problem.path == LINKS.as_posix() for problem in state.problems):
        raise PrunedexError(f"{LINKS} cannot be read", "run `prunedex check` to see why")
    named = addresses(catalog)
    wanted = [url for url in named if given.only in url]
    if not wanted:
        raise PrunedexError(f"no address has '{given.only}' in it")

    def told(url: str, finding: Finding) -> None:
        if finding.outcome != "answered":
            print(f"{finding.outcome:8}  {visible(url)}: it {finding.reason}")

    findings = look_at_all(wanted, pause=given.pause, deadline=given.minutes * 60, told=told)
    if is_offline(findings):
        raise PrunedexError(
            "most addresses could not be reached, so the fault is on this side",
            "nothing was recorded; try again later",
        )
    today = given.today or dt.date.today()
    copies = (
        (lambda url: None) if given.dry_run else (lambda url: archived_copy(url, given.wayback))
    )
    links = recorded(state.links, findings, named, today, copies)
    dead = [url for url, seen in links.items() if seen.dead]
    changed = False if given.dry_run else write(root, LINKS, Links(links=links))
    counts = dict.fromkeys(("answered", "refused", "failed"), 0)
    for finding in findings.values():
        counts[finding.outcome] += 1
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    left = len(wanted) - len(findings)
    print(f"{len(findings)} looked at ({said}), {left} not reached in time, {len(dead)} dead")
    print(f"{'wrote' if changed else 'did not change'} {LINKS}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="addresses with this text in them")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS, help="seconds, one server")
    parser.add_argument("--minutes", type=float, default=DEADLINE_SECONDS / 60, help="at most")
    parser.add_argument("--wayback", default=WAYBACK, help="where copies are looked up")
    parser.add_argument("--today", type=dt.date.fromisoformat, help="the day to record")
    return run_script(run, parser, arguments, interrupted="Interrupted; nothing was recorded")


if __name__ == "__main__":
    sys.exit(main())
