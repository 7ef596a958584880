"""A whole run: load, measure, prune, measure again, save; and the record of it.

The record carries its protocol, so that two numbers can be seen to be
comparable, or not.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from impl.calibration import Calibration, check_length, load_calibration
from impl.evaluate import perplexity
from impl.masks import NM
from impl.model import all_views
from impl.registry import Report, budget, check_model, check_options, find, prune
from impl.sources import ModelInfo, load
from impl.store import check_target, save

Stage = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]
"""Opens a named stage of work; the context gives a function (done, total, what)."""

STANDARD = "smollm2-lee-1"
EVALUATION_SAMPLES = 16
LENGTH = 512


@dataclass(frozen=True)
class Request:
    """What to run.

    `calibration` None means the text that goes with the model, `length` None
    512 tokens or the model's context, if that is shorter.
    """

    method: str
    model: str
    sparsity: float | None = None
    pattern: str | None = None
    calibration: str | None = None
    samples: int = 32
    length: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    options: dict[str, Any] | None = None
    save: Path | None = None
    overwrite: bool = False


def text_of(model: str) -> str:
    """The calibration source that goes with a model when none is named."""
    return "synthetic" if model == "tiny" else "lee"


def run(request: Request, stage: Stage) -> tuple[dict[str, Any], Report]:
    """Carry out `request`; returns the record (see `protocol`) and the method's report.

    Everything that can be known to be wrong is found before the model is
    loaded or at least before it is changed. Raises `PrunedexError`s.
    """
    chosen = find(request.method)
    pattern = NM.parse(request.pattern)
    budget(request.sparsity, pattern)
    check_options(chosen, request.options or {})
    if request.save:
        check_target(request.save, request.overwrite)
    with stage("Loading the model"):
        model, tokenizer, info = load(request.model, request.device, request.dtype)
        check_model(all_views(model), pattern)
        length = _length(model, request.length)
        machine = environment(model.device)  # now: the checkout may change during a long run
    source = request.calibration or text_of(request.model)
    with stage("Reading the text"):
        evaluation = load_calibration(
            source, tokenizer, EVALUATION_SAMPLES, length, request.seed, "evaluation"
        )
        calibration = (
            load_calibration(source, tokenizer, request.samples, length, request.seed)
            if chosen.needs == "calibration"
            else None
        )
    with stage("Perplexity before") as advance:
        before = perplexity(model, evaluation.tokens, lambda i, n: advance(i, n, f"window {i}"))
    with stage(f"Pruning with {request.method}") as advance:
        report = prune(
            model,
            request.method,
            calibration=calibration,
            sparsity=request.sparsity,
            pattern=request.pattern,
            seed=request.seed,
            progress=advance,
            **(request.options or {}),
        )
    with stage("Perplexity after") as advance:
        after = perplexity(model, evaluation.tokens, lambda i, n: advance(i, n, f"window {i}"))
    record = {
        "schema": 1,
        "method": request.method,
        "options": report.options,
        "protocol": protocol(info, calibration, evaluation, request.seed),
        "environment": machine,
        "budget": {
            "unit": "weights",
            "asked": report.asked,
            "achieved": report.achieved,
            "removed": report.removed,
            "total": report.total,
        },
        "quality": {"perplexity_before": before, "perplexity_after": after},
        "cost": {
            "seconds": round(report.seconds, 3),
            "peak_memory_bytes": report.peak_memory_bytes,
        },
    }
    if request.save:
        with stage(f"Saving to {request.save}"):
            save(model, tokenizer, request.save, record, request.overwrite)
    return record, report


def evaluate(
    name: str,
    source: str | None,
    samples: int,
    length: int | None,
    seed: int,
    device: str,
    dtype: str,
    stage: Stage,
) -> dict[str, Any]:
    """Perplexity of a model as it is, with its protocol and its share of zero weights."""
    with stage("Loading the model"):
        model, tokenizer, info = load(name, device, dtype)
        length = _length(model, length)
    with stage("Reading the text"):
        text = load_calibration(
            source or text_of(name), tokenizer, samples, length, seed, "evaluation"
        )
    with stage("Perplexity") as advance:
        value = perplexity(model, text.tokens, lambda i, n: advance(i, n, f"window {i}"))
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in linear)
    total = sum(weight.numel() for weight in linear)
    return {
        "schema": 1,
        "protocol": protocol(info, None, text, seed),
        "environment": environment(model.device),
        "quality": {"perplexity": value},
        "linear_weights": {"zero": zeros, "total": total},
    }


def protocol(
    info: ModelInfo, calibration: Calibration | None, evaluation: Calibration, seed: int
) -> dict[str, Any]:
    """Everything that a number depends on besides the method and the machine.

    `name` is `smollm2-lee-1` exactly if the run followed that protocol.
    """

    def text(source: Calibration) -> dict[str, Any]:
        samples, length = source.tokens.shape
        return {
            "source": source.source,
            "revision": source.revision,
            "samples": samples,
            "length": length,
            "sha256": source.sha256,
        }

    def shape(source: Calibration) -> tuple[Any, ...]:
        return (source.source, *source.tokens.shape)

    standard = (
        info.name == "smollm2-135m"
        and info.dtype == "float32"
        and (calibration is None or shape(calibration) == ("lee", 32, 512))
        and shape(evaluation) == ("lee", EVALUATION_SAMPLES, 512)
    )
    return {
        "name": STANDARD if standard else None,
        "model": {
            "name": info.name,
            "revision": info.revision,
            "parameters": info.parameters,
            "dtype": info.dtype,
        },
        "calibration": text(calibration) if calibration else None,
        "evaluation": text(evaluation),
        "seed": seed,
    }


def _length(model: PreTrainedModel, length: int | None) -> int:
    """The window length to use, checked against the model's context."""
    context: int | None = getattr(model.config, "max_position_embeddings", None)
    chosen = length or (min(LENGTH, context) if context else LENGTH)
    check_length(model.config, chosen)
    return chosen


def environment(device: torch.device) -> dict[str, str | None]:
    """Versions, hardware and commit of this run."""
    hardware = f"{platform.machine()}, {os.cpu_count()} cores"
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": device.type,
        "hardware": hardware,
        "commit": _commit(),
        "date": dt.date.today().isoformat(),
    }


def _commit() -> str | None:
    """This checkout's commit, with + if the code differs from it; None outside of a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        code = ("--", "impl", ":!impl/results")
        dirty = git("status", "--porcelain", "--untracked-files=no", *code)
        return git("rev-parse", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None
