"""Where the prunable parts of each model family are: one line a family.

A family is what transformers calls `config.model_type`. Everything else in
`impl` speaks of blocks and views, so that a family is described here and
nowhere else. A fused projection says how its output rows are laid out, so
that query, key, value, gate and up are separate views in every family.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from impl.errors import Unsupported

Kind = Literal["decoder", "encoder", "convnet"]
"""What a model does: predict the next token, or label a text or an image."""

Rows = dict[str, Tensor]
"""Part name to the output rows that belong to it, as an index tensor."""


@dataclass(frozen=True)
class Family:
    """A model family: where its blocks are, and what is fused inside them.

    `blocks`, `attention`, `mlp` are module paths; attention and mlp are
    relative to a block and may be a list of paths. `fused` maps a projection
    (path in the block) to a function of (its parent module, out) that names
    its rows. A convolutional network has no blocks in this sense.
    """

    name: str
    blocks: str
    attention: tuple[str, ...] = ("self_attn",)
    mlp: tuple[str, ...] = ("mlp",)
    fused: Mapping[str, Callable[[Any, int], Rows]] = field(default_factory=dict)
    kind: Kind = "decoder"
    out_norms: Mapping[str, str] = field(default_factory=dict)
    """By role, the norm in a block that a sub-layer's output passes on its way to the stream"""
    heads_stay: str | None = None
    """Why heads cannot be taken out, where they cannot"""


def _runs(*parts: tuple[str, int]) -> Rows:
    """Rows of parts that lie one behind the other: (name, how many)."""
    rows, start = {}, 0
    for name, size in parts:
        rows[name] = torch.arange(start, start + size)
        start += size
    return rows


def head_size(attention: Any) -> int:
    """Channels of one head, as the family's attention module calls it."""
    for name in ("head_dim", "head_size", "attention_head_size"):
        if hasattr(attention, name):
            return int(getattr(attention, name))
    raise Unsupported(f"{type(attention).__name__} does not say how large its heads are")


# The head counts come from the projection's own size, not from the config: heads may be gone.


def _halves(parent: Any, out: int) -> Rows:
    return _runs(("gate", out // 2), ("up", out // 2))


def _thirds(parent: Any, out: int) -> Rows:
    return _runs(("q", out // 3), ("k", out // 3), ("v", out // 3))


def _grouped(parent: Any, out: int) -> Rows:
    """All queries, then all keys, then all values, keys and values of fewer heads."""
    queries, size = parent.num_key_value_groups, head_size(parent)
    rows = out // (queries + 2)
    assert rows % size == 0
    return _runs(("q", queries * rows), ("k", rows), ("v", rows))


def _per_group(out: int, groups: int, queries: int) -> Rows:
    """For each group of heads: its queries, its key, its value."""
    index = torch.arange(out).view(groups, queries + 2, -1)
    return {
        "q": index[:, :queries].flatten(),
        "k": index[:, queries].flatten(),
        "v": index[:, queries + 1].flatten(),
    }


def _per_head(parent: Any, out: int) -> Rows:
    return _per_group(out, out // (3 * head_size(parent)), 1)


def _falcon(parent: Any, out: int) -> Rows:
    if parent.new_decoder_architecture:
        queries = parent.num_heads // parent.num_kv_heads
        return _per_group(out, out // ((queries + 2) * head_size(parent)), queries)
    if parent.multi_query:
        return _per_group(out, 1, out // head_size(parent) - 2)
    return _per_head(parent, out)


_FAMILIES: dict[str, Family] = {}


def describe(family: Family) -> Family:
    """Make a family known, by its `name` (transformers' `config.model_type`)."""
    _FAMILIES[family.name] = family
    return family


_OUT = {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"}
for _name in ("llama", "mistral", "qwen2", "qwen3", "phi"):
    describe(Family(_name, "model.layers"))
for _name in ("gemma2", "gemma3_text"):
    describe(Family(_name, "model.layers", out_norms=_OUT))
describe(
    Family(
        "olmo2",
        "model.layers",
        out_norms=_OUT,
        heads_stay="it norms the queries of all heads as one",
    )
)
for _name in ("mixtral", "qwen3_moe"):
    describe(Family(_name, "model.layers", fused={"mlp.experts.gate_up_proj": _halves}))
describe(
    Family(
        "phi3",
        "model.layers",
        fused={"self_attn.qkv_proj": _grouped, "mlp.gate_up_proj": _halves},
        heads_stay="its code takes the number of heads from the config, the same for all blocks",
    )
)
describe(Family("opt", "model.decoder.layers", mlp=("fc1", "fc2")))
describe(Family("gpt2", "transformer.h", attention=("attn",), fused={"attn.c_attn": _thirds}))
describe(
    Family(
        "gpt_neox",
        "gpt_neox.layers",
        attention=("attention",),
        fused={"attention.query_key_value": _per_head},
    )
)
describe(
    Family(
        "falcon",
        "transformer.h",
        attention=("self_attention",),
        fused={"self_attention.query_key_value": _falcon},
    )
)
describe(
    Family(
        "bloom",
        "transformer.h",
        attention=("self_attention",),
        fused={"self_attention.query_key_value": _per_head},
        heads_stay="the ALiBi slope of a head follows from its number",
    )
)
for _name in ("bert", "roberta"):
    describe(
        Family(
            _name,
            f"{_name}.encoder.layer",
            attention=("attention",),
            mlp=("intermediate", "output"),
            kind="encoder",
        )
    )
describe(Family("resnet", "", kind="convnet"))


def families(kind: Kind = "decoder") -> list[str]:
    """The names of all described families of a kind."""
    return sorted(name for name, family in _FAMILIES.items() if family.kind == kind)


def family_of(model: nn.Module) -> Family:
    """The description of a model's family.

    Raises `Unsupported`, naming the described families and how to describe
    one, if there is none.
    """
    name = getattr(getattr(model, "config", None), "model_type", None) or type(model).__name__
    if name in _FAMILIES:
        return _FAMILIES[name]
    near = difflib.get_close_matches(name, _FAMILIES, n=1)
    raise Unsupported(
        f"the model family '{name}' is not described"
        + (f" (closest: {near[0]})" if near else "")
        + f"; described are {', '.join(families())}",
        "Describe it with impl.families.describe(Family(name, blocks=..., attention=..., mlp=...)), "
        "one line in impl/families.py.",
    )
