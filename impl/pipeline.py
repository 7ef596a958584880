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
from impl.evaluate import accuracy, perplexity
from impl.families import Kind
from impl.labelled import load_labelled
from impl.model import all_views, kind_of
from impl.registry import Method, Report, check_kind, check_model, check_options, find, prune
from impl.runtime import attached
from impl.sources import ModelInfo, load
from impl.store import AUTO, check_target, save
from impl.tasks import LabelledData

Stage = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]
"""Opens a named stage of work; the context gives a function (done, total, what)."""

STANDARD = "smollm2-lee-1"
LENGTH = 512


@dataclass(frozen=True)
class Standard:
    """A protocol with a name: what must be the same in every run of it, besides float32."""

    model: str
    source: str
    samples: int
    evaluation_samples: int
    length: int | None
    """Tokens in a window; None for labelled samples"""


STANDARDS = {
    STANDARD: Standard("smollm2-135m", "lee", 32, 16, 512),
    "tiny-moe-1": Standard("tiny-moe", "synthetic", 32, 16, 512),
    "tiny-encoder-1": Standard("tiny-encoder", "agreement", 512, 1000, None),
    "tiny-convnet-1": Standard("tiny-convnet", "shapes", 512, 1000, None),
}
SAMPLES = {"text": (32, 16), "labels": (512, 1000)}
"""How many samples calibrate and evaluate where nothing is said, of windows and of labelled data."""


@dataclass(frozen=True)
class Request:
    """What to run.

    `model` and `calibration` None mean those that go with the method and with
    the model, `samples` and `length` None what is usual for such data: 32
    windows of 512 tokens, or of the model's context if that is shorter, or 512
    labelled samples. `options` are the budget and the method's hyperparameters.
    """

    method: str
    model: str | None = None
    calibration: str | None = None
    samples: int | None = None
    length: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    options: dict[str, Any] | None = None
    save: Path | None = None
    overwrite: bool = False


def model_of(method: Method) -> str:
    """The model that comes along for a method: the one of the kind that it prunes."""
    if method.unit.name == "experts":
        return "tiny-moe"
    return {"decoder": "tiny", "encoder": "tiny-encoder", "convnet": "tiny-convnet"}[method.on[0]]


def source_of(model: str, kind: Kind) -> str:
    """The data that go with a model when none are named."""
    if kind == "decoder":
        return "synthetic" if model in ("tiny", "tiny-moe") else "lee"
    return "agreement" if kind == "encoder" else "shapes"


Windows = Calibration | LabelledData


def read_data(
    source: str, kind: Kind, tokenizer: Any, samples: int, length: int | None, seed: int, split: str
) -> Windows:
    """Text for a language model, labelled samples for the others. Raises `BadInput`."""
    if kind == "decoder":
        assert length is not None
        return load_calibration(source, tokenizer, samples, length, seed, split)  # type: ignore[arg-type]
    return load_labelled(source, kind, tokenizer, samples, seed, split)


def measure(
    model: PreTrainedModel, data: Windows, advance: Callable[[int, int, str], None]
) -> tuple[str, float]:
    """The metric that fits the data, and its value: perplexity, or accuracy on labels."""
    if isinstance(data, LabelledData):
        return "accuracy", accuracy(model, data, lambda i, n: advance(i, n, f"sample {i}"))
    return "perplexity", perplexity(model, data.tokens, lambda i, n: advance(i, n, f"window {i}"))


