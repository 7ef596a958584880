r"""OWL: blocks whose scores have many outliers lose fewer weights.

An allocator, not a score. The dense model is run once on calibration text,
and every block is described by one number: the share of its Wanda scores
that lie far above their mean. The share that a block loses falls linearly
with that number, within a band, and the mean over all weights stays what was
asked. A base method then prunes every layer at the share of its block.

Equations
---------
- Score: $$A_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2$$ Wanda's score, with the inputs X of the dense model.
- Layerwise outlier distribution: $$D^\ell = \frac{\sum_{i,j} \mathbb{I}\left( A^\ell_{ij} > M \cdot \bar{A}^\ell \right)}{C_\text{in} \, C_\text{out}}$$ The share of outliers among the scores of block ℓ, all its linear layers taken together; Ā is their mean.
- Allocation: $$S_\ell = S + \bar{d} - d_\ell, \qquad d_\ell = 2 \lambda \, \frac{D^\ell - \min_k D^k}{\max_k D^k - \min_k D^k}$$ The more outliers a block has, the less it loses; shares differ by at most 2λ, and their mean is S.

Hyperparameters
---------------
- sparsity: the share of all weights that goes, S; 0.7 in the paper's main results.
- base: the method that prunes at these shares; the paper reports wanda and sparsegpt, the official code also has magnitude.
- threshold: M, how many times the mean a score must be to count as an outlier; 5 in the commands of the official repository (its own default is 3).
- band: λ, half the difference between the largest and the smallest share; 0.08 in the official code.

Official code
-------------
- https://github.com/luuyin/OWL at 1f0912de5526a72f11a79329da7db1f27be161b9

Deviations
----------
- The mean share is weighted by the number of weights, so that the model as a whole loses exactly round(S · weights); the official code takes the mean over blocks, which is the same where blocks are of one size, and base methods round down.
- Where a share would leave the range from 0 to 1, the band is narrowed until all fit; the official code sets shares below 0 to 0.01.
- Blocks with equal outlier ratios get equal shares; the official code divides by zero.
- In a mixture of experts, each expert is scored with the tokens that its router sent it. The paper has no such models.
- The mixed N:M form of the official code, where N differs from block to block, is not implemented.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.allocation import Allocation
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import whole
from impl.model import View, all_views
from impl.registry import find, method
from impl.session import current
from impl.statistics import sum_of_squares
from impl.walk import Block, walk


@method("owl", budget="weights", needs="calibration")
def owl(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float = 0.5,
    base: Literal["wanda", "sparsegpt", "magnitude"] = "wanda",
    threshold: float = 5.0,
    band: float = 0.08,
) -> None:
    if threshold <= 0 or not 0 <= band <= 0.5:
        raise BadInput(
            f"threshold {threshold:g} is not above 0, or band {band:g} not in the range 0 to 0.5",
            "The paper's values are about 5 and 0.08.",
        )
    if not sparsity:
        return
    dense = walk(model, calibration, propagate="dense")
    ratios = [outlier_ratio(block, threshold) for block in dense]
    targets = all_views(model)
    sizes = [0] * len(ratios)
    for view in targets:
        sizes[view.block] += view.numel
    shares = block_shares(ratios, sizes, sparsity, band)
    current().details["outlier_ratios"] = ratios
    current().details["block_shares"] = shares
    allocation = whole_weights(shares, targets)
    chosen = find(base)
    given = {"calibration": calibration} if chosen.needs == "calibration" else {}
    chosen.run(model, sparsity=allocation, **given)


def outlier_ratio(block: Block, threshold: float) -> float:
    """D: the share of scores in the block above `threshold` times their mean."""
    norms = [(view, squares.sqrt()) for view, squares in block.collect(sum_of_squares)]

    def score(view: View, norm: Tensor) -> Tensor:
        return view.W.to(norm.dtype).abs() * norm

    size = sum(view.numel for view in block.views)
    mean = sum(float(score(view, norm).sum()) for view, norm in norms) / size
    outliers = sum(int((score(view, norm) > threshold * mean).sum()) for view, norm in norms)
    return outliers / size


def block_shares(
    ratios: Sequence[float], sizes: Sequence[int], sparsity: float, band: float
) -> list[float]:
    """The share of every block; their mean, weighted by `sizes`, is `sparsity`."""
    D = torch.tensor(ratios, dtype=torch.float64)
    weight = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    spread = D.max() - D.min()
    if not spread:
        return [sparsity] * len(ratios)
    spared = 2 * band * (D - D.min()) / spread
    change = (weight * spared).sum() - spared  # above 0 in blocks that lose more than the mean
    room = [1.0]
    if change.max() > 0:
        room += [sparsity / float(-change.min()), (1 - sparsity) / float(change.max())]
    shares: list[float] = (sparsity + min(room) * change).clamp(0, 1).tolist()
    return shares


def whole_weights(shares: Sequence[float], targets: Sequence[View]) -> Allocation:
    """Every view's share as a whole number of its weights."""
    due = [shares[view.block] * view.numel for view in targets]
    counts = whole(torch.tensor(due, dtype=torch.float64)).tolist()
    pairs = zip(targets, counts, strict=True)
    return Allocation({view.name: count / view.numel for view, count in pairs})
