r"""RIA: a weight's share in its row and in its column, times its input's activation norm.

A large weight among larger ones matters less than a middling one that carries
its input or its output alone. So a weight is measured against the absolute
sums of its column and of its row, and the norm of its input is softened by an
exponent. For N:M the inputs may be reordered before groups are formed, so that
no group has to give up several strong channels. Blocks are pruned in order;
surviving weights keep their values.

Equations
---------
- Relative importance: $$RI_{ij} = \frac{|W_{ij}|}{\sum_u |W_{uj}|} + \frac{|W_{ij}|}{\sum_v |W_{iv}|}$$ W is (out, in); the first sum runs over the input's column, the second over the output's row.
- Score: $$S_{ij} = RI_{ij} \cdot \left( \lVert X_j \rVert_2 \right)^a$$ The norm of input feature j runs over all calibration tokens. The lowest scores of the layer go.
- Heuristic order: $$g_p(k) = \begin{cases} r_{pK + k} & p \text{ even} \\ r_{pK + K - 1 - k} & p \text{ odd} \end{cases}, \qquad r = \operatorname{argsort} \sum_i S_{ij}$$ Of K groups of M inputs, group k gets at its position p the channel g_p(k): channels are dealt out in snake order from the weakest to the strongest.
- Linear sum assignment: $$\max_\pi \sum_k \sum_i R_i\left( G_k \setminus g_p(k) \cup g_p(\pi(k)) \right)$$ For each position p once, the groups G exchange their channels at p; R_i is the sum of the N highest scores of row i in a group.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M instead of a free choice within the layer; N weights of M stay, the official code counts zeros instead.
- exponent: a, the power of the activation norm; 0.5 in the official code. 0 leaves relative importance alone.
- permute: which inputs are reordered before an N:M pattern is chosen. "none": the groups are neighbours as they are stored. "neurons": the inputs of every MLP's last projection, together with the outputs before it; the model stays the same function, and the pattern holds in stored order. "all": the inputs of every layer, as in the official code; weights stay where they are, and the pattern holds in the chosen order only, which a kernel would have to gather. "all" is for measuring what the reordering is worth.
- assign: whether the heuristic order is improved by linear sum assignment; an option of the official code.

Official code
-------------
- https://github.com/biomedical-cybernetics/Relative-importance-and-activation-pruning at b87b897e7189f215a75d5d31ec026ac5aedb4716

Deviations
----------
- A layer loses exactly round(s · out · in) weights by rank; the official code removes everything up to the value at that rank, one weight too many, and at sparsity 0 still one.
- Reordering is off by default, because only that of neurons can be built into a plain checkpoint; the official code leaves it to a flag, too, and stores its masks in the original order.
- The value of an exchange is computed in closed form: with the M - 1 other channels of a group fixed, a row keeps its N - 1 highest scores and the larger of the N-th and the new one. The official code sorts every pair of groups; the sums are the same.
- The option to solve the assignment in 4 to 16 separate parts, and SparseGPT's update on RIA's mask, are not implemented.
- A column or row of zeros has relative importance 0; the official code divides by zero.
- In a mixture of experts, each expert is scored with the tokens that its router sent it; routers are not pruned. The official code knows LLaMA and OPT.
"""

from __future__ import annotations

from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import NM, n_m, per_layer
from impl.model import View
from impl.registry import method
from impl.statistics import sum_of_squares
from impl.walk import Block, walk


@method("ria", budget="weights", needs="calibration")
def ria(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
    exponent: float = 0.5,
    permute: Literal["none", "neurons", "all"] = "none",
    assign: bool = True,
) -> None:
    if exponent < 0:
        raise BadInput(f"exponent {exponent:g} is below 0", "The paper's value is 0.5.")
    if permute != "none" and pattern is None:
        raise BadInput("reordering inputs changes nothing without a pattern", "Add pattern 2:4.")
    for block in walk(model, calibration):
        for view, squares in block.collect(sum_of_squares):
            score = importance(view.W.float(), squares.sqrt().float(), exponent)
            if pattern is None:
                pruned = per_layer(score, share(sparsity, view))
            elif permute == "all" or (permute == "neurons" and view.part == "down"):
                order = channel_order(score, pattern, assign)
                pruned = n_m(score[:, order], pattern)
                if permute == "neurons":
                    reorder_neurons(block, view, order)
                else:
                    pruned = pruned[:, order.argsort()]
            else:
                pruned = n_m(score, pattern)
            view.W = view.W.masked_fill(pruned, 0)


def importance(W: Tensor, norms: Tensor, exponent: float) -> Tensor:
    """S (out, in) of a layer W (out, in) whose inputs have the norms (in,)."""
    size, tiny = W.abs(), torch.finfo(W.dtype).tiny
    relative = size / size.sum(0).clamp(min=tiny) + size / size.sum(1, True).clamp(min=tiny)
    return relative * norms**exponent


def channel_order(score: Tensor, pattern: NM, assign: bool = True) -> Tensor:
    """The inputs (in,) in an order whose groups of m keep much of `score` (out, in)."""
    dealt = score.sum(0).argsort(stable=True).view(pattern.m, -1)
    dealt[1::2] = dealt[1::2].flip(1)
    groups = dealt.T.contiguous()
    for position in range(pattern.m if assign else 0):
        others = torch.cat([groups[:, :position], groups[:, position + 1 :]], dim=1)
        bar = score[:, others].topk(pattern.n, dim=-1).values[..., -1]  # (out, groups)
        own = score[:, groups[:, position]]
        # What the N - 1 highest of the others add is the same for every candidate.
        value = torch.stack([torch.maximum(b[:, None], own).sum(0) for b in bar.T])
        chosen = linear_sum_assignment(value.cpu().double().numpy(), maximize=True)[1]
        groups[:, position] = groups[torch.from_numpy(chosen).to(groups.device), position]
    return groups.flatten()


def reorder_neurons(block: Block, down: View, order: Tensor) -> None:
    """Put the neurons of the MLP whose last projection is `down` in another order."""
    for view in block.views:
        if view.role != "mlp" or view.expert != down.expert:
            continue
        if view.part == "down":
            view.W = view.W[:, order]
            continue
        view.W = view.W[order]
        bias = getattr(view.module, "bias", None) if view.expert is None else None
        if bias is not None:
            rows = torch.arange(len(bias)) if view.rows is None else view.rows
            rows = rows.to(bias.device)
            bias.data[rows] = bias.data[rows[order]]
