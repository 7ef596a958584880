"""Attention over a cache that evicts: what holds the entries, and how a policy gets to choose.

A policy is asked once for every call of a block's attention: which entries may
each query see, and which are left at the end. Everything else is the same for
all of them and is here: the attention itself, grouped heads, the model's own
mask, sliding windows and padding, the cache's tensors, and what of the model
is set while it runs and put back afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as drop_out
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.masking_utils import sdpa_mask

from impl.errors import Unsupported
from impl.families import family_of

NAME = "prunedex-evicting"


class HeldLayer(DynamicLayer):
    """The keys and values of one block that are still held, (batch, groups, held, channels)."""

    is_croppable = False  # what was evicted does not come back
    keys: Tensor
    values: Tensor
    positions: Tensor
    """Of each entry in the text, (batch, groups, held)"""
    scores: Tensor
    """What the policy remembers of each entry, (batch, groups, held)"""
    seen = 0

    def reset(self) -> None:
        super().reset()
        self.seen = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        none = (*key_states.shape[:2], 0)
        self.positions = torch.zeros(none, dtype=torch.long, device=key_states.device)
        self.scores = torch.zeros(none, device=key_states.device)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        found = super().update(key_states, value_states)
        count = key_states.shape[2]
        new = torch.arange(self.seen, self.seen + count, device=key_states.device)
        new = new.expand(*key_states.shape[:2], -1)
        self.positions = torch.cat([self.positions, new], -1)
        self.scores = torch.cat([self.scores, torch.zeros_like(new, dtype=torch.float)], -1)
        self.seen += count
        return found

    def retain(self, alive: Tensor) -> None:
        """Evict what is not in `alive`, (batch, groups, entries), True equally often."""
        index = alive.nonzero()[:, -1].view(*alive.shape[:2], -1)
        self.positions, self.scores = (x.gather(2, index) for x in (self.positions, self.scores))
        self.keys, self.values = (
            x.gather(2, index[..., None].expand(-1, -1, -1, x.shape[-1]))
            for x in (self.keys, self.values)
        )

    def get_seq_length(self) -> int:
        return self.seen  # positions and masks go on counting what was evicted

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx.to(self.keys.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        index = torch.arange(len(self.positions), device=self.positions.device)
        self.batch_select_indices(index.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.positions, self.scores = self.positions[indices], self.scores[indices]

    def crop(self, tokens_to_remove: int) -> None:
        raise Unsupported("what was evicted cannot be put back", "Decode without rollback.")


class CachePolicy(ABC):
    """A policy of `impl.runtime` that keeps at most `held` entries for each key-value head."""

    name: str

    def __init__(self, held: int) -> None:
        self.held = held
        self._handles: list[Any] = []

    @abstractmethod
    def choose(self, logits: Tensor, allowed: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """What each query of one call sees, and what is held at the end.

        `logits` (batch, groups, queries, T, N) are of T queries and N entries,
        oldest first, of which the last T are the queries' own tokens;
        `allowed` (batch or 1, groups or 1, T, N) is the model's own mask;
        `scores` (batch, groups, N) is what the policy remembers of each entry,
        to be brought up to date in place. Returns (batch, groups, T, N) and
        (batch, groups, N), bool; the latter holds min(N, held) of each head.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]: ...

    def install(self, model: PreTrainedModel) -> None:
        """Raises `Unsupported` for a model whose attention cannot be replaced."""
        check_attention(model)
        # Not the base model: OPT's head calls what is below it.
        frame = model.get_submodule(family_of(model).blocks.rpartition(".")[0])
        self._handles = [
            frame.register_forward_pre_hook(self._enter, with_kwargs=True),
            frame.register_forward_hook(self._leave, always_call=True),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter(self, frame: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        config: Any = frame.config
        cache, wanted = kwargs.get("past_key_values"), kwargs.get("use_cache")
        if cache is None and (config.use_cache if wanted is None else wanted):
            cache = DynamicCache()
        if cache is not None:
            _adapt(cache)
        _calls.set((*_calls.get(), _Call(self, frame, config._attn_implementation, cache)))
        config._attn_implementation = NAME
        return args, {**kwargs, "past_key_values": cache}

    def _leave(self, frame: nn.Module, *_: Any) -> None:
        *others, call = _calls.get() or (None,)
        if call is not None and call.frame is frame:  # it is not, where `_enter` failed
            frame.config._attn_implementation = call.implementation  # type: ignore[union-attr]
            _calls.set(tuple(others))


class _Call(NamedTuple):
    """A forward pass of the model that is going on."""

    policy: CachePolicy
    frame: nn.Module
    implementation: str | None
    """The attention that the config asks for, and gets back afterwards"""
    cache: DynamicCache | None


_calls: ContextVar[tuple[_Call, ...]] = ContextVar("calls", default=())


def check_attention(model: PreTrainedModel) -> None:
    """Raises `Unsupported` where transformers does not let the attention be replaced."""
    if not model._supports_attention_backend:
        raise Unsupported(
            f"the attention of {model.config.model_type} cannot be replaced from outside",
            "Choose a family that uses the attention interface of transformers.",
        )


def _adapt(cache: Any) -> None:
    """Let a cache that is still empty hold what the policy leaves."""
    if not isinstance(cache, DynamicCache):
        raise Unsupported(
            f"nothing can be evicted from a {type(cache).__name__}",
            "Use a DynamicCache, the default.",
        )
    if cache.get_seq_length() == 0:
        cache.layers, cache.layer_class_to_replicate = [], HeldLayer
    elif not all(isinstance(layer, HeldLayer) for layer in cache.layers):
        raise Unsupported(
            "the cache was filled before the policy was attached", "Start with an empty cache."
        )


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention with eviction: query (batch, heads, T, channels), key and value (batch, groups, N, …).

    Returns (batch, T, heads, channels), as the attention interface of transformers wants it.
    """
    call = _calls.get()[-1]
    batch, count, T, channels = query.shape
    groups, N = key.shape[1:3]
    layer = call.cache.layers[module.layer_idx] if call.cache is not None else None  # type: ignore[index]
    grouped = query.view(batch, groups, count // groups, T, channels)
    logits = (grouped @ key[:, :, None].transpose(-1, -2)).float()
    logits *= channels**-0.5 if scaling is None else scaling
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if isinstance(layer, HeldLayer):
        positions, scores = layer.positions, layer.scores
    else:
        positions = torch.arange(N, device=key.device).expand(batch, groups, N)
        scores = logits.new_zeros(batch, groups, N)
    if attention_mask is None:  # causal, and nothing else
        allowed = positions[:, :, None] <= positions[:, :, N - T :, None]
    elif attention_mask.shape[-1] == N:
        allowed = attention_mask
    else:  # its columns count every token seen, also the evicted
        columns = positions[:, :, None].expand(-1, -1, T, -1)
        allowed = attention_mask.expand(batch, groups, -1, -1).gather(-1, columns)
    with torch.no_grad():
        sees, alive = call.policy.choose(logits, allowed, scores)
    probabilities = logits.masked_fill(~sees[:, :, None], -torch.inf).softmax(-1).nan_to_num(0.0)
    probabilities = drop_out(probabilities, dropout, module.training).to(value.dtype)
    output = (probabilities @ value[:, :, None]).view(batch, count, T, -1)
    if isinstance(layer, HeldLayer) and call.policy.held < N:
        layer.retain(alive)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
