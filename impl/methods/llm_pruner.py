r"""LLM-Pruner: remove coupled structures by their Taylor score, then recover with LoRA.

Weights that only make sense together form a group: a neuron is a row of the
gate and up projections and a column of the down projection, a head its rows
of query, key and value and its columns of the output projection. Gradients
of the next-token loss on a few texts say how much the loss would change
without each weight; a group's score adds them up. Each block in the middle
loses its weakest groups, the first and last blocks stay whole. Low-rank
adapters, trained on text and merged, repair what they can.

Equations
---------
- Dependency (Eqs. 1, 2, §3.1): $$N_j \in \operatorname{Out}(N_i) \wedge \operatorname{Deg}^-(N_j) = 1 \Rightarrow N_j \text{ depends on } N_i$$ and the same backwards: what has its only input, or its only reader, in a removed neuron goes with it.
- Vector-wise importance (Eq. 3, §3.2): $$I_{W_i} = \left| \frac{\partial \mathcal{L}^\top}{\partial W_i} W_i - \tfrac{1}{2} W_i^\top H W_i \right|$$ The change of the loss without the structure W_i; the second term is left out.
- Element-wise importance (Eqs. 4, 5, §3.2): $$I_{W_i^k} = \left| \frac{\partial \mathcal{L}}{\partial W_i^k} W_i^k - \tfrac{1}{2} \sum_{j=1}^{N} \left( \frac{\partial \mathcal{L}_j}{\partial W_i^k} W_i^k \right)^2 \right|$$ The same for single weights, with the Fisher diagonal of the N texts for the Hessian.
- Group importance (§3.2): $$I_{\mathcal{G}} = \sum_{i=1}^{M} I_{W_i} = \sum_{i=1}^{M} \sum_k I_{W_i^k}$$ Or the product or the maximum over the M matrices of the group, or the value of the last one.
- Recovery (Eq. 6, §3.3): $$f(x) = (W + PQ) x + b$$ Only P and Q are trained, and merged at the end.

Hyperparameters
---------------
- ratio: the share of the blocks' parameters to remove; 0.2 in the paper's main results.
- importance: first (the gradient term of Eq. 5, Element¹ in the paper's tables), second (its Fisher term, Element²), mixed (both) or vector (the first term of Eq. 3, a row or column at a time). The released LLaMA script uses first, the program's own default is mixed.
- aggregate: how the matrices of a group count together: sum (the default of the official code), prod, max or last.
- first: blocks at the start that stay whole; an eighth of all if not given, as 4 of 32 in the released commands.
- last: blocks at the end that stay whole; a sixteenth of all if not given, as 2 of 32 in the released commands.
- windows: calibration windows that are scored on; 10 in the paper, each of 128 tokens (64 in the official code).
- steps: training steps of the recovery, 0 for none; the paper trains for two epochs on 50,000 instructions, about 1,560 steps of 64 samples.
- batch: windows in a training step; 64 in the released command.
- lr: learning rate of the adapters; 1e-4 in the released command.
- rank: rank of the adapters; 8 in the released command.
- alpha: their scale is alpha over rank; 16 is the default of the official code.

Official code
-------------
- https://github.com/horseee/LLM-Pruner at c8a057e7440179076b57e277ef0f0886070ad94d

Deviations
----------
- The ratio is a share of the blocks' parameters, and the share of groups that every treated block loses follows from it; in the official code the ratio is that share of groups, of which 0.25 makes about 20 % of the parameters of LLaMA-7B. All treated blocks lose equally many heads, the nearest number to the share, and neurons make up the difference.
- Recovery trains on the calibration text that it is given, in plain next-token prediction, and for a few steps only. The paper uses Alpaca and counts the loss on the answers.
- Adapters are trained without dropout (0.05 in the official code); the learning rate rises over the first sixteenth of the steps and falls linearly, which is the official schedule scaled.
- The Fisher term is the mean over the samples of squared gradients, as the loss is their mean loss. The paper prints a sum, the official code takes the mean and leaves out the factor of one half where the term stands alone.
- Where query heads share a key and a value, they go together with it, as in the later Llama 3 script of the official code.
- Groups are read off the description of the model family; the official code traces a graph of the computation.

Not run here
------------
- type hidden-dimension: that is the channel strategy, which the paper finds far worse; the block strategy of its main results takes heads and neurons.

Unsupported
-----------
- mixtral, qwen3_moe: the experts of a mixture have no neurons in common.
- bloom, olmo2, phi3: their attention does not work with a part of its heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.losses import weight_gradients
from impl.masks import lowest, shares
from impl.model import View, all_views, blocks, heads, neurons
from impl.registry import method
from impl.session import current
from impl.surgery import keep_heads, keep_neurons
from impl.train import lora, train
from impl.width import check_width

Importance = Literal["first", "second", "mixed", "vector"]
Aggregate = Literal["sum", "prod", "max", "last"]


@method("llm-pruner", budget="parameters", needs="calibration", quick={"steps": 2, "batch": 2})
def llm_pruner(
    model: PreTrainedModel,
    calibration: Calibration,
    ratio: float = 0.2,
    importance: Importance = "first",
    aggregate: Aggregate = "sum",
    first: int | None = None,
    last: int | None = None,
    windows: int = 10,
    steps: int = 40,
    batch: int = 4,
    lr: float = 1e-4,
    rank: int = 8,
    alpha: int = 16,
) -> None:
    if not ratio:
        return
    check_width(model)
    count = len(blocks(model))
    start = count // 8 if first is None else first
    end = count - (count // 16 if last is None else last)
    drops = plan(model, range(start, end), ratio)
    scored = replace(calibration, tokens=calibration.tokens[:windows])
    saliences = salience(model, scored, importance)
    for index, drop in drops.items():
        groups, units = scores(model, index, saliences, importance, aggregate)
        keep_heads(model, index, ~lowest(groups, drop.groups))
        keep_neurons(model, index, ~lowest(units, drop.neurons))
    if steps:
        with lora(model, rank, alpha) as adapters:
            found = train(
                model, calibration, steps, lr, parameters=adapters, batch_size=batch,
                warmup=steps // 16, schedule="linear",
            )  # fmt: skip
        current().details["loss"] = [found[0], found[-1]]


@dataclass(frozen=True)
class Drop:
    """What one block loses."""

    groups: int
    neurons: int


def plan(model: PreTrainedModel, treated: range, ratio: float) -> dict[int, Drop]:
    """The same number of groups and of neurons (but for one) for each treated block.

    Together they are `ratio` of the parameters of all blocks, to less than a
    neuron. Raises `BadInput` if so much cannot go.
    """
    count = len(blocks(model))
    if not treated or treated[0] < 0 or treated[-1] >= count:
        raise BadInput(f"of {count} blocks none is left to prune", "Protect fewer blocks.")
    total = sum(parameter.numel() for parameter in blocks(model).parameters())
    due = round(ratio * total)
    attentions = {index: heads(model, index) for index in treated}
    mlps = {index: neurons(model, index) for index in treated}
    both = sum(a.groups * a.group_parameters for a in attentions.values())
    both += sum(m.count * m.parameters for m in mlps.values())
    groups = {
        index: min(
            int(due / both * a.groups + 0.5),
            a.groups - 1,
            due // len(treated) // a.group_parameters,
        )
        for index, a in attentions.items()
    }
    rest = due - sum(groups[index] * a.group_parameters for index, a in attentions.items())
    sizes = [m.count for m in mlps.values()]
    each = sum(m.count * m.parameters for m in mlps.values()) / sum(sizes)
    left = shares(round(rest / each), sizes)
    if any(lost >= size for lost, size in zip(left, sizes, strict=True)):
        possible = sum((a.groups - 1) * a.group_parameters for a in attentions.values())
        possible += sum((m.count - 1) * m.parameters for m in mlps.values())
        raise BadInput(
            f"ratio {ratio:g} cannot be reached with {len(treated)} of {count} blocks: "
            f"{possible / total:.1%} of the blocks' parameters can go",
            "Ask for less, or protect fewer blocks with first and last.",
        )
    return {index: Drop(groups[index], lost) for index, lost in zip(treated, left, strict=True)}


def salience(
    model: PreTrainedModel, data: Calibration, importance: Importance
) -> dict[str, Tensor]:
    """For every weight the change of the loss without it, signed: view name to (out, in)."""
    count, found = len(data.tokens), {}
    targets = all_views(model)
    if importance != "second":
        gradients = weight_gradients(model, data, lambda gradient: gradient)
        found = {view.name: gradients[view.name] / count * view.W.float() for view in targets}
    if importance in ("second", "mixed"):
        fisher = weight_gradients(model, data, torch.square)
        for view in targets:
            term = fisher[view.name] / count * view.W.float().square() / 2
            found[view.name] = found.get(view.name, torch.zeros_like(term)) - term
    return found


def scores(
    model: PreTrainedModel,
    index: int,
    saliences: dict[str, Tensor],
    importance: Importance,
    aggregate: Aggregate,
) -> tuple[Tensor, Tensor]:
    """The score of each key-value group and of each neuron of a block, (groups,) and (neurons,)."""

    def along(view: View, dim: int, units: int) -> Tensor:
        value = saliences[view.name].double()
        vectors = value.sum(dim).abs() if importance == "vector" else value.abs().sum(dim)
        return vectors.view(units, -1).sum(1)

    attention, mlp = heads(model, index), neurons(model, index)
    rows = [along(view, 1, attention.groups) for view in (attention.q, attention.k, attention.v)]
    groups = [*rows, along(attention.o, 0, attention.groups)]
    units = [along(view, 1, mlp.count) for view in (mlp.gate, mlp.up) if view is not None]
    units.append(along(mlp.down, 0, mlp.count))
    return together(groups, aggregate), together(units, aggregate)


def together(structures: list[Tensor], aggregate: Aggregate) -> Tensor:
    """One score a group from those of its matrices, in the order in which they are executed."""
    stacked = torch.stack(structures)
    if aggregate == "prod":
        return stacked.prod(0)
    if aggregate == "max":
        return stacked.amax(0)
    return stacked[-1] if aggregate == "last" else stacked.sum(0)
