"""EEP: its matrices do what the equations say, and its search finds what is there to find."""

from __future__ import annotations

import copy
from itertools import combinations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl import prune
from impl.errors import Unsupported
from impl.evidence import toy_calibration
from impl.experiments import observe_tags
from impl.losses import batches, losses
from impl.methods import eep
from impl.model import blocks, experts
from impl.surgery import keep_experts
from impl.toys import toy, toy_tokens

CALIBRATION = toy_calibration()


@torch.no_grad()
def quality(model: PreTrainedModel) -> float:
    return float(torch.cat([losses(model, b) for b in batches(CALIBRATION, 8)]).mean())


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    found: Tensor = model(toy_tokens(2, 12, 7), use_cache=False).logits
    return found


def with_matrices(model: PreTrainedModel, candidate: Tensor) -> Tensor:
    mixtures = eep.find_mixtures(model, len(candidate))
    with torch.no_grad(), eep.searching(mixtures):
        for mixture in mixtures:
            mixture.put(candidate[mixture.group])
        return logits(model)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_all_experts_selected_is_the_dense_model(family: str) -> None:
    model = toy(family)
    whole = eep.select(torch.arange(4)[None].repeat(3, 1), 4)
    assert torch.allclose(with_matrices(model, whole), logits(toy(family)), atol=1e-5)


def test_a_selection_is_the_model_with_the_other_experts_cut_out() -> None:
    kept = torch.tensor([[0, 2], [1, 3], [2, 3]])
    model, cut = toy("mixtral"), toy("mixtral")
    for index, row in enumerate(kept):
        keep_experts(cut, index, torch.zeros(4, dtype=torch.bool).index_fill(0, row, True))
    assert torch.allclose(with_matrices(model, eep.select(kept, 4)), logits(cut), atol=1e-5)
    assert torch.equal(logits(model), logits(toy("mixtral"))), "the search left something behind"


def by_hand(model: PreTrainedModel, x: Tensor, merging: Tensor, mapping: Tensor) -> Tensor:
    """Eqs. 3, 5 and 6 for the first block of a mixtral, token by token and expert by expert."""
    module, router = experts(model, 0), eep.router_of(model, 0)
    gate_up, down = module.gate_up_proj, module.down_proj
    result = torch.zeros_like(x)
    for t, z in enumerate(x):
        scores = (mapping @ torch.softmax(router.weight @ z, 0)).clamp_min(0)
        chosen = sorted(range(len(scores)), key=lambda j: -float(scores[j]))[:2]
        for j in chosen:
            merged = sum(w * expert for w, expert in zip(merging[j], gate_up, strict=True))
            gate, up = (merged @ z).chunk(2)
            inner = torch.nn.functional.silu(gate) * up
            out = sum(w * expert for w, expert in zip(merging[j], down, strict=True)) @ inner
            result[t] += scores[j] / sum(scores[i] for i in chosen) * out
    return result


@torch.no_grad()
def test_merged_experts_and_mapped_routers_are_equations_5_and_6() -> None:
    torch.manual_seed(0)
    model = toy("mixtral")
    merging, mapping = torch.randn(2, 3, 4)
    x = torch.randn(9, 32)
    expected = by_hand(model, x, merging, mapping)
    candidate = torch.stack([merging, mapping])[None]
    mixtures = eep.find_mixtures(model, 1)
    with eep.searching(mixtures):
        for mixture in mixtures:
            mixture.put(candidate[0])
        tried = blocks(model)[0].mlp(x[None])[0]
    for mixture in mixtures:
        mixture.settle(model, candidate[0], selects=False, plain=False)
    assert torch.allclose(tried, expected, atol=1e-4)
    assert torch.allclose(blocks(model)[0].mlp(x[None])[0], expected, atol=1e-4)
    assert len(experts(model, 0).gate_up_proj) == 3


