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
from typing import Any

import torch
from torch import Tensor, nn

from impl.errors import Unsupported

Rows = dict[str, Tensor]
"""Part name to the output rows that belong to it, as an index tensor."""


@dataclass(frozen=True)
class Family:
    """A decoder family: where its blocks are, and what is fused inside them.

    `blocks`, `attention`, `mlp` are module paths; attention and mlp are
    relative to a block and may be a list of paths. `fused` maps a projection
    (path in the block) to a function of (config, out) that names its rows.
    """

    name: str
    blocks: str
    attention: tuple[str, ...] = ("self_attn",)
    mlp: tuple[str, ...] = ("mlp",)
    fused: Mapping[str, Callable[[Any, int], Rows]] = field(default_factory=dict)


def _runs(*parts: tuple[str, int]) -> Rows:
    """Rows of parts that lie one behind the other: (name, how many)."""
    rows, start = {}, 0
    for name, size in parts:
        rows[name] = torch.arange(start, start + size)
        start += size
    return rows


def _halves(config: Any, out: int) -> Rows:
    return _runs(("gate", out // 2), ("up", out // 2))


def _thirds(config: Any, out: int) -> Rows:
    return _runs(("q", out // 3), ("k", out // 3), ("v", out // 3))


def _grouped(config: Any, out: int) -> Rows:
    """All queries, then all keys, then all values, keys and values of fewer heads."""
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    size = out // (heads + 2 * groups)
    return _runs(("q", heads * size), ("k", groups * size), ("v", groups * size))


def _per_group(out: int, groups: int, queries: int) -> Rows:
    """For each group of heads: its queries, its key, its value."""
    index = torch.arange(out).view(groups, queries + 2, -1)
    return {
        "q": index[:, :queries].flatten(),
        "k": index[:, queries].flatten(),
        "v": index[:, queries + 1].flatten(),
    }


def _per_head(config: Any, out: int) -> Rows:
    return _per_group(out, config.num_attention_heads, 1)


def _falcon(config: Any, out: int) -> Rows:
    if config.new_decoder_architecture:
        return _per_group(
            out, config.num_kv_heads, config.num_attention_heads // config.num_kv_heads
        )
    if config.multi_query:
        return _per_group(out, 1, config.num_attention_heads)
    return _per_head(config, out)


_FAMILIES: dict[str, Family] = {}


def describe(family: Family) -> Family:
    """Make a family known, by its `name` (transformers' `config.model_type`)."""
    _FAMILIES[family.name] = family
    return family


for _name in ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "phi"):
    describe(Family(_name, "model.layers"))
for _name in ("mixtral", "qwen3_moe"):
    describe(Family(_name, "model.layers", fused={"mlp.experts.gate_up_proj": _halves}))
describe(
    Family(
        "phi3",
        "model.layers",
        fused={"self_attn.qkv_proj": _grouped, "mlp.gate_up_proj": _halves},
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
    )
)


def families() -> list[str]:
    """The names of all described families."""
    return sorted(_FAMILIES)


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
