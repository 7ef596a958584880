"""A smaller architecture for a model: how many of everything stay, which ones, and the cut.

For methods whose budget is a shape. The same numbers hold for every block, so
that the result is a uniform model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from impl.errors import Unsupported
from impl.families import family_of
from impl.model import blocks, heads, neurons
from impl.surgery import drop_blocks, keep_heads, keep_hidden, keep_neurons


def head_sets(model: nn.Module, block: int) -> tuple[int, int]:
    """In how many sets the heads of a block compete, and how many parts each set has.

    Where query heads share a key and a value, every group gives up equally
    many of its queries: one set for each group. Otherwise, and where query,
    key and value are one projection, whole groups compete in a single set.
    """
    layout = heads(model, block)
    if layout.queries == 1 or layout.q.rows is not None:
        return 1, layout.groups
    return layout.groups, layout.queries


@dataclass(frozen=True)
class Shape:
    """How many blocks, residual channels, parts of a set of heads, and neurons a model has."""

    layers: int
    hidden: int
    heads: int
    neurons: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> Shape:
        """The shape of a model whose blocks are alike.

        Raises `Unsupported` for a mixture of experts, and for blocks that differ.
        """
        count = len(blocks(model))
        embeddings: Any = model.get_input_embeddings()
        found = {(head_sets(model, i), neurons(model, i).count) for i in range(count)}
        if len(found) > 1:
            raise Unsupported(
                "the blocks of this model differ in heads or neurons",
                "A shape is the same for all blocks: start from a uniform model.",
            )
        ((_, parts), inner) = found.pop()
        return cls(count, embeddings.weight.shape[1], parts, inner)

    def scaled(
        self, model: PreTrainedModel, layers: float, hidden: float, heads: float, neurons: float
    ) -> Shape:
        """The shape with these shares of each, rounded, at least one of each.

        Raises `Unsupported` for heads that the family cannot give up.
        """
        why = family_of(model).heads_stay
        if heads < 1 and (why or self.heads == 1):
            raise Unsupported(
                f"heads of {family_of(model).name} cannot be taken out: "
                + (why or "all queries read one key, in one projection with it"),
                "Ask for heads 1.0.",
            )

        def count(whole: int, share: float) -> int:
            return max(1, round(share * whole))

        return Shape(
            count(self.layers, layers),
            count(self.hidden, hidden),
            count(self.heads, heads),
            count(self.neurons, neurons),
        )


@dataclass
class Kept:
    """Boolean masks of what stays; an axis that is None (or empty) stays as it is."""

    layers: Tensor | None = None
    """(blocks,)"""
    hidden: Tensor | None = None
    """(hidden,)"""
    heads: list[Tensor] = field(default_factory=list)
    """One (sets, parts) for each block, as `head_sets` has it"""
    neurons: list[Tensor] = field(default_factory=list)
    """One (neurons,) for each block"""


def cut(model: PreTrainedModel, kept: Kept) -> None:
    """Take everything out of the model that `kept` does not keep."""
    stays = range(len(blocks(model))) if kept.layers is None else kept.layers.nonzero().flatten()
    for block in map(int, stays):
        if kept.heads and not kept.heads[block].all():
            mask = kept.heads[block]
            keep_heads(
                model, block, mask if len(mask) > 1 or _of_queries(model, block) else mask[0]
            )
        if kept.neurons and not kept.neurons[block].all():
            keep_neurons(model, block, kept.neurons[block])
    if kept.layers is not None and not kept.layers.all():
        drop_blocks(model, [int(i) for i in (~kept.layers).nonzero()])
    if kept.hidden is not None and not kept.hidden.all():
        keep_hidden(model, kept.hidden)


def _of_queries(model: nn.Module, block: int) -> bool:
    layout = heads(model, block)
    return layout.queries > 1 and layout.q.rows is None
