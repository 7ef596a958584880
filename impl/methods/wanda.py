r"""Wanda: weights times activation norms, compared within each output row.

A weight matters as much as what it adds to its output: its magnitude times
the norm of the input that it multiplies. Blocks are pruned one after the
other; the norms of a block are measured on calibration text that has passed
through the already pruned blocks before it. Surviving weights keep their
values and nothing is trained.

Equations
---------
- Eq. 1 (§3): $$S_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2$$ W is (out, in); the norm of input feature j runs over all tokens of the calibration text.
- Comparison group (§3): $$G_{ij} = \{ W_{uv} \mid u = i \}$$ Scores compete only within their output row: every output loses the same share of its inputs.
- Structured N:M (§3): $$\left|\{ j \in G : M_{ij} = 1 \}\right| = N$$ With a pattern, of every M consecutive inputs of an output the N highest scores stay.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer; 0.5 in the paper's main results.
- pattern: N:M instead of a free choice within the row; the paper reports 4:8 and 2:4.
- calibration: the paper uses 128 sequences of C4, each as long as the model's context.

Official code
-------------
- https://github.com/locuslab/wanda at 069ac970cd76ed8e6b94ad3d35a917ecf7039ac9

Deviations
----------
- A layer loses exactly round(s · out · in) weights, so rows differ by one where s · in is not whole; the official code removes ⌊s · in⌋ from every row and falls short of the budget.
- Norms are summed in float64, the official code keeps a running mean in float32; within a layer both rank alike.
- In a mixture of experts, each expert is scored with the tokens that its router sent it; an expert that saw none is left to ties, the earliest inputs go. The paper has no such models, routers are not pruned.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.calibration import Calibration
from impl.masks import NM, n_m, per_output
from impl.registry import method
from impl.statistics import sum_of_squares
from impl.walk import walk


@method("wanda", budget="weights", needs="calibration")
def wanda(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float | Allocation = 0.5,
    pattern: NM | None = None,
) -> None:
    for block in walk(model, calibration):
        for view, squares in block.collect(sum_of_squares):
            score = view.W.float().abs() * squares.sqrt().float()
            pruned = n_m(score, pattern) if pattern else per_output(score, share(sparsity, view))
            view.W = view.W.masked_fill(pruned, 0)
