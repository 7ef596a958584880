r"""SCOP: prune the filters whose features the network does not prefer to meaningless ones.

A score of importance is disturbed by much that has nothing to do with the
task. So every filter gets a control group: knockoff images, which look like
real ones but carry no information about the label, pass through the network
beside the real ones. Behind each convolution the real features and their
knockoffs compete: a factor per filter mixes both, and is trained on the loss of
the real images. Filters whose factor does not favour the real features are
redundant; they are cut out, and the network is trained on without them.

Equations
---------
- Mixing: $$\tilde A_c = \beta_c\, A_c + (1 - \beta_c)\, K_c, \qquad 0 \le \beta_c \le 1$$ A are the features of the real image behind a convolution, K those of the knockoff, c the filter; β starts at 0.5. The batch norm comes behind, the knockoffs go on unmixed.
- Training of the factors: $$\min_\beta \; \operatorname{E}\left[\operatorname{CE}(f_\beta(x, k), y)\right]$$ x an image with label y, k a knockoff; all weights are frozen.
- Score: $$I_c = |\gamma_c| \left(\beta_c - (1 - \beta_c)\right)$$ γ is the scale of the batch norm behind the filter. The lowest of every layer go.

Hyperparameters
---------------
- ratio: the share of filters removed from every convolution of the residual branches; 0.45 for ResNet-50 in the official instructions. The first convolution and the projections in shortcuts stay whole.
- steps: batches that the factors are trained on; the official code takes 20 epochs.
- lr: of the factors, for Adam with momenta 0.5 and 0.9; 0.004 in the official code.
- finetune: batches that all weights are trained on afterwards; the official code takes 120 epochs.
- finetune_lr: at the start of a cosine schedule.
- images: how many are in a batch; the official code takes 512 for the factors and 1,024 afterwards.

Official code
-------------
- https://github.com/yehuitang/Pruning at 754fc58d7f1aa9cc0b2a7225a69dd6fc3269354c

Deviations
----------
- The equations are those of the official code. Their numbers in the paper are not given.
- A knockoff is another image of the batch, drawn at random: like the real ones in distribution, and independent of the label. The authors sample theirs from a generative adversarial network that was trained beforehand; it never sees the real image either.
- Steps are fewer than the authors' epochs on ImageNet, so that a small network takes seconds.
- Weights are trained with AdamW, the official code uses SGD with Nesterov momentum and a learning rate of 0.2. Weight decay is 0.0001 in both.
- At least one filter of every convolution stays, and round(ratio · filters) go; the official code rounds down.
- Filters are cut out before the training that follows, not after it; what is trained is the same function.

Not run here
------------
- data large: the paper trains on all of ImageNet; a run here trains on the images that it is given.

Unsupported
-----------
- networks without residual branches: what may be pruned lies inside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl import surgery
from impl.errors import BadInput, Unsupported
from impl.losses import Batch, batches
from impl.masks import lowest
from impl.registry import Amount, method
from impl.session import current
from impl.store import rebuilds
from impl.tasks import LabelledData
from impl.train import train


@method(
    "scop",
    budget="channels",
    needs="labels",
    on=("convnet",),
    touches=("norms", "biases", "head"),
    quick={"steps": 2, "finetune": 2, "images": 4},
)
def scop(
    model: PreTrainedModel,
    calibration: LabelledData,
    ratio: float = 0.3,
    steps: int = 100,
    lr: float = 0.004,
    finetune: int = 200,
    finetune_lr: float = 0.001,
    images: int = 64,
) -> Amount:
    found = branches(model)
    if not found:
        raise Unsupported("scop found no residual branches in this network")
    if "structure" in (getattr(model.config, "prunedex", None) or {}):
        raise Unsupported("filters of this network are gone already", "Start from a whole one.")
    if len(calibration) < 2 or images < 2:
        raise BadInput("scop needs at least two images, and at least two in a batch")
    layers = [layer for branch in found for layer in branch]
    total = sum(layer.convolution.out_channels for layer in layers)
    if ratio == 0:
        return Amount(0, total)
    pixels = {name: x.to(model.dtype) for name, x in calibration.inputs.items()}
    calibration = dataclasses.replace(calibration, inputs=pixels)
    factors = preferences(model, layers, calibration, steps, lr, images)
    kept = []
    for layer, factor in zip(layers, factors, strict=True):
        score = layer.normalization.weight.detach().abs().float() * (2 * factor - 1)
        count = min(round(ratio * len(score)), len(score) - 1)
        kept.append((~lowest(score, count)).nonzero().flatten())
    current().details["factors"] = [
        {"mean": factor.mean().item(), "kept": len(index)}
        for factor, index in zip(factors, kept, strict=True)
    ]
    indices = iter(kept)
    for branch in found:
        cut(branch, [next(indices) for _ in branch])
    model.config.prunedex = {"structure": "scop"}
    recalibrate(model, calibration, images)
    with batch_statistics(model, remember=True):
        train(
            model,
            calibration,
            finetune,
            finetune_lr,
            batch_size=images,
            schedule="cosine",
            weight_decay=1e-4,
            what="fine-tuning step",
        )
    return Amount(total - sum(map(len, kept)), total)


def branches(model: PreTrainedModel) -> list[Any]:
    """The residual branches: sequences of convolutions, each with its batch norm."""
    return [
        m.layer for m in model.modules() if isinstance(getattr(m, "layer", None), nn.Sequential)
    ]


def preferences(
    model: PreTrainedModel, layers: list[Any], data: LabelledData, steps: int, lr: float, size: int
) -> list[Tensor]:
    """β of every filter, one tensor a layer, trained to mix real and knockoff features best."""
    device = next(model.parameters()).device
    factors = [
        torch.full((layer.convolution.out_channels,), 0.5, device=device) for layer in layers
    ]

    def objective(_model: nn.Module, batch: Batch) -> Tensor:
        for factor in factors:
            factor.data.clamp_(0, 1)
        real = batch.inputs["pixel_values"]
        knockoff = real[torch.randperm(len(real)).to(real.device)]
        with mixed(layers, factors):
            found = model(pixel_values=torch.cat([real, knockoff])).logits[: len(real)]
        return cross_entropy(found.float(), batch.labels)  # type: ignore[arg-type]

    with batch_statistics(model, remember=False):
        train(
            model,
            data,
            steps,
            lr,
            parameters=factors,  # type: ignore[arg-type]
            objective=objective,
            betas=(0.5, 0.9),
            batch_size=size,
            clip=None,
            what="factor step",
        )
    return [factor.detach().clamp(0, 1) for factor in factors]


@contextmanager
def mixed(layers: list[Any], factors: list[Tensor]) -> Iterator[None]:
    """While it lasts, the first half of a batch competes with the second behind every convolution."""
    with ExitStack() as stack:
        for layer, factor in zip(layers, factors, strict=True):

            def mix(
                _module: nn.Module, _args: Any, output: Tensor, beta: Tensor = factor
            ) -> Tensor:
                real, knockoff = output.chunk(2)
                share = beta.to(output.dtype)[:, None, None]
                return torch.cat([share * real + (1 - share) * knockoff, knockoff])

            stack.callback(layer.convolution.register_forward_hook(mix).remove)
        yield


@contextmanager
def batch_statistics(model: nn.Module, remember: bool) -> Iterator[None]:
    """Batch norms take the statistics of the batch, and remember them or not."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, remember
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True


