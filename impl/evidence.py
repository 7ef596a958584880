"""One run of a method on a small model, watched from outside: the ground that tags are judged on."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from impl import surgery
from impl.calibration import Calibration
from impl.losses import Data
from impl.masks import NM
from impl.model import View, all_views, blocks, kind_of
from impl.registry import Method, Report, find, prune
from impl.tasks import LabelledData
from impl.toys import toy, toy_labelled, toy_tokens, toys_of

FAMILIES = (
    "llama",
    "llama-multi-query",
    "llama-tied",
    "qwen3",
    "gemma2",
    "opt",
    "gpt2",
    "gpt_neox",
    "mixtral",
    "qwen3_moe",
)
"""The decoders of the contract: grouped and multi-query attention, tied embeddings, alternating
attention, learned positions, fused projections, transposed storage, parallel residuals, experts
with and without scaled routing."""


def toy_calibration(samples: int = 4, length: int = 16, seed: int = 1) -> Calibration:
    """Random tokens of the toys' vocabulary as a calibration set."""
    return Calibration(toy_tokens(samples, length, seed), "toy", "random", seed)


def toys_for(name: str) -> list[str]:
    """The toys that a method is held to: those of the kinds of model that it prunes."""
    found: list[str] = []
    for kind in find(name).on:
        found += FAMILIES if kind == "decoder" else toys_of(kind)
    return found


def unsupported(name: str) -> dict[str, str]:
    """Families that a method declares it cannot prune, with the reason, from its docstring.

    An item of the section "Unsupported" names families, separated by commas,
    and says why: `- gemma2, mixtral: …`.
    """
    docstring = sys.modules[find(name).run.__module__].__doc__ or ""
    section = re.search(r"^Unsupported\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", docstring, re.M | re.S)
    found: dict[str, str] = {}
    for item in re.findall(r"^- (.*?): (.*)$", section[1] if section else "", re.M):
        for family in item[0].split(","):
            found[family.strip()] = item[1]
    return found


def declared(name: str, family: str) -> str | None:
    """Why a method does not prune the toy `family`, if it says so: by toy or by model type."""
    kinds = unsupported(name)
    return kinds.get(family) or kinds.get(family.partition("-")[0])


def data_for(name: str, family: str, seed: int = 1) -> Data | None:
    """What the method needs, for the toy `family`."""
    needs = find(name).needs
    if needs == "labels":
        return toy_labelled(family, seed=seed)
    return toy_calibration(seed=seed) if needs == "calibration" else None


def budgets(method: Method) -> list[dict[str, Any]]:
    """The budgets that a method is tried with."""
    unit = method.unit
    if unit.name == "shape":
        chosen: list[dict[str, Any]] = [
            {name: value}
            for name, value in (
                ("neurons", 0.5),
                ("hidden", 0.75),
                ("heads", 0.5),
                ("layers", 0.67),
            )
            if name in method.budgets
        ]
        whole = dict.fromkeys(method.budgets, 1.0)
        return [{**whole, **one} for one in chosen] + [
            {**whole, **{k: v for one in chosen for k, v in one.items()}}
        ]
    values: dict[str, list[Any]] = {
        "weights": [0.5, 0.37],
        "blocks": [1, 2],
        "experts": [1, 2],
        "rank": [0.5, 0.25],
        "cache": [0.5],
    }
    found = [{method.budgets[0]: value} for value in values.get(unit.name, [0.25, 0.5])]
    if method.patterned:
        found += [{"pattern": "2:4"}, {"pattern": "4:8"}]
    return found


