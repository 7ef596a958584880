"""Wanda and SparseGPT here against llm-compressor: time, memory and quality, as ratios.

    .venv/bin/python scripts/benchmark/pruning.py                     # an hour or more on two cores
    .venv/bin/python scripts/benchmark/pruning.py wanda-0.5 --times 1
    .venv/bin/python scripts/benchmark/pruning.py --samples 2 --length 32 --times 1   # a trial

Both prune the same checkpoint (SmolLM2-135M-Instruct, float32) with the same calibration tokens
(32 windows of 512 of the Lee corpus, one at a time), on the CPU with the same number of threads and
the same torch, each run in a process of its own; runs alternate and the median counts.
llm-compressor comes from PyPI into an environment of its own in the user's cache.

Measured: time on the clock and processor time of pruning alone, and peak resident memory of the
process meanwhile; perplexity of both results by `impl.evaluate` on the same 16 windows of the
evaluation split, with the interval of the difference paired by window; the share of zeros in the
blocks' matrices, and where the masks first differ. For ours also the overhead: how much
longer pruning takes than two forward passes of the same windows through the blocks, the least that a
block-by-block method does when it measures, prunes and passes on. It can be negative: while measuring,
the last projection of a block is not computed.

Not measured: importing, loading, saving, GPUs, larger models, batches of more than one window, other
settings of either tool. llm-compressor has its own transformers, whose forward pass need not be as fast
as ours. On a machine that does other work, processor time tells more than the clock.

Targets: at most 0.8 of the time on the clock, no more memory, a perplexity that the windows cannot
tell from a better one; overhead of Wanda below 15 %. Equal to the last digit is not asked: both tools
compute the same sums, but where rounding decides one weight of a block otherwise, the blocks behind
it see other inputs, and a few thousandths of their masks differ in the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Of its own folder, catalog.py would be taken for the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from catalog.benchmarks import AIM
from catalog.intervals import paired
from impl.calibration import Calibration
from impl.evaluate import scores, summary
from impl.model import all_views, blocks
from impl.sources import load, smollm2_folder
from scripts.benchmark import rivals

RIVAL = "llmcompressor==0.14.*"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "wanda-0.5": ("wanda", {"sparsity": 0.5}),
    "sparsegpt-0.5": ("sparsegpt", {"sparsity": 0.5}),
    "wanda-2:4": ("wanda", {"pattern": "2:4"}),
    "sparsegpt-2:4": ("sparsegpt", {"pattern": "2:4"}),
}
OVERHEAD = 0.15
SIDES = ("ours", "llmcompressor")


def quality(model: Any, weights: Path, judged: Calibration) -> dict[str, Any]:
    """Perplexity, loss by window and sparsity of `model` with the blocks' weights in a file."""
    blocks(model).load_state_dict(load_file(weights))
    views = all_views(model)
    zeros = sum(int((view.W == 0).sum()) for view in views)
    losses = scores(model, judged)
    return {
        "perplexity": round(summary(losses, "perplexity"), 4),
        "losses": [round(loss, 6) for loss in losses],
        "sparsity": round(zeros / sum(view.numel for view in views), 6),
    }


def mask_difference(ours: Path, theirs: Path) -> dict[str, Any]:
    """The share of weights that one side pruned and the other kept, and the first block with one."""
    a, b = load_file(ours), load_file(theirs)
    unlike: dict[int, int] = {}
    total = 0
    for name in (name for name in a if a[name].dim() == 2):
        block = int(name.partition(".")[0])
        unlike[block] = unlike.get(block, 0) + int(((a[name] == 0) != (b[name] == 0)).sum())
        total += a[name].numel()
    found = sorted(block for block, count in unlike.items() if count)
    return {"share": sum(unlike.values()) / total, "first_block": found[0] if found else None}


