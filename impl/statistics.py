"""Statistics of a view's inputs, for `Block.collect`: each is summed over the batches.

All take inputs of shape (tokens, in) in the model's dtype and compute in
float32 or wider, because sums over thousands of bfloat16 values lose most of
their digits.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sum_of_squares(x: Tensor) -> Tensor:
    """Σ_t x_tj² for every input channel j: shape (in,)."""
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # Metal has no float64
    squares = x.to(wide, copy=True)
    return squares.mul_(squares).sum(0)


PANELS = 4
"""A matrix times its own transpose is symmetric: in so many panels, 5/8 of it need computing"""


def gram(x: Tensor) -> Tensor:
    """X Xᵀ over the tokens, in the papers' orientation (X is in × tokens): (in, in), float32."""
    x = x.to(torch.float32)
    width = x.shape[1]
    step = -(-width // PANELS)
    products = x.new_empty(width, width)
    for first in range(0, width, step):
        panel = x[:, first:].T @ x[:, first : first + step]
        products[first:, first : first + step] = panel
        products[first : first + step, first:] = panel.T
    return products
