"""How importance is judged: by what was read, and by scores measured here a second time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import PreTrainedModel

from impl import losses as losses_module
from impl import walk as walk_module
from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.evidence import (
    Evidence,
    hidden_states,
    squares_of_first_block,
    sums_of_first_block,
)
from impl.experiments import Verdict, experiment
from impl.experiments.runtime import (
    smallest_attention_goes,
    units_by_activation,
    units_by_training,
)
from impl.experiments.type import changed_matrices, numerical_rank
from impl.families import family_of
from impl.losses import batches
from impl.masks import NM, lowest, n_m
from impl.model import Neurons, Observer, Tap, View, all_views, blocks, heads, neurons, observed
from impl.registry import find, prune
from impl.surgery import drop_blocks
from impl.tasks import LabelledData
from impl.toys import toy
from impl.walk import Block


def takes_gradients(run: Evidence) -> bool:
    """Whether the run took gradients though no tag of its paper speaks of any."""
    speaks = {"taylor", "first-order", "fisher", "gradient", "trainable"}
    trains = run.claims.get("retraining", ["without"]) != ["without"]
    return bool(run.gradients) and not trains and not speaks & set(run.claims.get("criterion", []))


@experiment("criterion", "magnitude")
def magnitude(runs: list[Evidence]) -> Verdict:
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


@experiment("criterion", "wanda")
def wanda(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        if not run.read.get("sum_of_squares"):
            return False, f"it read no activation norms ({run.family})"
        assert isinstance(run.data, Calibration)
        squares = squares_of_first_block(run.dense, run.data)
        for view, old, new in zip(run.views, run.before, run.after, strict=True):
            if run.pattern is None and view.name in squares:
                score = old.double().abs() * squares[view.name].sqrt()
                low = score.masked_fill(new == 0, torch.inf).amin(1)
                high = score.masked_fill(new != 0, -torch.inf).amax(1)
                worse = int((high > low * (1 + 1e-4)).sum())
                if worse:
                    return False, (
                        f"{worse:,} of {len(low):,} rows of {view.name} lost a weight with a "
                        f"higher |W|·‖X‖ than one they kept ({run.family})"
                    )
    return True, "activation norms read; no row lost a higher |W|·‖X‖ than one it kept"


@experiment("criterion", "hessian")
def hessian(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.read.get("gram"):
            return False, f"it read no second-order statistics ({run.family})"
        if run.pattern is None and torch.equal(mask(run.after), mask(without_correlations(run))):
            return False, f"its masks are the same when correlations are hidden ({run.family})"
    return True, (
        "second moments X·Xᵀ of the inputs read; "
        "other weights go when the correlations in them are hidden"
    )


def mask(weights: list[Tensor]) -> Tensor:
    """Where all weights together are zero."""
    return torch.cat([(W == 0).flatten() for W in weights])


def without_correlations(run: Evidence) -> list[Tensor]:
    """The weights after the same run, but with only the diagonal of every second moment."""
    collect = Block.collect

    def blinded(
        block: Block, statistic: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[View, Tensor]]:
        for view, value in collect(block, statistic):
            yield view, value.diagonal().diag() if value.ndim == 2 else value

    with mock.patch.object(Block, "collect", blinded):
        return [view.W.clone() for view in all_views(run.rerun())]


# --- units that were cut out: which, and what they scored ---------------------


def kept_columns(before: Tensor, after: Tensor) -> Tensor:
    """Which columns of `before`, (out, in), are those of `after`, in order: (in,) bool."""
    keep = torch.zeros(before.shape[1], dtype=torch.bool)
    found = 0
    for column in range(before.shape[1]):
        if found < after.shape[1] and torch.equal(before[:, column], after[:, found]):
            keep[column], found = True, found + 1
    assert found == after.shape[1], "columns of the result that the dense model does not have"
    return keep


def kept_units(run: Evidence, result: PreTrainedModel | None = None) -> list[tuple[Tensor, Tensor]]:
    """For each block the key-value groups and the neurons that stayed: (groups,), (neurons,) bool.

    Read off the columns of the projections that end attention and MLP, before
    whatever training followed; of `result`, if it is given, as they are.
    """
    found = []
    for index in range(len(blocks(run.dense))):
        attention = heads(run.dense, index)
        kept = []
        for old, units, new in (
            (attention.o, attention.groups, heads(result or run.model, index).o),
            *(
                (m.down, m.count, neurons(result or run.model, index).down)
                for m in _mlp(run, index)
            ),
        ):
            expected = run.expected.get(f"{new.name}.{new.parameter}")
            left = new.W if result is not None or expected is None else new.like(expected)
            columns = kept_columns(old.W, left).view(units, -1)
            assert (columns.all(1) == columns.any(1)).all(), "a unit is gone in part"
            kept.append(columns.all(1))
        found.append((kept[0], kept[1] if len(kept) > 1 else torch.ones(1, dtype=torch.bool)))
    return found


def _mlp(run: Evidence, index: int) -> list[Neurons]:
    try:
        return [neurons(run.dense, index)]
    except Unsupported:
        return []


def gradients_by_sample(run: Evidence) -> Iterator[dict[str, Tensor]]:
    """∂ loss / ∂ W of every view of the dense model, a sample at a time, by plain backward passes."""
    assert isinstance(run.data, Calibration)
    model = copy.deepcopy(run.dense)
    for window in run.data.tokens:
        model.zero_grad()
        with torch.enable_grad():
            model(window[None], labels=window[None], use_cache=False).loss.backward()
        yield {
            view.name: view.like(getattr(view.module, view.parameter).grad).clone()
            for view in all_views(model)
        }


def worst_of_block(
    salience: dict[str, Tensor], run: Evidence, result: PreTrainedModel | None
) -> str:
    """Where a removed group or neuron has a higher summed |salience| than a kept one, or ""."""
    for index, (groups, units) in enumerate(kept_units(run, result)):
        attention, mlp = heads(run.dense, index), neurons(run.dense, index)
        attentions = [(attention.q, 1), (attention.k, 1), (attention.v, 1), (attention.o, 0)]
        mlps = [(view, 1) for view in (mlp.gate, mlp.up) if view is not None] + [(mlp.down, 0)]
        for what, keep, views in (("group", groups, attentions), ("neuron", units, mlps)):
            score = sum(
                salience[view.name].double().abs().sum(axis).view(len(keep), -1).sum(1)
                for view, axis in views
            )
            assert isinstance(score, Tensor)
            if not keep.all() and score[~keep].max() > score[keep].min() * (1 + 1e-4):
                return f"block {index} lost a {what} with a higher score than one it kept"
    return ""


@experiment("criterion", "first-order")
def first_order(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.gradients:
            return False, f"it computed no gradients ({run.family})"
    by_unit = {
        "parameters": groups_by_gradient_times_weight,
        "heads": heads_by_finite_differences,
        "blocks": blocks_by_gradient_times_weight,
        "weights": weights_by_gradient_times_weight,
    }
    check = by_unit.get(runs[0].report.unit)
    if check is None:
        return False, f"there is no experiment for {runs[0].report.unit} yet"
    return check(runs)


def groups_by_gradient_times_weight(runs: list[Evidence]) -> Verdict:
    """Coupled structures: gradient times weight is measured again, and added up over each."""
    for run in runs:
        weights = {view.name: view.W.float() for view in all_views(run.dense)}
        sums: dict[str, Tensor] = {}
        for gradients in gradients_by_sample(run):
            for name, gradient in gradients.items():
                sums[name] = sums.get(name, 0) + gradient * weights[name]
        if wrong := worst_of_block(sums, run, None):
            return False, f"{wrong} ({run.family})"
    return (
        True,
        "gradients were computed; no block lost a group with a higher Σ|g·w| than one it kept",
    )


def heads_by_finite_differences(runs: list[Evidence]) -> Verdict:
    """Heads: the loss is measured with every head a little weaker and a little stronger."""
    for run in runs:
        importance = []
        for layer in _slopes(run):
            importance.append(layer / layer.norm())
        keep = [groups for groups, _ in kept_units(run)]
        for layer, stays in zip(importance, keep, strict=True):
            if not stays[layer.argmax()]:
                return False, f"a layer lost the head that its loss depends on most ({run.family})"
            layer[layer.argmax()] = torch.inf  # protected, so that no layer is left without heads
        score, stay = torch.cat(importance), torch.cat(keep)
        if score[~stay].max() > score[stay].min() * (1 + 1e-3):
            return False, (
                f"a head went whose gate the loss depends on more than that of one that stayed "
                f"({run.family})"
            )
    return True, (
        "gradients were computed; by finite differences, the loss depends less on the gate of "
        "every head that went than on that of any that stayed"
    )


def _slopes(run: Evidence, step: float = 1e-4) -> list[Tensor]:
    """Mean over the samples of |Δ loss / Δ gate|, (heads,) for each layer; in float64."""
    assert isinstance(run.data, LabelledData)
    model = copy.deepcopy(run.dense).double()
    (sample,) = batches(run.data, len(run.data))
    found = []
    for index in range(len(blocks(model))):
        layout = heads(model, index)
        W = layout.o.W.clone()
        slopes = torch.zeros(layout.count, dtype=torch.float64)
        for head in range(layout.count):
            sides = []
            for sign in (1, -1):
                scaled = W.clone()
                scaled[:, head * layout.size : (head + 1) * layout.size] *= 1 + sign * step
                layout.o.W = scaled
                with torch.no_grad():
                    logits = model(**sample.inputs).logits
                assert sample.labels is not None
                sides.append(cross_entropy(logits, sample.labels, reduction="none"))
            slopes[head] = ((sides[0] - sides[1]) / (2 * step)).abs().mean()
        layout.o.W = W
        found.append(slopes)
    return found


@experiment("criterion", "fisher")
def fisher(runs: list[Evidence]) -> Verdict:
    if any("importance" not in run.report.options for run in runs):
        return False, "there is no experiment for this method yet"
    differs = False
    for run in runs:
        if not run.gradients:
            return False, f"it computed no gradients ({run.family})"
        other = run.rerun(importance="second", steps=0)
        sums: dict[str, Tensor] = {}
        for gradients in gradients_by_sample(run):
            for name, gradient in gradients.items():
                sums[name] = sums.get(name, 0) + gradient.square()
        weights = {view.name: view.W.float() for view in all_views(run.dense)}
        score = {name: value * weights[name].square() for name, value in sums.items()}
        if wrong := worst_of_block(score, run, other):
            return False, f"with the second-order score, {wrong} ({run.family})"
        differs |= _chosen(kept_units(run)) != _chosen(kept_units(run, other))
    if not differs:
        return False, "the second-order score removes what the first-order score removes"
    return True, (
        "with its second-order score, no block lost a group with a higher Σ g²·w² than one it kept"
    )


def _chosen(kept: list[tuple[Tensor, Tensor]]) -> list[list[bool]]:
    return [[*groups.tolist(), *units.tolist()] for groups, units in kept]


@experiment("criterion", "activation")
def activation(runs: list[Evidence]) -> Verdict:
    if runs[0].report.unit == "shape":
        return parts_by_activation(runs)
    if runs[0].report.unit == "activations":
        return units_by_activation(runs)
    differs = False
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        if not run.seen:
            return False, f"it did not run the model ({run.family})"
        other = without_activations(run)
        if run.report.unit == "weights":
            masks = [
                torch.cat([(v.W == 0).flatten() for v in all_views(m)]) for m in (run.model, other)
            ]
            differs |= not torch.equal(*masks)
        elif run.report.unit == "parameters":
            differs |= _chosen(kept_units(run)) != _chosen(kept_units(run, other))
        else:
            return False, f"there is no experiment for {run.report.unit} yet"
    if not differs:
        return False, "the same goes when every activation is taken for that of another channel"
    return True, (
        "the model was run and what goes depends on it: "
        "with every activation taken for that of another channel, something else goes"
    )


def without_activations(run: Evidence) -> PreTrainedModel:
    """The result of the same run, but statistics see the inputs' channels in reverse order."""

    def reversed_(module: nn.Module, taps: set[Tap], observe: Observer) -> Any:
        return observed(module, taps, lambda tap, x: observe(tap, x.flip(-1)))

    with mock.patch.object(walk_module, "observed", reversed_):
        return run.rerun()


