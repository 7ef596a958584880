"""FLAP here against torch-pruning: what each leaves when a fifth of the blocks' parameters goes.

    .venv/bin/python scripts/benchmark/structured.py                 # minutes
    .venv/bin/python scripts/benchmark/structured.py --samples 2 --length 32 --times 1 --dry

Both shrink SmolLM2-135M-Instruct (float32, CPU, the same torch and transformers), each run in a
process of its own; runs alternate and the median counts. Measured: time on the clock, processor time
and peak resident memory of pruning alone, the parameters left, and perplexity on the same 16 windows,
without any training afterwards.

This is no race between equals. torch-pruning is a general tool that finds by tracing what must shrink
together; its example for language models ranks by weights alone, reads no text, and is followed by
training. FLAP reads text, chooses among heads and neurons of all blocks and puts biases in place of
what it took. Heads are not compared: with keys and values shared among query heads, as in this model,
torch-pruning 1.6 never finishes looking for what depends on what (issue 527 of its repository), so it
removes neurons only, the same share in every block. Narrowing the residual stream, which its example
does as well, is left out: FLAP cannot do that, and the embedding is tied to the head here.

Expect a perplexity in the hundred thousands from torch-pruning here. That is the criterion and not the
tool: zeroing the same share of neurons by the same norm without it does as much harm, and more than
zeroing neurons at random.

Target: no worse perplexity at the same share of parameters. Time has no target: FLAP runs the model
on the text, the other does not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

# Of its own folder, catalog.py would be taken for the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import transformers
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from transformers import AutoTokenizer

from impl.sources import smollm2_folder
from scripts.benchmark import rivals

RIVAL = "torch-pruning==1.6.*"
SIDES = ("flap", "torch_pruning")


def line(sides: dict[str, dict[str, Any]]) -> str:
    """One line: what each took, needed and left."""
    a, b = (sides[side] for side in SIDES)
    met = "met" if a["perplexity"] <= b["perplexity"] else "MISSED"
    return (
        f"FLAP: {a['removed']:.1%} of the blocks' parameters, {a['wall_s']:.1f} s (processor "
        f"{a['cpu_s']:.1f} s), perplexity {a['perplexity']:.2f}; torch-pruning: {b['removed']:.1%}, "
        f"{b['wall_s']:.1f} s ({b['cpu_s']:.1f} s), {b['perplexity']:.2f} (no worse: {met})"
    )


def main() -> None:
    """Run, print one line, and write results/structured.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ratio", type=float, default=0.2, help="of the blocks' parameters")
    parser.add_argument("--times", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--samples", type=int, default=rivals.TEXT[1])
    parser.add_argument("--length", type=int, default=rivals.TEXT[2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--environment", type=Path, help="where the other tool's environment is")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    with (
        Progress(console=Console(stderr=True)) as progress,
        tempfile.TemporaryDirectory() as scratch,
    ):
        step = progress.add_task(f"{RIVAL}, an environment", total=None)
        same = f"transformers=={transformers.__version__}"
        theirs = rivals.environment(RIVAL, same, folder=options.environment)
        folder, revision = smollm2_folder()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text, judged = rivals.texts(tokenizer, options.samples, options.length)
        arguments = {
            "model": str(folder),
            "tokens": f"{scratch}/tokens.safetensors",
            "judged": f"{scratch}/judged.safetensors",
            "threads": options.threads,
            "ratio": options.ratio,
        }
        save_file({"tokens": text.tokens}, arguments["tokens"])
        save_file({"tokens": judged.tokens}, arguments["judged"])
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        progress.update(step, total=2 * options.times)
        for number in range(options.times):
            for side in SIDES:
                progress.update(step, description=f"{side} {number + 1}")
                python = sys.executable if side == "flap" else theirs
                runs[side].append(rivals.run(python, side, arguments))
                progress.advance(step)
        sides = {
            side: {
                **rivals.medians(runs[side]),
                **{key: runs[side][0][key] for key in ("parameters", "removed", "perplexity")},
                "runs": runs[side],
            }
            for side in SIDES
        }
        head = rivals.heading(
            revision, options.samples, options.length, text.sha256, options.threads, RIVAL
        )
        if not options.dry:
            rivals.write("structured", head, {f"{options.ratio:g}": sides})
    print(json.dumps({**head, **sides}) if options.json else line(sides))


if __name__ == "__main__":
    main()
