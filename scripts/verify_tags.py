"""Run every method and record which of its entry's tags were observed.

    python scripts/verify_tags.py [METHOD…] [--check]

Writes impl/results/tags/<method>.json, which the site shows as verified marks.
With --check nothing is written: the exit status is 1 if a tag does not hold or
a file is out of date.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from catalog.schema import DIMENSIONS
from catalog.store import Catalog
from catalog.writing import replace_text
from impl.evidence import declared, toys_for
from impl.experiments import observe_tags


def claims(catalog: Catalog, method: str) -> dict[str, list[str]]:
    """The tags of the method's entry, less those that its docstring says are not run here."""
    entry = next(e for e in catalog.entries.values() if e.implementation == method)
    excused = {(item.dimension, item.value) for item in catalog.methods[method].not_run}
    assert entry.tags is not None, f"{entry.key} has no tags"
    return {
        dimension: [v for v in entry.tags.of(dimension) if (dimension, v) not in excused]
        for dimension in DIMENSIONS
    }


def verify(catalog: Catalog, method: str) -> dict[str, Any]:
    """What running the method showed, in the form of the result file."""
    tags: dict[str, dict[str, Any]] = {}
    for seen in observe_tags(method, claims(catalog, method)):
        tags.setdefault(seen.dimension, {})[seen.value] = {
            "holds": seen.holds,
            "observed": seen.observed,
        }
    return {
        "schema": 1,
        "method": method,
        "checked": dt.date.today().isoformat(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "families": [f for f in toys_for(method) if declared(method, f) is None],
        "tags": tags,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", help="all, if none is named")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    catalog = Catalog.load()
    status = 0
    for method in arguments.methods or sorted(catalog.methods):
        found = verify(catalog, method)
        for dimension, values in found["tags"].items():
            for value, seen in values.items():
                status |= not seen["holds"]
                print(
                    f"{'ok ' if seen['holds'] else 'NOT'} {method} {dimension} {value}: {seen['observed']}"
                )
        path = Path(catalog.root) / "impl" / "results" / "tags" / f"{method}.json"
        if arguments.check:
            old = json.loads(path.read_text("utf-8"))["tags"] if path.exists() else None
            if old != found["tags"]:
                print(f"{path} is out of date: run python scripts/verify_tags.py {method}")
                status = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
