"""A whole run: load, measure, prune, measure again, save; and the record of it.

The record carries its protocol, so that two numbers can be seen to be
comparable, or not.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from impl.calibration import Calibration, check_length, load_calibration
from impl.dense import compare, sizes, sketch, speeds
from impl.evaluate import metric_of, scores, summary
from impl.families import Kind
from impl.labelled import load_labelled
from impl.model import all_views, kind_of
from impl.registry import Method, Report, check_kind, check_model, check_options, find, prune
from impl.runtime import attached
from impl.sources import ModelInfo, load
from impl.standards import standards
from impl.store import AUTO, check_target, save
from impl.tasks import LabelledData

Stage = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]
"""Opens a named stage of work; the context gives a function (done, total, what)."""

STANDARD = "smollm2-lee-1"
LENGTH = 512
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
    evaluation: str | None = None
    """Where to evaluate, if not on the other part of what calibrates"""
    samples: int | None = None
    evaluation_samples: int | None = None
    length: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    options: dict[str, Any] | None = None
    save: Path | None = None
    overwrite: bool = False
    dense: bool = False
    """Compare with the dense model in the same process, see `impl.dense`; takes memory for both"""
    after: Callable[[Any, Any, Any], dict[str, Any]] | None = None
    """Called with (dense, pruned, tokenizer) in such a run; what it returns goes into the record"""
    timed: bool = True
    """Record times; they mean nothing where the machine does other work meanwhile"""


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
    phases = Phases(stage)
    with phases("load", "Loading the model"):
        model, tokenizer, info = load(name, request.device, request.dtype)
        check_kind(chosen, model)
        kind = kind_of(model)
        arguments = check_options(chosen, options, model)
        if kind != "convnet":
            check_model(all_views(model), arguments.get("pattern"))
        length = window_length(model, request.length) if kind == "decoder" else None
        machine = environment(model.device)  # now: the checkout may change during a long run
    source = request.calibration or source_of(name, kind)
    few, many = SAMPLES["text" if kind == "decoder" else "labels"]
    reading = (kind, tokenizer)
    with phases("data", "Reading the data"):
        many = request.evaluation_samples or many
        measured_on = request.evaluation or source
        evaluation = read_data(measured_on, *reading, many, length, request.seed, "evaluation")
        calibration = (
            read_data(source, *reading, request.samples or few, length, request.seed, "calibration")
            if chosen.needs != "nothing"
            else None
        )
    metric = metric_of(evaluation)
    found: dict[str, list[float]] = {}
    size = {}
    if request.dense:
        size["before"] = sizes(model, evaluation)
    else:
        with phases("dense", "Measuring before") as advance:
            found["dense"] = scores(model, evaluation, _samples(advance))
    with phases("prune", f"Pruning with {request.method}") as advance:
        report = prune(
            model,
            request.method,
            calibration=calibration,
            seed=request.seed,
            progress=advance,
            **options,
        )
    extra: dict[str, Any] = {}
    if request.dense:
        with phases("compare", "Comparing with the dense model") as advance:
            dense, _, _ = load(name, request.device, request.dtype)
            found, extra["distance"] = compare(dense, model, evaluation, advance)
        if request.timed:
            with phases("time", "Timing both") as advance:
                extra["speed"] = speeds(dense, model, evaluation, advance)
        if request.after:
            with phases("tasks", "Running the tasks"):
                extra |= request.after(dense, model, tokenizer)
        size["after"] = sizes(model, evaluation)
        extra["size"] = {what: {when: size[when][what] for when in size} for what in size["before"]}
        if report.layers:
            extra["layers"] = {layer.name: round(layer.sparsity, 6) for layer in report.layers}
            extra["sketch"] = sketch(model)
    else:
        with phases("evaluate", "Measuring after") as advance:
            found["pruned"] = scores(model, evaluation, _samples(advance))
    cost: dict[str, Any] = {
        "peak_memory_bytes": report.peak_memory_bytes,
        "memory_before_bytes": report.memory_before_bytes,
    }
    if request.timed:
        cost = {"seconds": round(report.seconds, 3), "phases": phases.seconds, **cost}
    plain = not getattr(model.config, "prunedex", None) and not attached(model)
    record = record_of(
        report,
        protocol(info, calibration, evaluation, request.seed),
        machine,
        metric,
        found,
        {**extra, "cost": cost},
        kind,
        loads_with="transformers" if plain else "prunedex",
    )
    if request.save:
        with stage(f"Saving to {request.save}"):
            save(model, tokenizer, request.save, record, request.overwrite)
    return record, report


def record_of(
    report: Report,
    followed: dict[str, Any],
    machine: dict[str, Any],
    metric: str,
    found: Mapping[str, Sequence[float]],
    measured: Mapping[str, Any],
    kind: Kind,
    loads_with: str,
) -> dict[str, Any]:
    """What is kept of a run: its report, protocol, machine, scores of both models, and costs.

    `found` are the scores by `dense` and `pruned`; `measured` is what else this
    run has found out, its cost among it. Whatever is not finite becomes null.
    """
    before, after = (summary(found[which], metric) for which in ("dense", "pruned"))
    return {
        "schema": 2,
        "method": report.method,
        "options": report.options,
        "protocol": followed,
        "environment": machine,
        "budget": {
            "unit": report.unit,
            "asked": report.asked,
            "achieved": report.achieved,
            "removed": report.removed,
            "total": report.total,
        },
        "parameters": {"before": report.parameters[0], "after": report.parameters[1]},
        "quality": {f"{metric}_before": _finite(before), f"{metric}_after": _finite(after)},
        "scores": {name: [_finite(x) for x in values] for name, values in found.items()},
        **measured,
        "details": report.details,
        "loads_with": loads_with,
        "auto": AUTO[kind].__name__,
    }


class Phases:
    """Opens the stages of a run and keeps, by name, how many seconds each took."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str, title: str) -> Iterator[Callable[[int, int, str], None]]:
        started = time.perf_counter()
        with self._stage(title) as advance:
            yield advance
        self.seconds[name] = round(time.perf_counter() - started, 3)


