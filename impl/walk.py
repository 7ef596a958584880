"""Visit the blocks of a model in order, with the activations that reach each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from impl.calibration import Calibration
from impl.model import Tap, View, blocks, observed, views
from impl.session import current

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""A block's own arguments behind the hidden state: positional, by keyword."""


@dataclass
class _Activations:
    """What flows between the blocks: one hidden state and one call per batch."""

    hidden: list[Tensor]
    """(batch, length, width) each, the input of the next block"""
    calls: list[list[Call]]
    """[block][batch]"""


class Block:
    """A block on the walk: its views, and statistics of what goes into them."""

    def __init__(self, model: nn.Module, index: int, activations: _Activations | None) -> None:
        self.index = index
        self.module = blocks(model)[index]
        self.views: list[View] = views(model, index)
        self._activations = activations

    @torch.no_grad()
    def collect(self, statistic: Callable[[Tensor], Tensor]) -> Iterator[tuple[View, Tensor]]:
        """Each view with the sum of `statistic(x)` over all its calibration inputs.

        `statistic` maps inputs (tokens, in) to a tensor in float32 or wider
        whose sum over batches is meaningful, for example a sum of squares or
        a Gram matrix. Views with the same input share the tensor: do not
        change it in place. A view that no token reached, an expert that the
        router never chose, gets the statistic of a zero input.
        """
        assert self._activations is not None, "walk(model) without calibration has no activations"
        sums: dict[Tap, Tensor] = {}
        owner: dict[Tap, Tap] = {}
        last: tuple[Tap, Tensor] | None = None

        def observe(tap: Tap, x: Tensor) -> None:
            nonlocal last
            if last is not None and last[1] is x:
                # Query, key and value read one tensor: they share one sum.
                owner[tap] = owner[last[0]]
                return
            owner[tap], last = tap, (tap, x)
            value = statistic(x.reshape(-1, x.shape[-1]))
            sums[tap] = sums[tap].add_(value) if tap in sums else value

        with observed(self.module, {view.tap for view in self.views}, observe):
            for batch in range(len(self._activations.hidden)):
                self._run(batch)
                last = None
        current().read[statistic.__name__] += sum(len(h) for h in self._activations.hidden)
        for view in self.views:
            if view.tap in owner:
                yield view, sums[owner[view.tap]]
            else:
                yield view, statistic(view.stored.new_zeros((1, view.shape[1])))

    def _run(self, batch: int) -> Tensor:
        """The block's output for one batch, its input left as it is."""
        assert self._activations is not None
        args, kwargs = self._activations.calls[self.index][batch]
        return _first(self.module(self._activations.hidden[batch], *args, **kwargs))

    def _advance(self) -> None:
        """Turn the activations into the input of the next block, with this block as it is now."""
        assert self._activations is not None
        for batch in range(len(self._activations.hidden)):
            self._activations.hidden[batch] = self._run(batch)


@torch.no_grad()
def walk(
    model: nn.Module,
    calibration: Calibration | None = None,
    propagate: Literal["pruned", "dense"] = "pruned",
) -> Iterator[Block]:
    """Yield the blocks in order; with `calibration`, each knows what goes into its views.

    `propagate="pruned"`: what a block passes on is computed after the caller
    has changed it, so that later blocks see the errors of earlier ones, as in
    Wanda and SparseGPT; `"dense"`: before. A block is on the session's device
    while it is visited and goes home afterwards.
    """
    settings, home = current(), next(model.parameters()).device
    device = settings.device or home
    activations = _record(model, calibration, device) if calibration is not None else None
    count = len(blocks(model))
    for index in range(count):
        if settings.progress:
            settings.progress(index, count, f"block {index}")
        block = Block(model, index, activations)
        if device != home:
            settings.undo.callback(block.module.to, home)
            block.module.to(device)
        if activations is not None and propagate == "dense" and index + 1 < count:
            ahead = [block._run(batch) for batch in range(len(activations.hidden))]
        yield block
        if activations is not None and index + 1 < count:
            if propagate == "dense":
                activations.hidden[:] = ahead
            else:
                block._advance()
            activations.calls[index].clear()
        if device != home:
            block.module.to(home)
    if settings.progress:
        settings.progress(count, count, "done")


def _record(model: nn.Module, calibration: Calibration, device: torch.device) -> _Activations:
    """Record the first block's inputs and every block's own arguments, block by block.

    Masks, positions and rotary tables differ from block to block where
    attention alternates (Gemma 2 and 3), so every block's arguments are kept,
    not only the first's. They do not depend on the hidden state in the
    described families: the blocks are passed over and only the model's frame runs.
    """
    layers = blocks(model)
    home = next(model.parameters()).device
    found = _Activations([], [[] for _ in layers])
    as_tuple = False

    def pass_over(index: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            kwargs = dict(kwargs)
            hidden = args[0] if args else kwargs.pop("hidden_states")
            if index == 0:
                found.hidden.append(hidden.to(device))
            found.calls[index].append((_to(args[1:], device), _to(kwargs, device)))
            return (hidden,) if as_tuple else hidden

        return forward

    tokens = calibration.tokens.to(home)
    first = layers[0].register_forward_hook(
        lambda _module, _inputs, output: found.hidden.append(output)
    )
    try:
        # One short run tells whether this family's blocks return a tensor or a tuple.
        model(tokens[:1, :2], use_cache=False)
        as_tuple = isinstance(found.hidden[0], tuple)
    finally:
        first.remove()
        found.hidden.clear()
    # Loaders such as accelerate put their own forward on the instance: put that back, too.
    own = [layer.__dict__.get("forward") for layer in layers]
    try:
        for index, layer in enumerate(layers):
            layer.forward = pass_over(index)
        frame: Any = model.get_submodule(str(model.base_model_prefix))
        for start in range(0, len(tokens), current().batch_size):
            frame(tokens[start : start + current().batch_size], use_cache=False)
    finally:
        for layer, forward in zip(layers, own, strict=True):
            layer.__dict__.pop("forward")
            if forward is not None:
                layer.forward = forward
    return found


def _to(value: Any, device: torch.device) -> Any:
    """Nested arguments on `device`, without a copy where they are there already."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(_to(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    return value


def _first(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
