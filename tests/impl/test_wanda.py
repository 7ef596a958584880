"""Wanda: the paper's score, and what follows from it."""

from __future__ import annotations

import pytest
import torch
from plain import inputs_of

from impl.calibration import Calibration
from impl.model import all_views, blocks, views
from impl.registry import prune
from impl.toys import TOYS, toy, toy_tokens


def calibration() -> Calibration:
    return Calibration(toy_tokens(4, 16), "toy", "random", 0)


@pytest.mark.parametrize(
    "family", [name for name in TOYS if "m" in name and "moe" not in name and name != "mixtral"]
)
@pytest.mark.parametrize("pattern", [None, "2:4"])
def test_masks_equal_a_plain_sequential_reference(family: str, pattern: str | None) -> None:
    """Block by block on the whole model with hooks: measure, prune, go on with the pruned model."""
    ours, reference = toy(family), toy(family)
    prune(ours, "wanda", calibration=calibration(), sparsity=0.5, pattern=pattern)
    for index in range(len(blocks(reference))):
        targets = views(reference, index)
        inputs = inputs_of(reference, targets, calibration().tokens)
        for view in targets:
            x = torch.cat(inputs[view.module])
            W = view.W.clone()
            for i in range(W.shape[0]):
                score = W[i].abs() * x.norm(dim=0)
                if pattern:
                    for start in range(0, len(score), 4):
                        order = score[start : start + 4].argsort()
                        W[i, start + order[:2]] = 0
                else:
                    W[i, score.argsort()[: len(score) // 2]] = 0
            view.W = W
    for a, b in zip(all_views(ours), all_views(reference), strict=True):
        assert torch.equal(a.W, b.W), a.name


def test_with_equal_activation_norms_it_is_magnitude_within_each_row() -> None:
    """With one-token windows of equal entries every |x_j| is the same in the first projections."""
    model = toy("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.ones_like(model.model.embed_tokens.weight))
        blocks(model)[0].input_layernorm.weight.fill_(1.0)
    dense = {view.name: view.W.clone() for view in views(model, 0)}
    prune(model, "wanda", calibration=calibration(), sparsity=0.5)
    checked = 0
    for view in views(model, 0):
        if view.part in ("q", "k", "v"):
            magnitudes = dense[view.name].abs()
            kept = view.W != 0
            assert (kept.sum(1) == kept.shape[1] // 2).all()
            low = magnitudes.masked_fill(~kept, torch.inf).amin(1)
            high = magnitudes.masked_fill(kept, -torch.inf).amax(1)
            assert (high <= low).all()
            checked += 1
    assert checked == 3


def test_scaling_an_input_up_protects_its_weights() -> None:
    model, loud = toy("llama"), toy("llama")
    with torch.no_grad():
        blocks(loud)[0].input_layernorm.weight[5] *= 1000
    for m in (model, loud):
        prune(m, "wanda", calibration=calibration(), sparsity=0.5)
    column = [views(m, 0)[0].W[:, 5] for m in (model, loud)]
    assert (column[0] == 0).any()
    assert (column[1] != 0).all()
