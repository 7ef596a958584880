r"""Sixteen heads: remove the attention heads whose gate the loss depends on least.

Every head is thought of with a gate of one that multiplies what it adds to
the output. The mean absolute gradient of the loss with respect to the gate
says how much the head matters; one backward pass per labelled sample gives it
for all heads at once. Scores are normalised within each layer, then all heads
of the model are sorted together and the lowest are cut out. The others keep
their weights, and nothing is trained.

Equations
---------
- Gates (Eq. 1, §2.3): $$\operatorname{MHAtt}(x) = \sum_{h=1}^{N_h} \xi_h \operatorname{Att}_h(x)$$ With all gates at one this is the model as it is; a gate of zero removes the head.
- Importance (Eq. 2, §4.1): $$I_h = \mathbb{E}_{x \sim X} \left| \frac{\partial \mathcal{L}(x)}{\partial \xi_h} \right| = \mathbb{E}_{x \sim X} \left| \operatorname{Att}_h(x)^\top \frac{\partial \mathcal{L}(x)}{\partial \operatorname{Att}_h(x)} \right|$$ The absolute value is taken for each sample, so that samples of opposite sign do not cancel.
- Normalisation (§4.1): $$\tilde{I}_h = I_h \Big/ \sqrt{\sum_{h'} I_{h'}^2}$$ Within each layer.
- Ablation (§3.2): $$D_h = \mathcal{L}_{\xi_h = 0} - \mathcal{L}$$ What the importance is compared with: the measured effect of removing one head alone.

Hyperparameters
---------------
- ratio: the share of all heads of the model to remove; the paper removes a tenth at a time and sees no noticeable loss up to 0.4 for BERT on MNLI and 0.2 for a translation model.
- score: gradient (Eq. 2, the method) or ablation (§3.2, the slower comparison, which the paper finds to give a worse order).
- normalise: whether gradient scores are normalised within each layer; the paper does.
- calibration: labelled samples of the task that the model was made for; the paper uses the training set or a part of it.

Official code
-------------
- https://github.com/pmichel31415/are-16-heads-really-better-than-1 at 0c359df65d5483ae4e632eb6359b7e6f88094c97

Deviations
----------
- The absolute value is taken per sample, as Eq. 2 has it with x a sample; the official code takes it for every token of a sample and adds up.
- Every layer keeps at least its best head, which is an option of the official code; by default a layer there may lose them all.
- Ablation measures the loss, of which the paper's accuracy and BLEU are coarser views.
- Heads are really cut out, as in the paper's measurements of speed; its quality curves come from masked heads, which gives the same outputs.
- Scores are computed once. Removing a tenth at a time in a fixed order ends at the same heads as removing them at once.

Unsupported
-----------
- decoders: the paper prunes encoders and translation models by the loss of a labelled task; language models have none.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.errors import BadInput
from impl.gates import gate_gradients, gated
from impl.losses import batches, losses
from impl.masks import lowest
from impl.model import blocks, heads
from impl.registry import method
from impl.session import current, track
from impl.surgery import keep_heads
from impl.tasks import LabelledData


@method("sixteen-heads", budget="heads", needs="labels", on=("encoder",))
def sixteen_heads(
    model: PreTrainedModel,
    calibration: LabelledData,
    ratio: float = 0.4,
    score: Literal["gradient", "ablation"] = "gradient",
    normalise: bool = True,
) -> None:
    sizes = [heads(model, index).count for index in range(len(blocks(model)))]
    due = round(ratio * sum(sizes))
    if due > sum(sizes) - len(sizes):
        raise BadInput(
            f"ratio {ratio:g} is {due} of {sum(sizes)} heads, but each of {len(sizes)} layers keeps one",
            f"At most {1 - len(sizes) / sum(sizes):.2f} can go.",
        )
    if not due:
        return
    if score == "ablation":
        found = ablation(model, calibration)
    else:
        found = gate_gradients(model, calibration, "heads", torch.abs)
        if normalise:
            found = [layer / layer.norm().clamp(min=1e-20) for layer in found]
    protected = [layer.index_fill(0, layer.argmax(), torch.inf) for layer in found]
    gone = lowest(torch.cat(protected), due)
    for index, drop in enumerate(gone.split(sizes)):
        if drop.any():
            keep_heads(model, index, ~drop)
    current().details["importance"] = [layer.tolist() for layer in found]


def ablation(model: PreTrainedModel, data: LabelledData) -> list[Tensor]:
    """By how much the mean loss rises without each head alone, (heads,) for each layer."""
    samples = list(batches(data, 32, next(model.parameters()).device))

    def loss() -> float:
        return sum(losses(model, sample).sum().item() for sample in samples) / len(data)

    with gated(model, "heads") as gates:
        whole, effect = loss(), [torch.zeros_like(gate) for gate in gates]
        every = [(layer, head) for layer, gate in enumerate(gates) for head in range(len(gate))]
        for layer, head in track(every, "head"):
            gates[layer].data[head] = 0
            effect[layer][head] = loss() - whole
            gates[layer].data[head] = 1
    current().read["ablation"] += len(data)
    return effect
