"""Take parts out of a model so that they are really gone: heads, neurons, channels, blocks, experts.

Every function works in place and leaves a model that runs, decodes with its
cache and has the same `requires_grad`, dtype, device and tying. Only
`drop_blocks` speaks of the whole model in the config at once; the others may
leave blocks of different sizes, and `settle` says at the end whether plain
transformers can build the result from a config.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from impl.errors import Unsupported
from impl.families import family_of
from impl.model import View, all_views, attention_module, blocks, experts, heads, neurons, views

# What families call the numbers that follow from the size of the projections.
_QUERY_COUNTS = ("num_heads", "num_attention_heads", "n_head")
_GROUP_COUNTS = ("num_key_value_heads", "num_kv_heads")
_QUERY_WIDTHS = ("split_size", "all_head_size")
_HEAD_NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm")
_SCALED_BY_WIDTH = ("gemma2", "gemma3_text")
"""Families whose embeddings are scaled by the square root of the width that the config names."""


def keep_heads(model: nn.Module, block: int, keep: Tensor) -> None:
    """Keep the query heads of `block` that are True in `keep`, (groups, queries) or (groups,).

    A key-value group all of whose queries go is removed with its key and
    value; the groups that stay must keep equally many queries, at least one
    group stays. Raises `ValueError` otherwise, `Unsupported` where the family
    needs all of its heads.
    """
    layout, why = heads(model, block), family_of(model).heads_stay
    if why:
        raise Unsupported(f"heads of {family_of(model).name} cannot be taken out: {why}")
    keep = keep.bool().cpu()
    keep = keep[:, None].expand(-1, layout.queries) if keep.ndim == 1 else keep
    if keep.shape != (layout.groups, layout.queries):
        raise ValueError(f"keep is {tuple(keep.shape)}, not {(layout.groups, layout.queries)}")
    left = keep.sum(1)
    if len(set(left[left > 0].tolist())) != 1:
        raise ValueError(f"groups would keep {left.tolist()} queries: not equally many, or none")
    if layout.q.rows is not None and len(set(left.tolist()) - {0, layout.queries}):
        raise Unsupported("where query, key and value are one projection, only whole groups can go")
    channels = torch.arange(layout.size)
    query = (keep.flatten().nonzero() * layout.size + channels).flatten()
    group = ((left > 0).nonzero() * layout.size + channels).flatten()
    _keep_rows([(layout.q, query), (layout.k, group), (layout.v, group)])
    _cut_inputs(layout.o, query)
    recount(model, block)


def keep_neurons(model: nn.Module, block: int, keep: Tensor) -> None:
    """Keep the MLP's intermediate neurons that are True in `keep`, (neurons,); at least one."""
    layout = neurons(model, block)
    index = keep.bool().cpu().nonzero().flatten()
    if keep.shape != (layout.count,) or not len(index):
        raise ValueError(f"keep {len(index)} of {layout.count} neurons, given as {keep.shape}")
    rows = [(layout.up, index)] + ([(layout.gate, index)] if layout.gate else [])
    _keep_rows(rows)
    _cut_inputs(layout.down, index)


def keep_hidden(model: PreTrainedModel, keep: Tensor) -> None:
    """Keep the channels of the residual stream that are True in `keep`, (hidden,).

    Embeddings, norms, routers, the head and all projections that read from or
    write to the stream shrink alike.
    """
    width = embedding_width(model)
    index = keep.bool().cpu().nonzero().flatten()
    if keep.shape != (width,) or not len(index):
        raise ValueError(f"keep {len(index)} of {width} channels, given as {keep.shape}")
    if family_of(model).kind != "decoder":
        raise Unsupported("the residual stream of an encoder is not cut yet")
    projections, done = set(), set()
    for view in all_views(model):
        if view.tap[:2] not in done:
            if view.part in ("o", "down"):
                _cut_rows(view, index)
            else:
                _cut_inputs(view, index)
        done.add(view.tap[:2])
        projections.add(view.module)
    for name, module in model.named_modules():
        if module in projections or name.rpartition(".")[2] in _HEAD_NORMS:
            continue
        for own, parameter in list(module.named_parameters(recurse=False)):
            if own == "bias" and isinstance(module, nn.Linear):
                continue  # of the head: one value a token
            if parameter.shape[-1] == width:
                cut(module, own, index, parameter.ndim - 1)
    for module in model.modules():
        if getattr(module, "hidden_dim", None) == width:
            module.hidden_dim = len(index)  # type: ignore[assignment]
    if model.config.tie_word_embeddings:
        model.tie_weights()