def test_with_enough_tries_the_pruning_phase_finds_the_best_selection_of_all() -> None:
    # One group, 2 of 4 experts: six selections, each judged by cutting the experts out.
    every = {}
    for kept in combinations(range(4), 2):
        cut = toy("mixtral")
        for index in range(3):
            mask = torch.zeros(4, dtype=torch.bool).index_fill(0, torch.tensor(kept), True)
            keep_experts(cut, index, mask)
        every[kept] = quality(cut)
    best = min(every, key=lambda kept: every[kept])
    assert len({round(value, 4) for value in every.values()}) == 6
    for seed in range(3):
        model = toy("mixtral")
        report = prune(
            model, "eep", calibration=CALIBRATION, drop=2, groups=1, initial=1,
            prune_iterations=5, merge_iterations=0, replace=0.5, seed=seed,
        )  # fmt: skip
        found = tuple(torch.tensor(report.details["merging"][0]).argmax(1).tolist())
        assert found == best
        assert report.details["loss"] == pytest.approx(every[best], abs=1e-5)
        assert not getattr(model.config, "prunedex", None), "only pruned: a plain checkpoint"


def test_merging_is_never_worse_than_pruning_and_the_result_has_the_loss_it_was_chosen_for() -> (
    None
):
    for family in ("mixtral", "qwen3_moe"):
        model = toy(family)
        report = prune(
            model, "eep", calibration=CALIBRATION, drop=2, initial=3,
            prune_iterations=5, merge_iterations=40,
        )  # fmt: skip
        start, pruned, merged = report.details["best_after_phases"]
        assert merged < pruned <= start
        assert report.details["loss"] == merged
        assert quality(model) == pytest.approx(merged, abs=1e-4)
        assert report.details["tried"] == 48


def test_groups_share_their_matrices() -> None:
    model = toy("mixtral")
    report = prune(
        model, "eep", calibration=CALIBRATION, drop=2, groups=2, initial=2,
        prune_iterations=2, merge_iterations=0,
    )  # fmt: skip
    dense = toy("mixtral")
    kept = torch.tensor(report.details["merging"]).argmax(-1)
    assert len(kept) == 2
    for index, group in enumerate([0, 0, 1]):
        before, after = experts(dense, index), experts(model, index)
        assert torch.equal(before.down_proj[kept[group]], after.down_proj)


def test_children_are_what_the_paper_says() -> None:
    torch.manual_seed(0)
    one, other = (eep.select(torch.rand(3, 8).argsort(1)[:, :4], 8) for _ in range(2))
    whole = eep.crossover(one, other, rows=False)
    for group in range(3):
        assert any(torch.equal(whole[group], parent[group]) for parent in (one, other))
    for _ in range(20):
        child = eep.swap(whole, 0.5)
        assert eep.only_selects(child)
        assert (child[:, 0].sum(1) <= 1).all(), "an expert was selected twice"
    rows = eep.crossover(one, other, rows=True)
    assert ((rows == one).all(-1) | (rows == other).all(-1)).all()
    noisy = eep.add_noise(one, 0.25, 0.065)
    assert not torch.equal(noisy, one)
    assert (noisy != one).float().mean() < 0.25
    assert not eep.only_selects(noisy)


def test_an_interrupted_search_leaves_the_model_as_it_was() -> None:
    model = toy("mixtral")
    before = copy.deepcopy(model.state_dict())

    def stop(done: int, total: int, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, "eep", calibration=CALIBRATION, drop=1, progress=stop)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(Unsupported, match="no experts"):
        prune(toy("llama"), "eep", calibration=CALIBRATION, drop=1)
    model = toy("qwen3_moe")
    options = {"initial": 2, "prune_iterations": 0, "merge_iterations": 0}
    prune(model, "eep", calibration=CALIBRATION, drop=1, **options)
    with pytest.raises(Unsupported, match="mapped already"):
        prune(model, "eep", calibration=CALIBRATION, drop=1, **options)
    model = toy("mixtral")
    keep_experts(model, 1, torch.tensor([True, True, True, False]))
    with pytest.raises(Unsupported, match="different numbers"):
        prune(model, "eep", calibration=CALIBRATION, drop=1)


def test_false_claims_about_it_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def claimed(dimension: str, value: str) -> str:
        (seen,) = observe_tags("eep", {dimension: [value]}, ("mixtral",))
        assert not seen.holds
        return seen.observed

    assert "surviving weights changed" in claimed("weight_update", "frozen")
    measure = eep.loss
    monkeypatch.setattr(eep, "loss", lambda *given: 0 * measure(*given))  # looks, and ignores it
    assert "made to look for the highest" in claimed("criterion", "search")
    monkeypatch.setattr(eep, "loss", lambda *_: 0.0)  # takes the first, and never merges
    assert "no search" in claimed("criterion", "search")
    assert "mixed from several" in claimed("type", "expert-merging")