def recalibrate(model: PreTrainedModel, data: LabelledData, size: int) -> None:
    """Let the batch norms estimate their statistics anew, as means over all batches of `data`."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with batch_statistics(model, remember=True):
            for batch in batches(data, size, model.device):
                if len(batch) > 1:  # one image alone may have no variance
                    model(**batch.inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def cut(branch: Any, kept: list[Tensor]) -> None:
    """Keep the filters named for each layer of a residual branch, the shortcut as wide as it was."""
    width, before = branch[-1].convolution.out_channels, None
    for layer, index in zip(branch, kept, strict=True):
        convolution, norm = layer.convolution, layer.normalization
        if before is not None:
            surgery.cut(convolution, "weight", before, 1)
        surgery.cut(convolution, "weight", index, 0)
        for name in ("weight", "bias", "running_mean", "running_var"):
            surgery.cut(norm, name, index, 0)
        before = index
    branch.append(Scatter(width, kept[-1]))


class Scatter(nn.Module):
    """Puts channels back where they were, with zeros in between: (n, kept, h, w) to (n, width, h, w)."""

    index: Tensor

    def __init__(self, width: int, index: Tensor) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.width, *x.shape[2:]).index_copy(1, self.index, x)


@rebuilds("scop")
def rebuild(model: PreTrainedModel, description: dict[str, Any]) -> None:
    """Give a network of the original config what puts the channels of each branch back."""
    for branch in branches(model):
        width = branch[-1].convolution.out_channels
        branch.append(Scatter(width, torch.arange(width)))
