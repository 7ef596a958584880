"""RIA: its score against a plain reading, and what reordering channels may and may not do."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import inputs_of

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.evidence import FAMILIES, toy_calibration
from impl.experiments import observe_tags
from impl.masks import NM, n_m
from impl.methods.ria import channel_order, importance, reorder_neurons
from impl.model import all_views, blocks, views
from impl.registry import prune
from impl.toys import toy, toy_tokens
from impl.walk import walk


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("pattern", [None, NM(2, 4)], ids=str)
def test_masks_equal_a_plain_sequential_reference(family: str, pattern: NM | None) -> None:
    """Block by block on the whole model with hooks, every score worked out on its own."""
    ours, reference, calibration = toy(family), toy(family), toy_calibration()
    prune(ours, "ria", calibration=calibration, pattern=pattern, exponent=0.5)
    for index in range(len(blocks(reference))):
        targets = views(reference, index)
        inputs = inputs_of(reference, targets, calibration.tokens)
        for view in targets:
            x = torch.cat(inputs[view.module]).double()
            W = view.W.double()
            rows, columns = W.abs().sum(1), W.abs().sum(0)
            score = torch.empty(W.shape, dtype=W.dtype)
            for i in range(W.shape[0]):
                for j in range(W.shape[1]):
                    share = abs(W[i, j]) / columns[j] + abs(W[i, j]) / rows[i]
                    score[i, j] = share * x[:, j].square().sum() ** 0.25
            if pattern:
                low = (
                    score.view(-1, 4).argsort(1)[:, :2] + 4 * torch.arange(W.numel() // 4)[:, None]
                )
            else:
                low = score.flatten().argsort()[: W.numel() // 2]
            new = view.W.flatten()
            new[low.flatten()] = 0
            view.W = new.view_as(W)
    for a, b in zip(all_views(ours), all_views(reference), strict=True):
        assert torch.equal(a.W, b.W), a.name


def test_relative_importance_of_a_small_matrix() -> None:
    score = importance(torch.tensor([[1.0, 3.0], [0.0, 1.0]]), torch.tensor([4.0, 9.0]), 0.5)
    expected = [[(1 + 1 / 4) * 2, (3 / 4 + 3 / 4) * 3], [0, (1 / 4 + 1) * 3]]
    torch.testing.assert_close(score, torch.tensor(expected))


def test_a_weak_input_does_not_lose_its_only_connections() -> None:
    """Magnitude would cut input 0 off; among its own kind its largest weight is important."""
    W = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) + 1
    W[:, 0] = 0.01
    W[3, 0] = 0.5
    score = importance(W, torch.ones(8), 0.5)
    assert (W[:, 0] < W[:, 1:].min()).all()
    assert score[3, 0] > score[:, 1:].max()


def test_columns_and_rows_of_zeros_have_no_importance() -> None:
    W = torch.ones(3, 4)
    W[:, 1] = 0
    W[2] = 0
    score = importance(W, torch.tensor([1.0, 1.0, 0.0, 1.0]), 0.5)
    assert score.isfinite().all()
    assert not score[:, [1, 2]].any()
    assert not score[2].any()


def test_without_an_exponent_the_text_does_not_matter() -> None:
    """Relative importance alone: any calibration text gives the same mask; with 0.5 it does not."""
    for exponent, same in ((0.0, True), (0.5, False)):
        masks = []
        for seed in (1, 2):
            model = toy("llama")
            calibration = Calibration(toy_tokens(4, 16, seed), "toy", "random", seed)
            prune(model, "ria", calibration=calibration, exponent=exponent)
            masks.append(torch.cat([(view.W == 0).flatten() for view in all_views(model)]))
        assert torch.equal(*masks) == same


# --- the order of channels ----------------------------------------------------


def scores(seed: int, out: int = 6, width: int = 16) -> torch.Tensor:
    """Scores whose columns differ in size, as those of trained layers do."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(width, generator=generator).exp()
    return torch.rand(out, width, generator=generator) * columns


def retained(score: torch.Tensor, order: torch.Tensor, pattern: NM) -> float:
    moved = score[:, order].double()
    return float(moved.masked_fill(n_m(moved, pattern), 0).sum())


