"""Visit the blocks of a model in order, with the activations that reach each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from impl.calibration import Calibration
from impl.model import Tap, View, blocks, observed, views
from impl.session import current

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""A block's own arguments behind the hidden state: positional, by keyword."""


class Hidden(Protocol):
    """Hidden states, one a batch: a list, or something on disk that acts as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, batch: int, /) -> Tensor: ...

    def __setitem__(self, batch: int, value: Tensor, /) -> None: ...

    def append(self, value: Tensor, /) -> None: ...


@dataclass
class Activations:
    """What flows between the blocks: one hidden state and one call per batch."""

    hidden: Hidden
    """(batch, length, width) each, the input of the next block"""
    calls: list[list[Call]]
    """[block][batch]"""
    windows: int
    as_tuple: bool = False
    """Whether the blocks return the hidden state within a tuple"""


class Block:
    """A block on the walk: its views, and statistics of what goes into them."""

    def __init__(self, model: nn.Module, index: int, activations: Activations | None) -> None:
        self.index = index
        self.ahead: Hidden | None = None
        """What the block passes on, where that is known before it is pruned"""
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
        final: View | None = None

        def observe(tap: Tap, x: Tensor) -> None:
            nonlocal last
            if last is not None and last[1] is x:
                # Query, key and value read one tensor: they share one sum.
                owner[tap], last = owner[last[0]], (tap, x)
                return
            owner[tap], last = tap, (tap, x)
            value = statistic(x.reshape(-1, x.shape[-1]))
            sums[tap] = sums[tap].add_(value) if tap in sums else value

        with observed(self.module, {view.tap for view in self.views}, observe):
            for batch in range(self.batches):
                with _idle(final):
                    self.run(batch)
                if last is not None and all(view.tap[2] is None for view in self.views):
                    final = next(view for view in self.views if view.tap == last[0])
                last = None
        current().read[statistic.__name__] += self._activations.windows
        for view in self.views:
            if view.tap in owner:
                yield view, sums[owner[view.tap]]
            else:
                yield view, statistic(view.stored.new_zeros((1, view.shape[1])))

    @torch.no_grad()
    def capture(self, wanted: Sequence[View]) -> Iterator[dict[str, Tensor]]:
        """For each batch, the inputs of the views in `wanted`: name to (tokens, in), not summed."""
        taps = {view.tap for view in wanted}
        for batch in range(self.batches):
            seen: dict[Tap, Tensor] = {}
            with observed(self.module, taps, seen.__setitem__):
                self.run(batch)
            current().read["capture"] += len(self.inputs(batch))
            yield {
                view.name: seen[view.tap].reshape(-1, view.shape[1])
                for view in wanted
                if view.tap in seen
            }

    @torch.no_grad()
    def before_and_after(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch, the hidden state before and after the block, (batch, length, width)."""
        for batch in range(self.batches):
            after = self.ahead[batch] if self.ahead is not None else self.run(batch)
            current().read["before_and_after"] += len(after)
            yield self.inputs(batch), after

    @property
    def batches(self) -> int:
        """How many batches of calibration windows there are."""
        assert self._activations is not None, "walk(model) without calibration has no activations"
        return len(self._activations.hidden)

    def inputs(self, batch: int) -> Tensor:
        """The hidden state that reaches the block, (batch, length, width); do not change it."""
        assert self._activations is not None
        return self._activations.hidden[batch]

    def run(
        self,
        batch: int,
        hidden: Tensor | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The block's output for one batch, (batch, length, width).

        `hidden` stands in for the block's own input, `weights` for parameters
        of the block, by their path in it. Gradients flow if the caller enables them.
        """
        assert self._activations is not None
        args, kwargs = self._activations.calls[self.index][batch]
        hidden = self._activations.hidden[batch] if hidden is None else hidden
        if weights is None:
            return _first(self.module(hidden, *args, **kwargs))
        return _first(functional_call(self.module, dict(weights), (hidden, *args), kwargs))

    def advance(self, into: Hidden) -> None:
        """Put what this block passes on, as it is now, `into` the input of the next."""
        for batch in range(self.batches):
            into[batch] = self.run(batch)


@torch.no_grad()
def walk(
    model: nn.Module,
    calibration: Calibration | None = None,
    propagate: Literal["pruned", "dense"] = "pruned",
    batch_size: int | None = None,
) -> Iterator[Block]:
    """Yield the blocks in order; with `calibration`, each knows what goes into its views.

    `propagate="pruned"`: what a block passes on is computed after the caller
    has changed it, so that later blocks see the errors of earlier ones, as in
    Wanda and SparseGPT; `"dense"`: before. `batch_size` windows go through a
    block at once, the session's number if nothing is said. A block is on the session's device
    while it is visited and goes home afterwards. If the model is not in memory,
    the session's `offload` brings the blocks.
    """
    settings, home = current(), next(model.parameters()).device
    device = settings.device or home
    size = batch_size or settings.batch_size
    if settings.offload is not None:
        yield from settings.offload.walk(calibration, propagate, size)
        return
    activations = record(model, calibration, device, size, []) if calibration is not None else None
    count = len(blocks(model))
    for index in range(count):
        if settings.progress:
            settings.progress(index, count, f"block {index}")
        block = Block(model, index, activations)
        if device != home:
            settings.undo.callback(block.module.to, home)
            block.module.to(device)
        if activations is not None and propagate == "dense" and index + 1 < count:
            block.ahead = [block.run(batch) for batch in range(block.batches)]
        yield block
        if activations is not None and index + 1 < count:
            if propagate == "dense":
                assert block.ahead is not None
                activations.hidden = block.ahead
            else:
                block.advance(activations.hidden)
            activations.calls[index].clear()
        if device != home:
            block.module.to(home)
    if settings.progress:
        settings.progress(count, count, "done")


def record(
    model: nn.Module,
    calibration: Calibration,
    device: torch.device,
    batch_size: int,
    hidden: Hidden,
) -> Activations:
    """Record the first block's inputs, to `hidden`, and every block's own arguments.

    Masks, positions and rotary tables differ from block to block where
    attention alternates (Gemma 2 and 3), so every block's arguments are kept,
    not only the first's. They do not depend on the hidden state in the
    described families: the blocks are passed over and only the model's frame
    runs, and the first block once on two tokens.
    """
    layers = list(blocks(model))
    frame: Any = model.get_submodule(str(model.base_model_prefix))
    tokens = calibration.tokens.to(next(model.parameters()).device)
    found = Activations(hidden, [[] for _ in layers], len(tokens))

    def form(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found.as_tuple = isinstance(output, tuple)

    def note(index: int, value: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        if index == 0:
            found.hidden.append(value.to(device))
        call, calls = (_to(args, device), _to(kwargs, device)), found.calls[index]
        # Windows of one length have equal masks and positions: one copy does for all.
        calls.append(calls[-1] if calls and _equal(call, calls[-1]) else call)
        return value

    first = layers[0].register_forward_hook(form)
    try:
        with passing(layers[1:], found, lambda _index, value, *_: value):
            frame(tokens[:1, :2], use_cache=False)
    finally:
        first.remove()
    with passing(layers, found, note):
        for start in range(0, len(tokens), batch_size):
            frame(tokens[start : start + batch_size], use_cache=False)
    return found


@contextmanager
def passing(
    layers: Sequence[nn.Module], form: Activations, instead: Callable[..., Tensor]
) -> Iterator[None]:
    """While the context lasts, each block passes on `instead(index, hidden, args, kwargs)`."""

    def forward_of(index: int) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            kwargs = dict(kwargs)
            hidden, *rest = args or [kwargs.pop("hidden_states")]
            passed = instead(index, hidden, tuple(rest), kwargs)
            return (passed,) if form.as_tuple else passed

        return forward

    # Loaders such as accelerate put their own forward on the instance: put that back, too.
    own = [layer.__dict__.get("forward") for layer in layers]
    try:
        for index, layer in enumerate(layers):
            layer.forward = forward_of(index)
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            layer.__dict__.pop("forward", None)
            if forward is not None:
                layer.forward = forward


@contextmanager
def _idle(view: View | None) -> Iterator[None]:
    """Where only inputs count, the last module to get one need not compute: it gives zeros."""
    if view is None:
        yield
        return
    module, out = view.module, view.stored.shape[0]
    own = module.__dict__.get("forward")
    module.forward = lambda x: x.new_zeros((*x.shape[:-1], out))
    try:
        yield
    finally:
        module.__dict__.pop("forward")
        if own is not None:
            module.forward = own


def _to(value: Any, device: torch.device) -> Any:
    """Nested arguments on `device`, without a copy where they are there already."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(_to(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    return value


def _equal(one: Any, other: Any) -> bool:
    """Whether nested arguments are the same, tensors by their values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one is other or (isinstance(one, (bool, int, float, str)) and one == other)


def _first(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
