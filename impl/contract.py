"""What every method must keep, as checks that run it on small models of every family.

Two parts. `CHECKS` are promises that do not depend on what a method claims:
exact budget, nothing else changed, nothing left behind. `observe_tags` turns
the six tags of a catalog entry into experiments: it runs the method, watches
what it reads and changes, and says in words what was seen.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoModelForCausalLM, PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import NM
from impl.model import View, all_views, blocks
from impl.registry import Report, find, prune
from impl.store import save
from impl.toys import WIDTH, toy, toy_tokens
from impl.walk import Block

State = dict[str, Tensor]


def toy_calibration(samples: int = 4, length: int = 16, seed: int = 1) -> Calibration:
    """Random tokens of the toys' vocabulary as a calibration set."""
    return Calibration(toy_tokens(samples, length, seed), "toy", "random", seed)


def _prune(model: PreTrainedModel, name: str, **arguments: Any) -> Report:
    if find(name).needs == "calibration":
        arguments.setdefault("calibration", toy_calibration())
    return prune(model, name, **arguments)


def _state(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def _logits(model: PreTrainedModel, **arguments: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(toy_tokens(2, 12, 7), use_cache=False, **arguments).logits
    return logits


# --- the contract ----------------------------------------------------------


def exact_budget(name: str, family: str) -> None:
    """Every layer loses what was asked, to the weight; a pattern holds in every group."""
    for sparsity in (0.5, 0.37, 0.9):
        model = toy(family)
        report = _prune(model, name, sparsity=sparsity)
        due = sum(round(sparsity * view.numel) for view in all_views(model))
        assert report.removed == due, f"asked for {due:,} zeros, found {report.removed:,}"
    for pattern in ("2:4", "4:8", "1:4"):
        nm = NM.parse(pattern)
        assert nm is not None
        model = toy(family)
        _prune(model, name, pattern=pattern)
        for view in all_views(model):
            kept = _kept_per_group(view.W, nm)
            assert (kept == nm.n).all(), (
                f"{view.name}: {int((kept != nm.n).sum()):,} of {kept.numel():,} groups of {nm.m} "
                f"keep another number than {nm.n}"
            )


def budget_zero(name: str, family: str) -> None:
    """A budget of nothing changes no bit of weights or logits."""
    model = toy(family)
    state, logits = _state(model), _logits(model)
    _prune(model, name, sparsity=0.0)
    assert _same(state, _state(model)), "weights changed at sparsity 0"
    assert torch.equal(logits, _logits(model)), "logits changed at sparsity 0"


def repeatable(name: str, family: str) -> None:
    """The same seed gives the same result, and the caller's random state stays as it was."""
    random = torch.random.get_rng_state()
    first, second = toy(family), toy(family)
    _prune(first, name, sparsity=0.5, seed=3)
    torch.rand(7)  # the caller does something in between
    _prune(second, name, sparsity=0.5, seed=3)
    assert _same(_state(first), _state(second)), "two runs with one seed differ"
    torch.random.set_rng_state(random)
    _prune(toy(family), name, sparsity=0.5, seed=4)
    assert torch.equal(random, torch.random.get_rng_state()), "the caller's random state moved"


def keeps_form(name: str, family: str) -> None:
    """dtype, device, shapes, `requires_grad` and tying stay, in float32 and bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        model = toy(family, dtype)
        next(iter(model.parameters())).requires_grad_(False)
        before = _form(model)
        report = _prune(model, name, sparsity=0.5)
        assert _form(model) == before, (
            f"{dtype}: dtype, device, shape, requires_grad or tying moved"
        )
        due = sum(round(0.5 * view.numel) for view in all_views(model))
        assert report.removed == due, f"{dtype}: asked for {due:,} zeros, found {report.removed:,}"
        assert _logits(model).isfinite().all(), f"{dtype}: logits are not finite"


def leaves_nothing_behind(name: str, family: str) -> None:
    """No hook, attribute, mode or setting is left, after success and after a failure."""
    model = toy(family)
    model.train()
    blocks(model)[1].eval()
    before = _traces(model)
    _prune(model, name, sparsity=0.5)
    assert _traces(model) == before, "hooks, attributes, modes or the configuration changed"

    def fail(done: int, total: int, what: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    random = torch.random.get_rng_state()
    try:
        _prune(model, name, sparsity=0.5, progress=fail)
    except KeyboardInterrupt:
        assert _traces(model) == before, "an interrupted run left something behind"
        assert torch.equal(random, torch.random.get_rng_state()), "the random state moved"
    else:
        raise AssertionError("the method did not report its progress block by block")


def saves_and_loads(name: str, family: str) -> None:
    """The result is a checkpoint that plain transformers loads, with equal logits, and generates."""
    model = toy(family)
    _prune(model, name, sparsity=0.5)
    with tempfile.TemporaryDirectory() as folder:
        save(model, None, f"{folder}/checkpoint", {"method": name})
        loaded = AutoModelForCausalLM.from_pretrained(f"{folder}/checkpoint")
    assert torch.equal(_logits(model), _logits(loaded)), "logits differ after saving and loading"
    assert _form(model, False) == _form(loaded, False), "the form differs after saving and loading"
    prompt = toy_tokens(1, 5, 9)
    one, other = (
        m.generate(  # type: ignore[operator]
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False
        )
        for m in (model, loaded)
    )
    assert torch.equal(one, other), "generated tokens differ after saving and loading"


def cached_decoding(name: str, family: str) -> None:
    """Decoding with the cache gives the logits of decoding without."""
    model = toy(family)
    _prune(model, name, sparsity=0.5)
    tokens = toy_tokens(1, 10, 5)
    with torch.no_grad():
        whole = model(tokens, use_cache=False).logits
        start = model(tokens[:, :6], use_cache=True)
        rest = model(tokens[:, 6:], past_key_values=start.past_key_values, use_cache=True)
    difference = (torch.cat([start.logits, rest.logits], 1) - whole).abs().max()
    assert difference <= 1e-4 * whole.abs().max(), f"cached logits are off by {difference:.2g}"


def touches_only_views(name: str, family: str) -> None:
    """Embeddings, head, norms, biases, routers and buffers stay bit-identical."""
    model = toy(family)
    before = _state(model)
    prunable = {id(getattr(view.module, view.parameter)) for view in all_views(model)}
    others = [key for key, p in model.named_parameters() if id(p) not in prunable]
    _prune(model, name, sparsity=0.5)
    after = _state(model)
    for key in others:
        assert torch.equal(before[key], after[key]), f"{key} changed"


def survives_dead_inputs(name: str, family: str) -> None:
    """Channels that are always zero give no NaN and no wrong budget."""
    model = toy(family)
    with torch.no_grad():
        for parameter in model.get_submodule(model.base_model_prefix).parameters():
            if parameter.ndim == 1 and len(parameter) == WIDTH:
                parameter[:3] = -1.0 if "gemma" in family else 0.0  # Gemma scales by 1 + weight
    report = _prune(model, name, sparsity=0.5)
    assert all(parameter.isfinite().all() for parameter in model.parameters()), "weights not finite"
    assert _logits(model).isfinite().all(), "logits not finite"
    due = sum(round(0.5 * view.numel) for view in all_views(model))
    assert report.removed == due, f"asked for {due:,} zeros, found {report.removed:,}"


def refuses_bad_input(name: str, family: str) -> None:
    """A wrong budget, pattern, option or calibration is one clear error, the model untouched."""
    model = toy(family)
    state = _state(model)
    wrong: list[dict[str, Any]] = [
        {"sparsity": 1.2},
        {"sparsity": -0.1},
        {"sparsity": 1.0},
        {"sparsity": float("nan")},
        {"pattern": "2:3"},  # 3 does not divide the width
        {"pattern": "4:2"},
        {"pattern": "two of four"},
        {"pattern": "2:4", "sparsity": 0.7},
        {"sparsity": 0.5, "no_such_option": 1},
        {"sparsity": 0.5, "batch_size": 0},
    ]
    if find(name).needs == "calibration":
        nothing = Calibration(torch.zeros((0, 8), dtype=torch.long), "none", "", 0)
        beyond = Calibration(torch.full((1, 8), 10_000), "other tokenizer", "", 0)
        wrong += [{"calibration": None}, {"calibration": nothing}, {"calibration": beyond}]
    for arguments in wrong:
        try:
            _prune(model, name, **arguments)
        except BadInput as error:
            said = error.message.strip()
        else:
            raise AssertionError(f"{arguments} was accepted")
        assert said, f"{arguments}: the error says nothing"
        assert _same(state, _state(model)), f"{arguments} was refused, but the model changed"


def batch_size_does_not_matter(name: str, family: str) -> None:
    """How many windows go through a block at once changes the result by rounding only."""
    one, all_at_once = toy(family), toy(family)
    _prune(one, name, sparsity=0.5, batch_size=1)
    _prune(all_at_once, name, sparsity=0.5, batch_size=4)
    different = total = 0
    for a, b in zip(all_views(one), all_views(all_at_once), strict=True):
        different += int(((a.W == 0) != (b.W == 0)).sum())
        total += a.numel
    assert different <= 0.005 * total, f"{different:,} of {total:,} mask entries differ"


CHECKS: dict[str, Callable[[str, str], None]] = {
    check.__name__: check
    for check in (
        exact_budget,
        budget_zero,
        repeatable,
        keeps_form,
        leaves_nothing_behind,
        saves_and_loads,
        cached_decoding,
        touches_only_views,
        survives_dead_inputs,
        refuses_bad_input,
        batch_size_does_not_matter,
    )
}
"""Name to check(method, toy family); a broken promise is an AssertionError in words."""


def _kept_per_group(W: Tensor, pattern: NM) -> Tensor:
    """How many weights each group of consecutive inputs keeps: (out, in / m)."""
    kept: Tensor = (W != 0).unflatten(-1, (-1, pattern.m)).sum(-1)
    return kept


def _form(model: nn.Module, trainable: bool = True) -> list[tuple[Any, ...]]:
    """dtype, device, shape, tying and, where asked, `requires_grad` of every parameter."""
    seen: dict[int, int] = {}
    return [
        (
            name,
            p.dtype,
            str(p.device),
            tuple(p.shape),
            seen.setdefault(id(p), i),
            p.requires_grad if trainable else None,
        )
        for i, (name, p) in enumerate(model.named_parameters(remove_duplicate=False))
    ]


def _traces(model: nn.Module) -> list[Any]:
    """What a method could leave behind: attributes, hooks, modes, settings."""
    config: Any = model.config
    found: list[Any] = [config.to_dict(), getattr(config, "_experts_implementation", None)]
    for name, module in model.named_modules():
        hooks = [
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            len(module._backward_hooks),
        ]
        found.append((name, sorted(module.__dict__), hooks, module.training))
    return found


# --- the six tags ----------------------------------------------------------


@dataclass(frozen=True)
class Observation:
    """One tag of one entry: whether a run showed it, and what was seen."""

    dimension: str
    value: str
    holds: bool
    observed: str


@dataclass
class Evidence:
    """One run of a method: the model before and after, and all that it looked at."""

    method: str
    family: str
    sparsity: float
    pattern: NM | None
    before: list[Tensor]
    after: list[Tensor]
    views: list[View]
    others_changed: list[str]
    shapes_changed: list[str]
    squares: dict[str, Tensor]
    """Per view of block 0: Σ x² of the dense model's inputs, measured here"""
    given: Tensor | None
    read: dict[str, int] = field(default_factory=dict)
    seen: list[Tensor] = field(default_factory=list)
    labels: int = 0
    gradients: int = 0
    steps: int = 0

    @property
    def survivors_changed(self) -> list[tuple[str, int, int]]:
        """View, how many of its surviving weights changed, how many survive."""
        found = []
        for view, old, new in zip(self.views, self.before, self.after, strict=True):
            alive = new != 0
            changed = int((old[alive] != new[alive]).sum())
            if changed:
                found.append((view.name, changed, int(alive.sum())))
        return found


def observe(name: str, family: str, sparsity: float, pattern: NM | None) -> Evidence:
    """Run a method on a toy and watch it: inputs, gradients, optimiser steps, changes."""
    model = toy(family)
    targets = all_views(model)
    reference = copy.deepcopy(model)
    chosen = find(name)
    calibration = toy_calibration() if chosen.needs == "calibration" else None
    evidence = Evidence(
        name,
        family,
        sparsity,
        pattern,
        [view.W.clone() for view in targets],
        [],
        targets,
        [],
        [],
        _squares_of_first_block(reference, toy_calibration()),
        calibration.tokens if calibration else None,
    )
    state, prunable = _state(model), {id(getattr(v.module, v.parameter)) for v in targets}
    others = [key for key, p in model.named_parameters() if id(p) not in prunable]
    with _watched(model, evidence):
        report = prune(model, name, calibration=calibration, sparsity=sparsity, pattern=pattern)
    evidence.read = report.read
    evidence.after = [view.W.clone() for view in all_views(model)]
    after = _state(model)
    evidence.shapes_changed = [
        k for k in state if k not in after or after[k].shape != state[k].shape
    ]
    evidence.others_changed = [key for key in others if not torch.equal(state[key], after[key])]
    return evidence


@contextmanager
def _watched(model: PreTrainedModel, evidence: Evidence) -> Iterator[None]:
    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(tokens, Tensor) and not tokens.is_floating_point():
            evidence.seen.append(tokens.detach().cpu())
        evidence.labels += kwargs.get("labels") is not None

    def step(*_: Any) -> None:
        evidence.steps += 1

    frame = model.get_submodule(model.base_model_prefix)
    hooks = [m.register_forward_pre_hook(look, with_kwargs=True) for m in (model, frame)]
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


def _squares_of_first_block(model: PreTrainedModel, calibration: Calibration) -> dict[str, Tensor]:
    """Measured with plain hooks on the dense model, independently of `walk`."""
    first = [view for view in all_views(model) if view.block == 0 and view.expert is None]
    sums: dict[nn.Module, Tensor] = {}

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares = inputs[0].double().square().flatten(0, -2).sum(0)
        sums[module] = sums.get(module, torch.zeros_like(squares)) + squares

    hooks = [m.register_forward_pre_hook(add) for m in {view.module for view in first}]
    try:
        with torch.no_grad():
            model(calibration.tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {view.name: sums[view.module] for view in first}


Verdict = tuple[bool, str]


def _unstructured(runs: list[Evidence]) -> Verdict:
    free = [run for run in runs if run.pattern is None]
    for run in free:
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        if all((_kept_per_group(W, NM(2, 4)) <= 2).all() for W in run.after):
            return False, f"every group of four keeps at most two weights ({run.family})"
    zeros = sum(int((W == 0).sum()) for run in free for W in run.after)
    total = sum(W.numel() for run in free for W in run.after)
    return (
        True,
        f"shapes unchanged; {zeros / total:.1%} of the weights are zero, in no fixed pattern",
    )


def _semi_structured(runs: list[Evidence]) -> Verdict:
    patterned = [run for run in runs if run.pattern]
    for run in patterned:
        assert run.pattern
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        for view, W in zip(run.views, run.after, strict=True):
            kept = _kept_per_group(W, run.pattern)
            if (kept > run.pattern.n).any():
                return False, (
                    f"{int((kept > run.pattern.n).sum()):,} of {kept.numel():,} groups of "
                    f"{run.pattern.m} keep more than {run.pattern.n} weights in {view.name} ({run.family})"
                )
    tried = sorted({str(run.pattern) for run in patterned})
    return True, f"every group keeps at most N of M weights, tried with {' and '.join(tried)}"


def _magnitude(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.seen or run.gradients:
            return False, f"it ran the model or computed gradients ({run.family})"
        if run.pattern is None:
            for view, old, new in zip(run.views, run.before, run.after, strict=True):
                removed, kept = old.abs()[new == 0], old.abs()[new != 0]
                if len(removed) and len(kept) and removed.max() > kept.min():
                    return (
                        False,
                        f"{view.name} lost a larger weight than one it kept ({run.family})",
                    )
    return True, "no forward pass, no gradient; no layer lost a larger weight than one it kept"


def _wanda(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.gradients:
            return False, f"it computed gradients ({run.family})"
        if not run.read.get("sum_of_squares"):
            return False, f"it read no activation norms ({run.family})"
        for view, old, new in zip(run.views, run.before, run.after, strict=True):
            if run.pattern is None and view.name in run.squares:
                score = old.double().abs() * run.squares[view.name].sqrt()
                low = score.masked_fill(new == 0, torch.inf).amin(1)
                high = score.masked_fill(new != 0, -torch.inf).amax(1)
                worse = int((high > low * (1 + 1e-4)).sum())
                if worse:
                    return False, (
                        f"{worse:,} of {len(low):,} rows of {view.name} lost a weight with a "
                        f"higher |W|·‖X‖ than one they kept ({run.family})"
                    )
    return True, "activation norms read, no gradient; no row lost a higher |W|·‖X‖ than one it kept"


def _hessian(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.read.get("gram"):
            return False, f"it read no second-order statistics ({run.family})"
        if run.pattern is None and torch.equal(_mask(run.after), _mask(_without_correlations(run))):
            return False, f"its masks are the same when correlations are hidden ({run.family})"
    return True, (
        "second moments X·Xᵀ of the inputs read; "
        "other weights go when the correlations in them are hidden"
    )


def _mask(weights: list[Tensor]) -> Tensor:
    return torch.cat([(W == 0).flatten() for W in weights])


def _without_correlations(run: Evidence) -> list[Tensor]:
    """The weights after the same run, but with only the diagonal of every second moment."""
    model, collect = toy(run.family), Block.collect

    def blinded(
        block: Block, statistic: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[View, Tensor]]:
        for view, value in collect(block, statistic):
            yield view, value.diagonal().diag() if value.ndim == 2 else value

    with mock.patch.object(Block, "collect", blinded):
        _prune(model, run.method, sparsity=run.sparsity, pattern=run.pattern)
    return [view.W.clone() for view in all_views(model)]


def _per_layer_budget(runs: list[Evidence]) -> Verdict:
    for run in runs:
        for view, W in zip(run.views, run.after, strict=True):
            due, found = round(run.sparsity * W.numel()), int((W == 0).sum())
            if due != found:
                return (
                    False,
                    f"{view.name} lost {found:,} weights instead of {due:,} ({run.family})",
                )
    layers = sum(len(run.views) for run in runs)
    return True, f"the share asked was removed from each of {layers:,} layers, to the weight"


def _calibration(runs: list[Evidence]) -> Verdict:
    most = 0
    for run in runs:
        if run.given is None or not run.seen:
            return False, f"it read no text ({run.family})"
        if run.labels:
            return False, f"it was trained on labels ({run.family})"
        windows = {tuple(window.tolist()) for window in run.given}
        for tokens in run.seen:
            for window in tokens:
                text = tuple(window.tolist())
                if not any(text == given[: len(text)] for given in windows):
                    return False, f"it ran on text that it was not given ({run.family})"
        most = max(most, run.given.numel())
    return True, f"it ran on the {most:,} tokens that it was given, without labels"


def _data_free(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.given is not None or run.seen:
            return False, f"it ran the model on text ({run.family})"
    return True, "it was given no data and never ran the model"


def _without(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.steps:
            return False, f"{run.steps:,} optimiser steps ({run.family})"
    return True, "no optimiser step"


def _frozen(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.survivors_changed:
            name, changed, alive = run.survivors_changed[0]
            return (
                False,
                f"{changed:,} of {alive:,} surviving weights changed in {name} ({run.family})",
            )
        if run.others_changed:
            return False, f"{run.others_changed[0]} changed ({run.family})"
    alive = sum(int((W != 0).sum()) for run in runs for W in run.after)
    return True, f"all {alive:,} surviving weights are bit-identical"


def _update(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.survivors_changed:
            return False, f"no surviving weight changed ({run.family})"
    changed = sum(n for run in runs for _, n, _ in run.survivors_changed)
    alive = sum(int((W != 0).sum()) for run in runs for W in run.after)
    return True, f"{changed / alive:.0%} of the surviving weights changed"


TAG_CHECKS: dict[tuple[str, str], Callable[[list[Evidence]], Verdict]] = {
    ("type", "unstructured"): _unstructured,
    ("type", "semi-structured"): _semi_structured,
    ("type", "n:m"): _semi_structured,
    ("criterion", "magnitude"): _magnitude,
    ("criterion", "wanda"): _wanda,
    ("criterion", "hessian"): _hessian,
    ("budget", "sparsity-layer"): _per_layer_budget,
    ("data", "calibration"): _calibration,
    ("data", "data-free"): _data_free,
    ("retraining", "without"): _without,
    ("weight_update", "frozen"): _frozen,
    ("weight_update", "update"): _update,
}
"""What a run must show for a tag; a tag without an experiment never counts as verified."""

TAG_FAMILIES = ("llama", "qwen3", "gemma2", "opt", "gpt2", "gpt_neox", "mixtral")


def observe_tags(
    name: str, tags: Mapping[str, list[str]], families: tuple[str, ...] = TAG_FAMILIES
) -> list[Observation]:
    """Run a method and say for each of its tags whether it holds, and what was seen.

    `tags` maps the six dimensions to the values that the entry claims and
    that this implementation is meant to show.
    """
    settings: list[tuple[float, NM | None]] = [(0.5, None), (0.37, None)]
    patterns = [NM(2, 4), NM(4, 8)]
    settings += [(pattern.sparsity, pattern) for pattern in patterns]
    runs = [observe(name, family, *setting) for family in families for setting in settings]
    found = []
    for dimension, values in tags.items():
        for value in values:
            check = TAG_CHECKS.get((dimension, value))
            holds, text = (
                check(runs) if check else (False, "there is no experiment for this tag yet")
            )
            found.append(Observation(dimension, value, holds, text))
    return found
