r"""Magnitude pruning: the smallest weights of every layer go, in one shot.

The oldest criterion, and the baseline of every other: a weight's importance
is its absolute value. Nothing is trained and no data is read. Weights are
compared within one linear layer, so every layer loses the same share.

Equations
---------
- Score: $$S_{ij} = |W_{ij}|$$ The importance of the weight from input j to output i is its magnitude.
- Unstructured: $$M = \mathbb{1}\left[\operatorname{rank}(S_{ij}) > s \cdot |S|\right], \quad W \leftarrow M \odot W$$ Within a layer, the share s of lowest scores is set to zero.
- N:M: $$\sum_{j \in G} M_{ij} \le N \quad \text{for every group } G \text{ of } M \text{ consecutive inputs}$$ Within every group, the N largest weights stay.

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer of attention and MLP.
- pattern: N:M, for example 2:4; the sparsity is then 1 − N/M.

Deviations
----------
- Every layer loses the same share; the paper ranks the weights of the whole model together (its OPT code has a variant per matrix). Uniform shares are what the language-model literature means by the magnitude baseline.
- Exactly round(s · out · in) weights of a layer go. Comparing with the value at that rank, as common implementations do, removes one weight too many and whatever ties with it.

Not run here
------------
- budget sparsity-global: weights compete within their layer, the baseline that SparseGPT and Wanda are compared with; the paper ranks all weights of the model together.
- data small: the paper fine-tunes pruned models on downstream tasks; here the pruned model is the result.
- retraining extensive: the paper trains all surviving weights on a downstream task; here nothing is trained.
- weight_update update: survivors change in that fine-tuning only.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.masks import NM, n_m, per_layer
from impl.registry import method
from impl.walk import walk


@method("magnitude", budget="weights", needs="nothing")
def magnitude(
    model: PreTrainedModel, sparsity: float | Allocation = 0.5, pattern: NM | None = None
) -> None:
    for block in walk(model):
        for view in block.views:
            score = view.W.float().abs()
            pruned = n_m(score, pattern) if pattern else per_layer(score, share(sparsity, view))
            view.W = view.W.masked_fill(pruned, 0)
