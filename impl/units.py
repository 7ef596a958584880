"""What a budget counts: weights, blocks, heads and so on, each with its own argument, and how much of it is gone.

A budget is fixed in advance. Every unit says what its argument is called, what
may be asked, what means "change nothing", and counts what a model has of it,
so that what was asked can be compared with what was done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from impl.errors import BadInput, Unsupported
from impl.model import all_views, blocks, experts, heads

Name = Literal[
    "weights",
    "parameters",
    "shape",
    "hidden",
    "blocks",
    "heads",
    "experts",
    "channels",
    "rank",
    "cache",
    "activations",
]


@dataclass(frozen=True)
class Unit:
    """One unit of a budget.

    `arguments` are what methods and the command line call it. A `share` is a
    number from 0 to 1: of what goes where `nothing` is 0, of what stays where
    it is 1; a `count` is a whole number of things that go. `count(model)` is
    how much there is, None where only the method itself can say.
    """

    name: str
    arguments: tuple[str, ...]
    kind: Literal["share", "count"]
    nothing: float
    means: str
    default: Callable[[nn.Module], float]
    count: Callable[[nn.Module], int] | None

    def check(self, argument: str, value: Any, model: nn.Module | None = None) -> float:
        """`value` as a number. Raises `BadInput` if it cannot be a budget of this unit."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadInput(f"{argument} {value!r} is not a number")
        if self.kind == "count":
            if value != int(value) or value < 0:
                raise BadInput(
                    f"{argument} {value:g} is not a whole number from 0", f"It is {self.means}."
                )
            limit = self._limit(model) if model is not None else math.inf
            if value >= limit:
                raise BadInput(
                    f"{argument} {value:g} leaves nothing: there are {limit:,}",
                    f"It is {self.means}; at most {limit - 1:,} can go.",
                )
            return int(value)
        if self.nothing == 0 and not 0 <= value < 1:
            raise BadInput(
                f"{argument} {value:g} is not in the range 0 ≤ {argument} < 1",
                f"It is {self.means}.",
            )
        if self.nothing == 1 and not 0 < value <= 1:
            raise BadInput(
                f"{argument} {value:g} is not in the range 0 < {argument} ≤ 1",
                f"It is {self.means}.",
            )
        return float(value)

    def _limit(self, model: nn.Module) -> int:
        if self.name == "experts":
            return _fewest_experts(model)
        assert self.count is not None
        return self.count(model)

    def achieved(self, removed: int, total: int) -> float:
        """What was done, in the terms of what was asked."""
        if self.kind == "count":
            return removed
        share = removed / total if total else 0.0
        return share if self.nothing == 0 else 1 - share


def _parameters_of_blocks(model: nn.Module) -> int:
    return sum(p.numel() for p in blocks(model).parameters())


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _hidden(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[1])


def _heads(model: nn.Module) -> int:
    return sum(heads(model, index).count for index in range(len(blocks(model))))


def _experts_of(model: nn.Module) -> list[int]:
    found = []
    for index in range(len(blocks(model))):
        try:
            found.append(len(next(p for p in experts(model, index).parameters() if p.ndim == 3)))
        except Unsupported:
            continue
    return found


def _experts(model: nn.Module) -> int:
    return sum(_experts_of(model))


def _fewest_experts(model: nn.Module) -> int:
    counts = _experts_of(model)
    if not counts:
        raise Unsupported("the model has no experts", "Choose a mixture-of-experts model.")
    return min(counts)


def _channels(model: nn.Module) -> int:
    return sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))


def _weights(model: nn.Module) -> int:
    return sum(view.numel for view in all_views(model))


UNITS: Mapping[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit(
            "weights",
            ("sparsity",),
            "share",
            0,
            "the share of weights to remove: 0.5 removes half of them",
            lambda model: 0.5,
            _weights,
        ),
        Unit(
            "parameters",
            ("ratio",),
            "share",
            0,
            "the share of the blocks' parameters to remove",
            lambda model: 0.2,
            _parameters_of_blocks,
        ),
        Unit(
            "shape",
            ("layers", "hidden", "heads", "neurons"),
            "share",
            1,
            "the share of the model's size in this dimension that stays",
            lambda model: 1.0,
            _parameters,
        ),
        Unit(
            "hidden",
            ("slicing",),
            "share",
            0,
            "the share of the residual stream's dimensions to slice off",
            lambda model: 0.2,
            _hidden,
        ),
        Unit(
            "blocks",
            ("drop",),
            "count",
            0,
            "how many blocks to remove",
            lambda model: max(len(blocks(model)) // 4, 1),
            lambda model: len(blocks(model)),
        ),
        Unit(
            "heads",
            ("ratio",),
            "share",
            0,
            "the share of all attention heads to remove",
            lambda model: 0.25,
            _heads,
        ),
        Unit(
            "experts",
            ("drop",),
            "count",
            0,
            "how many experts to remove from each block",
            lambda model: max(_fewest_experts(model) // 4, 1),
            _experts,
        ),
        Unit(
            "channels",
            ("ratio",),
            "share",
            0,
            "the share of the prunable filters to remove",
            lambda model: 0.3,
            _channels,
        ),
        Unit(
            "rank",
            ("keep",),
            "share",
            1,
            "the share of the treated matrix' full rank that stays",
            lambda model: 0.1,
            None,
        ),
        Unit(
            "cache",
            ("keep",),
            "share",
            1,
            "the share of the window's keys and values that the cache may hold",
            lambda model: 0.2,
            None,
        ),
        Unit(
            "activations",
            ("sparsity",),
            "share",
            0,
            "the share of heads and neurons that are not computed for a token",
            lambda model: 0.5,
            None,
        ),
    )
}
