"""OWL: what is an outlier, how shares follow from it, and that the base method meets them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import inputs_of

from impl.allocation import Allocation
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import whole
from impl.methods.owl import block_shares, whole_weights
from impl.model import all_views, blocks, views
from impl.registry import Report, find, prune
from impl.toys import toy, toy_tokens


def calibration() -> Calibration:
    return Calibration(toy_tokens(4, 16), "toy", "random", 0)


def run(family: str = "llama", sparsity: float = 0.7, **options: Any) -> tuple[Any, Report]:
    model = toy(family)
    return model, prune(model, "owl", calibration=calibration(), sparsity=sparsity, **options)


cases = given(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 10**7)), min_size=1, max_size=40),
    st.floats(0.01, 0.99),
    st.floats(0, 0.5),
)


@settings(max_examples=300, deadline=None)
@cases
def test_the_weighted_mean_is_the_target_and_order_follows_outliers(
    blocks: list[tuple[float, int]], sparsity: float, band: float
) -> None:
    ratios, sizes = [r for r, _ in blocks], [n for _, n in blocks]
    shares = block_shares(ratios, sizes, sparsity, band)
    mean = sum(s * n for s, n in zip(shares, sizes, strict=True)) / sum(sizes)
    assert abs(mean - sparsity) < 1e-9
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares) - min(shares) <= 2 * band + 1e-9
    ordered = [share for _, share in sorted(zip(ratios, shares, strict=True), reverse=True)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(ordered))


def test_equal_outliers_give_equal_shares() -> None:
    assert block_shares([0.013] * 5, [3, 5, 7, 9, 1], 0.6, 0.08) == [0.6] * 5


def test_the_formula_of_the_official_code_on_blocks_of_one_size() -> None:
    """There: kept = (D − min) · 2λ / (max − min), minus its mean, plus 1 − S."""
    D = torch.tensor([2.1, 5.3, 3.3, 4.0, 1.2], dtype=torch.float64)
    kept = (D - D.min()) * (1 / (D.max() - D.min()) * 0.08 * 2)
    kept = kept - kept.mean() + (1 - 0.7)
    found = block_shares((D / 100).tolist(), [1000] * 5, 0.7, 0.08)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), 1 - kept)


def test_the_band_narrows_where_shares_would_leave_their_range() -> None:
    for sparsity in (0.03, 0.97):
        shares = block_shares([0.1, 0.0, 0.0], [10, 10, 10], sparsity, 0.3)
        assert min(shares) == pytest.approx(0 if sparsity < 0.5 else shares[0])
        assert max(shares) == pytest.approx(1 if sparsity > 0.5 else shares[1])
        assert shares[0] < shares[1]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(0, 50) | st.integers(0, 99).map(lambda n: n / 2), min_size=1))
def test_whole_numbers_are_neighbours_and_add_up(amounts: list[float]) -> None:
    due = torch.tensor(amounts, dtype=torch.float64)
    counts = whole(due)
    assert (counts >= due.floor()).all()
    assert (counts <= due.ceil()).all()
    assert (counts.cumsum(0) - due.cumsum(0)).abs().max() <= 0.5 + 1e-9


@pytest.mark.parametrize("sparsity", [0.37, 0.5, 0.701])
def test_shares_become_whole_weights_that_add_up(sparsity: float) -> None:
    targets = all_views(toy("qwen3_moe"))
    total = round(sparsity * sum(view.numel for view in targets))
    allocation = whole_weights([sparsity - 0.031, sparsity + 0.011, sparsity + 0.02], targets)
    counts = [round(allocation[view.name] * view.numel) for view in targets]
    assert sum(counts) == total
    for view, count in zip(targets, counts, strict=True):
        assert allocation[view.name] * view.numel == pytest.approx(count, abs=1e-6)


def test_outliers_are_those_of_the_dense_model() -> None:
    """Against hooks on the whole model, its scores concatenated block by block."""
    threshold, reference = 3.0, toy("llama")
    inputs = inputs_of(reference, all_views(reference), calibration().tokens)
    expected = []
    for index in range(len(blocks(reference))):
        scores = torch.cat(
            [
                (view.W.abs() * torch.cat(inputs[view.module]).norm(dim=0)).flatten()
                for view in views(reference, index)
            ]
        )
        expected.append(float((scores > threshold * scores.mean()).double().mean()))
    _, report = run(threshold=threshold)
    assert report.details["outlier_ratios"] == pytest.approx(expected, abs=2e-4)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("base", ["wanda", "sparsegpt", "magnitude"])
def test_the_base_method_prunes_at_the_shares(base: str) -> None:
    model, report = run(base=base)
    targets = all_views(model)
    total = sum(view.numel for view in targets)
    assert report.removed == round(0.7 * total)
    allocation = whole_weights(report.details["block_shares"], targets)
    other = toy("llama")
    given_text = {} if base == "magnitude" else {"calibration": calibration()}
    with torch.no_grad():
        find(base).run(other, sparsity=Allocation(allocation), **given_text)
    for ours, theirs in zip(targets, all_views(other), strict=True):
        assert torch.equal(ours.W, theirs.W), ours.name


def test_a_block_with_planted_outliers_is_spared() -> None:
    model = toy("llama")
    with torch.no_grad():
        for view in views(model, 1):
            W = view.W
            W[:, :2] *= 20  # few enough to leave the mean behind
            view.W = W
    report = prune(model, "owl", calibration=calibration(), sparsity=0.6)
    shares = report.details["block_shares"]
    assert shares.index(min(shares)) == 1
    assert max(shares) - min(shares) == pytest.approx(0.16)


def test_its_hyperparameters_matter() -> None:
    def kept(**options: Any) -> list[int]:
        return [int((view.W != 0).sum()) for view in all_views(run(**options)[0])]

    assert kept() != kept(band=0.02)
    assert kept() != kept(threshold=2.0)
    even = zip(kept(band=0.0), all_views(toy("llama")), strict=True)
    assert all(abs(n - 0.3 * view.numel) <= 1 for n, view in even)


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"band": -0.1}, {"band": 0.6}])
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        run(**wrong)
