"""How much memory pruning from disk takes, and whether it gives the masks of the run in memory.

    .venv/bin/python scripts/benchmark/offload.py                # makes 4.1 GB, needs 13 GB of disk
    .venv/bin/python scripts/benchmark/offload.py --blocks 2     # a trial

A checkpoint in the form of llama with random weights in float32 is made shard by shard, and pruned
by `prunedex run wanda`, once with --offload and once in memory, each in a process of its own.

What is counted: `rss_peak` is the kernel's VmHWM, the most that was ever resident, whatever it was.
It is the sum of `anonymous`, memory that only this process can have (RssAnon: weights that were
changed, activations, Python), and `file`, pages of files that the kernel may drop at any time and
read again (RssFile: libraries, and the source's safetensors files while a block is read from them);
their own peaks are sampled and need not coincide. Pages that the kernel caches without a process
having mapped them count nowhere. `share` is `rss_peak` over the size of the checkpoint's files.

The figures of the last whole run are in results/offload.json.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
TINY = HERE / "impl" / "assets" / "tiny"
WIDTH, NEURONS, HEADS = 2048, 5632, 16
RESULT = HERE / "scripts" / "benchmark" / "results" / "offload.json"
TARGET = 0.35
"""The share of the checkpoint's size that may be resident"""


def make(folder: Path, blocks: int) -> int:
    """Write a checkpoint of `blocks` blocks, one at a time; its size in bytes."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, LlamaConfig

    folder.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=NEURONS,
        num_hidden_layers=blocks, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        max_position_embeddings=512, dtype="float32", architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> Any:
        # Inputs differ in scale, as in trained models, so that Wanda has something to rank.
        scale = (torch.rand(columns, generator=generator) + 0.5) / columns**0.5
        return torch.randn(rows, columns, generator=generator) * scale

    places: dict[str, str] = {}

    def write(file: str, tensors: dict[str, Any]) -> None:
        save_file(tensors, folder / file, {"format": "pt"})
        places.update(dict.fromkeys(tensors, file))

    shapes = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in "qkvo"}
    shapes |= {"mlp.gate_proj": (NEURONS, WIDTH), "mlp.up_proj": (NEURONS, WIDTH)}
    shapes["mlp.down_proj"] = (WIDTH, NEURONS)
    for index in range(blocks):
        prefix = f"model.layers.{index}."
        block = {f"{prefix}{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            block[f"{prefix}{norm}.weight"] = torch.ones(WIDTH)
        write(f"model-{index + 1:05}-of-{blocks + 1:05}.safetensors", block)
    frame = {"model.norm.weight": torch.ones(WIDTH)}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        frame[name] = matrix(len(tokenizer), WIDTH)
    write(f"model-{blocks + 1:05}-of-{blocks + 1:05}.safetensors", frame)
    index_of = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_of))
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def run(arguments: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """`prunedex run` in a process of its own: its record, and its memory in GB."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("memory is read from /proc, which only Linux has")
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "catalog", "run", *arguments, "--json"],
        stdout=subprocess.PIPE, text=True, cwd=HERE,
    )  # fmt: skip
    peak = {"VmHWM": 0, "RssAnon": 0, "RssFile": 0}
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        for name, _, value in (line.partition(":") for line in lines):
            if name in peak:
                peak[name] = max(peak[name], int(value.split()[0]) * 1024)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(process.returncode)
    assert process.stdout is not None
    names = {"VmHWM": "rss_peak", "RssAnon": "anonymous", "RssFile": "file"}
    found = {f"{names[name]}_gb": round(value / 1e9, 3) for name, value in peak.items()}
    found["seconds"] = round(time.perf_counter() - started, 1)
    return json.load(process.stdout), found


def differences(one: Path, other: Path) -> dict[str, int]:
    """How many entries of the masks, and how many values, two checkpoints do not share."""
    from safetensors import safe_open

    def places(folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    first, second = places(one), places(other)
    assert first.keys() == second.keys(), "the checkpoints have other tensors"
    masks = values = total = 0
    for name, path in first.items():
        with safe_open(path, "pt") as file, safe_open(second[name], "pt") as twin:
            a, b = file.get_tensor(name), twin.get_tensor(name)
        masks += int(((a == 0) != (b == 0)).sum())
        values += int((a != b).sum())
        total += a.numel()
    return {"weights": total, "masks_differ": masks, "values_differ": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=20, help="of 206 MB each")
    parser.add_argument("--folder", type=Path, help="where to work, a temporary folder if not said")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="offload-", dir=arguments.folder))
    try:
        size = make(folder / "dense", arguments.blocks)
        common = ["wanda", "--model", str(folder / "dense"), "--calibration", "synthetic"]
        common += ["--samples", "4", "--length", "64"]
        disk, offloaded = run([*common, "--save", str(folder / "disk"), "--offload"])
        memory, whole = run([*common, "--save", str(folder / "memory")])
        compared = differences(folder / "disk", folder / "memory")
    finally:
        shutil.rmtree(folder)
    share = offloaded["rss_peak_gb"] / (size / 1e9)
    result = {
        "date": dt.date.today().isoformat(),
        "commit": disk["environment"]["commit"],
        "machine": disk["environment"]["hardware"],
        "torch": disk["environment"]["torch"],
        "checkpoint_gb": round(size / 1e9, 3),
        "blocks": arguments.blocks,
        "offload": {**offloaded, "share": round(share, 3)},
        "in_memory": {**whole, "share": round(whole["rss_peak_gb"] / (size / 1e9), 3)},
        **compared,
        "perplexities_equal": disk["quality"] == memory["quality"],
    }
    print(json.dumps(result, indent=2))
    if size > 4e9:  # a trial on less proves nothing
        RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    if compared["masks_differ"] or share >= TARGET:
        raise SystemExit(f"masks differ, or {share:.0%} is not below {TARGET:.0%}")


if __name__ == "__main__":
    main()
