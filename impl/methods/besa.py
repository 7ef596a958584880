r"""BESA: keep Wanda's ranking, learn how far down each row is pruned.

Block by block, every row of every linear layer owns a softmax over candidate
rates; its mean says how many of the row's lowest-ranked weights are masked.
Masks are hard going forward, while gradients pass through each weight's
probability of being kept. Trained are the softmax logits alone, on how far
the masked block's output is from the unmasked one, plus a penalty that keeps
the mean rate of the block at the target. Weights stay as they are.

Equations
---------
- Rate: $$\alpha = \sum_{d=0}^{D} \beta_d \, p_d, \qquad \beta = \operatorname{softmax}(\theta), \quad p_d = d / D$$ The expected rate of a row (or layer) over its candidates.
- Probability of being pruned (Eq. 4): $$P_k = \sum_{d : \lfloor p_d C \rfloor > k} \beta_d$$ For the weight with rank k among the C weights of its row, by Wanda's score; it falls with the rank.
- Mask (Eq. 6): $$M_k = \mathbb{I}(k \ge \lfloor \alpha C \rfloor), \qquad \partial M_k = -\partial P_k$$ Hard forward, straight through the probability backward.
- Objective (Eq. 1): $$\frac{1}{H} \sum_{c=1}^{H} \frac{\lVert F(W, X)_c - F(W \odot M, X)_c \rVert_2^2}{\lVert F(W, X)_c \rVert_2^2} + \gamma \left( \frac{\bar{\alpha} - s}{s} \right)^2$$ Relative error of the block's output channels, and how far the block's mean rate is from the target s.

Hyperparameters
---------------
- sparsity: the share of weights removed from every block, s; 0.5 in the paper's main results.
- granularity: row learns one rate a row, as in the paper's main results, layer one a layer, the cheaper variant in the official README.
- candidates: D, the number of steps between rate 0 and rate 1; 100 in the official code.
- epochs: passes over the calibration windows, one optimiser step a window; 1 in the official scripts.
- rate: the learning rate of Adam; the official code has 0.01 where it uses Adam, over four times as many windows.
- penalty: γ; 5 in the official scripts.

Official code
-------------
- https://github.com/OpenGVLab/LLMPrune-BESA at e6a7d67ede7e62b8602eb2f762f98ed37dbf79e7

Deviations
----------
- Every block loses exactly round(s · weights): after training, all rates of the block are moved by one common amount. In the paper the target is only a penalty.
- Adam instead of Prodigy, the optimiser of the official scripts, whose step is scaled differently for each model there.
- The softmax is over the logits themselves. The official code puts a sigmoid before it by default, which keeps every rate between about 0.38 and 0.62, whatever the target.
- Logits start as θ_d = κ p_d with κ such that the mean rate is the target; at s = 0.5 this is the official start, all zero.
- The masked block is compared with the unmasked one on the same inputs, as in the scripts for the row-wise results; the scripts for the layer-wise ones compare with the dense model's own activations.
- Only Wanda's ranking; the official code can also rank by magnitude or by SparseGPT's score, and can train low-rank adapters beside the rates.
- In a mixture of experts, each expert is ranked with the tokens that its router sent it; the router is not masked. The paper has no such models.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.masks import lowest, whole
from impl.model import View
from impl.registry import method
from impl.statistics import sum_of_squares
from impl.walk import Block, walk


@method("besa", budget="weights", needs="calibration")
def besa(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float = 0.5,
    granularity: Literal["row", "layer"] = "row",
    candidates: int = 100,
    epochs: int = 1,
    rate: float = 0.05,
    penalty: float = 5.0,
) -> None:
    if candidates < 1 or epochs < 0 or rate <= 0 or penalty < 0:
        raise BadInput(
            f"{candidates} candidates, {epochs} epochs, rate {rate:g} or penalty {penalty:g} is too low"
        )
    if not sparsity:
        return
    start = tilted(sparsity, candidates)
    for block in walk(model, calibration, batch_size=1):
        layers = []
        for view, squares in block.collect(sum_of_squares):
            score = view.W.float().abs() * squares.sqrt().float()
            rows = len(score) if granularity == "row" else 1
            layers.append(Rates(view, score, start.to(score.device).repeat(rows, 1)))
        learn(block, layers, sparsity, epochs, rate, penalty)
        counts = exact([layer.rates().expand(layer.view.shape[0]) for layer in layers],
                       [layer.view.shape[1] for layer in layers], sparsity)  # fmt: skip
        for layer, count in zip(layers, counts, strict=True):
            layer.view.W = layer.view.W.masked_fill(lowest(layer.score, count), 0)


class Rates:
    """The learned rates of one view: `logits` is (rows, D + 1), or (1, D + 1) for one rate."""

    def __init__(self, view: View, score: Tensor, logits: Tensor) -> None:
        width, D = score.shape[1], logits.shape[1] - 1
        self.view, self.score, self.logits = view, score, logits.requires_grad_()
        self.rank = score.argsort(dim=-1, stable=True).argsort(dim=-1)
        self.p = torch.arange(D + 1, device=score.device) / D
        # The smallest candidate d with ⌊d · width / D⌋ > k, for every rank k.
        ranks = torch.arange(1, width + 1, device=score.device)
        self.reaching = (ranks * D + width - 1) // width

    def rates(self) -> Tensor:
        """α of every row, (rows,) or (1,)."""
        return self.logits.softmax(-1) @ self.p

    def mask(self) -> Tensor:
        """M (out, in): 1 where a weight stays, with the gradient of its probability."""
        beta = self.logits.softmax(-1)
        at_least = beta.flip(-1).cumsum(-1).flip(-1)
        pruned = at_least[:, self.reaching].expand(self.rank.shape).gather(1, self.rank)
        count = (self.rates().detach() * self.rank.shape[1]).long()
        hard = (self.rank >= count[:, None]).to(pruned.dtype)
        return hard - (pruned - pruned.detach())


def learn(
    block: Block, layers: list[Rates], sparsity: float, epochs: int, rate: float, penalty: float
) -> None:
    """Train the logits of one block, one step a calibration window."""
    targets = [block.run(window).float() for window in range(block.batches)] if epochs else []
    paths = {id(parameter): path for path, parameter in block.module.named_parameters()}
    groups: dict[str, list[Rates]] = {}
    for layer in layers:
        path = paths[id(getattr(layer.view.module, layer.view.parameter))]
        groups.setdefault(path, []).append(layer)
    total = sum(layer.view.numel for layer in layers)
    logits = [layer.logits for layer in layers]
    optimizer = torch.optim.Adam(logits, lr=rate)
    for window in list(range(block.batches)) * epochs:
        with torch.enable_grad():
            weights = {path: masked(group) for path, group in groups.items()}
            error = (targets[window] - block.run(window, weights=weights).float()).square()
            size = targets[window].square().flatten(0, -2).sum(0)
            relative = error.flatten(0, -2).sum(0) / size.masked_fill(size == 0, torch.inf)
            mean = sum(layer.rates().mean() * (layer.view.numel / total) for layer in layers)
            loss = relative.mean() + penalty * ((mean - sparsity) / sparsity) ** 2
            gradients = torch.autograd.grad(loss, logits)
        for parameter, gradient in zip(logits, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()


def masked(parts: list[Rates]) -> Tensor:
    """One parameter of the block, in its stored form, times the masks of its views."""
    module, name = parts[0].view.module, parts[0].view.parameter
    stored: Tensor = getattr(module, name).detach()
    mask = torch.ones_like(stored, dtype=torch.float32)
    for part in parts:
        view = part.view
        whole = mask if view.expert is None else mask[view.expert]
        whole = whole.T if view.transposed else whole
        whole[slice(None) if view.rows is None else view.rows.to(mask.device)] = part.mask()
    return stored * mask.to(stored.dtype)


def tilted(mean: float, candidates: int) -> Tensor:
    """Logits κ · p over the candidate rates p whose softmax has this mean, (candidates + 1,)."""
    p = torch.arange(candidates + 1, dtype=torch.float64) / candidates
    low, high = -1e6, 1e6
    for _ in range(100):
        tilt = (low + high) / 2
        if float((tilt * p).softmax(0) @ p) < mean:
            low = tilt
        else:
            high = tilt
    return (tilt * p).float()


def exact(rates: list[Tensor], widths: list[int], sparsity: float) -> list[Tensor]:
    """Weights to remove per row of each layer, round(sparsity · weights) in all.

    All rates are moved by one common amount, as far as 0 and 1 allow.
    """
    flat = torch.cat(rates).detach().double()
    size = torch.cat([r.new_full(r.shape, w) for r, w in zip(rates, widths, strict=True)]).double()
    total = round(sparsity * float(size.sum()))
    low, high = -1.0, 1.0
    for _ in range(60):
        move = (low + high) / 2
        if float(((flat + move).clamp(0, 1) * size).sum()) < total:
            low = move
        else:
            high = move
    counts = whole((flat + move).clamp(0, 1) * size)
    return list(counts.split([len(r) for r in rates]))
