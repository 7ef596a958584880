r"""Deja Vu: small trained predictors say which heads and neurons a token needs; only those count.

For one token most heads and feed-forward neurons put out next to nothing, but
for another token they are others. So nothing is removed from the model.
Beside each block stand two predictors, low-rank classifiers trained on
recorded activations. They look at the residual stream one step ahead, and for
each token they choose a fixed number of heads and neurons; the output of all
others is taken as zero.

Equations
---------
- Attention of the chosen heads (§4.2): $$\mathrm{MHA}(x) = [H_1(x), \ldots, H_n(x)] \, W_o, \qquad H_j(x) = 0 \ \text{for} \ j \notin S^h$$ The keys and values of a head that was left out are there when a later token chooses it.
- MLP of the chosen neurons (§4.1): $$\mathrm{MLP}(x) = \sum_{j \in S^w} a_j(x) \, w_j$$ a is what enters the down projection, w_j its column.
- Predictor (§4.1): $$S = \operatorname{top-}k \left( B A x \right)$$ One such pair of matrices for the heads and one for the neurons of each block.
- Training (Alg. 1): $$\mathcal{P}_+ = \{ (x_i, r) : m_r(x_i) > t \}, \qquad \mathcal{P}_- = \{ (x_i, r) : m_r(x_i) < t \}$$ Unit r is to be chosen for token i if it puts out more than a threshold; binary cross-entropy over all units.
- Lookahead (§4.3, Fig. 2): $$S^h_{i+1} = \mathrm{SP}^A_{i+1}(x_i), \qquad S^w_i = \mathrm{SP}^M_i(x_i)$$ x_i is the input of block i. The stream changes little from one sub-layer to the next, so the choice can be made while the sub-layer before is still being computed.

Hyperparameters
---------------
- sparsity: the share of each block's neurons that are left out for a token; the paper leaves out 85 % without loss on OPT-175B, and 90 % where it measures latency.
- heads: the share of each block's heads that are left out, the same as of neurons if nothing is said; the paper leaves out 50 % without loss on OPT-175B, and 58 % where it measures latency.
- rank: the rows of A; 1,000 in the official code, for models of width 2,048 and more.
- epochs: passes over the calibration text at most; 20 in the official code. Training stops after 5 without better recall.
- batch: tokens in a training step; 1,024 of 400,000 tokens in the official code. 256 here, because there are fewer tokens.
- lr: the learning rate of AdamW, with a weight decay of 0.01; the official code has 0.001 for neurons and 0.0001 for heads in its scripts, the other way round in its defaults.

Official code
-------------
- https://github.com/FMInference/DejaVu at 85f6af36b7b6494749fef3ec6a5f85311a390c74: sparse_predictor trains the predictors, Decentralized_FM_alpha/modules measures quality with masks.

Deviations
----------
- Units that are not chosen are set to zero and not skipped, as in the official code that measures quality; the speed that the paper reports takes its kernels.
- A unit is a positive example if it is among the k strongest of its token and not zero: heads by the norm of their output before the output projection, as in the official code, neurons by the absolute value of their activation. In OPT, the paper takes every neuron that is not zero, however many; a smooth activation function such as SiLU leaves almost none at zero.
- Of the epochs, the one whose k highest logits hold most positives of the 5 % of tokens that are held out is kept; the official code counts the logits above zero.
- The heads of the first block are predicted from its own input, because there is no block before it; the official evaluation computes all heads of the first blocks.
- The paper's formula predicts neurons one block ahead, its Fig. 2 and the official evaluation from the input of their own block; so does this. The official code trains the neurons' predictors on the MLP's input and uses them on the block's; here they are trained on what they will see.
- Every block leaves out the same share; the official evaluation computes all neurons of the last blocks and more heads in the middle ones.

Unsupported
-----------
- mixtral: the router of a mixture of experts chooses among its neurons already.
- qwen3_moe: the router of a mixture of experts chooses among its neurons already.
"""

from __future__ import annotations

import math
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.model import blocks, neurons
from impl.model import heads as heads_of
from impl.registry import Amount, method
from impl.runtime import attach, attached, restores
from impl.session import current
from impl.walk import Block, walk