def drop_blocks(model: PreTrainedModel, drop: Iterable[int]) -> None:
    """Remove whole blocks; the others are renumbered, so that caches and masks fit again."""
    layers, gone = blocks(model), set(drop)
    if not gone <= set(range(len(layers))) or len(gone) >= len(layers):
        raise ValueError(f"drop {sorted(gone)} of {len(layers)} blocks")
    kept = [index for index in range(len(layers)) if index not in gone]
    config, count = model.config, len(layers)
    for index in sorted(gone, reverse=True):
        del layers[index]
    for index, layer in enumerate(layers):
        for module in layer.modules():
            for name in ("layer_idx", "layer_id", "layer_number"):
                if isinstance(getattr(module, name, None), int):
                    setattr(module, name, index)
    for name, value in list(vars(config).items()):
        # layer_types and its like: one value a block
        if isinstance(value, list) and len(value) == count and not name.startswith("_"):
            setattr(config, name, [value[index] for index in kept])
    config.num_hidden_layers = len(kept)


def keep_experts(model: nn.Module, block: int, keep: Tensor) -> None:
    """Keep the experts of `block` that are True in `keep`, (experts,), with their router rows.

    If fewer are left than a token is sent to, it is sent to all that are left.
    """
    module = experts(model, block)
    index = keep.bool().cpu().nonzero().flatten()
    count: int = module.num_experts  # type: ignore[assignment]
    if keep.shape != (count,) or not len(index):
        raise ValueError(f"keep {len(index)} of {count} experts, given as {keep.shape}")
    for other in blocks(model)[block].modules():
        for name, parameter in list(other.named_parameters(recurse=False)):
            routes = other is not module and hasattr(other, "top_k")
            if (other is module and parameter.ndim == 3) or (routes and len(parameter) == count):
                cut(other, name, index, 0)
    recount(model, block)


def embedding_width(model: PreTrainedModel) -> int:
    """Channels of the token embedding, and so of the residual stream that it feeds."""
    weight: Any = model.get_input_embeddings().weight
    return int(weight.shape[1])


def recount(model: nn.Module, block: int) -> None:
    """Set the counts that a block's modules keep to what the sizes of their weights say."""
    family = family_of(model)
    if any(view.part == "q" for view in views(model, block)):
        attention: Any = attention_module(model, block)
        layout = heads(model, block)
        for names, value in (
            (_QUERY_COUNTS, layout.count),
            (_GROUP_COUNTS, layout.groups),
            (_QUERY_WIDTHS, layout.q.shape[0]),
            (("num_key_value_groups",), layout.queries),
        ):
            for name in names:
                if isinstance(getattr(attention, name, None), int):
                    setattr(attention, name, value)
    try:
        count = len(next(p for p in experts(model, block).parameters() if p.ndim == 3))
    except Unsupported:
        return
    assert family.kind == "decoder"
    for module in blocks(model)[block].modules():
        if isinstance(getattr(module, "num_experts", None), int):
            module.num_experts = count  # type: ignore[assignment]
        if isinstance(getattr(module, "top_k", None), int):
            module.top_k = min(module.top_k, count)  # type: ignore[assignment, type-var]


def settle(model: PreTrainedModel) -> bool:
    """Make the config say what the model has become; False where no config can say it.

    A model whose blocks have equal sizes becomes a plain checkpoint. Any other
    keeps the config of the model that it was made from, and a mark there that
    tells `impl.load` to go by the shapes in the file.
    """
    if family_of(model).kind == "convnet":
        return _mark(model, _same_shapes(model, model.config))
    config = _described(model)
    if config is not None and _same_shapes(model, config):
        for name, value in vars(config).items():
            setattr(model.config, name, value)
        return _mark(model, True)
    return _mark(model, False)


def fit(model: PreTrainedModel, shapes: Mapping[str, torch.Size]) -> None:
    """Give every parameter and buffer of a fresh `model` the shape named, uninitialised.

    Raises `ValueError` for names that the model does not have.
    """
    own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    for name, shape in shapes.items():
        if name not in own:
            raise ValueError(f"the model has no weight called {name}")
        if own[name].shape == shape:
            continue
        if own[name].ndim != len(shape):
            raise ValueError(f"{name} has {len(shape)} dimensions instead of {own[name].ndim}")
        parent, _, last = name.rpartition(".")
        module = model.get_submodule(parent)
        put(module, last, own[name].new_empty(shape))
    if family_of(model).kind != "convnet":
        for block in range(len(blocks(model))):
            recount(model, block)
    model.tie_weights()


