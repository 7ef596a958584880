r"""FLAP: the heads and neurons whose activations hardly vary go, and a bias stands in for them.

What a channel contributes splits into its mean over the text and its
fluctuation around it. The mean survives the channel: it is a constant, which
a bias of the next projection can hold. So the channels with the smallest
fluctuation, weighted with what they feed, go first. Scores are standardised
within each attention and each MLP, so that heads and neurons of all blocks
compete in one ranking and every block gets a size of its own. One forward
pass through the dense model gives all that is needed; no weight changes.

Equations
---------
- Fluctuation of input channel j: $$\sigma_j^2 = \frac{1}{T - 1} \sum_{t=1}^{T} (X_{jt} - \bar{X}_j)^2, \qquad \bar{X}_j = \frac{1}{T} \sum_{t=1}^{T} X_{jt}$$ X are the inputs of the projection that ends the attention or the MLP, over all T tokens of the calibration text.
- Score (WIFV): $$S_j = \sigma_j^2 \cdot \lVert W_{:,j} \rVert_2^2$$ W is that projection, (out, in): the expected squared error that replacing the channel by its mean leaves in the output.
- Standardisation: $$\tilde{S}_j = \frac{S_j - \operatorname{mean}(S)}{\operatorname{std}(S)}$$ Within one attention or one MLP; a head's score is the mean over its channels.
- Search: $$\sum_{u : \tilde{S}_u \le \tau} P_u \approx r \cdot P$$ One threshold for all units u, each of which counts the P_u parameters that go with it, r being the ratio and P the parameters of all blocks.
- Compensation: $$b \leftarrow b + \sum_{j \text{ removed}} W_{:,j} \, \bar{X}_j$$ The mean output of what was removed becomes part of the bias.

Hyperparameters
---------------
- ratio: the share of the blocks' parameters to remove; 0.2, 0.3 and 0.5 in the released scripts.
- metric: WIFV as above; IFV leaves out the weights; WIFN is the mean over a column of |W_ij| times the norm of input j, a structured Wanda. WIFV is the default of the official code.
- calibration: the released scripts use 1,024 windows of 128 tokens from the training text of WikiText-2.

Official code
-------------
- https://github.com/CASIA-IVA-Lab/FLAP at 9bbad716c098f6a33418296ea52d98bcd66c3829

Deviations
----------
- Mean and variance are those of all tokens, summed in float64. The official code keeps running values whose update takes deviations from the latest mean only and gives the first window no weight, so that its fluctuation depends on the order of the windows.
- Scores of attention and MLP are treated alike. The official code squares those of attention before it standardises them.
- A unit weighs exactly the parameters that it takes along, a new bias counting against the first one. The official code weighs a head 170 times a neuron, which is right for heads of 128 channels but for a rounding to whole numbers.
- Every attention keeps at least one head and every MLP one neuron; the official code can empty them.
- Where several query heads share a key and a value, they go together with it; the official code knows only models without sharing.
- A bias that exists is added to; the official code overwrites it, which is the same in LLaMA, where there is none.

Unsupported
-----------
- mixtral, qwen3_moe: the experts of a mixture have no neurons in common.
- bloom, olmo2, phi3: their attention does not work with a part of its heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.model import View, blocks, heads, neurons
from impl.registry import method
from impl.session import current
from impl.store import rebuilds
from impl.surgery import keep_heads, keep_neurons
from impl.walk import walk
from impl.width import check_width

Metric = Literal["WIFV", "IFV", "WIFN"]


@dataclass(frozen=True)
class Part:
    """The attention or the MLP of one block: what is in it, and what its end sees."""

    block: int
    end: View
    """The projection whose inputs are the channels of the units"""
    cost: int
    """Parameters of one unit: a key-value group with its queries, or a neuron"""
    mean: Tensor
    """(in,), float64: what every channel is on average"""
    score: Tensor
    """(units,), float64, standardised"""


@method("flap", budget="parameters", needs="calibration", touches=("biases",))
def flap(
    model: PreTrainedModel,
    calibration: Calibration,
    ratio: float = 0.2,
    metric: Metric = "WIFV",
) -> None:
    if not ratio:
        return
    check_width(model)
    if (getattr(model.config, "prunedex", None) or {}).get("structure", "flap") != "flap":
        raise Unsupported("it has modules of another pruning method", "Start from the original.")
    parts: list[Part] = []
    for block in walk(model, calibration, propagate="dense"):
        block.views = [view for view in block.views if view.part in ("o", "down")]
        sums = {view.part: value.cpu() for view, value in block.collect(moments)}
        attention, mlp = heads(model, block.index), neurons(model, block.index)
        for end, units, cost in (
            (attention.o, attention.groups, attention.group_parameters),
            (mlp.down, mlp.count, mlp.parameters),
        ):
            mean, score = fluctuation(sums[end.part], calibration.tokens.numel(), end.W, metric)
            units_of = standardised(score).view(units, -1).mean(1)
            parts.append(Part(block.index, end, cost, mean, units_of))
    total = sum(parameter.numel() for parameter in blocks(model).parameters())
    kept = choose(parts, ratio, total)
    for part, keep in zip(parts, kept, strict=True):
        remove(model, part, keep)
    current().details["kept"] = {
        role: [
            int(keep.sum()) for part, keep in zip(parts, kept, strict=True) if part.end.role == role
        ]
        for role in ("attention", "mlp")
    }


def moments(x: Tensor) -> Tensor:
    """Σ x and Σ x² of every input channel: (2, in)."""
    x = x.to(torch.float32 if x.device.type == "mps" else torch.float64)
    return torch.stack([x.sum(0), x.square().sum(0)])


def fluctuation(sums: Tensor, tokens: int, W: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Mean and score of each channel, (in,), from Σ x and Σ x² over `tokens` inputs."""
    total, squares = sums.double()
    W = W.detach().cpu().double()
    mean = total / tokens
    variance = ((squares - tokens * mean.square()) / max(tokens - 1, 1)).clamp(min=0)
    if metric == "WIFN":
        return mean, W.abs().mean(0) * squares.sqrt()
    return mean, variance * W.square().sum(0) if metric == "WIFV" else variance


