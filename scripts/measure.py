"""Measure methods under their standard protocol and record the numbers that the site shows.

    python scripts/measure.py [METHOD…]

Writes impl/results/<protocol>/<method>-<setting>.json, one file a run. Language models are
measured on SmolLM2-135M; methods for experts, encoders and convolutions on the tiny model of their
kind. Runs on the CPU, so that hardware does not change results.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from catalog.cli.run import stages
from impl.pipeline import STANDARD, Request, model_of, run
from impl.registry import Method, find, method_names

RESULTS = Path(__file__).resolve().parent.parent / "impl" / "results"
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "weights": [{"sparsity": 0.5}, {"sparsity": 0.6}, {"sparsity": 0.7}, {"pattern": "2:4"}],
    "parameters": [{"ratio": 0.2}],
    "shape": [{}],
    "hidden": [{"slicing": 0.2}],
    "blocks": [{"drop": 6}],
    "heads": [{"ratio": 0.25}, {"ratio": 0.5}],
    "experts": [{"drop": 2}, {"drop": 4}],
    "channels": [{"ratio": 0.3}],
    "rank": [{}],
    "cache": [{"keep": 0.2}],
    "activations": [{"sparsity": 0.5}],
}


def settings(method: Method) -> list[dict[str, Any]]:
    """What a method is measured with: the budgets of its unit that it can take."""
    return [one for one in SETTINGS[method.unit.name] if method.patterned or "pattern" not in one]


def name_of(setting: dict[str, Any]) -> str:
    """A setting as part of a file name: 0.5, 2-4, default."""
    return "-".join(str(value).replace(":", "-") for value in setting.values()) or "default"


def measured_on(method: Method) -> str:
    """SmolLM2 for language models, else the tiny model of the method's kind."""
    return "smollm2-135m" if model_of(method) == "tiny" else model_of(method)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", help="all, if none is named")
    parser.add_argument("--missing", action="store_true", help="only what has no file yet")
    parser.add_argument(
        "--busy", action="store_true", help="leave times out: the machine does other work, too"
    )
    arguments = parser.parse_args()
    for name in arguments.methods or method_names():
        method = find(name)
        model = measured_on(method)
        protocol = STANDARD if model == "smollm2-135m" else f"{model}-1"
        folder = RESULTS / protocol
        folder.mkdir(parents=True, exist_ok=True)
        for setting in settings(method):
            path = folder / f"{name}-{name_of(setting)}.json"
            if arguments.missing and path.exists():
                continue
            with stages() as stage:
                record, _ = run(Request(name, model, device="cpu", options=setting), stage)
            assert record["protocol"]["name"] == protocol
            if arguments.busy:
                del record["cost"]["seconds"]
            draft = path.with_suffix(".draft")
            draft.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
            draft.replace(path)
            before, after = record["quality"].values()
            print(f"{name} {setting}: {before:.3f} → {after:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
