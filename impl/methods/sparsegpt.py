r"""SparseGPT: prune column by column and let the columns to the right make up for it.

Every linear layer is a regression problem: keep its outputs on calibration
inputs X with fewer weights. Columns are visited from left to right; what a
pruned weight contributed is spread over the columns not yet visited with the
optimal-brain-surgeon update. All rows share one sequence of inverse
Hessians, read off a single Cholesky factor. The mask is chosen while going:
whenever a block of columns begins, with the weights as updated so far.

Equations
---------
- Layer-wise problem (Eq. 1, §2): $$\operatorname{argmin}_{M,\widehat{W}} \left\lVert W X - (M \odot \widehat{W}) X \right\rVert_2^2$$ Mask and new weights of a layer, given its inputs X (in × tokens).
- Hessian (§3.1): $$H = X X^\top + \lambda I, \qquad U = \operatorname{Cholesky}(H^{-1})^\top$$ Row j of the upper factor U holds what removing column j does to the columns after it.
- Mask selection (Eq. 3, §3.2, Alg. 1): $$\varepsilon_{ij} = W_{ij}^2 / U_{jj}^2$$ The error that removing a weight leaves after the best update; the lowest go, per block of B_s columns.
- Update (Eq. 3, §3.1, Alg. 1): $$W_{:,j:} \leftarrow W_{:,j:} - \frac{(1 - M_{:,j}) \odot W_{:,j}}{U_{jj}} \, U_{j,j:}$$ Pruned weights become zero, the columns to the right compensate.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M; the mask is then chosen for M columns at a time, per row (§3.3: B_s = M). N weights of M stay; the paper counts zeros instead.
- blocksize: columns whose update is applied lazily together (B), and for which the mask is chosen at once (B_s); 128 for both in the paper.
- dampening: λ as a share of the mean diagonal of H; 0.01, the default of the official code.

Official code
-------------
- https://github.com/IST-DASLab/sparsegpt at 5e3e2d1951b2127f30e08afb89adfc8d0c9c7129

Deviations
----------
- Every block of columns gets its share of exactly round(s · out · in) weights by rank; the official code compares with the value at a rank and removes one weight too many per block, and at sparsity 0 still one.
- An input that is always zero keeps λ as its only curvature, so its weights go early; the official code sets all of them to zero on top of the budget.
- The factor of the inverse is computed in float64 and without forming the inverse (the official code: float32, by way of it), so that nearly singular Hessians do not fail; should one fail even so, λ is raised tenfold until it does not.
- Sums over the calibration text are not divided by its length; λ is relative, so this changes nothing but rounding.
- In a mixture of experts, each expert has the Hessian of the tokens that its router sent it; the paper has no such models, routers are not pruned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.masks import NM, lowest, n_m, shares
from impl.registry import method
from impl.statistics import gram
from impl.walk import walk


@method("sparsegpt", budget="weights", needs="calibration")
def sparsegpt(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
    blocksize: int = 128,
    dampening: float = 0.01,
) -> None:
    for block in walk(model, calibration):
        shared = None
        for view, hessian in block.collect(gram):
            if hessian is not shared:  # query, key and value have the same inputs
                shared, factor = hessian, inverse_factor(hessian, dampening)
            view.W = prune_layer(view.W.float(), factor, share(sparsity, view), pattern, blocksize)


def inverse_factor(gram: Tensor, dampening: float) -> Tensor:
    """U (in, in), upper triangular with H⁻¹ = Uᵀ U, for H = X Xᵀ + λ I; float32."""
    H = gram.to(torch.float32 if gram.device.type == "mps" else torch.float64)
    # Inputs that are all zero, as of an expert that no token reached, leave only λ.
    scale = H.diagonal().mean() if H.any() else H.new_ones(())
    eye = torch.eye(len(H), dtype=H.dtype, device=H.device)
    while dampening < 1e6:
        # Factored from its last row up, H = R Rᵀ with an upper R, so that U = R⁻¹ without H⁻¹.
        lower, failed = torch.linalg.cholesky_ex((H + dampening * scale * eye).flip(0, 1))
        if not failed:
            U: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), eye, upper=True).float()
            if U.isfinite().all():
                return U
        dampening = max(10 * dampening, 1e-8)
    raise ValueError(
        "the Hessian is not finite: the calibration text drives activations to overflow"
    )


def prune_layer(
    W: Tensor, U: Tensor, sparsity: float, pattern: NM | None = None, blocksize: int = 128
) -> Tensor:
    """Algorithm 1: W (out, in) pruned and updated, given U (in, in). Returns a new tensor."""
    W = W.clone()
    out, width = W.shape
    if pattern:  # whole groups in a block
        blocksize = max(blocksize // pattern.m, 1) * pattern.m
    starts = range(0, width, blocksize)
    sizes = [min(blocksize, width - i) for i in starts]
    counts = shares(round(sparsity * W.numel()), sizes)
    zero = W.new_zeros(())
    for i, size, count in zip(starts, sizes, counts, strict=True):
        here, u = W[:, i : i + size], U[i : i + size, i : i + size]
        d = u.diagonal()
        w = here.T.contiguous()  # (size, out): columns are visited one by one
        errors = torch.empty_like(w)
        pruned = torch.empty_like(w, dtype=torch.bool)
        if not pattern:
            score = here.square() / d.square()
            pruned.copy_(lowest(score.flatten(), count).view(out, size).T)
        for j in range(size):
            if pattern and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                pruned[group] = n_m(w[group].T.square() / d[group].square(), pattern).T
            torch.where(pruned[j], w[j], zero, out=errors[j]).div_(d[j])
            w[j:].addcmul_(u[j, j:, None], errors[j], value=-1)
        here.copy_(w.masked_fill_(pruned, 0).T)
        W[:, i + size :].addmm_(errors.T, U[i : i + size, i + size :], alpha=-1)
    return W
