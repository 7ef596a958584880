r"""Sheared LLaMA: learn which sub-network of a given shape is best, cut it out, and train on.

Every block, residual channel, head and neuron gets a gate that follows a hard
concrete distribution: mostly exactly 0 or exactly 1, and yet differentiable.
Weights and gates minimise the language-model loss, while pairs of Lagrange
multipliers push the number of open gates to the shape asked for, the same for
every block. The highest gates then stay, and what is left is trained on. In
both stages a text domain is sampled the more often, the further its loss is
from what it is meant to reach.

Equations
---------
- Hard concrete gate (App. A): $$z = \min(1, \max(0, s (\zeta - \gamma) + \gamma)), \quad s = \sigma\left( \frac{1}{\beta} \left( \log \tfrac{u}{1 - u} + \log \alpha \right) \right), \quad u \sim \mathcal{U}(0, 1)$$ β = 0.83, ζ = 1.1, γ = −0.1. Only log α is learned.
- Open gates: $$P(z > 0) = \sigma\left( \log \alpha - \beta \log \tfrac{-\gamma}{\zeta} \right)$$ Their sum is the expected number, which the constraint counts.
- Constraint (§2.1), for the heads of a block: $$\tilde{\mathcal{L}}^{\text{head}} = \lambda \left( \sum z - H_T \right) + \phi \left( \sum z - H_T \right)^2$$ H_T heads are to stay; neurons of a block, blocks, and residual channels likewise.
- Objective (Eq. 1, §2.1): $$\min_{\theta, z} \max_{\lambda, \phi} \; \mathcal{L}(\theta, z) + \sum_j \tilde{\mathcal{L}}^{\text{head}}_j + \sum_j \tilde{\mathcal{L}}^{\text{int}}_j + \tilde{\mathcal{L}}^{\text{layer}} + \tilde{\mathcal{L}}^{\text{hidden}}$$ The first term is the loss of the gated model.
- Dynamic batch loading (Alg. 1, §2.2): $$w_i \leftarrow \frac{w_i \exp(\Delta_i)}{\sum_j w_j \exp(\Delta_j)}, \quad \Delta_i = \max(\ell_i - \ell_i^{\text{ref}}, 0)$$ ℓ is the loss on held-out text of a domain.

Hyperparameters
---------------
- layers: the share of blocks that stay; 0.75 in the paper's 1.3B model out of 7B.
- hidden: the share of residual channels that stay; 0.5 in that model, which is a hard start without long training.
- heads: the share of heads that stay; 0.5 in that model. Where query heads share keys and values, of the query heads of each group.
- neurons: the share of neurons that stay; 0.5 in that model.
- gate_steps: steps of the first stage; 3,200 in the paper. A fifth of them moves the target from nothing to the shape.
- steps: steps of the second stage; 51,200 in the paper.
- lr: the highest learning rate of the weights; 1e-4 in the paper. It rises for a tenth (second stage: 3 %) of the steps and falls with a cosine to a tenth.
- gate_lr: the learning rate of gates and multipliers; 1.0 in the paper.
- batch: windows in a step; 32 in the paper's first stage, 256 in its second. Gates need text: on the model `tiny` with half of the neurons to go, 60 steps of 64 tokens leave perplexity 34.9, as bad as a random half trained as long (34.4), and 60 steps of 512 tokens leave 23.6 against 34.0.
- domains: into how many runs of neighbouring windows the calibration text is divided; the last window of each is held out. The paper has seven corpora.
- interval: steps between two looks at the held-out text; 50 and 400 in the paper.

Official code
-------------
- https://github.com/princeton-nlp/LLM-Shearing at b87218b566c73f6b246aaad3e4c42883f65a48a6

Deviations
----------
- 60 and 40 steps of one window, so that a run ends within minutes without a GPU. After so few the number of open gates is still off the target by a tenth or so; the highest gates stay in any case.
- Domains are runs of neighbouring windows of one text, because the calibration text comes without domains. The reference loss is that of the uncut model, the paper's alternative (§2.2) to one predicted by a scaling law; at first every domain is drawn by its size.
- The constraint counts expected open gates and is divided by the number of gates, both as in the official code, so that one learning rate fits all. Each block has multipliers of its own, as in the paper; the official code has one pair for each kind.
- β is 0.83 as in the paper; the official code has 2/3.
- Gates start at log α of about 5 and stay between log 0.01 and log 100, as in the official code; the paper does not say.
- Kept gates are multiplied into the weights with the value σ(0.8 log α / β), as in the official code. Unlike there, embeddings and head are left out, because in training no gate acts on them: the norms on both sides carry it. So the cut model computes what the gated one did.
- Nothing is gated that keeps its full size.
- Negative differences to the reference loss count as 0, as in Algorithm 1; the official code lets a domain that is ahead lose weight, and mixes a ten-thousandth of equal weights in.
- Where query heads share keys and values, equally many of each group stay, and where query, key and value are one projection, whole groups go. The paper has no such models.
- Norms with a mean take it over open channels only, like the variance; the paper's models have none.

Not run here
------------
- data medium: the paper trains on 50 billion tokens; a run here trains on the windows that it is given.

Unsupported
-----------
- mixtral, qwen3_moe: a mixture of experts has no neurons in this sense.
- olmo2, phi3, bloom: with heads below 1, because their heads cannot be taken out.
- falcon with one key for all heads: with heads below 1, because queries, keys and values are one projection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.families import family_of
from impl.losses import Batch, losses
from impl.masks import lowest
from impl.model import View, attention_module, blocks
from impl.model import heads as heads_of
from impl.model import neurons as neurons_of
from impl.registry import method
from impl.session import current, track
from impl.shape import Kept, Shape, cut, head_sets

BETA, ZETA, GAMMA = 0.83, 1.1, -0.1


@method(
    "sheared-llama",
    budget="shape",
    needs="calibration",
    touches=("embeddings", "norms", "biases", "head"),
    quick={"gate_steps": 2, "steps": 2},
)
def sheared_llama(
    model: PreTrainedModel,
    calibration: Calibration,
    layers: float = 0.75,
    hidden: float = 0.75,
    heads: float = 0.5,
    neurons: float = 0.5,
    gate_steps: int = 60,
    steps: int = 40,
    lr: float = 1e-4,
    gate_lr: float = 1.0,
    batch: int = 1,
    domains: int = 4,
    interval: int = 10,
) -> None:
    numbers = {"gate_steps": gate_steps, "batch": batch, "domains": domains, "interval": interval}
    for name, value in numbers.items():
        if value < 1:
            raise BadInput(f"{name} {value} is below 1")
    if steps < 0 or lr <= 0 or gate_lr <= 0:
        raise BadInput(f"{steps} steps, lr {lr:g} or gate_lr {gate_lr:g} is too low")
    source = Shape.of(model)
    target = source.scaled(model, layers, hidden, heads, neurons)
    if target == source:
        return
    gates = gates_for(model, source, target)
    text = Domains(model, calibration.tokens, domains, interval)
    places = places_of(model, gates)
    with gated(model, places, gates.get("hidden")):
        learned = list(gates.values())
        loss = descend(model, text, gate_steps, lr, batch, gate_steps // 10, learned, gate_lr)
    for gate in learned:
        gate.settle(gate.kept)
    fold(places)
    cut(model, kept_of(model, gates))
    loss += descend(model, text, steps, lr, batch, steps * 3 // 100)
    current().details.update(loss=loss, domains=text.weights.tolist())


@dataclass
class Gate:
    """The gates of one kind: `log_alpha` is (sets, size), and `kept` of every set shall stay."""

    log_alpha: Tensor
    multipliers: Tensor
    """λ and φ of every set, (2, sets)"""
    z: Tensor
    """The values in use, (sets, size)"""
    kept: int

    def sample(self) -> None:
        """Draw new values; gradients flow to `log_alpha` where they are between 0 and 1."""
        u = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        s = ((u.logit() + self.log_alpha) / BETA).sigmoid()
        self.z = (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def expected(self) -> Tensor:
        """How many gates of every set are open on average, (sets,)."""
        return (self.log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid().sum(-1)

    def constraint(self, progress: float) -> Tensor:
        """The penalty, while the target moves from all gates (0) to those that stay (1)."""
        size = self.log_alpha.shape[-1]
        gap = (self.expected() - size) / size + progress * (1 - self.kept / size)
        return (self.multipliers[0] * gap + self.multipliers[1] * gap.square()).sum()

    def settle(self, count: int) -> None:
        """The highest `count` gates of every set at their value without noise, the others at 0."""
        log_alpha = self.log_alpha.detach()
        closed = lowest(log_alpha, log_alpha.shape[-1] - count)
        self.z = (0.8 / BETA * log_alpha).sigmoid().masked_fill(closed, 0)


Kind = Literal["layers", "hidden", "heads", "neurons"]


def gates_for(model: PreTrainedModel, source: Shape, target: Shape) -> dict[Kind, Gate]:
    """Gates for everything that is to shrink, at first nearly all open."""
    count = len(blocks(model))
    kinds: dict[Kind, tuple[int, int, int]] = {
        "layers": (1, source.layers, target.layers),
        "hidden": (1, source.hidden, target.hidden),
        "heads": (count * head_sets(model, 0)[0], source.heads, target.heads),
        "neurons": (count, source.neurons, target.neurons),
    }
    gates, device = {}, next(model.parameters()).device
    for kind, (sets, size, kept) in kinds.items():
        if kept < size:
            start = 5 + 0.01 * torch.randn(sets, size)
            gates[kind] = Gate(
                start.clamp(max=math.log(100)).to(device).requires_grad_(),
                torch.zeros(2, sets, device=device, requires_grad=True),
                torch.ones(sets, size, device=device),
                kept,
            )
    return gates


def kept_of(model: nn.Module, gates: dict[Kind, Gate]) -> Kept:
    """What the gates leave open, as masks."""
    count, found = len(blocks(model)), {kind: (gate.z != 0).cpu() for kind, gate in gates.items()}
    return Kept(
        found["layers"][0] if "layers" in found else None,
        found["hidden"][0] if "hidden" in found else None,
        list(found["heads"].chunk(count)) if "heads" in found else [],
        list(found["neurons"]) if "neurons" in found else [],
    )


# --- where gates act ----------------------------------------------------------


@dataclass
class Place:
    """Channels that gates multiply: what a matrix reads, what it writes, or what a norm gives."""

    what: Literal["read", "written", "normed"]
    module: nn.Module
    view: View | None
    """The matrix; None for a norm"""
    scale: Callable[[], Tensor]
    """The factor of every channel, with the gates as they are now; (channels,)"""


def places_of(model: PreTrainedModel, gates: dict[Kind, Gate]) -> list[Place]:
    """Everything that the gates multiply.

    Heads and neurons act on what the matrix behind them reads, blocks on what
    they add to the residual stream, and residual channels on that, too, and
    on what the norms read from the stream.
    """
    embeddings: Any = model.get_input_embeddings()
    width, count, out = embeddings.weight.shape[1], len(blocks(model)), family_of(model).out_norms
    ones = torch.ones(width, device=embeddings.weight.device)

    def stream(block: int | None) -> Callable[[], Tensor]:
        def scale() -> Tensor:
            factor = gates["hidden"].z[0] if "hidden" in gates else ones
            return (
                factor * gates["layers"].z[0, block]
                if block is not None and "layers" in gates
                else factor
            )

        return scale

    def parts(gate: Gate, block: int, view: View) -> Callable[[], Tensor]:
        def scale() -> Tensor:
            values = gate.z.chunk(count)[block].flatten()
            return values.repeat_interleave(view.shape[1] // len(values))

        return scale

    found, inside, last = [], set(), {}
    for index, block in enumerate(blocks(model)):
        inside |= set(attention_module(model, index).modules())
        o, down = heads_of(model, index).o, neurons_of(model, index).down
        for kind, role, view in (("heads", "attention", o), ("neurons", "mlp", down)):
            if kind in gates:
                found.append(Place("read", view.module, view, parts(gates[kind], index, view)))
            if role in out:
                last[block.get_submodule(out[role])] = index
            else:
                found.append(Place("written", view.module, view, stream(index)))
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if module not in inside and isinstance(weight, Tensor) and weight.shape == (width,):
            found.append(Place("normed", module, None, stream(last.get(module))))
    return found


@contextmanager
def gated(model: PreTrainedModel, places: list[Place], hidden: Gate | None) -> Iterator[None]:
    """Multiply by the gates while the context lasts.

    A norm takes its mean and its variance over the open residual channels, so
    that closed ones are as good as gone.
    """

    def before(_module: nn.Module, inputs: tuple[Tensor, ...], place: Place) -> tuple[Any, ...]:
        return (inputs[0] * place.scale().to(inputs[0].dtype), *inputs[1:])

    def after(_module: nn.Module, _inputs: Any, output: Tensor, place: Place) -> Tensor:
        return output * place.scale().to(output.dtype)

    def only_open(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x, mask = inputs[0], opened().to(inputs[0].dtype)
        if isinstance(module, nn.LayerNorm):
            x = x - (x * mask).sum(-1, keepdim=True) / mask.sum()
        return (x * mask, *inputs[1:])

    def rescaled(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        mask, bias = opened(), getattr(module, "bias", None)
        factor = (mask.sum() / len(mask)).sqrt().to(output.dtype)
        return output * factor if bias is None else (output - bias) * factor + bias

    def opened() -> Tensor:
        assert hidden is not None
        mask = hidden.z[0].detach() != 0
        return mask if mask.any() else ~mask

    with ExitStack() as stack:
        for place in places:
            if place.what == "read":
                handle = place.module.register_forward_pre_hook(partial(before, place=place))
                stack.callback(handle.remove)
                continue
            if place.what == "normed" and hidden is not None:
                stack.callback(place.module.register_forward_pre_hook(only_open).remove)
                stack.callback(place.module.register_forward_hook(rescaled).remove)
            handle = place.module.register_forward_hook(partial(after, place=place))
            stack.callback(handle.remove)
        if hidden is not None:
            # Read without a norm in OLMo 2; elsewhere this changes nothing.
            embeddings = model.get_input_embeddings()
            handle = embeddings.register_forward_hook(
                lambda _module, _inputs, output: output * opened().to(output.dtype)
            )
            stack.callback(handle.remove)
        yield


def fold(places: list[Place]) -> None:
    """Multiply the weights by the gates, so that the model computes the same without them."""
    for place in places:
        scale, view, module = place.scale().detach(), place.view, place.module
        if view is not None and place.what == "read":
            view.W = view.W * scale
            continue
        if view is not None:
            view.W = view.W * scale[:, None]
        else:
            # Gemma's norms multiply by one more than their weight: what is left without it?
            weight = module.get_parameter("weight").data
            nothing = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
            extra = functional_call(module, nothing, torch.ones_like(weight))
            weight.copy_((weight + extra.round()) * scale - extra.round())
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            bias.data.mul_(scale)


# --- training -----------------------------------------------------------------


class Domains:
    """Windows by domain, drawn in proportions that follow the held-out losses (Alg. 1)."""

    def __init__(self, model: nn.Module, tokens: Tensor, count: int, interval: int) -> None:
        runs = tokens.tensor_split(max(1, min(count, len(tokens) // 2)))
        self.held = [run[-1:] for run in runs]
        self.train = [run[:-1] if len(run) > 1 else run for run in runs]
        sizes = torch.tensor([len(run) for run in self.train], dtype=torch.float64)
        self.weights, self.interval = sizes / sizes.sum(), interval
        self.reference = self.losses(model)

    def losses(self, model: nn.Module) -> Tensor:
        """The model's loss on the held-out windows of each domain, (domains,)."""
        found = [losses(model, self.batch(model, held)).mean().cpu() for held in self.held]
        current().read["held_out"] += len(self.held)
        return torch.stack(found).double()

    def draw(self, model: nn.Module, count: int) -> Batch:
        """Windows of domains in proportion to the weights, each any window of its domain."""
        chosen = torch.multinomial(self.weights, count, replacement=True)
        windows = [self.train[i][int(torch.randint(len(self.train[i]), ()))] for i in chosen]
        return self.batch(model, torch.stack(windows))

    def update(self, model: nn.Module) -> None:
        weights = self.weights * (self.losses(model) - self.reference).clamp(min=0).exp()
        self.weights = weights / weights.sum()

    def batch(self, model: nn.Module, tokens: Tensor) -> Batch:
        return Batch({"input_ids": tokens.to(next(model.parameters()).device)})