@dataclass
class Evidence:
    """One run: the model before and after, and all that the method looked at and did."""

    method: str
    family: str
    options: dict[str, Any]
    dense: PreTrainedModel
    """A copy of the model before"""
    model: PreTrainedModel
    """The same model after"""
    data: Data | None
    report: Report = field(init=False)
    expected: dict[str, Tensor | None] = field(default_factory=dict)
    """By name in the result: the dense weights less what was cut; None for a new parameter"""
    seen: list[Tensor] = field(default_factory=list)
    """Tokens (or images) that the model was run on"""
    labels: int = 0
    gradients: int = 0
    steps: int = 0
    """Optimiser steps on the model's own weights"""
    trained: set[str] = field(default_factory=set)
    """Names of the model's own weights that optimisers stepped on"""
    own_steps: int = 0
    """Optimiser steps on anything else: adapters, masks, predictors"""
    adapted: bool = False
    """Whether adapters inside the model were trained, to be merged into its weights"""
    claims: dict[str, list[str]] = field(default_factory=dict)

    @property
    def pattern(self) -> NM | None:
        return NM.parse(self.options.get("pattern"))

    @property
    def sparsity(self) -> float:
        """The share of weights asked for."""
        return self.report.asked

    @property
    def views(self) -> list[View]:
        return all_views(self.model)

    @property
    def before(self) -> list[Tensor]:
        """The weights of every view before; only where shapes stay."""
        return [view.W for view in all_views(self.dense)]

    @property
    def after(self) -> list[Tensor]:
        return [view.W for view in self.views]

    @property
    def read(self) -> dict[str, int]:
        return self.report.read

    @property
    def shapes_changed(self) -> list[str]:
        old, new = self.dense.state_dict(), self.model.state_dict()
        return [k for k in old if k not in new or new[k].shape != old[k].shape]

    @property
    def survivors_changed(self) -> list[tuple[str, int, int]]:
        """Parameter, how many of its surviving values changed, how many survive."""
        found = []
        for name, parameter in self.model.named_parameters():
            old = self.expected[name]
            if old is None or old.shape != parameter.shape:
                found.append((name, parameter.numel(), parameter.numel()))
                continue
            alive = parameter != 0
            changed = int((old[alive] != parameter[alive]).sum())
            if changed:
                found.append((name, changed, int(alive.sum())))
        return found

    def rerun(self, **options: Any) -> PreTrainedModel:
        """The result of the same run once more, with other options or under the caller's patches."""
        model = toy(self.family)
        _run(model, self.method, {**self.options, **options}, self.data)
        return model


def observe_all(name: str, families: tuple[str, ...] | None = None) -> list[Evidence]:
    """A method's runs on all families it supports, with every budget of `budgets`."""
    chosen = find(name)
    tried = [f for f in (families or toys_for(name)) if declared(name, f) is None]
    return [observe(name, family, options) for family in tried for options in budgets(chosen)]


def observe(name: str, family: str, options: dict[str, Any]) -> Evidence:
    """Run a method on a toy and watch it: inputs, gradients, optimiser steps, changes."""
    model = toy(family)
    evidence = Evidence(name, family, options, copy.deepcopy(model), model, data_for(name, family))
    keep = list(model.modules())  # so that no id is used twice
    snapshot = {
        (id(module), own): parameter.detach().clone()
        for module in keep
        for own, parameter in module.named_parameters(recurse=False)
    }
    original = surgery.cut

    def recorded(module: nn.Module, own: str, index: Tensor, dimension: int) -> None:
        key = (id(module), own)
        if key in snapshot:
            snapshot[key] = snapshot[key].index_select(dimension, index)
        original(module, own, index, dimension)

    with _watched(model, evidence), mock.patch.object(surgery, "cut", recorded):
        evidence.report = _run(model, name, options, evidence.data)
    for path, module in model.named_modules():
        for own, _ in module.named_parameters(recurse=False):
            full = f"{path}.{own}" if path else own
            evidence.expected[full] = snapshot.get((id(module), own))
    return evidence


def _run(model: PreTrainedModel, name: str, options: dict[str, Any], data: Data | None) -> Report:
    settings = {**find(name).quick, **options}
    return prune(model, name, calibration=data, **settings)


