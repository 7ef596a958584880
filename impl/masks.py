"""Which weights go: boolean masks (True is pruned) from scores, with exact counts.

Scores are ranked, never compared with a threshold: `score <= sorted[k]`
prunes one weight too many, and all that tie with it. Ties fall to the
earlier position, so that the same scores give the same mask everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from impl.errors import BadInput


@dataclass(frozen=True)
class NM:
    """N:M sparsity: of every m consecutive inputs of an output, at most n weights stay."""

    n: int
    m: int

    @classmethod
    def parse(cls, text: str | NM | None) -> NM | None:
        """Read "2:4". Raises `BadInput` for anything that is not 0 < N < M."""
        if text is None or isinstance(text, NM):
            return text
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*:\s*([0-9]{1,6})\s*", str(text))
        if not match or not 0 < int(match[1]) < int(match[2]):
            raise BadInput(
                f"pattern '{text}' is not N:M with 0 < N < M",
                "Write how many of how many consecutive weights stay, for example 2:4 or 4:8.",
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


def lowest(score: Tensor, count: int | Tensor) -> Tensor:
    """True at the `count` lowest scores of the last dimension.

    `count` is one number, or a tensor with one number per row of `score`.
    """
    if score.isnan().any():
        raise ValueError("a score is not a number")
    size = score.shape[-1]
    if not score.numel():
        return torch.zeros_like(score, dtype=torch.bool)
    if size <= 32:
        limit = count.to(score.device).unsqueeze(-1) if isinstance(count, Tensor) else count
        return _short_rank(score) < limit
    rows = score.detach().reshape(-1, size)
    if not isinstance(count, Tensor):
        return _select(rows, count).view(score.shape)
    limits = count.to(score.device).expand(score.shape[:-1]).reshape(-1)
    distinct = limits.unique().tolist()
    if len(distinct) > 8:  # selecting for each number by itself would take longer than sorting
        return (_rank(rows) < limits[:, None]).view(score.shape)
    pruned = torch.empty_like(rows, dtype=torch.bool)
    for number in distinct:
        same = limits == number
        pruned[same] = _select(rows[same], number)
    return pruned.view(score.shape)


def _select(rows: Tensor, count: int) -> Tensor:
    """True at the `count` lowest of every row of (rows, size), ties by position.

    Selecting takes a quarter of the time of sorting; only rows where the last
    place is tied are sorted.
    """
    size = rows.shape[-1]
    if not 0 < count < size:
        return torch.full_like(rows, count > 0, dtype=torch.bool)
    pruned = rows <= rows.kthvalue(count, dim=-1, keepdim=True).values
    tied = pruned.sum(-1) > count
    if tied.any():
        pruned[tied] = _rank(rows[tied]) < count
    return pruned


def _rank(score: Tensor) -> Tensor:
    """The place of each score in the order of the last dimension, ties by position."""
    rank = torch.empty_like(score, dtype=torch.long)
    positions = torch.arange(score.shape[-1], device=score.device).expand_as(rank)
    return rank.scatter_(-1, score.argsort(dim=-1, stable=True), positions)


def _short_rank(score: Tensor) -> Tensor:
    """The same where the last dimension is short.

    Sorting millions of short groups one by one takes minutes, comparing seconds.
    """
    places = score.movedim(-1, 0).contiguous()
    rank = torch.zeros_like(places, dtype=torch.int8)
    for i in range(len(places)):
        for j in range(i + 1, len(places)):
            first = places[i] <= places[j]
            rank[j] += first
            rank[i] += ~first
    return rank.movedim(0, -1)


def shares(total: int, sizes: list[int]) -> list[int]:
    """Split `total` over parts in proportion to their sizes, in whole numbers that add up."""
    whole = sum(sizes)
    given, seen, result = 0, 0, []
    for size in sizes:
        seen += size
        due = (2 * total * seen + whole) // (2 * whole)  # total · seen / whole, rounded
        result.append(due - given)
        given = due
    return result


def whole(amounts: Tensor) -> Tensor:
    """`amounts` (n,) as whole numbers whose sum is the sum, rounded; each is rounded down or up.

    What is rounded off is carried along, so that the errors spread evenly.
    """
    down = amounts.floor()
    up = ((amounts - down).cumsum(0) + 0.5).floor()
    return (down + up.diff(prepend=up.new_zeros(1))).long()


def per_output(score: Tensor, sparsity: float) -> Tensor:
    """Compare the weights of each output row; `score` is (out, in).

    The layer as a whole loses exactly round(sparsity · out · in) weights: where
    that is no multiple of `out`, rows differ by one.
    """
    out, width = score.shape
    counts = torch.tensor(shares(round(sparsity * score.numel()), [width] * out))
    return lowest(score, counts)


def per_layer(score: Tensor, sparsity: float) -> Tensor:
    """Compare all weights of the layer; exactly round(sparsity · out · in) go."""
    return lowest(score.flatten(), round(sparsity * score.numel())).view_as(score)


def n_m(score: Tensor, pattern: NM) -> Tensor:
    """Of every m consecutive inputs, all but the n highest scores go; m divides `in`."""
    groups = score.unflatten(-1, (-1, pattern.m))
    return lowest(groups, pattern.m - pattern.n).flatten(-2)
