r"""ShortGPT: drop the blocks that turn the hidden states least.

A block that hands on almost the direction that it received does little.
Block Influence measures this in the dense model: one minus the mean cosine
between the hidden state that enters a block and the one that leaves it. The
blocks of lowest influence are deleted together; nothing else changes.

Equations
---------
- Block Influence (Eq. 1): $$\mathrm{BI}_i = 1 - \mathbb{E}_{X,t} \frac{X_{i,t}^\top X_{i+1,t}}{\lVert X_{i,t} \rVert_2 \, \lVert X_{i+1,t} \rVert_2}$$ X_{i,t} is the hidden state of token t that enters block i, X_{i+1,t} the one that leaves it; the mean runs over all tokens of the calibration text.

Hyperparameters
---------------
- drop: how many blocks go; the paper removes 9 of 32 from Llama2-7B and 10 of 40 from Llama2-13B. A quarter if nothing is said.

Official code
-------------
- https://github.com/icip-cas/ShortGPT at 9a2ee8dfe9e28d0bee430e83c140b787c02ddd6c: the folder shortgpt.

Deviations
----------
- The influence of the last block is measured on what it hands on, as that of every other; the official code takes the model's list of hidden states, whose last one has passed through the final norm.
- Cosines are computed in float32, in the official code in float16. A hidden state that is all zero counts as a cosine of 0, in the official code as 0.5.
- The official code reads the whole validation split of PG19 in pieces of 256 tokens; here it is the calibration text, whatever its windows.
- Of blocks with equal influence the earlier goes; in the official code it is left to the sort.
- ShortGPT-gen, which keeps all blocks and skips some only while the prompt is read, is not part of this.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.masks import lowest
from impl.registry import method
from impl.session import current
from impl.surgery import drop_blocks
from impl.walk import walk


@method("shortgpt", budget="blocks", needs="calibration")
def shortgpt(model: PreTrainedModel, calibration: Calibration, drop: int | None = None) -> None:
    if not drop:
        return
    influence = []
    for block in walk(model, calibration, propagate="dense"):
        cosines = sum(
            cosine_similarity(before.float(), after.float(), dim=-1).sum().item()
            for before, after in block.before_and_after()
        )
        influence.append(1 - cosines / calibration.tokens.numel())
    dropped = lowest(torch.tensor(influence, dtype=torch.float64), drop).nonzero().flatten()
    current().details.update(influence=influence, dropped=dropped.tolist())
    drop_blocks(model, dropped.tolist())
