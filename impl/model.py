"""A model as pruning methods see it: blocks, and views of their prunable weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.pytorch_utils import Conv1D

from impl.errors import Unsupported
from impl.families import Family, Kind, family_of, head_size

Tap = tuple[nn.Module, str, int | None]
"""A place where a view's inputs can be seen: module, parameter, expert."""


@dataclass(eq=False)
class View:
    """One prunable weight matrix, always (out, in), wherever and however it is stored.

    `W` reads a tensor of shape (out, in) in the model's dtype and writes one
    back in place, so that tying, dtype, device and `requires_grad` stay.
    """

    name: str
    """Path in the model, with the expert and the fused part: layers.0.mlp.experts.3.up"""
    block: int
    role: str
    """`attention` or `mlp`"""
    part: str
    """What the matrix does in every family: q, k, v, o, gate, up or down"""
    module: nn.Module
    parameter: str
    transposed: bool = False
    expert: int | None = None
    rows: Tensor | None = None

    @property
    def stored(self) -> Tensor:
        """The parameter's own memory as an (out, in) matrix, all fused parts together."""
        data: Tensor = getattr(self.module, self.parameter).data
        if self.expert is not None:
            data = data[self.expert]
        return data.T if self.transposed else data

    @property
    def W(self) -> Tensor:
        stored = self.stored
        if stored.is_meta:
            raise Unsupported(
                f"{self.name} is not in memory now: a model on disk is there one block at a time",
                "Run this method with the whole model in memory.",
            )
        return stored if self.rows is None else stored[self.rows.to(stored.device)]

    @W.setter
    def W(self, value: Tensor) -> None:
        if value.shape != self.shape:
            raise ValueError(f"{self.name} is {tuple(self.shape)}, not {tuple(value.shape)}")
        value = value.to(self.stored.dtype)
        if self.rows is None:
            self.stored.copy_(value)
        else:
            self.stored[self.rows.to(self.stored.device)] = value

    def like(self, tensor: Tensor) -> Tensor:
        """The part of a tensor shaped like the parameter (a gradient, say) that is this view's."""
        if self.expert is not None:
            tensor = tensor[self.expert]
        tensor = tensor.T if self.transposed else tensor
        return tensor if self.rows is None else tensor[self.rows.to(tensor.device)]

    @property
    def shape(self) -> torch.Size:
        out, width = self.stored.shape
        return torch.Size((out if self.rows is None else len(self.rows), width))

    @property
    def numel(self) -> int:
        return self.shape.numel()

    @property
    def tap(self) -> Tap:
        return (self.module, self.parameter, self.expert)


def blocks(model: nn.Module) -> nn.ModuleList:
    """The model's transformer blocks, in order. Raises `Unsupported` for an unknown family."""
    found = model.get_submodule(family_of(model).blocks)
    assert isinstance(found, nn.ModuleList)
    return found


def views(model: nn.Module, index: int) -> list[View]:
    """The prunable weights of block `index`, in the order of the model's parameters.

    These are all linear maps of attention and MLP: `nn.Linear` and its
    subclasses, GPT-2's Conv1D, and the experts' three-dimensional parameters.
    Embeddings, norms, biases, routers and the head are not prunable.
    """
    family = family_of(model)
    prefix, block = f"{family.blocks}.{index}", blocks(model)[index]
    found: list[View] = []
    for path, module in block.named_modules():
        role = _role(family, path)
        if role is None:
            continue
        if isinstance(module, (nn.Linear, Conv1D)):
            stored = [("weight", path)]
        elif _is_experts(module):
            stored = [
                (name, f"{path}.{name}") for name, p in module.named_parameters() if p.ndim == 3
            ]
        else:
            continue
        for parameter, full in stored:
            weight: Tensor = getattr(module, parameter)
            transposed = isinstance(module, Conv1D)
            experts = range(weight.shape[0]) if weight.ndim == 3 else [None]
            out = weight.shape[-1 if transposed else -2]
            fused = family.fused.get(full)
            parent = block.get_submodule(full.rpartition(".")[0])
            own = full.rsplit(".", 1)[-1]
            parts = fused(parent, out) if fused else {own: None}
            for expert in experts:
                for part, rows in parts.items():
                    pieces = [prefix, full if expert is None else f"{path}.{expert}"]
                    if expert is not None or fused:
                        pieces.append(part)
                    found.append(
                        View(
                            ".".join(pieces), index, role, _part(role, full, part), module,
                            parameter, transposed, expert, rows,
                        )
                    )  # fmt: skip
    return found


def all_views(model: nn.Module) -> list[View]:
    """The prunable weights of the whole model."""
    return [view for index in range(len(blocks(model))) for view in views(model, index)]


_PARTS = {
    "attention": {
        "q": ("q_proj", "query"),
        "k": ("k_proj", "key"),
        "v": ("v_proj", "value"),
        "o": ("o_proj", "out_proj", "c_proj", "dense"),
    },
    "mlp": {
        "gate": ("gate_proj",),
        "up": ("up_proj", "fc1", "c_fc", "dense_h_to_4h", "intermediate.dense"),
        "down": ("down_proj", "fc2", "c_proj", "dense_4h_to_h", "output.dense"),
    },
}
"""What the families call the same thing; where one name has two meanings, with its parent."""


def _part(role: str, path: str, part: str) -> str:
    pair = ".".join(path.split(".")[-2:])
    for canonical, names in _PARTS[role].items():
        if part == canonical or part in names or pair in names:
            return canonical
    return part