# --- how it is done ---------------------------------------------------------


def _keep_rows(wanted: list[tuple[View, Tensor]]) -> None:
    """Keep output rows of views; those that are stored in one parameter are cut at once."""
    stored: dict[tuple[int, str], tuple[View, list[Tensor]]] = {}
    for view, index in wanted:
        rows = index if view.rows is None else view.rows[index]
        stored.setdefault((id(view.module), view.parameter), (view, []))[1].append(rows)
    for view, parts in stored.values():
        _cut_rows(view, torch.cat(parts).sort().values)


def _cut_rows(view: View, index: Tensor) -> None:
    """Keep output rows of the parameter that holds `view`, and of its bias."""
    cut(view.module, view.parameter, index, -1 if view.transposed else -2)
    if view.parameter == "weight" and getattr(view.module, "bias", None) is not None:
        cut(view.module, "bias", index, 0)


def _cut_inputs(view: View, index: Tensor) -> None:
    cut(view.module, view.parameter, index, -2 if view.transposed else -1)


def cut(module: nn.Module, name: str, index: Tensor, dimension: int) -> None:
    """Keep only the entries `index` of a dimension of a module's own parameter or buffer.

    Every cut goes through here, so that a run can be watched.
    """
    value: Tensor = getattr(module, name).data
    put(module, name, value.index_select(dimension, index.to(value.device)))


def put(module: Any, name: str, value: Tensor) -> None:
    """Replace a parameter or buffer by one of another size, and what its module says of its sizes.

    A parameter keeps its `requires_grad`.
    """
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        module.register_buffer(
            name, value, persistent=name not in module._non_persistent_buffers_set
        )
    if name != "weight":
        return
    if isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = value.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(value.shape)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = value.shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(value)
    elif isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = value.shape[0], value.shape[1] * module.groups
    elif hasattr(module, "nf"):  # GPT-2's Conv1D
        module.nx, module.nf = value.shape


def _described(model: PreTrainedModel) -> Any:
    """The config of a model with these sizes, or None where its blocks differ."""
    config = copy.deepcopy(model.config)
    _unmark(config)
    config.hidden_size = embedding_width(model)
    if config.hidden_size != model.config.hidden_size and config.model_type in _SCALED_BY_WIDTH:
        return None
    sizes: dict[str, set[int]] = {}

    def seen(name: str, value: int) -> None:
        if getattr(config, name, None) is not None:
            sizes.setdefault(name, set()).add(value)

    for block in range(len(blocks(model))):
        layout = heads(model, block)
        seen("num_attention_heads", layout.count)
        seen("num_key_value_heads", layout.groups)
        with suppress(AttributeError):  # Falcon has no say in it
            config.head_dim = layout.size
        try:
            count = neurons(model, block).count
            for name in ("intermediate_size", "ffn_dim", "n_inner"):
                seen(name, count)
            if "n_inner" in vars(config) and config.n_inner is None:
                config.n_inner = count if count != 4 * config.hidden_size else None
                sizes.setdefault("n_inner", set()).add(count)
        except Unsupported:
            count = len(next(p for p in experts(model, block).parameters() if p.ndim == 3))
            for name in ("num_local_experts", "num_experts"):
                seen(name, count)
            chosen = [getattr(module, "top_k", None) for module in blocks(model)[block].modules()]
            seen("num_experts_per_tok", next(top for top in chosen if isinstance(top, int)))
    for name, values in sizes.items():
        if len(values) > 1:
            return None
        if name == "n_inner" and values == {4 * config.hidden_size}:
            continue
        setattr(config, name, values.pop())
    return config


def _same_shapes(model: PreTrainedModel, config: Any) -> bool:
    """Whether transformers builds a model of these shapes from `config`."""
    try:
        with torch.device("meta"):
            plain = type(model)(config)
    except Exception:  # a config that the family refuses, such as heads that do not divide
        return False
    own = {name: value.shape for name, value in model.state_dict().items()}
    return own == {name: value.shape for name, value in plain.state_dict().items()}


def _mark(model: PreTrainedModel, plain: bool) -> bool:
    _unmark(model.config)
    if not plain:
        model.config.prunedex = {**(getattr(model.config, "prunedex", None) or {}), "shapes": True}
    return plain


def _unmark(config: Any) -> None:
    mark = getattr(config, "prunedex", None)
    if mark is not None:
        mark.pop("shapes", None)
        if not mark:
            del config.prunedex
