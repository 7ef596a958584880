r"""ADMM pruning: solve for the surviving weights of a layer and refine the mask on the way.

Every linear layer is a regression: keep its outputs on calibration inputs X
with fewer weights. Inputs are divided by their norms and weights multiplied
by them, so that the size of a weight in this space is Wanda's score. ADMM
then splits the problem in two: a ridge solve that ignores the mask and a
projection that ignores the error, tied by dual variables. One inverse a layer
serves all iterations. Over the first iterations the mask is chosen anew each
time, with a share that grows to the one asked.

Equations
---------
- Layer-wise problem: $$\min_{M,\widehat{W}} \left\lVert W X - (M \odot \widehat{W}) X \right\rVert_2^2$$ Mask and new weights of a layer, given its inputs X (in × tokens).
- Preconditioning: $$D = \operatorname{diag}(\lVert X_j \rVert_2), \quad W \leftarrow W D, \quad G = D^{-1} X X^\top D^{-1} + \lambda I$$ Magnitudes of the scaled weights are Wanda's scores; G has ones on its diagonal before the damping.
- Schedule: $$s_t = s \left( 1 - \left( 1 - t / k_s \right)^3 \right)$$ The share that the mask removes at iteration t, until it is s from iteration k_s on.
- Mask: $$M_t = 0 \text{ at the } s_t \text{ lowest of } |\widehat{W} + U|$$ Compared within the layer; with N:M only weights that the pattern would drop can go.
- Projection and dual step: $$Z = M_t \odot (\widehat{W} + U), \qquad U \leftarrow U + \widehat{W} - Z$$ Z is sparse; U remembers what the projection has taken away so far.
- Solve: $$\widehat{W} = \left( W G + \rho \, (Z - U) \right) \left( G + \rho I \right)^{-1}$$ The inverse is the same in all iterations. The last projection, scaled back by D⁻¹, is the result.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M instead of a free choice; the official code has 2:4.
- iterations: ADMM steps; 20 in the official code.
- selections: steps in which the mask is chosen anew, k_s; 15 in the official code. With 1 the mask is Wanda's score compared within the layer.
- dampening: λ as a share of the mean diagonal of the scaled Gram matrix; 0.1 in the official code.
- rho: ρ, how strongly weights are pulled to the mask; 1 in the official code.

Official code
-------------
- https://github.com/fmfi-compbio/admm-pruning at 361a71e4002519f3fa8c7449ab2d10eb48610b09

Deviations
----------
- Without a pattern the official code computes the growing share and then removes the full share from the first iteration on; here the schedule is used, since the paper speaks of a gradual choice of the mask.
- The official code treats 4:8 as 2:4; here every pattern is its own.
- A layer loses exactly round(s · out · in) weights; the official code rounds down.
- The inverse is computed in float64 (the official code: float32).
- An input that is always zero gets a norm of 10⁻⁸ of the largest, so its weights go first; the official code adds 10⁻⁸ to every norm.
- In a mixture of experts, each expert has the Gram matrix of the tokens that its router sent it; one that saw none is pruned by magnitude. The paper has no such models, routers are not pruned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import NM, lowest, n_m
from impl.registry import method
from impl.statistics import gram
from impl.walk import walk


@method("admm", budget="weights", needs="calibration")
def admm(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
    iterations: int = 20,
    selections: int = 15,
    dampening: float = 0.1,
    rho: float = 1.0,
) -> None:
    if not 1 <= selections <= iterations:
        raise BadInput(
            f"{selections} selections do not fit into {iterations} iterations",
            "The mask is chosen at least once and at most once an iteration.",
        )
    if dampening < 0 or rho <= 0:
        raise BadInput(f"dampening {dampening:g} is below 0, or rho {rho:g} is not above 0")
    for block in walk(model, calibration):
        shared = None
        for view, products in block.collect(gram):
            if products is not shared:  # query, key and value have the same inputs
                shared, solver = products, prepare(products, dampening, rho)
            amount = share(sparsity, view)
            if round(amount * view.numel):
                new = prune_layer(
                    view.W.float(), solver, amount, pattern, iterations, selections, rho
                )
                view.W = new


Solver = tuple[Tensor, Tensor, Tensor]
"""The norms of the inputs (in,), G (in, in) and the inverse of G + ρI (in, in)."""


def prepare(gram: Tensor, dampening: float, rho: float) -> Solver:
    """What all iterations of a layer share, from X Xᵀ (in, in); float32."""
    wide = gram.to(torch.float32 if gram.device.type == "mps" else torch.float64)
    norm = wide.diagonal().clamp(min=0).sqrt()
    # Inputs that are all zero, as of an expert that no token reached, have no scale.
    norm = norm.clamp(min=1e-8 * float(norm.max())) if norm.any() else torch.ones_like(norm)
    scaled = wide / norm / norm[:, None]
    scale = scaled.diagonal().mean() if scaled.any() else scaled.new_ones(())
    eye = torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
    damped = scaled + dampening * scale * eye
    return norm.float(), damped.float(), torch.linalg.inv(damped + rho * eye).float()


def prune_layer(
    W: Tensor,
    solver: Solver,
    sparsity: float,
    pattern: NM | None = None,
    iterations: int = 20,
    selections: int = 15,
    rho: float = 1.0,
) -> Tensor:
    """W (out, in) pruned and solved for; returns a new tensor."""
    norm, G, inverse = solver
    weights = W * norm
    target = weights @ G
    dual = torch.zeros_like(weights)
    for step in range(1, iterations + 1):
        free = weights + dual
        if step <= selections:
            now = sparsity * (1 - (1 - step / selections) ** 3)
            score = free.abs()
            if pattern:
                score = score.masked_fill(~n_m(score, pattern), torch.inf)
            pruned = lowest(score.flatten(), round(now * W.numel())).view_as(W)
        sparse = free.masked_fill(pruned, 0)
        dual += weights - sparse
        weights = (target + rho * (sparse - dual)) @ inverse
    return (weights + dual).masked_fill(pruned, 0) / norm
