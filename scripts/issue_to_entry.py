"""Turn an issue made with the form "Suggest a paper" into the draft of an entry.

    gh issue view 12 --json body --jq .body | python scripts/issue_to_entry.py -
    python scripts/issue_to_entry.py issue.md [--output FOLDER] [--dry-run]

Writes papers/KEY.yaml with marks where something is missing; `prunedex check` says what is left.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from pathlib import Path

from catalog.adding.draft import describe, target_of
from catalog.adding.form import FORM, MAX_CHARACTERS, answers, entry_of, labels
from catalog.errors import PrunedexError
from catalog.root import find_root
from catalog.script import parser_of, run_script
from catalog.store import Catalog
from catalog.writing import write_new


def run(given: argparse.Namespace) -> int:
    root = find_root(given.root)
    form = given.form if given.form is not None else root / FORM
    try:
        limit = 4 * MAX_CHARACTERS + 1  # bytes that so many characters may have
        if given.issue == "-":
            raw = sys.stdin.buffer.read(limit)
        else:
            with Path(given.issue).open("rb") as stream:
                raw = stream.read(limit)
        content = raw.decode("utf-8-sig")
    except OSError as error:
        raise PrunedexError(f"{given.issue} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise PrunedexError(f"{given.issue} is not UTF-8") from None
    filled = entry_of(Catalog.load(root), answers(content, labels(form)), dt.date.today())
    if given.dry_run:
        sys.stdout.write(filled.text)
        return 0
    file = target_of(root, filled.key, given.output)
    write_new(file, filled.text)
    print(f"Wrote {file}")
    if filled.open:
        print(f"Left open: {describe(filled.open)}")
    print(f"Next: prunedex check {file}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("issue", help="file with the issue's text, or - for standard input")
    parser.add_argument("--output", "-o", type=Path, help="file or folder instead of papers/")
    parser.add_argument("--dry-run", "-n", action="store_true", help="print it, write nothing")
    parser.add_argument("--form", type=Path, help=f"the form, if it is not {FORM}")
    return run_script(run, parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