@dataclass(frozen=True)
class Heads:
    """The attention of one block: `groups` keys and values, each read by `queries` heads.

    In q (rows) and o (columns), heads lie in the order (group, query, channel),
    in k and v (rows) in the order (group, channel); `size` is channels a head.
    """

    q: View
    k: View
    v: View
    o: View
    groups: int
    queries: int
    size: int

    @property
    def count(self) -> int:
        """Query heads."""
        return self.groups * self.queries

    @property
    def group_parameters(self) -> int:
        """Parameters that go with one group: its rows of q, k and v, its columns of o, biases."""
        width = self.queries * self.size
        own = width * (_row(self.q) + self.o.shape[0])
        return own + self.size * (_row(self.k) + _row(self.v))


@dataclass(frozen=True)
class Neurons:
    """The MLP of one block: rows of up (and of gate, if there is one), columns of down."""

    gate: View | None
    up: View
    down: View

    @property
    def count(self) -> int:
        return self.up.shape[0]

    @property
    def parameters(self) -> int:
        """Parameters that go with one neuron: its rows of gate and up, its column of down, biases."""
        rows = sum(_row(view) for view in (self.gate, self.up) if view is not None)
        return rows + self.down.shape[0]


def _row(view: View) -> int:
    """Parameters of an output row, its bias included."""
    bias = getattr(view.module, "bias", None) if view.parameter == "weight" else None
    return view.shape[1] + (bias is not None)


def heads(model: nn.Module, index: int) -> Heads:
    """The heads of block `index`. Raises `Unsupported` where there are none in this sense."""
    found = {view.part: view for view in views(model, index) if view.role == "attention"}
    if not {"q", "k", "v", "o"} <= found.keys():
        raise Unsupported(f"block {index} has no query, key, value and output projections")
    q, k, v, o = (found[part] for part in "qkvo")
    size = head_size(attention_module(model, index))
    groups = k.shape[0] // size
    return Heads(q, k, v, o, groups, q.shape[0] // (size * groups), size)


def neurons(model: nn.Module, index: int) -> Neurons:
    """The neurons of block `index`. Raises `Unsupported` for a mixture of experts."""
    found = {view.part: view for view in views(model, index) if view.role == "mlp"}
    if any(view.expert is not None for view in found.values()):
        raise Unsupported(
            f"the MLP of block {index} is a mixture of experts",
            "Choose a dense model, or a method that prunes experts.",
        )
    return Neurons(found.get("gate"), found["up"], found["down"])


def attention_module(model: nn.Module, index: int) -> nn.Module:
    """The module that splits queries, keys and values into heads."""
    family = family_of(model)
    q = next(view for view in views(model, index) if view.part == "q")
    path = q.name.removeprefix(f"{family.blocks}.{index}.").rpartition(".")[0]
    if q.rows is not None:  # the name of a fused part ends in the part
        path = path.rpartition(".")[0]
    return blocks(model)[index].get_submodule(path)


def experts(model: nn.Module, index: int) -> nn.Module:
    """The module that holds the experts of block `index`, (experts, …, …) parameters.

    Raises `Unsupported` for a dense MLP.
    """
    for module in blocks(model)[index].modules():
        if _is_experts(module):
            return module
    raise Unsupported(f"block {index} has no experts", "Choose a mixture-of-experts model.")


def kind_of(model: nn.Module) -> Kind:
    """Whether this is a decoder, an encoder or a convolutional network."""
    return family_of(model).kind


def _role(family: Family, path: str) -> str | None:
    for role, roots in (("attention", family.attention), ("mlp", family.mlp)):
        if any(path == root or path.startswith(root + ".") for root in roots):
            return role
    return None


def _is_experts(module: nn.Module) -> bool:
    return hasattr(module, "num_experts") and any(
        parameter.ndim == 3 for parameter in module.parameters(recurse=False)
    )


# --- what goes into a view -------------------------------------------------

Observer = Callable[[Tap, Tensor], None]
"""Is called with a tap and its inputs, (…, in)."""

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)
_LOOPED = "prunedex-looped"


def _looped_experts(
    self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Run a fused mixture of experts one expert at a time, so that each expert's inputs are seen.

    The same sums as transformers' own functions, which batch the experts and
    hide what went into each. Experts that no token reached see nothing.
    """
    observe = _observer.get()
    result = torch.zeros_like(hidden_states)
    for expert in range(self.num_experts):
        token, choice = torch.where(top_k_index == expert)
        if not len(token):
            continue
        state = hidden_states[token]
        if observe:
            observe((self, "gate_up_proj", expert), state)
        state = self._apply_gate(nn.functional.linear(state, self.gate_up_proj[expert]))
        if observe:
            observe((self, "down_proj", expert), state)
        state = nn.functional.linear(state, self.down_proj[expert])
        weighted = state * top_k_weights[token, choice, None]
        result.index_add_(0, token, weighted.to(result.dtype))
    return result


ALL_EXPERTS_FUNCTIONS.register(_LOOPED, _looped_experts)


@contextmanager
def observed(module: nn.Module, taps: set[Tap], observe: Observer) -> Iterator[None]:
    """Call `observe` with the inputs of `taps` while `module` runs; leave nothing behind."""
    handles, configs = [], {}
    token = _observer.set(lambda tap, x: observe(tap, x) if tap in taps else None)
    try:
        for part in module.modules():
            if _is_experts(part):
                config: Any = part.config
                configs[id(config)] = (config, config._experts_implementation)
                config._experts_implementation = _LOOPED
        for tap in taps:
            if tap[2] is None:
                handles.append(
                    tap[0].register_forward_pre_hook(
                        lambda _module, inputs, tap=tap: observe(tap, inputs[0])
                    )
                )
        yield
    finally:
        for handle in handles:
            handle.remove()
        for config, implementation in configs.values():
            config._experts_implementation = implementation
        _observer.reset(token)