PATIENCE, ENOUGH, HELD_OUT = 5, 0.99, 0.05


@method(
    "deja-vu",
    budget="activations",
    needs="calibration",
    quick={"rank": 8, "epochs": 5, "batch": 16, "lr": 0.03},
)
def deja_vu(
    model: PreTrainedModel,
    calibration: Calibration,
    sparsity: float = 0.5,
    heads: float | None = None,
    rank: int = 128,
    epochs: int = 20,
    batch: int = 256,
    lr: float = 0.001,
) -> Amount:
    heads = sparsity if heads is None else heads
    if not 0 <= heads < 1:
        raise BadInput(f"heads {heads:g} is not in the range 0 ≤ heads < 1")
    for name, value, least in (("rank", rank, 1), ("epochs", epochs, 0), ("batch", batch, 1)):
        if value < least:
            raise BadInput(f"{name} {value} is below {least}")
    if any(policy.name == "deja-vu" for policy in attached(model)):
        raise BadInput("deja-vu acts on this model already", "Detach it first.")
    every = [Units(*sizes(model, index)) for index in range(len(blocks(model)))]
    left = [Units(n - round(sparsity * n), h - round(heads * h)) for n, h in every]
    total = sum(map(sum, every))
    if left == every:
        return Amount(0, total)
    choices: list[Units[Choice | None]] = []
    recall: list[Units[float]] = []
    before = None
    for block, k in zip(walk(model, calibration, propagate="dense"), left, strict=True):
        x = torch.cat([block.inputs(i).flatten(0, 1).float() for i in range(block.batches)])
        strong = strongest(model, block, k)
        seen = Units(x, x if before is None else before)
        trained = [
            train(*one, rank, epochs, batch, lr) if one[2] < one[1].shape[1] else (None, 1.0)
            for one in zip(seen, strong, k, strict=True)
        ]
        choices.append(Units(*(choice for choice, _ in trained)))
        recall.append(Units(*(share for _, share in trained)))
        before = x
    current().details["recall"] = [one._asdict() for one in recall]
    attach(model, Contextual(choices))
    return Amount(total - sum(map(sum, left)), total)


T = TypeVar("T")


class Units(NamedTuple, Generic[T]):
    """One of everything for the neurons of a block and one for its heads."""

    neurons: T
    heads: T


class Choice(NamedTuple):
    """A predictor, A (rank, width) and B (units, rank), and how many units it chooses."""

    A: Tensor
    B: Tensor
    k: int

    def mask(self, x: Tensor) -> Tensor:
        """x (…, width) to (…, units) in float32, 1 for the k units of the highest logits."""
        A, B = self.A.to(x.device), self.B.to(x.device)  # the model may have moved
        logits = x.float() @ A.T @ B.T
        return torch.zeros_like(logits).scatter(-1, logits.topk(self.k, dim=-1).indices, 1.0)


def sizes(model: nn.Module, index: int) -> tuple[int, int]:
    return neurons(model, index).count, heads_of(model, index).count


def strongest(model: nn.Module, block: Block, k: Units[int]) -> Units[Tensor]:
    """Which units are to be chosen: for each token the k strongest that are not zero, bool."""
    attention, down = heads_of(model, block.index), neurons(model, block.index).down
    found = Units[list[Tensor]]([], [])
    for inputs in block.capture([attention.o, down]):
        output = inputs[attention.o.name].float().unflatten(-1, (attention.count, -1)).norm(dim=-1)
        for strength, count, rows in zip((inputs[down.name].abs(), output), k, found, strict=True):
            top = strength.topk(count, dim=-1).indices
            rows.append(torch.zeros_like(strength, dtype=torch.bool).scatter(-1, top, True))
            rows[-1] &= strength > 0
    return Units(*map(torch.cat, found))


