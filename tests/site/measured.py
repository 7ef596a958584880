"""Made-up results of schema 2, as runs would write them: for leaderboards with something to tell."""

from __future__ import annotations

import base64
import json
import math
import random
from pathlib import Path
from typing import Any

from small_catalog import RESULT

WINDOWS = 16
BLOCKS = 4
KINDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
POSITIONS = 64


def run(
    method: str,
    options: dict[str, Any],
    loss: float,
    *,
    unit: str = "weights",
    asked: float | None = None,
    seed: int = 0,
    uneven: float = 0.0,
    **more: Any,
) -> dict[str, Any]:
    """A run whose mean token loss is about `loss` above that of the dense model.

    The windows differ in difficulty by the same amounts for every method, and `seed` sets what
    is left; `uneven` spreads the zeros over the blocks.
    """
    hard = [math.sin(window) / 3 for window in range(WINDOWS)]
    noise = random.Random(f"{method} {seed}")
    dense = [3.3 + each for each in hard]
    pruned = [base + loss + noise.gauss(0, 0.02) for base in dense]
    share = asked if asked is not None else float(next(iter(options.values())))
    made: dict[str, Any] = {
        **RESULT,
        "schema": 2,
        "supersedes": None,
        "method": method,
        "options": options,
        "budget": {"unit": unit, "asked": share, "achieved": share},
        "parameters": {"before": 1000, "after": 1000 if unit == "weights" else 800},
        "environment": {**RESULT["environment"], "threads": 2},
        "scores": {"dense": dense, "pruned": pruned},
        "quality": {
            "perplexity_before": math.exp(sum(dense) / WINDOWS),
            "perplexity_after": math.exp(sum(pruned) / WINDOWS),
        },
        "distance": {"kl": loss / 2, "agreement": max(1 - loss, 0.1)},
        "size": {
            "nonzeros": {"before": 1000, "after": 600},
            "macs": {"before": 5000, "after": 5000},
            "checkpoint_bytes": {"before": 4000, "after": 4000},
            "cache_bytes": {"before": 800, "after": 800},
        },
        "speed": {"prefill": 1 + loss / 3, "decode": 1 + loss / 5, "repeats": 3},
        "cost": {"seconds": 12.5, "peak_memory_bytes": 10**9, "phases": {"prune": 12.5}},
    }
    if unit == "weights":
        middle = (BLOCKS - 1) / 2
        layers = {
            f"model.layers.{block}.{kind}": min(max(share + uneven * (block - middle), 0), 1)
            for block in range(BLOCKS)
            for kind in KINDS
        }
        made["layers"] = layers
        made["sketch"] = {"positions": POSITIONS, "seed": 0, "bits": bits(layers, noise)}
    return {**made, **more}


def bits(layers: dict[str, float], noise: random.Random) -> str:
    """Zeros at random, as many as the shares say."""
    drawn = "".join(
        "1" if noise.random() < share else "0"
        for share in layers.values()
        for _ in range(POSITIONS)
    )
    drawn += "0" * (-len(drawn) % 8)
    return base64.b64encode(int(drawn, 2).to_bytes(len(drawn) // 8, "big")).decode()


def file(root: Path, name: str, result: dict[str, Any]) -> None:
    """Write a run below its protocol."""
    folder = root / "impl" / "results" / result["protocol"]["name"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(result), encoding="utf-8")


def failure(method: str, options: dict[str, Any], why: str) -> dict[str, Any]:
    """A run that failed."""
    return {
        "schema": 2,
        "method": method,
        "options": options,
        "protocol": {"name": "smollm2-lee-1"},
        "environment": RESULT["environment"],
        "failed": why,
        "phase": f"Pruning with {method}",
    }