def descend(
    model: nn.Module,
    text: Domains,
    steps: int,
    lr: float,
    batch: int,
    warmup: int,
    gates: Sequence[Gate] = (),
    gate_lr: float = 1.0,
) -> list[float]:
    """Minimise over weights and gates, maximise over multipliers; returns the loss of each step.

    In lower precision than float32 the step is computed in float32 copies.
    """
    weights, flags = list(model.parameters()), [p.requires_grad for p in model.parameters()]
    masters = [p if p.dtype == torch.float32 else p.detach().float() for p in weights]
    alphas, multipliers = [g.log_alpha for g in gates], [g.multipliers for g in gates]
    own = [*masters, *alphas, *multipliers]
    groups: list[dict[str, Any]] = [{"params": masters, "lr": lr}]
    if gates:
        groups.append({"params": alphas, "lr": gate_lr})
        groups.append({"params": multipliers, "lr": gate_lr, "maximize": True})
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(factor, steps, warmup))
    found = []
    try:
        for parameter in weights:
            parameter.requires_grad_(True)
        for step in track(range(steps), "gate step" if gates else "training step"):
            if step and step % text.interval == 0:
                for gate in gates:
                    gate.settle(round(gate.expected().mean().item()))
                text.update(model)
            with torch.enable_grad():
                for gate in gates:
                    gate.sample()
                loss = losses(model, text.draw(model, batch)).mean()
                progress = min(1.0, (step + 1) / max(steps // 5, 1))
                total = loss + sum(gate.constraint(progress) for gate in gates)
                found_gradients = torch.autograd.grad(
                    total, [*weights, *alphas, *multipliers], allow_unused=True
                )
            for tensor, gradient in zip(own, found_gradients, strict=True):
                tensor.grad = None if gradient is None else gradient.to(tensor.dtype)
            nn.utils.clip_grad_norm_(own, 1.0)
            optimiser.step()
            schedule.step()
            for parameter, master in zip(weights, masters, strict=True):
                if parameter is not master:
                    parameter.data.copy_(master)
            for gate in gates:
                gate.log_alpha.data.clamp_(math.log(1e-2), math.log(1e2))
            found.append(loss.item())
    finally:
        for parameter, flag in zip(weights, flags, strict=True):
            parameter.grad = None
            parameter.requires_grad_(flag)
    return found


def factor(steps: int, warmup: int, step: int) -> float:
    """Of the learning rate: up in a line, down to a tenth in a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2
