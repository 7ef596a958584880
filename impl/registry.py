"""Find a method by name, run it on a model, and report what it did."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import nn

import impl.methods
from impl.calibration import Calibration
from impl.errors import BadInput, PrunedexError, Unsupported
from impl.masks import NM
from impl.memory import PeakMemory
from impl.model import View, all_views
from impl.session import Progress, Session, session

Function = TypeVar("Function", bound=Callable[..., None])
COMMON = ("model", "calibration", "sparsity", "pattern")
"""Parameters that `prune` fills in itself; all others are a method's own."""


@dataclass(frozen=True)
class Method:
    """A registered method: what its budget counts, what it needs, and the function."""

    name: str
    budget: Literal["weights"]
    needs: Literal["nothing", "calibration"]
    run: Callable[..., None]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The method's own hyperparameters, by name."""
        parameters = inspect.signature(self.run, eval_str=True).parameters
        return {name: p for name, p in parameters.items() if name not in COMMON}


_REGISTRY: dict[str, Method] = {}


def method(
    name: str, *, budget: Literal["weights"], needs: Literal["nothing", "calibration"]
) -> Callable[[Function], Function]:
    """Register a function as the method `name`; the file must be impl/methods/<name>.py."""

    def register(function: Function) -> Function:
        _REGISTRY[name] = Method(name, budget, needs, function)
        return function

    return register


def method_names() -> list[str]:
    """The names of all methods, from the files in impl/methods/."""
    found = (
        module.name.replace("_", "-") for module in pkgutil.iter_modules(impl.methods.__path__)
    )
    return sorted(found)


def find(name: str) -> Method:
    """The method called `name`. Raises `BadInput`, with the closest names, if there is none."""
    if name not in _REGISTRY and name in method_names():
        importlib.import_module(f"impl.methods.{name.replace('-', '_')}")
    if name not in _REGISTRY:
        near = difflib.get_close_matches(name, method_names(), n=2, cutoff=0.4)
        raise BadInput(
            f"there is no method '{name}'" + (f"; closest: {', '.join(near)}" if near else ""),
            f"Methods: {', '.join(method_names())}.",
        )
    return _REGISTRY[name]


@dataclass(frozen=True)
class Layer:
    """What happened to one weight matrix."""

    name: str
    removed: int
    total: int

    @property
    def sparsity(self) -> float:
        return self.removed / self.total


@dataclass(frozen=True)
class Report:
    """What a run did: the budget asked and achieved, where, and at what cost.

    `seconds` and `peak_memory_bytes` are of the pruning alone. Memory is the
    process's resident memory on a CPU and allocated device memory on CUDA.
    """

    method: str
    options: dict[str, Any]
    asked: float
    removed: int
    total: int
    seconds: float
    peak_memory_bytes: int
    memory_before_bytes: int
    read: dict[str, int]
    layers: list[Layer] = field(repr=False)

    @property
    def achieved(self) -> float:
        return self.removed / self.total

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "achieved": self.achieved}