@contextmanager
def _watched(model: PreTrainedModel, evidence: Evidence) -> Iterator[None]:
    own = {id(parameter): name for name, parameter in model.named_parameters()}

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for name in ("input_ids", "pixel_values"):
            given = kwargs.get(name, args[0] if args else None)
            if isinstance(given, Tensor):
                evidence.seen.append(given.detach().cpu())
                break
        evidence.labels += kwargs.get("labels") is not None

    def step(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        # Cutting replaces parameters: what is in the model now counts as its own, too.
        now = {id(p): name for name, p in model.named_parameters() if "lora_" not in name}
        stepped = [id(p) for group in optimiser.param_groups for p in group["params"]]
        names = [now.get(key) or own.get(key) for key in stepped]
        if any(names):
            evidence.steps += 1
            evidence.trained |= {name for name in names if name}
        if not all(names):
            evidence.own_steps += 1
        adapters = {id(p) for name, p in model.named_parameters() if "lora_" in name}
        evidence.adapted |= any(key in adapters for key in stepped)

    frame = model.get_submodule(model.base_model_prefix)
    hooks = [m.register_forward_pre_hook(look, with_kwargs=True) for m in {model, frame}]
    hooks.append(register_optimizer_step_pre_hook(step))
    backward, grad = torch.autograd.backward, torch.autograd.grad

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            evidence.gradients += 1
            return function(*args, **kwargs)

        return call

    try:
        with (
            mock.patch.object(torch.autograd, "backward", counted(backward)),
            mock.patch.object(torch.autograd, "grad", counted(grad)),
        ):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def sums_of_first_block(
    model: PreTrainedModel, data: Calibration, statistic: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Sums of a statistic of the inputs of block 0's views, by name.

    `statistic` gets an input as (tokens, in), in float64, and is summed over the calls. With plain
    hooks, not with `walk`.
    """
    first = [view for view in all_views(model) if view.block == 0 and view.expert is None]
    sums: dict[nn.Module, Tensor] = {}

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sums[module] = sums.get(module, 0) + statistic(inputs[0].double().flatten(0, -2))

    _read(model, data, [m.register_forward_pre_hook(add) for m in {view.module for view in first}])
    return {view.name: sums[view.module] for view in first}


def squares_of_first_block(model: PreTrainedModel, data: Calibration) -> dict[str, Tensor]:
    """Σ x² of the inputs of block 0's views, (in,) by name."""
    return sums_of_first_block(model, data, lambda x: x.square().sum(0))


def _read(model: PreTrainedModel, data: Calibration, hooks: Sequence[RemovableHandle]) -> None:
    """Run the model over the data at once, with these hooks, and take them off."""
    with ExitStack() as stack, torch.no_grad():
        for hook in hooks:
            stack.enter_context(hook)
        model(data.tokens, use_cache=False)


def hidden_states(model: PreTrainedModel, data: Calibration) -> list[Tensor]:
    """The residual stream before block 0, …, before the last and after it: (samples, length, width).

    With plain hooks on the blocks, not with `walk`.
    """
    found: list[Tensor] = []

    def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
        found.append((args[0] if args else kwargs["hidden_states"]).detach())

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).detach())

    layers = blocks(model)
    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in layers]
    hooks.append(layers[-1].register_forward_hook(after))
    _read(model, data, hooks)
    return found


def is_language_model(evidence: Evidence) -> bool:
    """Whether the run was on a decoder."""
    return kind_of(evidence.dense) == "decoder"


def same_text(evidence: Evidence) -> str | None:
    """What the run was on that it was not given, or None."""
    data = evidence.data
    if isinstance(data, LabelledData):
        given = {tuple(row.flatten().tolist()) for x in data.inputs.values() for row in x}
        for batch in evidence.seen:
            for row in batch:
                if tuple(row.flatten().tolist()) not in given:
                    return "a sample"
        return None
    windows = {tuple(window.tolist()) for window in data.tokens} if data is not None else set()
    for tokens in evidence.seen:
        for window in tokens:
            text = tuple(window.tolist())
            if not any(text == given[: len(text)] for given in windows):
                return "text"
    return None
