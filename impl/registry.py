"""Find a method by name, run it on a model, and report what it did."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

import impl.methods
from impl import units
from impl.calibration import Calibration
from impl.errors import BadInput, PrunedexError, Unsupported
from impl.families import Kind, family_of
from impl.losses import Data
from impl.masks import NM
from impl.memory import PeakMemory
from impl.model import View, all_views, blocks, kind_of
from impl.session import Progress, Session, session
from impl.surgery import settle
from impl.tasks import LabelledData
from impl.units import UNITS, Unit

if TYPE_CHECKING:
    from impl.offload import Offload

Function = TypeVar("Function", bound=Callable[..., "Amount | None"])
GIVEN = ("model", "calibration")
"""Parameters that `prune` fills in itself; all others are the budget and a method's own."""

Part = Literal["embeddings", "norms", "biases", "head", "router", "weights"]


@dataclass(frozen=True)
class Amount:
    """What a method took away where the core cannot count it: `removed` of `total`."""

    removed: int
    total: int


@dataclass(frozen=True)
class Method:
    """A registered method: what its budget counts, what it needs, and the function.

    `needs` is what it is given: nothing, text, or labelled samples. `on` is the
    kind of model it prunes. `touches` are the parts besides the prunable
    weights that it may change. `quick` are options for a run within a second,
    for methods that train or search.
    """

    name: str
    unit: Unit
    needs: Literal["nothing", "calibration", "labels"]
    run: Callable[..., Amount | None]
    on: tuple[Kind, ...] = ("decoder",)
    touches: tuple[Part, ...] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The budget and the method's own hyperparameters, by name."""
        parameters = inspect.signature(self.run, eval_str=True).parameters
        return {name: p for name, p in parameters.items() if name not in GIVEN}

    @property
    def budgets(self) -> list[str]:
        """The arguments of the budget that this method takes."""
        return [name for name in self.unit.arguments if name in self.options]

    @property
    def patterned(self) -> bool:
        """Whether it can leave an N:M pattern."""
        return "pattern" in self.options

    @property
    def nothing(self) -> dict[str, float]:
        """The budget that changes nothing."""
        return dict.fromkeys(self.budgets, self.unit.nothing)


_REGISTRY: dict[str, Method] = {}


RUNS_OWN = frozenset(
    [
        "method",
        "samples",
        "length",
        "seed",
        "batch_size",
        "device",
        "dtype",
        "save",
        "overwrite",
        "offload",
        "json",
    ]
)
"""What no method may call a hyperparameter: `prunedex run` and `prune` mean something else by it."""


def method(
    name: str,
    *,
    budget: units.Name,
    needs: Literal["nothing", "calibration", "labels"],
    on: tuple[Kind, ...] = ("decoder",),
    touches: tuple[Part, ...] = (),
    quick: Mapping[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Register a function as the method `name`; the file must be impl/methods/<name>.py.

    Raises `BadInput` if it has a parameter that is called like something that every run has.
    """

    def register(function: Function) -> Function:
        if taken := RUNS_OWN & set(inspect.signature(function).parameters):
            raise BadInput(
                f"{name}: {', '.join(sorted(taken))} is an option of every run",
                "Give the method's parameter another name.",
            )
        unit = UNITS[budget]
        _REGISTRY[name] = Method(name, unit, needs, function, on, touches, quick or {})
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

    `asked` and `achieved` are in the terms of the unit (see `impl.units`),
    `removed` and `total` are counts of it. `seconds` and `peak_memory_bytes`
    are of the pruning alone. Memory is the process's resident memory on a CPU
    and allocated device memory on CUDA. `layers` is empty where no weights are
    zeroed; `details` is what the method itself wants to say.
    """

    method: str
    options: dict[str, Any]
    unit: str
    asked: float
    achieved: float
    removed: int
    total: int
    parameters: tuple[int, int]
    """Of the whole model, before and after"""
    seconds: float
    peak_memory_bytes: int
    memory_before_bytes: int
    read: dict[str, int]
    details: dict[str, Any]
    layers: list[Layer] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def prune(
    model: PreTrainedModel,
    method: str,
    *,
    calibration: Data | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int = 1,
    progress: Progress | None = None,
    offload: Offload | None = None,
    **options: Any,
) -> Report:
    """Prune `model` in place with a method of the catalog.

    `options` are the budget, under the name that the method's unit gives it
    (`sparsity`, `ratio`, `drop`, … see `impl.units`), and the method's own
    hyperparameters. Of a budget not given, the method's default is taken.
    `pattern` is an N:M pattern such as "2:4", which implies its sparsity.
    `calibration` is text, or labelled samples for methods that need labels.
    `device` is where one block at a time is worked on while the model stays
    where it is. `offload` is what `impl.offload` gives for a model on disk.

    Raises `BadInput` (a ValueError) for a wrong budget, pattern, option or
    calibration and `Unsupported` for a model that the method cannot prune; the
    model is then untouched. The caller's random state, training flags, dtype,
    device, tying and `requires_grad` stay as they were.
    """
    chosen = find(method)
    check_kind(chosen, model)
    arguments = check_options(chosen, options, model)
    nm = arguments.get("pattern")
    targets = all_views(model) if kind_of(model) != "convnet" else []
    check_model(targets, nm, on_disk=offload is not None)
    given = dict(arguments)
    if chosen.needs != "nothing":
        given["calibration"] = _check_data(model, chosen, calibration)
    if batch_size < 1:
        raise BadInput(f"batch size {batch_size} is below 1")
    unit = chosen.unit
    settings = Session(
        torch.device(device) if device else None, batch_size, progress, offload=offload
    )
    before = unit.count(model) if unit.count else 0
    parameters = _parameters(model)
    started = time.perf_counter()
    memory = PeakMemory(next(model.parameters()).device, settings.device)
    with memory, torch.no_grad(), session(model, settings, seed):
        amount = chosen.run(model, **given)
        if offload is not None:
            offload.finish_blocks()
    seconds = time.perf_counter() - started
    layers: list[Layer] = []
    if amount is not None:
        removed, total = amount.removed, amount.total
    elif unit.name == "weights":
        layers = offload.layers() if offload is not None else layers_of(targets)
        removed, total = sum(layer.removed for layer in layers), before
    else:
        assert unit.count is not None, f"{method} does not say what it removed"
        removed, total = before - unit.count(model), before
        if arguments != {**arguments, **chosen.nothing}:
            settle(model)
    asked = _asked(chosen, arguments, removed, total)
    report = Report(
        method,
        {**arguments, **({"pattern": str(nm) if nm else None} if chosen.patterned else {})},
        unit.name,
        asked,
        unit.achieved(removed, total) / (len(blocks(model)) if unit.name == "experts" else 1),
        removed,
        total,
        (parameters, _parameters(model)),
        seconds,
        memory.peak,
        memory.before,
        dict(settings.read),
        settings.details,
        layers,
    )
    if unit.name == "weights" and report.removed < round(asked * report.total) - len(layers):
        raise PrunedexError(
            f"{method} removed {report.removed:,} of {report.total:,} weights, "
            f"short of the sparsity of {asked:g} that was asked",
            "This is a defect of the method, not of your input.",
        )
    return report


def layers_of(targets: list[View]) -> list[Layer]:
    """How many weights of each view are zero."""
    return [Layer(view.name, int((view.W == 0).sum()), view.numel) for view in targets]


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _asked(chosen: Method, arguments: dict[str, Any], removed: int, total: int) -> float:
    """The budget as one number; of a shape, the share of parameters that it comes to."""
    if chosen.unit.name == "shape":
        return chosen.unit.achieved(removed, total)
    value = arguments[chosen.budgets[0]]
    return float(value) if chosen.unit.kind == "share" else int(value)


def check_kind(chosen: Method, model: nn.Module) -> None:
    """Raises `Unsupported` for a model of a kind that the method does not prune."""
    kind = kind_of(model)
    if kind not in chosen.on:
        wanted = " or ".join(KINDS[name] for name in chosen.on)
        raise Unsupported(
            f"{chosen.name} prunes {wanted}, and {family_of(model).name} is {KINDS[kind]}",
            "Choose another model or another method.",
        )


KINDS: dict[Kind, str] = {
    "decoder": "a language model",
    "encoder": "an encoder that classifies text",
    "convnet": "a convolutional network",
}


def budget(sparsity: float | None, pattern: NM | None) -> float:
    """The share of weights to remove. Raises `BadInput` if it is none, or contradicts `pattern`."""
    if sparsity is None:
        return pattern.sparsity if pattern else 0.5
    value = UNITS["weights"].check("sparsity", sparsity)
    if pattern and abs(value - pattern.sparsity) > 1e-9:
        raise BadInput(
            f"pattern {pattern} removes {pattern.sparsity:.4g} of the weights, "
            f"not the sparsity of {value:g} that was asked",
            "Leave the sparsity out, or choose another pattern.",
        )
    return value


def check_options(
    chosen: Method, options: Mapping[str, Any], model: nn.Module | None = None
) -> dict[str, Any]:
    """All arguments of a run, the budget and the defaults filled in.

    Without a model, what depends on it is left out. Raises `BadInput`, with
    the closest name, for an option that the method does not have, and for a
    budget that is none.
    """
    for name in options:
        if name not in chosen.options:
            near = difflib.get_close_matches(name, chosen.options, n=1)
            raise BadInput(
                f"{chosen.name} has no option '{name}'" + (f"; closest: {near[0]}" if near else ""),
                f"Its options: {', '.join(chosen.options) or 'none'}.",
            )
    found = {name: p.default for name, p in chosen.options.items()} | dict(options)
    if chosen.patterned:
        found["pattern"] = NM.parse(found["pattern"])
    for name in chosen.budgets:
        value = options.get(name)
        if value is None and chosen.unit.name == "weights":
            pattern = found.get("pattern")
            found[name] = pattern.sparsity if pattern else chosen.options[name].default
            continue
        if value is None:
            value = chosen.options[name].default
        if value is None and model is not None:
            value = chosen.unit.default(model)
        if value is None:
            del found[name]
        else:
            found[name] = chosen.unit.check(name, value, model)
    if chosen.unit.name == "weights":
        found["sparsity"] = budget(found["sparsity"], found.get("pattern"))
    return found


def check_model(targets: list[View], pattern: NM | None, on_disk: bool = False) -> None:
    """Raises `Unsupported` for weights that cannot be pruned, `BadInput` if the pattern does not fit."""
    for view in targets:
        if view.stored.is_meta and not on_disk:
            raise Unsupported(
                f"{view.name} has no values in memory (it is on the meta device)",
                "Load the whole model, or prune its folder: prunedex run … --offload.",
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


def _check_data(model: nn.Module, chosen: Method, data: Data | None) -> Data:
    if chosen.needs == "labels":
        if not isinstance(data, LabelledData):
            raise BadInput(
                f"{chosen.name} needs labelled samples",
                "Give prune() LabelledData, for example load_task('agreement', 256).",
            )
        if not len(data):
            raise BadInput("there are no labelled samples")
        labels: int = model.config.num_labels  # type: ignore[union-attr, assignment]
        if data.labels.min() < 0 or data.labels.max() >= labels:
            raise BadInput(
                f"a sample has the label {int(data.labels.max())}, the model has {labels} labels"
            )
        return data
    if not isinstance(data, Calibration):
        raise BadInput(
            f"{chosen.name} needs calibration text",
            "Give prune() a Calibration, for example load_calibration('lee', tokenizer).",
        )
    tokens = data.tokens
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
    return data
