"""Magnitude: the largest stay, in every layer, without a look at anything else."""

from __future__ import annotations

import torch

from impl.model import all_views
from impl.registry import prune
from impl.toys import toy


def test_it_is_the_sorted_weights_of_each_layer() -> None:
    model, dense = toy("llama"), toy("llama")
    prune(model, "magnitude", sparsity=0.3)
    for view, old in zip(all_views(model), all_views(dense), strict=True):
        count = round(0.3 * view.numel)
        threshold = old.W.abs().flatten().sort().values[count]
        assert torch.equal(view.W, old.W.masked_fill(old.W.abs() < threshold, 0)), view.name


def test_fused_projections_are_pruned_part_by_part() -> None:
    """A loud query must not push out keys and values that share its matrix."""
    model = toy("gpt2")
    parts = {view.part: view for view in all_views(model) if view.block == 0}
    parts["q"].W = parts["q"].W * 100
    prune(model, "magnitude", sparsity=0.5)
    for part in ("q", "k", "v"):
        assert int((parts[part].W == 0).sum()) == parts[part].numel // 2