patterns = st.sampled_from([NM(2, 4), NM(1, 4), NM(3, 4), NM(4, 8), NM(1, 2)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), patterns)
def test_assignment_keeps_at_least_what_the_heuristic_keeps(seed: int, pattern: NM) -> None:
    score = scores(seed)
    dealt, assigned = (channel_order(score, pattern, assign) for assign in (False, True))
    for order in (dealt, assigned):
        assert torch.equal(order.sort().values, torch.arange(16))
    assert retained(score, assigned, pattern) >= retained(score, dealt, pattern) * (1 - 1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), patterns)
def test_no_exchange_at_the_last_position_is_better(seed: int, pattern: NM) -> None:
    """The last assignment is optimal: every other one is tried."""
    score = scores(seed, width=8 if pattern.m < 8 else 16)
    order = channel_order(score, pattern)
    groups = order.view(-1, pattern.m)
    best = retained(score, order, pattern)
    if len(groups) > 4:
        groups = groups[:4]
        score = score[:, groups.flatten()]
        best = retained(score, torch.arange(score.shape[1]), pattern)
        groups = torch.arange(score.shape[1]).view(-1, pattern.m)
    for chosen in permutations(range(len(groups))):
        other = groups.clone()
        other[:, -1] = groups[list(chosen), -1]
        assert retained(score, other.flatten(), pattern) <= best * (1 + 1e-6)


def test_channels_are_dealt_out_in_snake_order() -> None:
    score = torch.tensor([[5.0, 0, 7, 2, 4, 1, 6, 3]])  # ranks of the columns are their values
    order = channel_order(score, NM(2, 4), assign=False)
    assert score[0, order].view(2, 4).tolist() == [[0, 3, 4, 7], [1, 2, 5, 6]]


def test_reordering_pays_where_strong_channels_are_neighbours() -> None:
    score = torch.ones(4, 8)
    score[:, :4] = 10
    pattern = NM(2, 4)
    assert retained(score, torch.arange(8), pattern) == 4 * (20 + 2)
    assert retained(score, channel_order(score, pattern), pattern) == 4 * 40


@pytest.mark.parametrize("family", [*FAMILIES, "phi3", "phi", "falcon", "bloom", "qwen3_moe"])
def test_reordered_neurons_are_the_same_function(family: str) -> None:
    model, tokens = toy(family), toy_tokens(2, 12)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.rand_like(parameter)  # no bias is zero
    with torch.no_grad():
        before = model(tokens).logits
        old = {view.name: view.W.clone() for view in all_views(model)}
        for block in walk(model):
            for view in block.views:
                if view.part == "down":
                    reorder_neurons(block, view, torch.randperm(view.shape[1]))
        after = model(tokens).logits
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)
    for view in all_views(model):
        assert torch.equal(old[view.name], view.W) == (view.role == "attention"), view.name


@pytest.mark.parametrize("family", ["llama", "opt", "mixtral"])
def test_with_neurons_reordered_the_pattern_holds_in_stored_order(family: str) -> None:
    kept = {}
    for permute in ("none", "neurons", "all"):
        model = toy(family)
        prune(model, "ria", calibration=toy_calibration(), pattern="2:4", permute=permute)
        downs = [view for view in all_views(model) if view.part == "down"]
        kept[permute] = sum(float(view.W.abs().sum()) for view in downs[: len(downs) // 3])
        groups = [(view.W != 0).unflatten(-1, (-1, 4)).sum(-1) for view in all_views(model)]
        assert all((group == 2).all() for group in groups) == (permute != "all")
        assert all(int((view.W == 0).sum()) * 2 == view.numel for view in all_views(model))
    assert kept["neurons"] == pytest.approx(kept["all"])  # the same weights, elsewhere
    assert kept["neurons"] != pytest.approx(kept["none"])


@pytest.mark.parametrize("options", [{"exponent": -1.0}, {"permute": "neurons"}])
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        prune(toy("llama"), "ria", calibration=toy_calibration(), **options)


@pytest.mark.parametrize(
    ("impostor", "words"),
    [
        ("wanda", "higher relative importance"),
        ("sparsegpt", "higher relative importance"),
        ("magnitude", "read no activations"),
    ],
)
def test_the_tag_does_not_hold_for_another_score(impostor: str, words: str) -> None:
    (seen,) = observe_tags(impostor, {"criterion": ["ria"]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed
