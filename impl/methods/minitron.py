r"""Minitron: rank by what activates, cut to a shape, and let the uncut model teach what is left.

One pass over calibration text scores heads, neurons and residual channels by
the size of their activations, and blocks by how little they turn the hidden
state or by the loss without them. For a given shape the lowest of each kind
are cut out of all matrices at once. The smaller model is then trained to give
the output distribution of the model that it came from, with no other loss.

Equations
---------
- Heads (§2.2): $$F_{\text{head}}^{(i)} = \sum_{B,S} \left\lVert \operatorname{Attn}(X W^{Q,i}, X W^{K,i}, X W^{V,i}) \right\rVert_2$$ The norm of what head i passes to the output projection, aggregated over samples B and tokens S.
- Neurons (§2.2): $$F_{\text{neuron}}^{(i)} = \sum_{B,S} X \left(W_1^{i}\right)^\top$$ W₁ⁱ is row i of the first matrix.
- Residual channels (§2.2): $$F_{\text{emb}}^{(i)} = \sum_{B,S} \operatorname{LN}(X)_i$$ Summed over all norms that a sub-layer reads from.
- Aggregation (§2.2, Table 13): $$\sqrt{\sum_{b \in B} \Big( \frac{1}{|S|} \sum_{t \in S} |x_{b,t}| \Big)^2}$$ Mean of absolute values over a sample's tokens, l2 norm over samples: the best pair of those tried.
- Blocks (§2.2): $$\operatorname{BI}_i = 1 - \mathbb{E}_{X,t} \frac{X_{i,t}^\top X_{i+1,t}}{\lVert X_{i,t} \rVert_2 \lVert X_{i+1,t} \rVert_2}$$ X_i is the input of block i. Alternatively the loss of the model without the block.
- Residual of removed heads (§2.3): $$\text{head}_i \leftarrow \text{head}_i + (\text{head}_i - \text{head}_{2K-i+1})$$ Heads numbered by rank, K of them kept: the best removed head is paired with the worst kept one. Only queries where keys and values are shared.
- Distillation (§3): $$\mathcal{L}_{\text{logits}} = \frac{1}{l} \sum_{k=1}^{l} \operatorname{KL}\left( p_t^k(x, \tau) \,\Vert\, p_s^k(x, \tau) \right)$$ From the uncut model t to the cut one s, over the l tokens of a sequence.

Hyperparameters
---------------
- layers: the share of blocks that stay; 1 in the paper's models, which cut width only.
- hidden: the share of residual channels that stay; 0.67 and 0.5 in the paper's 8B and 4B models out of 15B.
- heads: the share of heads that stay; 1 and 0.5 in the paper's models. Where query heads share keys and values, of the query heads of each group.
- neurons: the share of neurons that stay; 0.67 and 0.375 in the paper's models.
- ranking: of blocks, `cosine` or `perplexity`; the paper finds perplexity better after retraining (Table 10).
- residual: whether kept heads take up the difference to removed ones; the paper finds that it helps. On the model `tiny`, where two queries share a key, it does not: perplexity 16.2 with and 14.6 without it after 200 steps of the default shape.
- steps: of distillation; 400 steps of 4.5 million tokens are the paper's short retraining, about 20,000 its long one. 0 leaves it out.
- lr: the highest learning rate, falling with a cosine; 2e-4 in the paper.
- temperature: τ; 1 in the paper, the best of four.
- batch: windows in a step; 1,152 in the paper.

Official code
-------------
- https://github.com/NVlabs/Minitron at fed740c91886155e1f272159ef662536bb673593
- https://github.com/NVIDIA/Model-Optimizer at 06a8c9d261a03206f46b58d9e31f7efe76bee906

Deviations
----------
- The shape is given. The paper finds it by enumerating a small grid within 5 % of a parameter count and retraining every candidate for 400 steps.
- Neurons are scored by what enters the second matrix, as the toolkit does; the paper writes the product with the first matrix, which an MLP with a gate has two of.
- Heads follow the paper; the toolkit averages each channel of a head before it takes the norm, and has no residual of removed heads.
- The paper lets i run from 2K − L for L heads; the first of these would pair with a head that does not exist, so i starts at 2K − L + 1 (at 1, where fewer than half stay).
- Residuals are added to the matrices of queries, keys and values: the paper writes heads, and does not say which matrices stand for one.
- In a family without norms before its sub-layers (OLMo 2), channels are scored by what the sub-layers read, which is the residual stream itself.
- 32 steps of one window, so that a run ends within minutes without a GPU; the learning rate falls to 0, in the paper to 4.5e-7.

Not run here
------------
- data medium: the paper retrains on 1.8 to 94 billion tokens; a run here trains on the windows that it is given.

Unsupported
-----------
- mixtral, qwen3_moe: a mixture of experts has no neurons in this sense.
- olmo2, phi3, bloom: with heads below 1, because their heads cannot be taken out.
- falcon with one key for all heads: with heads below 1, because queries, keys and values are one projection.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.gates import gated
from impl.losses import batches, losses
from impl.masks import lowest
from impl.model import blocks
from impl.model import heads as heads_of
from impl.model import neurons as neurons_of
from impl.registry import method
from impl.session import current, track
from impl.shape import Kept, Shape, cut, head_sets
from impl.train import distillation, train
from impl.walk import walk


@method(
    "minitron",
    budget="shape",
    needs="calibration",
    touches=("embeddings", "norms", "biases", "head"),
    quick={"steps": 2},
)
def minitron(
    model: PreTrainedModel,
    calibration: Calibration,
    layers: float = 1.0,
    hidden: float = 0.75,
    heads: float = 0.5,
    neurons: float = 0.5,
    ranking: Literal["cosine", "perplexity"] = "cosine",
    residual: bool = True,
    steps: int = 32,
    lr: float = 2e-4,
    temperature: float = 1.0,
    batch: int = 1,
) -> None:
    if steps < 0 or lr <= 0 or temperature <= 0 or batch < 1:
        raise BadInput(
            f"{steps} steps, lr {lr:g}, temperature {temperature:g} or batch {batch} is too low"
        )
    source = Shape.of(model)
    target = source.scaled(model, layers, hidden, heads, neurons)
    if target == source:
        return
    scores = importance(model, calibration)
    if ranking == "perplexity" and target.layers < source.layers:
        scores.layers = loss_without(model, calibration)
    kept = Kept(
        ~lowest(scores.layers, source.layers - target.layers),
        ~lowest(scores.hidden, source.hidden - target.hidden),
        [~lowest(score, source.heads - target.heads) for score in scores.heads],
        [~lowest(score, source.neurons - target.neurons) for score in scores.neurons],
    )
    teacher = copy.deepcopy(model) if steps else None
    if residual and target.heads < source.heads:
        for index in range(source.layers):
            add_residual(model, index, scores.heads[index], target.heads)
    cut(model, kept)
    if teacher is not None:
        loss = train(
            model, calibration, steps, lr, objective=distillation(teacher, temperature),
            batch_size=batch, schedule="cosine", what="distillation step",
        )  # fmt: skip
        current().details["loss"] = loss


@dataclass
class Scores:
    """Of blocks (blocks,), residual channels (hidden,), and for each block heads and neurons."""

    layers: Tensor
    hidden: Tensor
    heads: list[Tensor]
    """(sets, parts) each, see `impl.shape.head_sets`"""
    neurons: list[Tensor]


def importance(model: PreTrainedModel, calibration: Calibration) -> Scores:
    """The scores of §2.2, in float64, from one pass over the windows; blocks by cosine."""
    found = Scores(torch.zeros(len(blocks(model)), dtype=torch.float64), torch.zeros(()), [], [])
    for block in walk(model, calibration, propagate="dense", batch_size=1):
        layout, mlp = heads_of(model, block.index), neurons_of(model, block.index)
        squares: dict[str, Tensor | float] = dict.fromkeys("qudo", 0.0)
        for seen in block.capture([layout.q, mlp.up, mlp.down, layout.o]):
            q, up, down, o = (x.double() for x in seen.values())
            norms = o.unflatten(-1, (layout.count, layout.size)).norm(dim=-1)
            for name, x in zip("qudo", (q, up, down, norms), strict=True):
                squares[name] += x.abs().mean(0).square()
        of = {name: torch.as_tensor(total).sqrt().cpu() for name, total in squares.items()}
        found.hidden = found.hidden + of["q"] + of["u"]
        found.neurons.append(of["d"])
        sets, parts = head_sets(model, block.index)
        # A whole group counts as much as its queries together.
        found.heads.append(of["o"].view(sets, parts, -1).sum(-1))
        turned = [1 - cosine_similarity(x.double(), y.double(), dim=-1).mean().item()
                  for x, y in block.before_and_after()]  # fmt: skip
        found.layers[block.index] = sum(turned) / len(turned)
    return found


def loss_without(model: PreTrainedModel, calibration: Calibration) -> Tensor:
    """The model's mean loss on the windows with each block switched off, (blocks,)."""
    found = []
    with gated(model, "blocks") as gates:
        for gate in track(gates, "without block"):
            gate.data.zero_()
            samples = batches(calibration, 1, gate.device)
            found.append(torch.cat([losses(model, sample) for sample in samples]).double().mean())
            gate.data.fill_(1)
            current().read["loss"] += len(calibration.tokens)
    return torch.stack(found).cpu()