def dropped_blocks(run: Evidence, result: PreTrainedModel | None = None) -> list[int] | None:
    """Which blocks of the dense model are gone, or None if those that stay cannot be told.

    A block is known by all its weights as they were before any training; of
    `result`, if it is given, as they are.
    """
    path, model = family_of(run.dense).blocks, result or run.model
    dense, kept = dict(run.dense.named_parameters()), []
    for index, block in enumerate(blocks(model)):
        own = {
            name: parameter if result is not None else run.expected[f"{path}.{index}.{name}"]
            for name, parameter in block.named_parameters()
        }
        same = [
            other
            for other in range(len(blocks(run.dense)))
            if all(
                value is not None and torch.equal(value, dense[f"{path}.{other}.{name}"])
                for name, value in own.items()
            )
        ]
        if len(same) != 1:
            return None
        kept += same
    return [index for index in range(len(blocks(run.dense))) if index not in kept]


def lowest_blocks_went(
    runs: list[Evidence],
    score: Callable[[Evidence], list[float]],
    name: str,
    result: Callable[[Evidence], PreTrainedModel | None] = lambda run: None,
) -> Verdict:
    """Whether, in every run that drops blocks, no block that stayed has a lower score."""
    told = 0
    for run in runs:
        if len(blocks(run.model)) == len(blocks(run.dense)):
            continue
        gone = dropped_blocks(run, result(run))
        if gone is None:
            continue
        told += 1
        values = score(run)
        kept = [value for index, value in enumerate(values) if index not in gone]
        if max(values[index] for index in gone) > min(kept) + 1e-5 * abs(min(kept)):
            return False, f"a block went with a higher {name} than one that stayed ({run.family})"
    if not told:
        return False, "no run in which blocks that stay could be told from those that go"
    return True, f"no block that went has a higher {name} than one that stayed, in {told} runs"


