r"""DSnoT: swap zeros for weights until the expected output is right again.

Starts from a mask that another score has chosen and leaves all values as they
are. Pruning shifts the mean of every output; as long as the shift of a row is
large, the pruned weight that corrects it most reliably comes back, and a kept
weight of little importance on the other side goes. No gradient, no update,
and every row keeps as many weights as it had. Blocks are visited in order.

Equations
---------
- Expected effect: $$C_{rk} = W_{rk} \, \mathbb{E}[x_k]$$ What weight k adds to output r on average over the calibration tokens.
- Expected error: $$\Delta_r = \sum_{k : M_{rk} = 0} C_{rk}$$ Dense minus sparse output; M is the mask.
- Growing: $$i = \operatorname*{argmax}_{k : M_{rk} = 0} \; \operatorname{sign}(\Delta_r) \, C_{rk} / \operatorname{Var}(x_k)^\gamma$$ The weight that comes back lowers the error most, and least at the mercy of the input.
- Pruning: $$j = \operatorname*{argmin}_{k : M_{rk} = 1,\; C_{rk} \Delta_r < 0} |W_{rk}| \cdot \lVert x_k \rVert_2$$ The weight that goes has the lowest Wanda score among those whose removal lowers the error, too.
- Swap: $$M_{ri} = 1, \quad M_{rj} = 0, \quad \Delta_r \leftarrow \Delta_r + C_{rj} - C_{ri}$$ Each weight is moved once at most.
- N:M: $$j = \operatorname*{argmin}_{k \in G(i),\; M_{rk} = 1} S_{rk}$$ The weight that goes is the one with the lowest starting score S in the group of i; a row ends when the swap would turn the sign of its error.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M; both weights of a swap then lie in one group.
- base: the score of the starting mask, "wanda" or "magnitude", compared within output rows; the official code requires a choice, its example takes wanda.
- layers: which layers are refined, "all", "attention" or "mlp"; the others keep the starting mask. The official code skips the MLP unless told otherwise, which is "attention".
- cycles: swaps of a row at most; 50 in the official code.
- threshold: a row is done when the size of its expected error is no more than this; 0.1, the number of the official code, which means something else by it (see Deviations).
- variance: γ, the power of the variance in the growing step; 1 in the official code.

Official code
-------------
- https://github.com/zyxxmu/DSnoT at dd4e2ee39a1bc8abbce43341c4bfaadf12bcbeb4

Deviations
----------
- The threshold is on the expected error of a token. The official code sums the error over the 2,048 tokens of a window before it compares, so its 0.1 is about 0.00005 here, and its rows go on swapping for longer; where rows are short, that ruins the mask.
- A row that has no weight left to bring back or to remove on the right side ends; the official code goes on with weights of the other side, or that are kept already, which can change the number of weights in a row or break the pattern of a group.
- The variance is that of all tokens together; the official code averages the variances within windows. An input that never varies counts as one that varies by rounding; the official code divides by zero.
- A starting mask from SparseGPT is not offered: the official code ranks by the Hessian that it has a place for and never fills.
- A layer loses exactly round(s · out · in) weights, so rows differ by one where s · in is not whole; the official code removes ⌊s · in⌋ from every row.
- In a mixture of experts, each expert is refined with the tokens that its router sent it; routers are not pruned. The official code knows LLaMA and OPT.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import NM, n_m, per_output
from impl.registry import method
from impl.session import current
from impl.walk import walk


# The small models of the contract have small outputs: at 0.1 few of their rows would be touched.
@method("dsnot", budget="weights", needs="calibration", quick={"threshold": 5e-3, "cycles": 20})
def dsnot(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
    base: Literal["wanda", "magnitude"] = "wanda",
    layers: Literal["all", "attention", "mlp"] = "all",
    cycles: int = 50,
    threshold: float = 0.1,
    variance: float = 1.0,
) -> None:
    if cycles < 0 or threshold < 0:
        raise BadInput(
            f"{cycles} cycles or threshold {threshold:g} is below 0", "Usual are 50 and 0.1."
        )
    details = current().details
    for block in walk(model, calibration):
        for view, (total, squares, count) in block.collect(moments):
            W, norms = view.W.float(), squares.sqrt().float()
            score = W.abs() * norms if base == "wanda" else W.abs()
            start = n_m(score, pattern) if pattern else per_output(score, share(sparsity, view))
            pruned = start
            if layers in ("all", view.role):
                mean = total / count
                spread = (squares / count - mean.square()).clamp(min=1e-12 * squares / count)
                gain = W * (mean / spread**variance).nan_to_num(0.0).float()
                effect = W * mean.float()
                leaving = score if pattern else W.abs() * norms
                pruned = refine(start, effect, gain, leaving, cycles, threshold, pattern)
            details["swaps"] = details.get("swaps", 0) + int((pruned & ~start).sum())
            view.W = view.W.masked_fill(pruned, 0)


def moments(x: Tensor) -> Tensor:
    """Σ x, Σ x² and the number of tokens for every input channel: (3, in)."""
    x = x.to(torch.float32 if x.device.type == "mps" else torch.float64)
    return torch.stack([x.sum(0), x.square().sum(0), torch.full_like(x[0], len(x))])


def refine(
    pruned: Tensor,
    effect: Tensor,
    gain: Tensor,
    leaving: Tensor,
    cycles: int = 50,
    threshold: float = 0.1,
    pattern: NM | None = None,
) -> Tensor:
    """The mask after at most `cycles` swaps in every row; all arguments are (out, in).

    `pruned` is True where the starting mask has zeros. `effect` is C, `gain`
    what ranks the weights that come back, C / Var(x), and `leaving` what ranks
    those that go. Every row of the new mask has as many zeros as before, with
    `pattern` every group. Returns a new tensor.
    """
    pruned, rows = pruned.clone(), torch.arange(len(pruned), device=pruned.device)
    error = (effect * pruned).sum(1)
    up, down = effect > 0, effect < 0
    # For either sign of the error, the best candidates in order: no row needs more than `cycles`.
    back, may_return = _queues(gain, pruned & up, -gain, pruned & down, cycles)
    away, may_leave = _queues(-leaving, ~pruned & down, -leaving, ~pruned & up, cycles)
    leaving = leaving.masked_fill(pruned, torch.inf)
    used = torch.zeros(2, len(rows), dtype=torch.long, device=pruned.device)
    active = torch.ones_like(rows, dtype=torch.bool)
    for _ in range(cycles):
        side = (error < 0).long()
        at = used[side, rows]
        i, j = back[side, rows, at], away[side, rows, at]
        active &= (error.abs() > threshold) & may_return[side, rows, at]
        if pattern:
            first = i // pattern.m * pattern.m
            group = first[:, None] + torch.arange(pattern.m, device=first.device)
            lowest, place = leaving.gather(1, group).min(1)
            j = first + place
        after = error + effect[rows, j] - effect[rows, i]
        if pattern:
            active &= lowest.isfinite() & (after.sign() == error.sign())
        else:
            active &= may_leave[side, rows, at]
        r = rows[active]
        if not len(r):
            break
        pruned[r, i[active]] = False
        pruned[r, j[active]] = True
        leaving[r, j[active]] = torch.inf
        used[side[active], r] += 1
        error = torch.where(active, after, error)
    return pruned


def _queues(
    above: Tensor, above_of: Tensor, below: Tensor, below_of: Tensor, length: int
) -> tuple[Tensor, Tensor]:
    """The highest of `above` among `above_of`, and the like: places, and whether they are any.

    Both are (2, rows, length + 1), where the last is no candidate, so that a queue has an end.
    """
    scores = torch.stack(
        [above.masked_fill(~above_of, -torch.inf), below.masked_fill(~below_of, -torch.inf)]
    )
    values, places = scores.topk(min(length, scores.shape[-1]))
    end = torch.zeros_like(places[..., :1])
    return torch.cat([places, end], -1), torch.cat([values > -torch.inf, end.bool()], -1)
