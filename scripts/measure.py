"""Measure methods under the standard protocol and record the numbers that the site shows.

    python scripts/measure.py [METHOD…]

Writes impl/results/smollm2-lee-1/<method>-<setting>.json, one file a run, for 50 %
sparsity and for 2:4. Runs on the CPU, so that hardware does not change results.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from catalog.cli.run import stages
from impl.pipeline import STANDARD, Request, run
from impl.registry import method_names

RESULTS = Path(__file__).resolve().parent.parent / "impl" / "results"
SETTINGS: tuple[tuple[str, float | None, str | None], ...] = (
    ("0.5", 0.5, None),
    ("2-4", None, "2:4"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", help="all, if none is named")
    arguments = parser.parse_args()
    folder = RESULTS / STANDARD
    folder.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods or method_names():
        for setting, sparsity, pattern in SETTINGS:
            request = Request(method, "smollm2-135m", sparsity, pattern, device="cpu")
            with stages() as stage:
                record, _ = run(request, stage)
            assert record["protocol"]["name"] == STANDARD
            path = folder / f"{method}-{setting}.json"
            draft = path.with_suffix(".draft")
            draft.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
            draft.replace(path)
            quality = record["quality"]
            print(
                f"{method} {setting}: {quality['perplexity_before']:.3f} → "
                f"{quality['perplexity_after']:.3f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