def _samples(advance: Callable[[int, int, str], None]) -> Callable[[int, int], None]:
    return lambda done, total: advance(done, total, f"sample {done}")


def _finite(value: float) -> float | None:
    """JSON has no infinity; what is not finite is null."""
    return value if math.isfinite(value) else None


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
        length = window_length(model, length) if kind == "decoder" else None
    with stage("Reading the data"):
        many = samples or SAMPLES["text" if kind == "decoder" else "labels"][1]
        data = read_data(
            source or source_of(name, kind), kind, tokenizer, many, length, seed, "evaluation"
        )
    with stage("Measuring") as advance:
        metric = metric_of(data)
        value = summary(scores(model, data, _samples(advance)), metric)
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

    `name` is one of `impl.standards` exactly if the run followed that protocol.
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

    found: dict[str, Any] = {
        "model": {
            "name": info.name.partition("@")[0],
            "revision": info.revision,
            "parameters": info.parameters,
            "dtype": info.dtype,
        },
        "calibration": described(calibration) if calibration else None,
        "evaluation": described(evaluation),
        "seed": seed,
    }
    followed = (name for name, standard in standards().items() if not standard.differs(found))
    return {"name": next(followed, None), **found}


def window_length(model: PreTrainedModel, length: int | None) -> int:
    """The window length to use, checked against the model's context."""
    context: int | None = getattr(model.config, "max_position_embeddings", None)
    chosen = length or (min(LENGTH, context) if context else LENGTH)
    check_length(model.config, chosen)
    return chosen


def environment(device: torch.device) -> dict[str, str | int | None]:
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
        "threads": torch.get_num_threads(),
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
