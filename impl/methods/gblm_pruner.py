r"""GBLM-Pruner: Wanda's score plus what the gradients of the loss say about a weight.

Wanda asks how much a weight adds to its layer's output, not what the output
does to the loss. Here the dense model is differentiated once for every
calibration window, and a weight gains importance from its own gradients. Then
blocks are pruned in order as in Wanda: scores compete within output rows, and
surviving weights keep their values.

Equations
---------
- Score: $$S_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2 + \alpha \, |W_{ij}| \cdot \lVert G_{ij} \rVert_p$$ W is (out, in). X_j is input feature j over the calibration tokens, in the model as pruned so far.
- Gradients: $$G_{ij} = \left( \frac{\partial L_1}{\partial W_{ij}}, \ldots, \frac{\partial L_n}{\partial W_{ij}} \right)$$ One gradient of the dense model for each of the n calibration windows; L is the window's mean next-token loss.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M instead of a free choice within the row; the official code has 4:8 and 2:4.
- norm: p, the norm over the gradients of a weight, "l1" or "l2". The official figures are those of l1.
- alpha: the weight of the gradient term; 100 in the official code, with 128 windows of 2,048 tokens. 0 leaves Wanda.

Official code
-------------
- https://github.com/VILA-Lab/GBLM-Pruner at 338e2b55cd2627778349115558f46f11b6bd6e8a

Deviations
----------
- The norm of X is that of the official code, the root of the mean over windows of the summed squares, while the norm of G is over all windows, not averaged: α was chosen for this scale. The balance of the two terms therefore shifts with the number of windows.
- A layer loses exactly round(s · out · in) weights, so rows differ by one where s · in is not whole; the official code removes ⌊s · in⌋ from every row.
- Gradients are added up in float32 in evaluation mode; the official code rounds l1 sums to float16 and leaves dropout on, which LLaMA does not have.
- Wanda's variant with a share of its own for every row, an option of the official code, is not implemented.
- In a mixture of experts, each expert has the tokens that its router sent it, and only those give it gradients; routers are not pruned. The official code knows LLaMA.
"""

from __future__ import annotations

from typing import Literal

import torch
from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.losses import weight_gradients
from impl.masks import NM, n_m, per_output
from impl.registry import method
from impl.statistics import sum_of_squares
from impl.walk import walk


@method("gblm-pruner", budget="weights", needs="calibration")
def gblm_pruner(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
    norm: Literal["l1", "l2"] = "l1",
    alpha: float = 100.0,
) -> None:
    windows, length = calibration.tokens.shape
    if length < 2:
        raise BadInput(
            "a calibration window of one token has no next token to predict",
            "Calibrate with longer windows.",
        )
    if alpha < 0:
        raise BadInput(f"alpha {alpha:g} is below 0", "The paper's value is 100.")
    sums = weight_gradients(model, calibration, torch.abs if norm == "l1" else torch.square)
    for block in walk(model, calibration):
        for view, squares in block.collect(sum_of_squares):
            inputs = (squares / windows).sqrt().float()
            gradients = sums.pop(view.name).to(inputs.device)
            if norm == "l2":
                gradients = gradients.sqrt()
            score = view.W.float().abs() * (inputs + alpha * gradients)
            pruned = n_m(score, pattern) if pattern else per_output(score, share(sparsity, view))
            view.W = view.W.masked_fill(pruned, 0)