def add_residual(model: PreTrainedModel, block: int, scores: Tensor, kept: int) -> None:
    """Give the worst kept heads of a block what they differ by from the best removed ones (§2.3).

    `scores` is (sets, parts); `kept` parts of each set stay. A group that goes
    as a whole is treated as one head.
    """
    layout = heads_of(model, block)
    sets, parts = scores.shape
    queries_only = layout.queries > 1 and layout.q.rows is None
    ranked = scores.argsort(dim=-1, descending=True, stable=True)
    ranked = ranked + parts * torch.arange(sets)[:, None]
    first = max(2 * kept - parts, 0)
    stays = ranked[:, first:kept].flatten()
    goes = ranked[:, kept : 2 * kept - first].flip(-1).flatten()
    for view in (layout.q,) if queries_only else (layout.q, layout.k, layout.v):
        width = view.shape[0] // (sets * parts)
        to, by = ((part[:, None] * width + torch.arange(width)).flatten() for part in (stays, goes))
        matrix = view.W.clone()
        matrix[to] += view.W[to] - view.W[by]
        view.W = matrix
        bias = getattr(view.module, "bias", None)
        if bias is not None:
            own = torch.arange(len(bias)) if view.rows is None else view.rows
            bias.data[own[to]] += bias.data[own[to]] - bias.data[own[by]]