def train(
    x: Tensor, wanted: Tensor, k: int, rank: int, epochs: int, batch: int, lr: float
) -> tuple[Choice, float]:
    """A predictor of `wanted` (tokens, units) from x (tokens, width), and its recall held out."""
    A = nn.Linear(x.shape[1], rank, bias=False, device=x.device)
    B = nn.Linear(rank, wanted.shape[1], bias=False, device=x.device)
    optimiser = torch.optim.AdamW([A.weight, B.weight], lr, weight_decay=0.01)
    order = torch.randperm(len(x), device="cpu").to(x.device)
    held_out, rest = order.tensor_split([math.ceil(HELD_OUT * len(x))])

    def snapshot() -> tuple[Choice, float]:
        choice = Choice(A.weight.detach().clone(), B.weight.detach().clone(), k)
        hits = (choice.mask(x[held_out]) * wanted[held_out]).sum()
        return choice, (hits / wanted[held_out].sum().clamp(min=1)).item()

    best, best_epoch = snapshot(), 0
    for epoch in range(1, epochs + 1):
        for rows in rest[torch.randperm(len(rest)).to(x.device)].split(batch):
            y = wanted[rows].float()
            share = y.mean()  # negatives weigh less, the rarer positives are
            with torch.enable_grad():
                loss = binary_cross_entropy_with_logits(
                    B(A(x[rows])), y, weight=y * (1 - share) + share
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if (now := snapshot())[1] > best[1]:
            best, best_epoch = now, epoch
        if epoch - best_epoch >= PATIENCE or best[1] > ENOUGH:
            break
    return best


class Contextual:
    """The policy: for each block, how its neurons and its heads are chosen (None: all of them)."""

    name = "deja-vu"

    def __init__(self, choices: list[Units[Choice | None]]) -> None:
        self.choices = choices
        self._handles: list[Any] = []
        self._before: Tensor | None = None
        self._masks: Units[Tensor | None] = Units(None, None)

    def install(self, model: PreTrainedModel) -> None:
        for index, (block, choice) in enumerate(zip(blocks(model), self.choices, strict=True)):
            places = neurons(model, index).down.module, heads_of(model, index).o.module
            hook = block.register_forward_pre_hook(self._look(index, choice), with_kwargs=True)
            self._handles.append(hook)
            for kind, module in enumerate(places):
                self._handles.append(module.register_forward_pre_hook(self._apply(kind)))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _look(self, index: int, choice: Units[Choice | None]) -> Any:
        def hook(_block: nn.Module, args: Any, kwargs: Any) -> None:
            x = (args[0] if args else kwargs["hidden_states"]).detach()
            before = x if index == 0 or self._before is None else self._before
            self._masks = Units(
                *(
                    None if one is None else one.mask(at)
                    for one, at in zip(choice, (x, before), strict=True)
                )
            )
            self._before = x if index + 1 < len(self.choices) else None

        return hook

    def _apply(self, kind: int) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            mask, (x, *others) = self._masks[kind], inputs
            if mask is None:
                return None
            mask = mask.repeat_interleave(x.shape[-1] // mask.shape[-1], -1)
            return (x * mask.to(x.dtype).view(x.shape), *others)

        return hook

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        kept = [[None if one is None else one.k for one in choice] for choice in self.choices]
        tensors = {
            f"{index}.{kind}.{part}": getattr(one, part).contiguous()
            for index, choice in enumerate(self.choices)
            for kind, one in choice._asdict().items()
            if one is not None
            for part in ("A", "B")
        }
        return {"kept": kept}, tensors


@restores("deja-vu")
def restore(model: PreTrainedModel, options: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    device, choices = next(model.parameters()).device, []
    for index, kept in enumerate(options["kept"]):
        found: list[Choice | None] = []
        for kind, count, k in zip(Units._fields, sizes(model, index), kept, strict=True):
            if k is None:
                found.append(None)
                continue
            A, B = (tensors[f"{index}.{kind}.{part}"].to(device) for part in "AB")
            if len(B) != count or A.shape != (B.shape[1], A.shape[1]) or not 0 < k <= count:
                raise BadInput(f"the saved predictor of block {index}'s {kind} does not fit")
            found.append(Choice(A, B, k))
        choices.append(Units(*found))
    attach(model, Contextual(choices))
