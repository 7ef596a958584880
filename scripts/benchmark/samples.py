"""How much a perplexity depends on which text calibrated: methods on samples without a common window.

    .venv/bin/python scripts/benchmark/samples.py                       # about forty minutes
    .venv/bin/python scripts/benchmark/samples.py wanda-0.5 ria-0.5
    .venv/bin/python scripts/benchmark/samples.py wanda-0.5 --windows 2 --length 32 --dry   # a trial

SmolLM2-135M-Instruct is pruned once with each of three samples: windows 1 to 32, 33 to 64 and 65 to
96 of the calibration split of the Lee corpus, 512 tokens each. The first is that of the protocol
smollm2-lee-1. All are judged on the same 16 windows of the evaluation split, so that the intervals
of the leaderboard, which ask for other evaluation text, say nothing of what is seen here.

Not measured: other kinds of text, more windows (the corpus has 99), other models. Three samples
show of what size the differences are and no more; no interval is made of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# Of its own folder, catalog.py would be taken for the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from rich.console import Console
from rich.progress import Progress
from transformers import AutoTokenizer

from impl.calibration import Calibration
from impl.evaluate import perplexity
from impl.registry import prune
from impl.sources import load, smollm2_folder
from scripts.benchmark import rivals

SAMPLES = 3
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{method}-0.5": (method, {"sparsity": 0.5})
    for method in ("wanda", "dsnot", "ria", "owl", "gblm-pruner", "sparsegpt")
}


def main() -> None:
    """Prune with every sample, print one line a case, and write results/samples.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))  # fmt: skip
    parser.add_argument("--windows", type=int, default=rivals.TEXT[1], help="windows of a sample")
    parser.add_argument("--length", type=int, default=rivals.TEXT[2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print JSON, one object for all cases")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; cases: {', '.join(CASES)}")
    torch.set_num_threads(options.threads)
    cases: dict[str, Any] = {}
    with Progress(console=Console(stderr=True)) as progress:
        step = progress.add_task("Reading", total=len(options.cases) * SAMPLES)
        folder, revision = smollm2_folder()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text, judged = rivals.texts(tokenizer, SAMPLES * options.windows, options.length)
        samples = [
            Calibration(tokens, text.source, text.revision, text.seed)
            for tokens in text.tokens.split(options.windows)
        ]
        head = rivals.heading(
            revision, options.windows, options.length, samples[0].sha256, options.threads
        )
        for name in options.cases:
            method, wanted = CASES[name]
            found = []
            for number, sample in enumerate(samples):
                progress.update(step, description=f"{name}, sample {number + 1}")
                model, _, _ = load("smollm2-135m", device="cpu")
                prune(model, method, calibration=sample, **wanted)
                found.append(
                    {"sha256": sample.sha256[:16], "perplexity": perplexity(model, judged.tokens)}
                )
                progress.advance(step)
            cases[name] = {"samples": found}
            if not options.dry:
                rivals.write("samples", head, {name: cases[name]})
            if not options.json:
                shown = "  ".join(f"{each['perplexity']:9.2f}" for each in found)
                progress.console.print(f"{name:16} {shown}", highlight=False)
    if options.json:
        print(json.dumps({**head, "cases": cases}))


if __name__ == "__main__":
    main()
