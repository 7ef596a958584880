"""Budgets that differ from weight to weight, for methods that spread one share unevenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from impl.errors import BadInput
from impl.model import View


class Allocation(dict[str, float]):
    """The share that each view loses, by the view's name."""

    def mean(self, targets: Sequence[View]) -> float:
        """The share of all weights together: the mean, weighted by size."""
        total = sum(view.numel for view in targets)
        return sum(self[view.name] * view.numel for view in targets) / total


def share(sparsity: float | Allocation, view: View) -> float:
    """What `view` loses: the same share everywhere, or its own."""
    return sparsity[view.name] if isinstance(sparsity, Allocation) else sparsity


def by_block(shares: Mapping[int, float], targets: Sequence[View]) -> Allocation:
    """One share for all weights of a block. Raises `BadInput` outside of 0 to 1."""
    for block, value in shares.items():
        if not 0 <= value <= 1:
            raise BadInput(
                f"block {block} would lose {value:.1%} of its weights",
                "Ask for less sparsity, or for shares that differ less.",
            )
    return Allocation({view.name: shares[view.block] for view in targets})