def run(request: Request, stage: Stage) -> tuple[dict[str, Any], Report]:
    """Carry out `request`; returns the record (see `protocol`) and the method's report.

    Everything that can be known to be wrong is found before the model is
    loaded or at least before it is changed. Raises `PrunedexError`s.
    """
    chosen = find(request.method)
    options = request.options or {}
    check_options(chosen, options)
    if request.save:
        check_target(request.save, request.overwrite)
    name = request.model or model_of(chosen)
    with stage("Loading the model"):
        model, tokenizer, info = load(name, request.device, request.dtype)
        check_kind(chosen, model)
        kind = kind_of(model)
        arguments = check_options(chosen, options, model)
        if kind != "convnet":
            check_model(all_views(model), arguments.get("pattern"))
        length = _length(model, request.length) if kind == "decoder" else None
        machine = environment(model.device)  # now: the checkout may change during a long run
    source = request.calibration or source_of(name, kind)
    few, many = SAMPLES["text" if kind == "decoder" else "labels"]
    with stage("Reading the data"):
        evaluation = read_data(source, kind, tokenizer, many, length, request.seed, "evaluation")
        calibration = (
            read_data(
                source,
                kind,
                tokenizer,
                request.samples or few,
                length,
                request.seed,
                "calibration",
            )
            if chosen.needs != "nothing"
            else None
        )
    with stage("Measuring before") as advance:
        metric, before = measure(model, evaluation, advance)
    with stage(f"Pruning with {request.method}") as advance:
        report = prune(
            model,
            request.method,
            calibration=calibration,
            seed=request.seed,
            progress=advance,
            **options,
        )
    with stage("Measuring after") as advance:
        _, after = measure(model, evaluation, advance)
    record = {
        "schema": 1,
        "method": request.method,
        "options": report.options,
        "protocol": protocol(info, calibration, evaluation, request.seed),
        "environment": machine,
        "budget": {
            "unit": report.unit,
            "asked": report.asked,
            "achieved": report.achieved,
            "removed": report.removed,
            "total": report.total,
        },
        "parameters": {"before": report.parameters[0], "after": report.parameters[1]},
        "quality": {f"{metric}_before": before, f"{metric}_after": after},
        "cost": {
            "seconds": round(report.seconds, 3),
            "peak_memory_bytes": report.peak_memory_bytes,
        },
        "details": report.details,
        "loads_with": "prunedex"
        if getattr(model.config, "prunedex", None) or attached(model)
        else "transformers",
        "auto": AUTO[kind].__name__,
    }
    if request.save:
        with stage(f"Saving to {request.save}"):
            save(model, tokenizer, request.save, record, request.overwrite)
    return record, report


def evaluate(
    name: str,
    source: str | None,
    samples: int | None,
    length: int | None,
    seed: int,
    device: str,
    dtype: str,
    stage: Stage,
) -> dict[str, Any]:
    """Perplexity or accuracy of a model as it is, with its protocol and its share of zero weights."""
    with stage("Loading the model"):
        model, tokenizer, info = load(name, device, dtype)
        kind = kind_of(model)
        length = _length(model, length) if kind == "decoder" else None
    with stage("Reading the data"):
        many = samples or SAMPLES["text" if kind == "decoder" else "labels"][1]
        data = read_data(
            source or source_of(name, kind), kind, tokenizer, many, length, seed, "evaluation"
        )
    with stage("Measuring") as advance:
        metric, value = measure(model, data, advance)
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in linear)
    total = sum(weight.numel() for weight in linear)
    return {
        "schema": 1,
        "protocol": protocol(info, None, data, seed),
        "environment": environment(model.device),
        "quality": {metric: value},
        "linear_weights": {"zero": zeros, "total": total},
    }


def protocol(
    info: ModelInfo, calibration: Windows | None, evaluation: Windows, seed: int
) -> dict[str, Any]:
    """Everything that a number depends on besides the method and the machine.

    `name` is one of `STANDARDS` exactly if the run followed that protocol.
    """

    def shape(data: Windows) -> tuple[int, int | None]:
        if isinstance(data, LabelledData):
            return len(data), None
        samples, length = data.tokens.shape
        return samples, length

    def described(data: Windows) -> dict[str, Any]:
        samples, length = shape(data)
        return {
            "source": data.source,
            "revision": data.revision,
            "samples": samples,
            "length": length,
            "sha256": data.sha256,
        }

    name = None
    for candidate, standard in STANDARDS.items():
        wanted = (standard.samples, standard.length)
        measured = (standard.evaluation_samples, standard.length)
        if (
            (info.name, info.dtype, seed) == (standard.model, "float32", 0)
            and (calibration is None or shape(calibration) == wanted)
            and (calibration is None or calibration.source == standard.source)
            and (evaluation.source, *shape(evaluation)) == (standard.source, *measured)
        ):
            name = candidate
    return {
        "name": name,
        "model": {
            "name": info.name,
            "revision": info.revision,
            "parameters": info.parameters,
            "dtype": info.dtype,
        },
        "calibration": described(calibration) if calibration else None,
        "evaluation": described(evaluation),
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
