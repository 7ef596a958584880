r"""LASER: replace one weight matrix by its best approximation of low rank, and search for which.

The singular directions of a matrix with small singular values can hold noise
that gets in the way of what the large ones know: cutting them off one late MLP
matrix has made models answer better. Which matrix it should be is found by
trying: every candidate is truncated in turn, the model is run, and the edit
that leaves it best is kept. All other weights stay as they are.

Equations
---------
- Truncation (§3): $$W = U \Sigma V^\top = \sum_i \sigma_i u_i v_i^\top, \qquad \widehat W = \sum_{i=1}^{r} \sigma_i u_i v_i^\top$$ σ in decreasing order: the approximation of rank r that is nearest to W (Eckart-Young-Mirsky).
- Rank (§4): $$r = \lfloor \rho \cdot \min(\mathrm{out}, \mathrm{in}) \rfloor$$ ρ is the share of the full rank that stays; at least one direction does here.
- Search (§4): $$(\tau, \ell)^\ast = \operatorname{argmax}_{\tau, \ell} \; \operatorname{accuracy}\left(\text{model with } W_{\tau,\ell} \leftarrow \widehat W_{\tau,\ell}\right)$$ τ is the kind of matrix, ℓ the block; accuracy on validation data, equal accuracies by the lower loss.

Hyperparameters
---------------
- keep: ρ; the paper tries 0.9, 0.8, 0.6, 0.2, 0.1, 0.05 and 0.01 (Table 5) and most often ends at 0.01 to 0.2 (Table 3).
- parts: mlp searches the input and the output matrix of every MLP, as the paper does in most experiments (Table 5), attention the four matrices of attention, all every prunable matrix.
- validation: the share of the calibration windows that edits are compared on, 0.2 in the paper (App. E.1); on the others the report says how good the chosen edit is.

Official code
-------------
- https://github.com/pratyushasharma/laser at dd2ca94270d7e599872d3477d5ac4a6727266adf

Deviations
----------
- Accuracy is the share of next tokens of the calibration text that the model predicts right. The paper uses accuracy on a labelled question-answering set, which a language model comes without.
- ρ is the budget, asked for by the user; the paper searches over ρ as well. Run once for each value to do so: `details` has the accuracies.
- The best edit is made also if it leaves the model worse than it was, since the budget asks for one; the report gives the accuracy before.
- The decomposition is exact, in float64. The official code uses a randomised one with two iterations, which is close to the best approximation only.
- The product is rounded to the model's dtype; in bfloat16 rounding gives it full numerical rank again, with singular values around 1 % of the largest.
- The greedy search for several edits at once (§5.1) is not part of this.
- In a mixture of experts, which the paper does not have, each expert's matrix is a candidate of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.losses import batches, logits
from impl.model import View, blocks, views
from impl.registry import Amount, method
from impl.session import current, track


@method("laser", budget="rank", needs="calibration")
def laser(
    model: PreTrainedModel,
    calibration: Calibration,
    keep: float = 0.1,
    parts: Literal["mlp", "attention", "all"] = "mlp",
    validation: float = 0.2,
) -> Amount:
    if not 0 < validation <= 1:
        raise BadInput(f"validation {validation:g} is not in the range 0 < validation ≤ 1")
    if keep == 1:
        return Amount(0, 1)
    count = max(1, round(validation * len(calibration.tokens)))
    known, unseen = part_of(calibration, 0, count), part_of(calibration, count, None)
    before = quality(model, known), quality(model, unseen)
    scores = list[Quality]()
    found = [
        view for index in range(len(blocks(model))) for view in candidates(model, index, parts)
    ]
    for view in track(found, "candidate"):
        dense = view.W.clone()
        try:
            view.W = truncated(dense, rank(view, keep))
            scores.append(quality(model, known))
        finally:
            view.W = dense
    best = scores.index(max(scores))
    view = found[best]
    view.W = truncated(view.W, rank(view, keep))
    current().details.update(
        matrix=view.name,
        rank=rank(view, keep),
        candidates=len(found),
        validation=compared(before[0], scores[best]),
        test=compared(before[1], quality(model, unseen)) if len(unseen.tokens) else None,
    )
    return Amount(min(view.shape) - rank(view, keep), min(view.shape))


def candidates(
    model: PreTrainedModel, block: int, parts: Literal["mlp", "attention", "all"] = "mlp"
) -> list[View]:
    """The matrices of `block` to try. The input matrix of a gated MLP is the gate, as in the code."""
    found = views(model, block)
    if parts == "attention":
        return [view for view in found if view.role == "attention"]
    gated = any(view.part == "gate" for view in found)
    inputs = "gate" if gated else "up"
    return found if parts == "all" else [view for view in found if view.part in (inputs, "down")]


def rank(view: View, keep: float) -> int:
    """How many singular directions stay: a share of the full rank, rounded down, at least one."""
    return max(1, int(keep * min(view.shape)))


def truncated(W: Tensor, rank: int) -> Tensor:
    """The matrix of rank `rank` that is nearest to W (out, in), in float64 and on the CPU."""
    U, S, Vh = torch.linalg.svd(W.detach().cpu().double(), full_matrices=False)
    nearest: Tensor = U[:, :rank] * S[:rank] @ Vh[:rank]
    return nearest


Quality = tuple[float, float]
"""Accuracy and minus the loss, so that the larger is the better one."""


def quality(model: PreTrainedModel, data: Calibration) -> Quality:
    """How well the model predicts the next tokens of `data`."""
    right, loss, count = 0, 0.0, 0
    for batch in batches(data, current().batch_size, model.device):
        found, target = logits(model, batch)[:, :-1].float(), batch.inputs["input_ids"][:, 1:]
        right += int((found.argmax(-1) == target).sum())
        loss += cross_entropy(found.flatten(0, 1), target.flatten(), reduction="sum").item()
        count += target.numel()
    current().read["quality"] += len(data.tokens)
    return right / max(count, 1), -loss / max(count, 1)


def part_of(data: Calibration, start: int, stop: int | None) -> Calibration:
    """Some of the windows."""
    return dataclasses.replace(data, tokens=data.tokens[start:stop])


def compared(before: Quality, after: Quality) -> dict[str, list[float]]:
    """Accuracy and loss before and after, for the report."""
    return {"accuracy": [before[0], after[0]], "loss": [-before[1], -after[1]]}
