"""LaCo: the merge, the test of a merge and the walk, against explicit models."""

from __future__ import annotations

import copy

import pytest
import torch
from deep import deep, logits, text
from torch import Tensor
from transformers import PreTrainedModel

from impl.errors import BadInput, Unsupported
from impl.experiments import observe_tags
from impl.methods.laco import Collapse, removed, walk_down
from impl.model import all_views, blocks, views
from impl.registry import prune
from impl.surgery import drop_blocks, keep_neurons
from impl.toys import toy


def merged(model: PreTrainedModel, at: int, m: int) -> PreTrainedModel:
    """The model with layers at + 1 … at + m merged into layer `at`, by the equation."""
    result = copy.deepcopy(model)
    groups = [views(model, at + k) for k in range(m + 1)]
    for number, view in enumerate(views(result, at)):
        base = groups[0][number].W
        view.W = base + sum(group[number].W - base for group in groups[1:])
        if getattr(view.module, "bias", None) is not None:
            base = groups[0][number].module.bias  # type: ignore[assignment]
            bias = base + sum(group[number].module.bias - base for group in groups[1:])  # type: ignore[operator]
            with torch.no_grad():
                view.module.bias.copy_(bias)  # type: ignore[union-attr, operator, arg-type]
    drop_blocks(result, range(at + 1, at + 1 + m))
    return result


def cosine(one: PreTrainedModel, other: PreTrainedModel) -> float:
    """Mean over windows of the cosine of all last hidden states as one vector."""
    found = []
    for window in text().tokens:
        states = []
        for model in (one, other):
            frame = model.get_submodule(model.base_model_prefix)
            with torch.no_grad():
                states.append(frame(window[None], use_cache=False).last_hidden_state.flatten())
        found.append(torch.cosine_similarity(states[0], states[1], dim=0).item())
    return sum(found) / len(found)


def same(one: PreTrainedModel, other: PreTrainedModel) -> None:
    assert len(blocks(one)) == len(blocks(other))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(one), logits(other), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt", "phi3", "gemma2"])
@pytest.mark.parametrize("drop", [1, 2])
def test_it_merges_by_the_equation(family: str, drop: int) -> None:
    model = toy(family)
    report = prune(model, "laco", calibration=text(), drop=drop)
    assert report.details["merges"] == [(0, drop)]
    same(model, merged(toy(family), 0, drop))


def test_merging_two_layers_leaves_the_second_with_the_norms_of_the_first() -> None:
    model = deep(4)
    after = merged(model, 1, 1)
    for a, b in zip(views(after, 1), views(model, 2), strict=True):
        torch.testing.assert_close(a.W, b.W)
    assert torch.equal(
        blocks(after)[1].input_layernorm.weight, blocks(model)[1].input_layernorm.weight
    )


def test_three_layers_are_mixed_where_the_official_code_keeps_the_last() -> None:
    model = deep(4)
    after = merged(model, 0, 2)
    for a, b in zip(views(after, 0), views(model, 2), strict=True):
        assert (a.W - b.W).abs().max() > 0.1


def test_merging_equal_layers_leaves_their_weights() -> None:
    model = deep(6)
    for layer in blocks(model):
        layer.load_state_dict(blocks(model)[0].state_dict())
    dense = [view.W.clone() for view in views(model, 0)]
    prune(model, "laco", calibration=text(), drop=4)
    for index in range(2):
        for view, W in zip(views(model, index), dense, strict=True):
            torch.testing.assert_close(view.W, W)


@pytest.mark.parametrize("merges", [[(1, 2)], [(3, 1), (2, 2)], [(4, 3), (1, 2), (0, 1)]])
def test_the_test_of_a_merge_is_the_cosine_with_the_explicit_model(
    merges: list[tuple[int, int]],
) -> None:
    model = deep(8)
    explicit = model
    for at, m in merges:
        explicit = merged(explicit, at, m)
    before = [p.clone() for p in model.parameters()]
    found = Collapse(model, text().tokens).cosine(merges)
    assert found == pytest.approx(cosine(model, explicit), abs=1e-5)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new), "trying a merge out changed the model"


def literal(
    model: PreTrainedModel, threshold: float, C: int, interval: int, most: int
) -> PreTrainedModel:
    """Algorithm 1 on whole copies of the model, with an end when `most` layers are gone."""
    result, layer = model, len(blocks(model)) - 1 - C
    gone = 0
    while layer >= 0 and gone < most:
        m = min(C - 1, len(blocks(result)) - layer - 1, most - gone)
        candidate = merged(result, layer, m) if m > 0 else None
        if candidate is not None and cosine(model, candidate) > threshold:
            result, gone = candidate, gone + m
            layer -= interval
        else:
            layer -= 1
    return result


@pytest.mark.parametrize(("C", "interval"), [(2, 1), (3, 1), (3, 2), (4, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_it_walks_as_the_algorithm(C: int, interval: int, seed: int) -> None:
    model = deep(8, seed=seed)
    tried = Collapse(model, text().tokens)
    cosines = [tried.cosine([(at, C - 1)]) for at in range(8 - C)]
    threshold = sorted(cosines)[len(cosines) // 2]  # some merges pass, and some do not
    merges = walk_down(tried, [], 99, threshold, C, interval)
    drop = removed(merges)
    assert drop > 0
    expected = literal(model, threshold, C, interval, drop)
    prune(
        model, "laco", calibration=text(), drop=drop, threshold=threshold, merge=C,
        interval=interval,
    )  # fmt: skip
    same(model, expected)


@pytest.mark.parametrize("drop", range(1, 8))
def test_any_number_of_layers_can_be_asked_for(drop: int) -> None:
    model = deep(8)
    report = prune(model, "laco", calibration=text(), drop=drop)
    assert len(blocks(model)) == 8 - drop
    assert removed(report.details["merges"]) == drop


def test_of_the_thresholds_that_do_the_highest_is_taken() -> None:
    report = prune(deep(8), "laco", calibration=text(), drop=2)
    chosen = report.details["threshold"]
    again = prune(deep(8), "laco", calibration=text(), drop=2, threshold=chosen)
    assert again.details["merges"] == report.details["merges"]
    model = deep(8)
    before: list[Tensor] = [p.clone() for p in model.parameters()]
    with pytest.raises(BadInput, match="layers can go"):
        prune(model, "laco", calibration=text(), drop=2, threshold=chosen + 0.05)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_layers_of_different_sizes_are_refused() -> None:
    model = toy("llama")
    keep_neurons(model, 1, torch.arange(64) < 40)
    before = [view.W.clone() for view in all_views(model)]
    with pytest.raises(Unsupported, match="differ in size"):
        prune(model, "laco", calibration=text(), drop=1)
    assert all(torch.equal(a, v.W) for a, v in zip(before, all_views(model), strict=True))


def test_false_claims_are_caught() -> None:
    families = ("llama", "gpt2")
    (seen,) = observe_tags("shortgpt", {"type": ["layer-merging"]}, families)
    assert not seen.holds
    assert "mixes" in seen.observed
    (seen,) = observe_tags("laco", {"weight_update": ["frozen"]}, families)
    assert not seen.holds
