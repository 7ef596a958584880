"""How long the site takes to build, and what it weighs, as the catalog grows.

    .venv/bin/python scripts/benchmark/site.py             # 100 and 1,000 entries
    .venv/bin/python scripts/benchmark/site.py 10000       # takes minutes

The catalogs are those of scripts/benchmark/catalog.py. Shown is processor time, writing the tree
and MkDocs apart, since other work on the machine stretches the time on the clock; then the number
of pages and the weight of the files that grow with the catalog, compressed: the catalog page and its
filters come at once, words and the search's index when somebody searches, catalog.json on export.
results/site.json keeps the figures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
# Of its own folder, the script catalog.py would be taken for the package.
sys.path[:] = [
    str(HERE),
    *(each for each in sys.path if Path(each).resolve() != HERE / "scripts/benchmark"),
]

SIZES = [100, 1_000]
PARTS = [
    "catalog.html",
    "catalog.json",
    "assets/data/filters.json",
    "assets/data/words.json",
    "search/search_index.json",
]


def children() -> float:
    """Processor time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(size: int, folder: Path) -> dict[str, Any]:
    """Build the site of a catalog of `size` entries, and look at it."""
    from catalog.site import build_site
    from catalog.store import Catalog

    runpy.run_path(str(Path(__file__).with_name("catalog.py")))["write"](folder / "root", size)
    own, below, clock = time.process_time(), children(), time.perf_counter()
    report = build_site(Catalog.load(folder / "root"), folder / "site", strict=False)
    weights = {name: len(gzip.compress((folder / "site" / name).read_bytes(), 6)) for name in PARTS}
    pages = {page: page.stat().st_size for page in (folder / "site").rglob("*.html")}
    heaviest = max(pages, key=lambda page: pages[page])
    weights["heaviest page"] = len(gzip.compress(heaviest.read_bytes(), 6))
    return {
        "pages": report.pages,
        "tree_s": round(time.process_time() - own, 3),
        "mkdocs_s": round(children() - below, 3),
        "clock_s": round(time.perf_counter() - clock, 3),
        "kilobytes": {name: round(weight / 1000, 1) for name, weight in weights.items()},
    }


def main() -> None:
    """Measure each size and print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of entries")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    from scripts.benchmark import rivals

    for number, size in enumerate(options.sizes):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(size, Path(folder))
        if not options.dry:
            rivals.write("site", rivals.plain(), {str(size): found})
        if options.json:
            print(json.dumps({"entries": size, **found}), flush=True)
            continue
        weights = {f"{name} kB": weight for name, weight in found.pop("kilobytes").items()}
        found = {"entries": size, **found, **weights}
        if not number:
            print("  ".join(f"{name:>16}" for name in found))
        print("  ".join(f"{value:>16,.1f}" for value in found.values()), flush=True)


if __name__ == "__main__":
    main()