@experiment("criterion", "cosine-similarity")
def cosine_similarity(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
    if "layer-merging" in runs[0].claims.get("type", []):
        return merges_by_cosine(runs)
    holds, text = lowest_blocks_went(runs, influences, "1 - cosine of input and output")
    if not holds or runs[0].report.unit != "blocks":
        return holds, text
    for run in runs:
        if run.report.asked == 1 and (kept := keeps_an_idle_block(run)):
            return False, kept
    return True, f"{text}; a block that hands on its input goes first, wherever it is"


def influences(run: Evidence) -> list[float]:
    """1 - the mean cosine between what goes into a block and what comes out, for each block."""
    assert isinstance(run.data, Calibration)
    states = [x.double() for x in hidden_states(run.dense, run.data)]
    unit = [x / x.norm(dim=-1, keepdim=True) for x in states]
    return [1 - (a * b).sum(-1).mean().item() for a, b in pairwise(unit)]


def keeps_an_idle_block(run: Evidence) -> str:
    """Where a block that adds nothing to the residual stream is put, and it is not what goes; or ""."""
    for place in range(len(blocks(run.dense))):
        model = copy.deepcopy(run.dense)
        with torch.no_grad():
            for view in all_views(model):
                if view.block == place and view.part in ("o", "down"):
                    view.W = torch.zeros_like(view.W)
                    if getattr(view.module, "bias", None) is not None:
                        view.module.bias.zero_()  # type: ignore[operator]
            assert isinstance(run.data, Calibration)
            before = model(run.data.tokens, use_cache=False).logits
            prune(model, run.method, calibration=run.data, **run.options)
            after = model(run.data.tokens, use_cache=False).logits
        if (after - before).abs().max() > 1e-4 * before.abs().max():
            return f"block {place} handed on its input and another went ({run.family})"
    return ""


def merges_by_cosine(runs: list[Evidence]) -> Verdict:
    """A single merge is made just below the cosine that it leaves, measured here, and not above."""
    tried = 0
    for run in runs:
        if run.report.asked != 1:
            continue
        assert isinstance(run.data, Calibration)
        pair = []
        for model in (run.dense, run.model):
            frame = model.get_submodule(model.base_model_prefix)
            with torch.no_grad():
                state = frame(run.data.tokens, use_cache=False).last_hidden_state
            pair.append(state.double().flatten(1))
        cosines = (pair[0] * pair[1]).sum(1) / (pair[0].norm(dim=1) * pair[1].norm(dim=1))
        left = cosines.mean().item()
        below = run.rerun(threshold=left - 1e-3)
        if any(not torch.equal(a.W, b.W) for a, b in zip(all_views(below), run.views, strict=True)):
            return False, f"another merge is made below a cosine of {left:.3f} ({run.family})"
        with suppress(BadInput):
            above = run.rerun(threshold=left + 1e-3)
            if all(torch.equal(a.W, b.W) for a, b in zip(all_views(above), run.views, strict=True)):
                return False, f"the merge is made above a cosine of {left:.3f} ({run.family})"
        tried += 1
    return bool(tried), (
        f"{tried} merges are made with a threshold just below the cosine between the last hidden "
        "states before and after, and not with one just above"
    )


@experiment("criterion", "angular-distance")
def angular_distance(runs: list[Evidence]) -> Verdict:
    for run in runs:
        gone = dropped_blocks(run)
        if gone is None:
            return False, f"blocks that stay cannot be told from those that go ({run.family})"
        if gone != list(range(gone[0], gone[0] + len(gone))):
            return False, f"blocks {gone} are no run of neighbours ({run.family})"
        assert isinstance(run.data, Calibration)
        last = [x[:, -1].double() for x in hidden_states(run.dense, run.data)]
        angles = []
        for before, after in zip(last, last[len(gone) :], strict=False):
            cosine = (before * after).sum(-1) / (before.norm(dim=-1) * after.norm(dim=-1))
            angles.append(cosine.clamp(-1, 1).arccos().mean().item())
        if angles[gone[0]] > min(angles) + 1e-5:
            return False, f"another run of {len(gone)} blocks has a smaller angle ({run.family})"
    return True, (
        "what went is one run of neighbouring blocks, and no other of its length turns the last "
        "token's hidden state less"
    )


@experiment("criterion", "perplexity")
def perplexity(runs: list[Evidence]) -> Verdict:
    def again(run: Evidence) -> PreTrainedModel | None:
        # A method with several rankings is run once more with this one.
        several = "ranking" in run.report.options
        return run.rerun(ranking="perplexity", steps=0) if several else None

    what = "perplexity of the model without it"
    return lowest_blocks_went(runs, perplexities_without, what, again)


def perplexities_without(run: Evidence) -> list[float]:
    """The perplexity of the dense model with one block really dropped, for each block."""
    assert isinstance(run.data, Calibration)
    found = []
    for index in range(len(blocks(run.dense))):
        model = copy.deepcopy(run.dense)
        drop_blocks(model, [index])
        with torch.no_grad():
            logits = model(run.data.tokens, use_cache=False).logits[:, :-1]
        found.append(cross_entropy(logits.flatten(0, 1), run.data.tokens[:, 1:].flatten()).item())
    return found


def blocks_by_gradient_times_weight(runs: list[Evidence]) -> Verdict:
    """Blocks: the same run with the Taylor score and no block protected, against plain gradients."""
    if "criterion" not in runs[0].report.options:
        return False, "there is no experiment for this method yet"

    def score(run: Evidence) -> list[float]:
        sums: dict[str, Tensor] = {}
        for gradients in gradients_by_sample(run):
            for name, gradient in gradients.items():
                sums[name] = sums.get(name, 0) + gradient.double()
        found = [0.0] * len(blocks(run.dense))
        for view in all_views(run.dense):
            found[view.block] += (sums[view.name] * view.W.double()).abs().sum().item()
        return found

    def again(run: Evidence) -> PreTrainedModel:
        return run.rerun(criterion="taylor", first=0, last=0, retrain="none")

    holds, text = lowest_blocks_went(runs, score, "Σ|g·w|", again)
    return holds, f"with its Taylor score, {text}"


def lost_a_higher(score: Tensor, new: Tensor, pattern: NM | None = None) -> int:
    """Rows (or groups of N:M) of `new` that lost a weight with a higher score than one they kept."""
    if pattern:
        score, new = (x.unflatten(-1, (-1, pattern.m)).flatten(0, -2) for x in (score, new))
    low = score.masked_fill(new == 0, torch.inf).amin(-1)
    high = score.masked_fill(new != 0, -torch.inf).amax(-1)
    return int((high > low * (1 + 1e-4)).sum())


@experiment("criterion", "ria")
def relative_importance(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        if not isinstance(run.data, Calibration) or not run.seen:
            return False, f"it read no activations ({run.family})"
        exponent = float(run.report.options.get("exponent", 0.5))
        squares = squares_of_first_block(run.dense, run.data)
        for view, old, new in zip(run.views, run.before, run.after, strict=True):
            if view.name not in squares:
                continue
            size = old.double().abs()
            share = size / size.sum(0) + size / size.sum(1, keepdim=True)
            score = share * squares[view.name].sqrt() ** exponent
            if run.pattern is None:
                score, new = score.reshape(1, -1), new.reshape(1, -1)
            if lost_a_higher(score, new, run.pattern):
                what = f"a group of {run.pattern}" if run.pattern else "the layer"
                return False, (
                    f"{view.name} lost a weight with a higher relative importance times "
                    f"‖X‖^{exponent:g} than one that {what} kept ({run.family})"
                )
    return True, (
        "measured again: no layer, and no group of a pattern, lost a weight with a higher share "
        "in row and column times a power of ‖X‖ than one it kept"
    )


def weights_by_gradient_times_weight(runs: list[Evidence]) -> Verdict:
    """Single weights: gradient times weight is measured again; and it is hidden."""
    if any("alpha" not in run.report.options or run.report.unit != "weights" for run in runs):
        return False, "there is no experiment for this method yet"
    differs = False
    for run in runs:
        hidden = mock.patch.object(
            torch.autograd, "grad", lambda loss, of, **_: [torch.zeros_like(x) for x in of]
        )
        with hidden:
            without = [view.W for view in all_views(run.rerun())]
        differs |= not torch.equal(mask(run.after), mask(without))
        alone = run.rerun(alpha=1e9)  # the other term is nothing beside it
        score: dict[str, Tensor] = {}
        weights = {view.name: view.W.double() for view in all_views(run.dense)}
        for gradients in gradients_by_sample(run):
            for name, gradient in gradients.items():
                score[name] = score.get(name, 0) + (gradient.double() * weights[name]).abs()
        for view in all_views(alone):
            if worse := lost_a_higher(score[view.name], view.W, run.pattern):
                return False, (
                    f"with this term alone, {worse:,} rows or groups of {view.name} lost a weight "
                    f"with a higher Σ|g·w| than one they kept ({run.family})"
                )
    if not differs:
        return False, "the same weights go when the gradients are hidden"
    return True, (
        "gradients were computed; other weights go when they are hidden, and with this term alone "
        "no row or group lost a weight with a higher Σ|g·w| than one it kept"
    )


@experiment("criterion", "reconstruction")
def reconstruction(runs: list[Evidence]) -> Verdict:
    """The expected output error of block 0, beside that of Wanda's mask with the same counts."""
    if any(run.survivors_changed for run in runs):
        return reconstruction_with_update(runs)
    before = after = 0.0
    for run in runs:
        if run.report.unit != "weights":
            return False, f"its budget counts {run.report.unit}"
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        if not isinstance(run.data, Calibration) or not run.seen:
            return False, f"it read no activations ({run.family})"
        squares = squares_of_first_block(run.dense, run.data)
        means = sums_of_first_block(run.dense, run.data, lambda x: x.sum(0))
        start = end = 0.0
        for view, old, new in zip(run.views, run.before, run.after, strict=True):
            if view.name not in means:
                continue
            W, pruned = old.double(), new == 0
            score = W.abs() * squares[view.name].sqrt()
            first = n_m(score, run.pattern) if run.pattern else lowest(score, pruned.sum(1))
            effect = W * means[view.name]
            start += float((effect * first).sum(1).abs().sum())
            end += float((effect * pruned).sum(1).abs().sum())
        if end > 0.95 * start:
            return False, (
                f"the expected output error of the first block is {end / start:.0%} of that of "
                f"the mask with the lowest |W|·‖X‖ ({run.family})"
            )
        before, after = before + start, after + end
    return True, (
        f"measured again in the first block, the error of the expected output is "
        f"{after / before:.0%} of that of the mask with the lowest |W|·‖X‖, at equal counts"
    )


def least_error(W: Tensor, kept: Tensor, gram: Tensor) -> float:
    """The lowest ‖(W − Ŵ) X‖² that any weights Ŵ (out, in) with this support can reach."""
    total = 0.0
    for row, at in zip(W.double(), kept, strict=True):
        delta = row.clone()
        if at.any():
            delta[at] -= torch.linalg.lstsq(gram[at][:, at], (gram @ row)[at]).solution
        total += float(delta @ gram @ delta)
    return total


def reconstruction_with_update(runs: list[Evidence]) -> Verdict:
    """Where weights are solved for, too: the error of block 0, and how good its support can be.

    Beside Wanda's mask with the same number of weights in each layer (or the same pattern).
    """
    ours = plain = best = best_plain = 0.0
    for run in runs:
        if run.report.unit != "weights":
            return False, f"its budget counts {run.report.unit}"
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        if not isinstance(run.data, Calibration) or not run.read.get("gram"):
            return False, f"it read no second moments of the inputs ({run.family})"
        if torch.equal(mask(run.after), mask(without_correlations(run))):
            return False, f"its masks are the same when correlations are hidden ({run.family})"
        grams = sums_of_first_block(run.dense, run.data, lambda x: x.T @ x)
        for view, W, new in zip(run.views, run.before, run.after, strict=True):
            if view.name not in grams:
                continue
            gram, old = grams[view.name], W.double()
            scale = float((old @ gram * old).sum())
            score = old.abs() * gram.diagonal().sqrt()
            if run.pattern:
                pruned = n_m(score, run.pattern)
            else:
                pruned = lowest(score.flatten(), int((new == 0).sum())).view_as(score)
            for delta, of_plain in ((old - new.double(), False), (old * pruned, True)):
                error = float((delta @ gram * delta).sum()) / scale
                plain, ours = plain + error * of_plain, ours + error * (not of_plain)
            best += least_error(W, new != 0, gram) / scale
            best_plain += least_error(W, ~pruned, gram) / scale
    if ours > 0.9 * plain or best > 0.98 * best_plain:
        return False, (
            f"measured again in the first block, its output error is {ours / plain:.0%}, and the "
            f"lowest that its support allows {best / best_plain:.0%}, of those of the mask with "
            f"the lowest |W|·‖X‖"
        )
    return True, (
        f"other weights go when correlations are hidden; measured again in the first block, its "
        f"output error is {ours / plain:.0%}, and the lowest that its support allows "
        f"{best / best_plain:.0%}, of those of the mask with the lowest |W|·‖X‖"
    )


@contextmanager
def optimisers_stand_still() -> Iterator[None]:
    """No optimiser changes anything, though it is asked to step."""
    with ExitStack() as stack:
        # Schedulers complain where no step was taken.
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        for optimiser in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
            stack.enter_context(mock.patch.object(optimiser, "step", return_value=None))
        yield


@experiment("criterion", "trainable")
def trainable(runs: list[Evidence]) -> Verdict:
    """Something other than weights is stepped on, and without these steps other weights go."""
    if runs[0].report.unit == "shape":
        return trained_parts(runs)
    if runs[0].report.unit == "channels":
        return trained_filters(runs)
    if runs[0].report.unit == "activations":
        return units_by_training(runs)
    for run in runs:
        if run.report.unit != "weights":
            return False, "there is no experiment for methods that remove no single weights yet"
        if not run.own_steps or not run.gradients:
            return False, f"no optimiser step on anything but the model's weights ({run.family})"
        with optimisers_stand_still():
            untrained = [view.W.clone() for view in all_views(run.rerun())]
        if torch.equal(mask(run.after), mask(untrained)):
            return False, f"the same weights go when its optimiser stands still ({run.family})"
    steps = sum(run.own_steps for run in runs)
    return True, (
        f"{steps:,} optimiser steps on parameters of its own; other weights go when the optimiser "
        f"stands still"
    )


@experiment("criterion", "search")
def search(runs: list[Evidence]) -> Verdict:
    """Many candidates are judged, and where the measured quality is turned round, another wins."""
    if runs[0].report.unit == "rank":
        return best_matrix(runs)
    candidates = 0
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        assert isinstance(run.data, Calibration)
        judged = 0

        def turned(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
            nonlocal judged
            judged += target.numel()
            return -cross_entropy(logits, target, **options)

        with mock.patch.object(losses_module, "cross_entropy", turned):
            worst = run.rerun()
        count = judged // run.data.tokens[:, 1:].numel()
        if count < 3:
            return False, f"it judged {count} candidates, which is no search ({run.family})"
        candidates += count
        best, other = mean_loss(run.model, run.data), mean_loss(worst, run.data)
        if best >= other:
            return False, (
                f"its loss is {best:.4f}, and {other:.4f} if it is made to look for the highest "
                f"({run.family})"
            )
    return True, (
        f"{candidates} candidates judged in {len(runs)} runs; each result has a lower loss, measured "
        f"again, than the same search finds when it is made to look for the highest"
    )


def mean_loss(model: PreTrainedModel, data: Calibration) -> float:
    """The mean loss of a token, by transformers' own count."""
    with torch.no_grad():
        return float(model(data.tokens, labels=data.tokens, use_cache=False).loss)


# --- parts of a shape: heads, neurons, residual channels, blocks --------------


def kept_parts(run: Evidence) -> tuple[str, Tensor] | None:
    """In a run that shrinks one thing only: its name, and which of it stayed, (sets, parts) bool.

    Sets are what competes: the parts of one block, or where query heads share
    a key and a value and can go one by one, those of one group.
    """
    axes = [name for name in ("layers", "hidden", "heads", "neurons") if run.options[name] < 1]
    if len(axes) != 1:
        return None
    axis, count, sets = axes[0], len(blocks(run.dense)), []
    if axis == "layers":
        gone = dropped_blocks(run) or []
        return axis, torch.tensor([[index not in gone for index in range(count)]])
    if axis == "hidden":
        names = {id(p): name for name, p in run.model.named_parameters()}
        old: Any = run.dense.get_input_embeddings()
        new: Any = run.model.get_input_embeddings()
        left = run.expected[names[id(new.weight)]]
        assert left is not None
        return axis, kept_columns(old.weight, left)[None]
    for index in range(count):
        before, after = (
            heads(model, index).o if axis == "heads" else neurons(model, index).down
            for model in (run.dense, run.model)
        )
        left = run.expected[f"{after.name}.{after.parameter}"]
        assert left is not None
        columns = kept_columns(before.W, after.like(left))
        if axis == "heads":
            whole = columns.view(-1, heads(run.dense, index).size).any(1)
            sets.append(_competing(run.dense, index, whole))
        else:
            sets.append(columns[None])
    return axis, torch.cat(sets)


def _competing(model: PreTrainedModel, index: int, values: Tensor) -> Tensor:
    """Something for every head of a block, as (sets, parts): any of a whole group, or its sum."""
    layout = heads(model, index)
    if layout.queries > 1 and layout.q.rows is None:
        return values.view(layout.groups, layout.queries)
    groups = values.view(1, layout.groups, layout.queries)
    return groups.any(-1) if values.dtype == torch.bool else groups.sum(-1)


def parts_by_activation(runs: list[Evidence]) -> Verdict:
    """Heads, neurons and channels: the activations of the dense model, measured with plain hooks."""
    checked = 0
    for run in runs:
        if takes_gradients(run):
            return False, f"it computed gradients ({run.family})"
        found = kept_parts(run)
        if found is None or found[0] == "layers":
            continue
        axis, kept = found
        score = sizes_of_activations(run, axis)
        for number, (row, stays) in enumerate(zip(score, kept, strict=True)):
            if not stays.all() and row[~stays].max() > row[stays].min() * (1 + 1e-4):
                return False, (
                    f"of {axis}, one went that is more active than one that stayed "
                    f"(set {number}, {run.family})"
                )
        checked += int((~kept).sum())
    if not checked:
        return False, "no run in which heads, neurons or channels went for themselves"
    return True, (
        f"none of {checked:,} heads, neurons and channels that went is more active "
        "than one that stayed"
    )


def sizes_of_activations(run: Evidence, axis: str) -> Tensor:
    """Mean absolute value over tokens, l2 norm over samples; of a head, of its output's norm."""
    assert isinstance(run.data, Calibration)
    found, count = [], len(blocks(run.dense))
    for index in range(count):
        o, mlp = heads(run.dense, index).o, neurons(run.dense, index)
        places = {
            "heads": [o],
            "neurons": [mlp.down],
            "hidden": [heads(run.dense, index).q, mlp.up],
        }
        means: dict[int, list[Tensor]] = {}

        def look(number: int, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].double().flatten(0, -2)
            if axis == "heads":
                x = x.unflatten(-1, (-1, heads(run.dense, index).size)).norm(dim=-1)  # noqa: B023
            means.setdefault(number, []).append(x.abs().mean(0))  # noqa: B023

        hooks = [
            view.module.register_forward_pre_hook(lambda _m, x, n=number: look(n, x))
            for number, view in enumerate(places[axis])
        ]
        try:
            with torch.no_grad():
                for window in run.data.tokens:
                    run.dense(window[None], use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        of = [torch.stack(samples).norm(dim=0) for samples in means.values()]
        found.append(torch.stack(of).sum(0))
    if axis == "hidden":
        return torch.stack(found).sum(0)[None]
    if axis == "heads":
        return torch.cat([_competing(run.dense, i, score) for i, score in enumerate(found)])
    return torch.stack(found)


def trained_parts(runs: list[Evidence]) -> Verdict:
    """What optimisers stepped on besides the model's weights, and whether its order says what went."""
    checked = 0
    for run in runs:
        if not run.gradients or not run.own_steps:
            return False, f"nothing but weights of the model was trained ({run.family})"
        found = kept_parts(run)
        if found is None:
            continue
        axis, kept = found
        trained = [pair for pair in trained_beside(run) if pair[1].numel() == kept.numel()]
        if not trained:
            return False, f"no mask for the {axis} was trained ({run.family})"
        first, last = (value.view_as(kept) for value in trained[0])
        if torch.equal(first, last):
            return False, f"the mask of the {axis} did not change ({run.family})"
        for row, stays in zip(last, kept, strict=True):
            if not stays.all() and row[~stays].max() > row[stays].min():
                return False, f"of {axis}, one went above one that stayed ({run.family})"
        checked += int((~kept).sum())
    if not checked:
        return False, "no run in which one thing shrank for itself"
    return True, (
        f"masks were trained, and none of the {checked:,} parts that went has a higher value "
        "in them than one that stayed"
    )


def trained_beside(run: Evidence) -> list[tuple[Tensor, Tensor]]:
    """Values before the first and after the last step of what a run trains and minimises beside weights."""
    model = toy(run.family)
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    own = {id(parameter) for parameter in model.parameters()}

    def look(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimiser.param_groups:
            for tensor in group["params"] if not group.get("maximize") else []:
                if id(tensor) not in own:
                    seen.setdefault(id(tensor), (tensor.detach().clone(), tensor))

    hook = register_optimizer_step_pre_hook(look)
    try:
        prune(model, run.method, calibration=run.data, **{**find(run.method).quick, **run.options})
    finally:
        hook.remove()
    return [(first, tensor.detach()) for first, tensor in seen.values()]


# --- filters of convolutional networks ----------------------------------------


def trained_filters(runs: list[Evidence]) -> Verdict:
    """Factors of its own are trained, and without these steps other filters go."""
    for run in runs:
        if not run.own_steps or not run.gradients:
            return False, f"no optimiser step on anything but the model's weights ({run.family})"
        with optimisers_stand_still():
            untrained = run.rerun()
        ours, theirs = (
            {name: value for name, value in model.named_buffers() if name.endswith(".index")}
            for model in (run.model, untrained)
        )
        if not ours or ours.keys() != theirs.keys():
            return False, f"it does not say which filters are left ({run.family})"
        if all(torch.equal(ours[name], theirs[name]) for name in ours):
            return False, f"the same filters go when its optimiser stands still ({run.family})"
    steps = sum(run.own_steps for run in runs)
    return True, (
        f"{steps:,} optimiser steps on factors of its own; other filters go when the optimiser "
        f"stands still"
    )


# --- low rank and principal components ----------------------------------------


@experiment("criterion", "singular-value")
def singular_value(runs: list[Evidence]) -> Verdict:
    if runs[0].report.unit == "hidden":
        return principal_directions(runs)
    for run in runs:
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        changed = changed_matrices(run)
        if not changed:
            return False, f"no matrix changed ({run.family})"
        for name, old, new in changed:
            values = torch.linalg.eigvalsh(old.double() @ old.double().T).flip(0).clamp(min=0)
            lost = values[numerical_rank(new) :].sum()
            off = (old.double() - new.double()).square().sum()
            if off > lost * (1 + 1e-4) + 1e-10 * values.sum():
                return False, (
                    f"{name} is {(off / values.sum()).sqrt():.1%} off, its best approximation of "
                    f"that rank {(lost / values.sum()).sqrt():.1%} ({run.family})"
                )
    return True, (
        f"in {len(runs)} runs what was lost is what the smallest singular values hold, from the "
        f"eigenvalues of W·Wᵀ"
    )


def principal_directions(runs: list[Evidence]) -> Verdict:
    """The stream in front of every block lies along its own principal components, largest first."""
    kept = []
    for run in runs:
        assert isinstance(run.data, Calibration)
        dense, sliced = hidden_states(run.dense, run.data), hidden_states(run.model, run.data)
        whole = dense[0].double().flatten(0, 1)
        if any(isinstance(part, nn.LayerNorm) for part in blocks(run.dense)[0].modules()):
            whole = whole - whole.mean(1, keepdim=True)
        variances = torch.linalg.eigvalsh(whole.T @ whole).flip(0)
        for index, stream in enumerate(sliced[:-1]):
            Z = stream.double().flatten(0, 1)
            moments, own = Z.T @ Z, (Z * Z).sum(0)
            mixed = (moments - own.diag()).abs().max() / own.max()
            if mixed > 1e-3:
                return False, f"before block {index}, directions are correlated ({run.family})"
            if (own.diff() > 1e-3 * own.max()).any():
                return False, f"before block {index}, directions are not sorted ({run.family})"
            best = variances[: len(own)].sum()
            if index == 0 and own.sum() < best * (1 - 1e-4):
                return False, (
                    f"{len(own)} directions hold {own.sum() / variances.sum():.1%} of the stream, "
                    f"the best would hold {best / variances.sum():.1%} ({run.family})"
                )
        kept.append((best / variances.sum()).item())
    return True, (
        f"the kept directions hold {min(kept):.0%} to {max(kept):.0%} of the embeddings' stream, as "
        f"much as any could; before every block the stream is uncorrelated and sorted by variance"
    )


def best_matrix(runs: list[Evidence]) -> Verdict:
    """Every matrix of an MLP's input or output is truncated and judged here a second time."""
    judged = 0
    for run in runs:
        assert isinstance(run.data, Calibration)
        tokens = run.data.tokens
        tokens = tokens[: max(1, round(run.report.options["validation"] * len(tokens)))]
        ((changed, _, _),) = changed_matrices(run)
        model, scores = copy.deepcopy(run.dense), dict[str, tuple[float, float]]()
        found = [view for view in all_views(model) if view.role == "mlp"]
        first = "gate" if any(view.part == "gate" for view in found) else "up"
        for view in (view for view in found if view.part in (first, "down")):
            old = view.W.clone()
            _, vectors = torch.linalg.eigh(old.double() @ old.double().T)
            top = vectors[:, -max(1, int(run.report.asked * min(old.shape))) :]
            view.W = top @ top.T @ old.double()
            scores[view.name] = accuracy_and_loss(model, tokens)
            view.W = old
        judged += len(scores)
        # The higher accuracy wins, of equal ones the lower loss.
        best = max(scores, key=lambda name: (scores[name][0], -scores[name][1]))
        right, loss = scores.get(changed, (0.0, torch.inf))
        if right < scores[best][0] or loss > scores[best][1] * (1 + 1e-5):
            return False, (
                f"truncating {best} leaves an accuracy of {scores[best][0]:.1%} and a loss of "
                f"{scores[best][1]:.3f}, {changed}, which it chose, {right:.1%} and {loss:.3f} "
                f"({run.family})"
            )
    return True, (
        f"of {judged} truncated matrices in {len(runs)} runs none leaves a higher accuracy, or an "
        f"equal one and a lower loss"
    )


def accuracy_and_loss(model: PreTrainedModel, tokens: Tensor) -> tuple[float, float]:
    """The share of next tokens that the model gives the highest probability, and its mean loss."""
    with torch.no_grad():
        found = torch.stack([model(row[None], use_cache=False).logits[0, :-1] for row in tokens])
    loss = cross_entropy(found.flatten(0, 1).float(), tokens[:, 1:].flatten()).item()
    return float((found.argmax(-1) == tokens[:, 1:]).double().mean()), loss


@experiment("criterion", "attention-score")
def attention_score(runs: list[Evidence]) -> Verdict:
    if runs[0].report.unit != "cache":
        return False, f"there is no experiment for {runs[0].report.unit} yet"
    return smallest_attention_goes(runs)
