"""Differentiable multipliers on heads, neurons, sub-layers and blocks: 1 keeps, 0 removes.

A gate is a tensor of ones that requires gradients. Its gradient is the
first-order Taylor score of what it multiplies; set to zero it shows the model
without that part; trained, it becomes a learned mask. Nothing of the model's
own is changed, and the hooks are gone when the context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from impl.errors import Unsupported
from impl.families import family_of
from impl.losses import Data, batches, losses
from impl.model import View, blocks, heads, neurons, views
from impl.session import current, track

Kind = Literal["heads", "groups", "neurons", "attention", "mlp", "blocks"]


@contextmanager
def gated(model: nn.Module, kind: Kind) -> Iterator[list[Tensor]]:
    """Put a gate on every part of `kind` while the context lasts; one tensor for each block.

    heads: (groups · queries,), groups: (groups,), neurons: (neurons,);
    attention, mlp and blocks: (1,), which multiplies what that part adds to
    the residual stream. Leaf tensors in float32 or wider that require gradients.
    """
    first = next(model.parameters())
    device, wide = first.device, torch.promote_types(first.dtype, torch.float32)
    gates: list[Tensor] = []
    with ExitStack() as stack:
        for index, block in enumerate(blocks(model)):
            size, part, module, hook = _place(model, index, block, kind)
            gate = torch.ones(size, device=device, dtype=wide, requires_grad=True)
            gates.append(gate)
            if part == "inputs":
                handle: Any = module.register_forward_pre_hook(hook(gate))
            else:
                handle = module.register_forward_hook(hook(gate), with_kwargs=True)
            stack.callback(handle.remove)
        yield gates


@contextmanager
def passed_over(layers: Iterable[nn.Module]) -> Iterator[None]:
    """While the context lasts, these blocks hand on the hidden state that they get, bit by bit."""

    def hand_on(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(hand_on, with_kwargs=True).remove)
        yield


def gate_gradients(
    model: nn.Module, data: Data, kind: Kind, of: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Σ over the samples of `of(∂ loss / ∂ gate)`, one tensor for each block, as in `gated`."""
    samples = list(batches(data, 1, next(model.parameters()).device))
    with gated(model, kind) as gates:
        sums = [torch.zeros_like(gate) for gate in gates]
        for sample in track(samples, "sample"):
            with torch.enable_grad():
                loss = losses(model, sample).sum()
                found = torch.autograd.grad(loss, gates)
            for total, gradient in zip(sums, found, strict=True):
                total += of(gradient)
    current().read["gate_gradients"] += len(samples)
    return [total.detach() for total in sums]


Hook = Callable[[Tensor], Callable[..., Any]]


def _place(
    model: nn.Module, index: int, block: nn.Module, kind: Kind
) -> tuple[int, str, nn.Module, Hook]:
    """How many gates, whether they act on inputs or outputs, of which module, and how."""
    if kind == "blocks":
        return 1, "outputs", block, _residual
    if kind in ("attention", "mlp"):
        (view,) = _writers(views(model, index), kind)
        norm = family_of(model).out_norms.get(kind)
        return 1, "outputs", block.get_submodule(norm) if norm else view.module, _scaled
    if kind == "neurons":
        mlp = neurons(model, index)
        return mlp.count, "inputs", mlp.down.module, lambda gate: _inputs(gate, 1)
    layout = heads(model, index)
    repeat = layout.size if kind == "heads" else layout.size * layout.queries
    count = layout.count if kind == "heads" else layout.groups
    return count, "inputs", layout.o.module, lambda gate: _inputs(gate, repeat)


def _writers(found: list[View], role: str) -> list[View]:
    part = "o" if role == "attention" else "down"
    writers = [view for view in found if view.part == part]
    if len(writers) != 1 or writers[0].expert is not None:
        raise Unsupported("the experts of a mixture have no single gate")
    return writers


def _inputs(gate: Tensor, repeat: int) -> Callable[..., Any]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        scale = gate.repeat_interleave(repeat).to(inputs[0].dtype)
        return (inputs[0] * scale, *inputs[1:])

    return hook


def _scaled(gate: Tensor) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: Any, _kwargs: Any, output: Tensor) -> Tensor:
        return output * gate.to(output.dtype)

    return hook


def _residual(gate: Tensor) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        mixed = before + gate.to(after.dtype) * (after - before)
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    return hook
