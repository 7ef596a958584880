"""How time and memory of pruning grow with samples, length, width and depth.

    .venv/bin/python scripts/benchmark/scaling.py                    # Wanda and SparseGPT
    .venv/bin/python scripts/benchmark/scaling.py wanda --times 1

Models are llamas with random weights, made on the spot in a process of its own for every run; one
axis at a time is doubled from the base size while the others stay. Per axis, the exponent is the
slope of a straight line through the logarithms: 1 is proportional, 2 quadratic.

Measured: processor time of pruning (which other work on the machine hardly stretches), and what
resident memory grew by while pruning, beyond the model. Not measured: quality, which random weights
do not have, GPUs, models that do not fit into memory. Small sizes hold costs that do not grow, so that
exponents are lower than those of the arithmetic alone; a low fit (`r2`) says that no power fits.

Targets: the exponents in samples and in depth at most 1.15 (each window and each block costs the
same), that of memory in depth at most 0.5 (activations of one block at a time are kept; what may
grow are the blocks' own arguments).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Of its own folder, catalog.py would be taken for the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.progress import Progress

from scripts.benchmark import rivals

BASE = {"samples": 8, "length": 128, "width": 256, "depth": 4}
FACTORS = (1, 2, 4, 8)
WIDEST = 4
"""Width is doubled less often: the weights grow with its square, SparseGPT's inverse with its cube"""
GROWTH = {"samples": 1.15, "depth": 1.15}
MEMORY_IN_DEPTH = 0.5
METHODS = ("wanda", "sparsegpt")


def sizes(axis: str) -> list[dict[str, int]]:
    """The base size, and what doubling `axis` makes of it."""
    factors = [f for f in FACTORS if axis != "width" or f <= WIDEST]
    return [{**BASE, axis: BASE[axis] * factor} for factor in factors]


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Exponent b of y = a·x^b by least squares on the logarithms, and r² of the fit.

    Raises ValueError where there are less than two places or a value is not positive.
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    xs, ys = zip(*logs, strict=True)
    slope, intercept = statistics.linear_regression(xs, ys)
    middle = statistics.fmean(ys)
    left = sum((y - slope * x - intercept) ** 2 for x, y in logs)
    whole = sum((y - middle) ** 2 for y in ys)
    return slope, 1 - left / whole if whole else 1.0


def summary(method: str, axes: dict[str, Any]) -> str:
    """One line: the exponents against their targets."""
    parts = []
    for axis, each in axes.items():
        text = f"{axis} {each['time']['exponent']:.2f}"
        if axis in GROWTH:
            met = each["time"]["exponent"] <= GROWTH[axis]
            text += f" (≤ {GROWTH[axis]}: {'met' if met else 'MISSED'})"
        if memory := each.get("memory"):
            text += f", memory {memory['exponent']:.2f}"
            if axis == "depth":
                met = memory["exponent"] <= MEMORY_IN_DEPTH
                text += f" (≤ {MEMORY_IN_DEPTH}: {'met' if met else 'MISSED'})"
        parts.append(text)
    return f"{method}, exponents of processor time: " + "; ".join(parts)


def main() -> None:
    """Run, print one line a method, write results/scaling.json, of which the site draws the plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS), metavar="METHOD")
    parser.add_argument("--times", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON, one object for all")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    if unknown := set(options.methods) - set(METHODS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; methods: {', '.join(METHODS)}")
    head = {**rivals.circumstances(options.threads), "settings": {"base": BASE}}
    cases: dict[str, Any] = {}
    steps = sum(len(sizes(axis)) for axis in BASE) * options.times * len(options.methods)
    with Progress(console=Console(stderr=True)) as progress:
        step = progress.add_task("", total=steps)
        for method in options.methods:
            axes: dict[str, Any] = {}
            for axis in BASE:
                runs = []
                for size in sizes(axis):
                    arguments = {**size, "method": method, "threads": options.threads}
                    progress.update(step, description=f"{method} {axis} {size[axis]}")
                    tries = []
                    for _ in range(options.times):
                        tries.append(rivals.run(sys.executable, "toy", arguments))
                        progress.advance(step)
                    runs.append({**size, **rivals.medians(tries)})
                axes[axis] = {"runs": runs, **fitted(axis, runs)}
            cases[method] = axes
            if not options.dry:
                rivals.write("scaling", head, {method: axes})
            if not options.json:
                progress.console.print(summary(method, axes), soft_wrap=True, highlight=False)
    if options.json:
        print(json.dumps({**head, "cases": cases}))


def places(axis: str, runs: Sequence[dict[str, Any]], what: str) -> list[tuple[float, float]]:
    """(size, seconds) or (size, MB beyond what was there before); none where it is not known."""
    if what == "time":
        return [(run[axis], run["cpu_s"]) for run in runs]
    if "peak_bytes" not in runs[0]:
        return []
    return [(run[axis], (run["peak_bytes"] - run["before_bytes"]) / 1e6) for run in runs]


def fitted(axis: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Exponents and fits of time and, where it is known and grew, of memory."""
    found = {}
    for what in ("time", "memory"):
        points = places(axis, runs, what)
        if points and all(y > 0 for _, y in points):
            exponent, r2 = fit(points)
            found[what] = {"exponent": round(exponent, 3), "r2": round(r2, 3)}
    return found


if __name__ == "__main__":
    main()