def standardised(score: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1; all 0 where the scores are equal."""
    spread = score.std()
    return (score - score.mean()) / spread if spread > 0 else torch.zeros_like(score)


def choose(parts: list[Part], ratio: float, total: int) -> list[Tensor]:
    """Which units of each part stay: as near to `ratio` of `total` parameters as units allow.

    Raises `BadInput` if so much cannot go while every part keeps one unit.
    """
    owner = torch.cat([torch.full((len(part.score),), i) for i, part in enumerate(parts)])
    score = torch.cat([part.score for part in parts])
    cost = torch.tensor([part.cost for part in parts])[owner]
    best = torch.zeros(len(score), dtype=torch.bool)
    for i in range(len(parts)):
        mine = (owner == i).nonzero().flatten()
        best[mine[score[mine].argmax()]] = True
    order = score.masked_fill(best, torch.inf).argsort(stable=True)[: len(score) - len(parts)]
    net = cost[order]
    for i, part in enumerate(parts):
        first = (owner[order] == i).nonzero()
        if len(first) and part.end.module.bias is None:
            net[first[0]] -= part.end.shape[0]
    gone = torch.cat([torch.zeros(1, dtype=torch.long), net.cumsum(0)])
    if gone[-1] < ratio * total - cost.max():
        raise BadInput(
            f"ratio {ratio:g} cannot be reached: {float(gone[-1] / total):.1%} of the blocks' "
            "parameters can go if every attention keeps a head and every MLP a neuron"
        )
    count = int((gone - ratio * total).abs().argmin())
    keep = torch.ones(len(score), dtype=torch.bool)
    keep[order[:count]] = False
    return list(keep.split([len(part.score) for part in parts]))


def remove(model: PreTrainedModel, part: Part, keep: Tensor) -> None:
    """Take the units out; their mean contribution goes into the bias at the end of the part."""
    if keep.all():
        return
    module: Any = part.end.module
    gone = ~keep.repeat_interleave(part.end.shape[1] // len(keep))
    added = part.end.W.cpu().double()[:, gone] @ part.mean[gone]
    if module.bias is None:
        add_bias(module)
        name = next(name for name, other in model.named_modules() if other is module)
        mark = getattr(model.config, "prunedex", None) or {}
        model.config.prunedex = {
            **mark,
            "structure": "flap",
            "biases": [*mark.get("biases", []), name],
        }
    bias = module.bias.data
    bias.copy_((bias.cpu().double() + added).to(bias.dtype))
    if part.end.role == "attention":
        keep_heads(model, part.block, keep)
    else:
        keep_neurons(model, part.block, keep)


def add_bias(module: nn.Module) -> None:
    """A bias of zeros for a projection that has none."""
    weight: Any = module.weight
    module.bias = nn.Parameter(
        weight.new_zeros(weight.shape[0]), requires_grad=weight.requires_grad
    )


@rebuilds("flap")
def rebuild(model: PreTrainedModel, description: dict[str, Any]) -> None:
    """Give the projections named in `description` the biases that a fresh model lacks."""
    for name in description.get("biases", []):
        module: Any = model.get_submodule(name)
        if module.bias is None:
            add_bias(module)
