"""Shortened LLaMA: both scores against a literal reading, what is protected, and the retraining."""

from __future__ import annotations

import copy

import pytest
import torch
from deep import deep, logits, make_idle, text, without
from torch import Tensor, nn

from impl.errors import BadInput
from impl.evaluate import perplexity
from impl.experiments import observe_tags
from impl.methods.shortened_llama import perplexities, taylor
from impl.model import all_views, blocks, views
from impl.registry import prune
from impl.surgery import drop_blocks
from impl.toys import toy


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "mixtral"])
def test_perplexity_is_that_of_the_model_with_the_block_dropped(family: str) -> None:
    with torch.no_grad():
        found = perplexities(toy(family), text())
    for place, value in enumerate(found):
        model = toy(family)
        drop_blocks(model, [place])
        assert value == pytest.approx(perplexity(model, text().tokens), rel=1e-5)


def test_without_an_idle_block_perplexity_is_the_dense_model_s() -> None:
    model = deep(5)
    make_idle(model, 3)
    with torch.no_grad():
        found = perplexities(model, text())
    assert found[3] == pytest.approx(perplexity(model, text().tokens), rel=1e-6)
    assert all(value != pytest.approx(found[3], rel=1e-4) for value in found[:3])


def total_loss(model: nn.Module) -> Tensor:
    """Σ over the windows of the mean next-token loss, by transformers' own labels."""
    return sum(model(w[None], labels=w[None], use_cache=False).loss for w in text().tokens)  # type: ignore[return-value]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mixtral"])
def test_taylor_is_the_sum_of_absolute_gradient_times_weight(family: str) -> None:
    found = taylor(toy(family), text())
    model = toy(family)
    total_loss(model).backward()
    for place, value in enumerate(found):
        expected = sum(
            (view.like(getattr(view.module, view.parameter).grad) * view.W).abs().sum().item()
            for view in views(model, place)
        )
        assert value == pytest.approx(expected, rel=1e-4)


def test_without_the_absolute_value_it_is_the_slope_of_a_gate_on_the_block_s_weights() -> None:
    """Σ g·w is the derivative of the loss with respect to a factor on all matrices of the block."""
    model = deep(4)
    total_loss(model).backward()
    for place in range(4):
        exact = sum((v.module.weight.grad * v.W).sum().item() for v in views(model, place))  # type: ignore[union-attr, operator]
        sides = []
        for factor in (1 + 1e-2, 1 - 1e-2):
            other = copy.deepcopy(model)
            for view in views(other, place):
                view.W = view.W * factor
            with torch.no_grad():
                sides.append(total_loss(other).item())
        assert (sides[0] - sides[1]) / 2e-2 == pytest.approx(exact, rel=0.02, abs=0.005)
        score = sum((v.module.weight.grad * v.W).abs().sum().item() for v in views(model, place))  # type: ignore[union-attr, operator]
        assert abs(exact) <= score


def test_the_lowest_scores_go_together() -> None:
    model, reference = deep(8), deep(8)
    with torch.no_grad():
        scores = perplexities(reference, text())
    order = sorted(range(8), key=scores.__getitem__)[:3]
    report = prune(model, "shortened-llama", calibration=text(), drop=3, retrain="none")
    assert report.details["dropped"] == sorted(order)
    torch.testing.assert_close(logits(model), without(reference, *order))


def test_taylor_never_takes_the_first_four_and_the_last_two() -> None:
    free = prune(
        deep(9), "shortened-llama", calibration=text(), drop=3, criterion="taylor",
        first=0, last=0, retrain="none",
    )  # fmt: skip
    order = sorted(range(9), key=free.details["scores"].__getitem__)
    assert free.details["dropped"] == sorted(order[:3])
    kept = prune(
        deep(9), "shortened-llama", calibration=text(), drop=3, criterion="taylor", retrain="none"
    )
    assert kept.details["dropped"] == [4, 5, 6]
    assert kept.details["scores"][:4] == [None] * 4
    model = deep(9)
    with pytest.raises(BadInput, match="the first 4 and last 2 of 9 blocks stay"):
        prune(model, "shortened-llama", calibration=text(), drop=4, criterion="taylor")
    assert len(blocks(model)) == 9


def test_only_as_much_text_is_scored_as_asked() -> None:
    run = {"calibration": text(6, 16), "drop": 1, "retrain": "none"}
    short = prune(deep(4), "shortened-llama", windows=2, tokens=8, **run)
    same = prune(
        deep(4), "shortened-llama", **{**run, "calibration": text(6, 16)}, windows=2, tokens=8
    )
    whole = prune(deep(4), "shortened-llama", **run)
    assert short.read["perplexity"] == 4 * 2
    assert short.details["scores"] == same.details["scores"] != whole.details["scores"]
    with pytest.raises(BadInput, match="no next token"):
        prune(deep(4), "shortened-llama", tokens=1, **run)


@pytest.mark.parametrize(("retrain", "matrices", "others"), [("lora", 1, 0), ("full", 1, 1)])
def test_what_is_retrained(retrain: str, matrices: int, others: int) -> None:
    cut, trained = deep(4), deep(4)
    common = {"calibration": text(), "drop": 1}
    prune(cut, "shortened-llama", retrain="none", **common)
    report = prune(trained, "shortened-llama", retrain=retrain, steps=20, lr=1e-2, **common)
    assert report.details["loss"][-1] < report.details["loss"][0]
    prunable = {f"{view.name}.{view.parameter}" for view in all_views(trained)}
    dense = dict(cut.named_parameters())
    for name, parameter in trained.named_parameters():
        changed = not torch.equal(parameter, dense[name])
        assert changed == bool(matrices if name in prunable else others), name


def test_false_claims_are_caught() -> None:
    families = ("llama", "gpt2", "opt", "gpt_neox")
    for name, value in (("shortgpt", "perplexity"), ("shortened-llama", "cosine-similarity")):
        (seen,) = observe_tags(name, {"criterion": [value]}, families)
        assert not seen.holds, seen.observed