def prune(
    model: nn.Module,
    method: str,
    *,
    calibration: Calibration | None = None,
    sparsity: float | None = None,
    pattern: str | NM | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Prune `model` in place with a method of the catalog.

    `sparsity` is the share of weights removed from every linear map of
    attention and MLP (0 ≤ sparsity < 1, 0.5 if nothing is said), `pattern` an
    N:M pattern such as "2:4", which implies its sparsity. `device` is where
    one block at a time is worked on while the model stays where it is.
    `options` are the method's own hyperparameters.

    Raises `BadInput` (a ValueError) for a wrong budget, pattern, option or
    calibration and `Unsupported` for a model that is not described; the model
    is then untouched. The caller's random state, training flags, dtype,
    device, tying and `requires_grad` stay as they were.
    """
    chosen = find(method)
    nm = NM.parse(pattern)
    asked = budget(sparsity, nm)
    check_options(chosen, options)
    targets = all_views(model)
    check_model(targets, nm)
    arguments: dict[str, Any] = {"sparsity": asked, "pattern": nm, **options}
    if chosen.needs == "calibration":
        arguments["calibration"] = _check_calibration(model, chosen, calibration)
    if batch_size < 1:
        raise BadInput(f"batch size {batch_size} is below 1")
    settings = Session(torch.device(device) if device else None, batch_size, progress)
    started = time.perf_counter()
    memory = PeakMemory(next(model.parameters()).device, settings.device)
    with memory, torch.no_grad(), session(model, settings, seed):
        chosen.run(model, **arguments)
    seconds = time.perf_counter() - started
    layers = [Layer(view.name, int((view.W == 0).sum()), view.numel) for view in targets]
    report = Report(
        method,
        {"sparsity": asked, "pattern": str(nm) if nm else None, **options},
        asked,
        sum(layer.removed for layer in layers),
        sum(layer.total for layer in layers),
        seconds,
        memory.peak,
        memory.before,
        dict(settings.read),
        layers,
    )
    if report.removed < round(asked * report.total) - len(layers):
        raise PrunedexError(
            f"{method} removed {report.removed:,} of {report.total:,} weights, "
            f"short of the sparsity of {asked:g} that was asked",
            "This is a defect of the method, not of your input.",
        )
    return report


def budget(sparsity: float | None, pattern: NM | None) -> float:
    """The share of weights to remove. Raises `BadInput` if it is none, or contradicts `pattern`."""
    if sparsity is None:
        return pattern.sparsity if pattern else 0.5
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)):
        raise BadInput(f"sparsity {sparsity!r} is not a number")
    if not 0 <= sparsity < 1:
        raise BadInput(
            f"sparsity {sparsity:g} is not in the range 0 ≤ sparsity < 1",
            "It is the share of weights to remove: 0.5 removes half of them.",
        )
    if pattern and abs(sparsity - pattern.sparsity) > 1e-9:
        raise BadInput(
            f"pattern {pattern} removes {pattern.sparsity:.4g} of the weights, "
            f"not the sparsity of {sparsity:g} that was asked",
            "Leave the sparsity out, or choose another pattern.",
        )
    return float(sparsity)


def check_options(chosen: Method, options: dict[str, Any]) -> None:
    """Raises `BadInput`, with the closest name, for an option that the method does not have."""
    for name in options:
        if name not in chosen.options:
            near = difflib.get_close_matches(name, chosen.options, n=1)
            raise BadInput(
                f"{chosen.name} has no option '{name}'" + (f"; closest: {near[0]}" if near else ""),
                f"Its options: {', '.join(chosen.options) or 'none'}.",
            )


def check_model(targets: list[View], pattern: NM | None) -> None:
    """Raises `Unsupported` for weights that cannot be pruned, `BadInput` if the pattern does not fit."""
    for view in targets:
        if view.stored.is_meta:
            raise Unsupported(
                f"{view.name} has no values in memory (it is on the meta device)",
                "Load the whole model, without offloading to disk.",
            )
        if not view.stored.is_floating_point():
            raise Unsupported(
                f"{view.name} is stored as {view.stored.dtype}: quantised weights are not pruned",
                "Load the model in float32, bfloat16 or float16.",
            )
        if pattern and view.shape[1] % pattern.m:
            raise BadInput(
                f"pattern {pattern} does not fit {view.name}: "
                f"{pattern.m} does not divide its {view.shape[1]} inputs"
            )


def _check_calibration(
    model: nn.Module, chosen: Method, calibration: Calibration | None
) -> Calibration:
    if calibration is None:
        raise BadInput(
            f"{chosen.name} needs calibration text",
            "Give prune() a Calibration, for example load_calibration('lee', tokenizer).",
        )
    tokens = calibration.tokens
    if tokens.ndim != 2 or not tokens.numel():
        raise BadInput(
            f"calibration tokens have the shape {tuple(tokens.shape)}, not (samples, length)"
        )
    config: Any = model.config
    if tokens.min() < 0 or tokens.max() >= config.vocab_size:
        raise BadInput(
            f"calibration has the token {int(tokens.max())}, "
            f"the model's vocabulary ends at {config.vocab_size - 1}",
            "Calibrate with the tokenizer of this model.",
        )
    context = getattr(config, "max_position_embeddings", None)
    if context and tokens.shape[1] > context:
        raise BadInput(
            f"calibration windows have {tokens.shape[1]} tokens, the model's context {context}"
        )
    return calibration