def compare(sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The ratios ours / theirs, and which targets they meet."""
    a, b = sides["ours"], sides["llmcompressor"]
    keys = ("wall_s", "cpu_s", "peak_bytes", "perplexity")
    ratios = {key: round(a[key] / b[key], 4) for key in keys if a.get(key) and b.get(key)}
    worse = paired(a["losses"], b["losses"])
    met = {
        "time": ratios["wall_s"] <= AIM,
        "memory": ratios.get("peak_bytes", 0) <= 1,
        "quality": ratios["perplexity"] <= 1 or (worse is not None and worse.low <= 0),
    }
    if "overhead" in a and a["method"] == "wanda":
        met["overhead"] = a["overhead"]["wall"] < OVERHEAD
    difference = asdict(worse) if worse else None
    return {"ratios": ratios, "loss_difference": difference, "met": met}


def line(name: str, case: dict[str, Any]) -> str:
    """One line: the ratios against their targets."""
    ratios, met, a, b = case["ratios"], case["met"], case["ours"], case["llmcompressor"]

    def mark(what: str) -> str:
        return "met" if met[what] else "MISSED"

    text = (
        f"{name}: clock {ratios['wall_s']:.2f} of llm-compressor's (≤ {AIM}: {mark('time')}), "
        f"processor {ratios['cpu_s']:.2f}, memory {ratios.get('peak_bytes', float('nan')):.2f} "
        f"(≤ 1: {mark('memory')}), perplexity {a['perplexity']:.2f} against "
        f"{b['perplexity']:.2f} ({mark('quality')})"
    )
    if where := case["loss_difference"]:
        text += f", loss {where['value']:+.4f} [{where['low']:+.4f}, {where['high']:+.4f}]"
    masks = case["masks"]
    at = f" from block {masks['first_block']} on" if masks["share"] else ""
    text += f", masks differ in {masks['share']:.2%}{at}"
    if "overhead" in a:
        over = a["overhead"]
        text += f", over two forward passes {over['wall']:+.0%} (processor {over['cpu']:+.0%}"
        text += f"; < {OVERHEAD:.0%}: {mark('overhead')})" if "overhead" in met else ")"
    return text


def main() -> None:
    """Run, print one line a case, and write results/pruning.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))  # fmt: skip
    parser.add_argument("--times", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--samples", type=int, default=rivals.TEXT[1])
    parser.add_argument("--length", type=int, default=rivals.TEXT[2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--environment", type=Path, help="where the other tool's environment is")
    parser.add_argument("--json", action="store_true", help="print JSON, one object for all cases")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; cases: {', '.join(CASES)}")
    console = Console(stderr=True)
    torch.set_num_threads(options.threads)
    with Progress(console=console) as progress, tempfile.TemporaryDirectory() as scratch:
        step = progress.add_task(f"{RIVAL}, an environment", total=None)
        theirs = rivals.environment(RIVAL, folder=options.environment)
        folder, revision = smollm2_folder()
        model, tokenizer, _ = load("smollm2-135m", device="cpu")
        assert tokenizer is not None
        text, judged = rivals.texts(tokenizer, options.samples, options.length)
        tokens = Path(scratch) / "tokens.safetensors"
        save_file({"tokens": text.tokens}, tokens)
        head = rivals.heading(
            revision, options.samples, options.length, text.sha256, options.threads, RIVAL
        )
        progress.update(step, total=len(options.cases) * options.times * 2)
        cases: dict[str, Any] = {}
        for name in options.cases:
            method, wanted = CASES[name]
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
            sides: dict[str, dict[str, Any]] = {}
            for number in range(options.times):
                for side in SIDES:
                    progress.update(step, description=f"{name} {side} {number + 1}")
                    weights = Path(scratch) / f"{side}.safetensors"
                    ours = side == "ours"
                    found = rivals.run(
                        sys.executable if ours else theirs,
                        side,
                        {
                            "model": str(folder),
                            "tokens": str(tokens),
                            "threads": options.threads,
                            "method": method,
                            "options": wanted,
                            "forward": ours and not number,
                            "save": None if number else str(weights),
                        },
                    )
                    runs[side].append(found)
                    if not number:
                        judgement = quality(model, weights, judged)
                        sides[side] = {"method": method, **judgement}
                    progress.advance(step)
            for side in SIDES:
                sides[side] |= rivals.medians(runs[side]) | {"runs": runs[side]}
            sides["ours"]["overhead"] = overhead(runs["ours"][0])
            masks = mask_difference(*(Path(scratch) / f"{side}.safetensors" for side in SIDES))
            cases[name] = {
                "threads": options.threads,
                **sides,
                "masks": masks,
                **compare(sides),
            }
            if not options.dry:
                rivals.write("pruning", head, {name: cases[name]})
            if not options.json:
                progress.console.print(line(name, cases[name]), soft_wrap=True, highlight=False)
    if options.json:
        print(json.dumps({**head, "cases": cases}))


def overhead(run: dict[str, Any]) -> dict[str, float]:
    """What pruning took beyond two forward passes, as a share of these; both of one process."""
    return {
        what: round(run[f"{what}_s"] / (2 * run["forward"][f"{what}_s"]) - 1, 4)
        for what in ("wall", "cpu")
    }


if __name__ == "__main__":
    main()
