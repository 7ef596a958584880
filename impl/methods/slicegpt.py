r"""SliceGPT: rotate the residual stream to its principal components and cut the last ones off.

RMSNorm divides by a length, and a rotation keeps lengths. So the residual
stream may be expressed in any orthonormal basis, if the matrices that read it
and those that write it are rotated along. In front of each sub-layer the basis
is that of the principal components of the stream on calibration text, and the
components of least variance are deleted: the embeddings, the inputs of the
matrices that read and the outputs of those that write become narrower. As the
basis changes from sub-layer to sub-layer, every skip connection gets a matrix.
Blocks are treated in order, on the activations of the blocks already cut.

Equations
---------
- Invariance (Eq. 2, §3.1): $$\operatorname{RMSNorm}(X Q)\, Q^\top = \operatorname{RMSNorm}(X)$$ X is the stream (tokens × D), Q orthogonal; the norm has no weights of its own.
- Rotated weights (Theorem 1, Eqs. 3-6, §3.1): $$\tilde W_{\mathrm{embd}} = W_{\mathrm{embd}} Q, \quad \tilde W_{\mathrm{in}} = Q^\top W_{\mathrm{in}}, \quad \tilde W_{\mathrm{out}} = W_{\mathrm{out}} Q, \quad \tilde b_{\mathrm{out}} = Q^\top b_{\mathrm{out}}$$ In the paper's orientation, (in, out); torch stores the transpose.
- LayerNorm to RMSNorm (§3.2): $$W_{\mathrm{in}} \leftarrow \operatorname{diag}(\alpha) W_{\mathrm{in}}, \quad W_{\mathrm{out}} \leftarrow W_{\mathrm{out}} M, \quad M = I - \tfrac{1}{D} \mathbf{1} \mathbf{1}^\top$$ Scales go into the matrices behind, shifts into their biases, the mean subtraction into the matrices before and the embeddings.
- Basis (Eq. 8, §3.3): $$C_\ell = \sum_i X_{\ell,i}^\top X_{\ell,i}, \qquad Q_\ell = \text{eigenvectors of } C_\ell \text{ by decreasing eigenvalue}$$ The stream in front of sub-layer ℓ, over the calibration windows i.
- Skip connections (§3.3): $$S_\ell = Q_\ell^\top Q_{\ell+1}$$ What the skip connection around sub-layer ℓ multiplies the stream with.
- Slicing (Eq. 9, §3.4): $$Z = X Q D, \qquad \tilde X = Z D^\top Q^\top$$ D keeps the first columns; it cuts columns of the embeddings and of W_out, rows of W_in, rows and columns of S.

Hyperparameters
---------------
- slicing: the share of the stream's dimensions that is cut off, the same everywhere; 0.25 is the level of the paper's headline results, its tables go from 0.1 to 0.3.
- multiple: the width that stays is rounded down to a multiple of this; 1 keeps to the budget exactly, the official code rounds to 8 for the hardware.
- calibration: the paper uses 1,024 sequences of 2,048 tokens of WikiText-2 or Alpaca and finds at least 128 sensible (App. A.3).

Official code
-------------
- https://github.com/microsoft/TransformerCompression at 09bc68de499c7471fe62e05586690d0a85384491

Deviations
----------
- Eq. 8 calls X the output of the RMSNorm block; like the official code this takes the stream in front of the norm, the signal between the sub-layers that §3.4 cuts.
- The last sub-layer writes in the original basis and at full width, so final norm and head keep their values; a head that was tied to the embeddings is a parameter of its own afterwards. The official code rotates the output and the head against each other, which cancels out.
- The official code turns the kept directions by a random rotation within their span, and adds 1 % of the mean diagonal to C; neither changes what the model computes, and both are left out.
- Dropout on what a sub-layer adds to the stream, which some families have in training mode, is gone.

Not run here
------------
- retraining efficient: the sliced model is used as it is; LoRA fine-tuning after it is a variant of the paper's.
- data small: it is what that fine-tuning takes.

Unsupported
-----------
- gemma2, gemma3, olmo2: they norm what a sub-layer adds to the stream, which does not commute with a rotation.
- falcon: its projections have no biases to take up the shifts of its layer norms.
- bloom: it adds the skip connection inside its sub-layers, where no matrix can be put in between.
- gpt2: its code has the last block answer in the width of the embeddings, while here the head keeps the original one.
- mixtral, qwen3_moe: their code has experts answer in the width of what they were given, while here the last block widens the stream again.
- opt with norms behind the sub-layers, or embeddings of another width (350M): as the official code.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.families import family_of
from impl.model import blocks
from impl.registry import method
from impl.session import current
from impl.store import rebuilds
from impl.surgery import embedding_width, put
from impl.walk import Block, walk


@method(
    "slicegpt",
    budget="hidden",
    needs="calibration",
    touches=("embeddings", "norms", "biases", "head"),
)
def slicegpt(
    model: PreTrainedModel, calibration: Calibration, slicing: float = 0.25, multiple: int = 1
) -> None:
    width = embedding_width(model)
    kept = width - round(slicing * width)
    if not 1 <= multiple <= kept:
        raise BadInput(f"multiple {multiple} is not from 1 to {kept}, the width that stays")
    kept -= kept % multiple
    plan(model)
    made = (getattr(model.config, "prunedex", None) or {}).get("structure")
    if made:
        raise Unsupported(f"the blocks of this model are no longer plain: {made} changed them")
    if kept < width:
        slice_stream(model, calibration, kept)


def slice_stream(model: PreTrainedModel, calibration: Calibration, kept: int) -> None:
    """Rotate the residual stream of `model` and keep its first `kept` dimensions, in place.

    With all of them the model computes what it did, but for rounding. Blocks
    are cut in copies, and the model is left alone until the last one is done.
    Raises `Unsupported` for a model whose blocks do not commute with rotations.
    """
    where, home = plan(model), next(model.parameters()).device
    tables: list[Any] = [model.get_input_embeddings(), *map(model.get_submodule, where.positions)]
    width = embedding_width(model)
    centre = torch.eye(width, dtype=torch.float64) - where.centred / width
    narrow, finished = list[Tensor](), list[tuple[nn.Module, nn.Module]]()

    def embed(basis: Tensor) -> None:
        narrow.extend(wide(table.weight) @ centre @ basis for table in tables)

    close: Callable[[Tensor], None] = embed
    for block in walk(model, calibration):
        dense = block.module
        module = copy.deepcopy(dense, {id(model.config): model.config})
        reading, writing = matrices(block, module, where)
        dense.to(home)
        slots = adapt(module, where, width)
        block.module = module
        for stage, roles in enumerate(where.stages):
            moment = second_moment(block, module.get_submodule(where.norms[1]) if stage else None)
            basis = principal_components(centre @ moment @ centre, kept)
            close(basis)  # what came before writes in the basis of what comes next
            for matrix in (m for role in roles for m in reading[role]):
                matrix.put(matrix.get() @ basis)
            if not stage:
                block.module = Entry(module, (centre @ basis).to(slots[0]))
            # The stream goes on in the original basis, until the next one is known.
            slots[stage].data = basis.T.to(slots[stage])
            close = partial(write, [m for role in roles for m in writing[role]], slots[stage])
        finished.append((dense, module))
    for dense, module in finished:
        adapt(dense, where, width)
        for path, parameter in module.named_parameters():
            parent, _, own = path.rpartition(".")
            put(dense.get_submodule(parent), own, parameter.data)
    for table, value in zip(tables, narrow, strict=True):
        put(table, "weight", value.to(table.weight))
    model.config.tie_word_embeddings = False  # the head keeps the full width
    model.config.prunedex = {"structure": "slicegpt", "width": width, "kept": kept}


def second_moment(block: Block, norm: nn.Module | None) -> Tensor:
    """Σ X^T X (width, width), float64, of the stream that reaches `norm`, or the block itself."""
    total = torch.zeros((), dtype=torch.float64)

    def add(_module: nn.Module | None, inputs: tuple[Tensor, ...]) -> None:
        nonlocal total
        flat = wide(inputs[0]).flatten(0, -2)
        total = total + flat.T @ flat

    hook = norm.register_forward_pre_hook(add) if norm else None
    try:
        for batch in range(block.batches):
            if norm:
                block.run(batch)
            else:
                add(None, (block.inputs(batch),))
            current().read["second_moment"] += len(block.inputs(batch))
    finally:
        if hook:
            hook.remove()
    return total


def principal_components(moment: Tensor, kept: int) -> Tensor:
    """The eigenvectors of `moment` with the largest eigenvalues, (width, kept), largest first."""
    basis = torch.linalg.eigh(moment).eigenvectors.flip(1)[:, :kept]
    # A solver may return either sign: let the largest entry be positive.
    found: Tensor = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    return found


def wide(tensor: Tensor) -> Tensor:
    """In float64, on the CPU: Metal has none, and the eigenvectors need it (App. A.2)."""
    return tensor.detach().cpu().double()


# --- the matrices of a block --------------------------------------------------


class Matrix(NamedTuple):
    """A stored matrix of a block, with all its fused parts."""

    module: nn.Module
    parameter: str
    transposed: bool

    def get(self) -> Tensor:
        """(out, in), float64."""
        value = wide(getattr(self.module, self.parameter))
        return value.T if self.transposed else value

    def put(self, value: Tensor) -> None:
        old = getattr(self.module, self.parameter)
        value = value.T if self.transposed else value
        put(self.module, self.parameter, value.contiguous().to(old))

    @property
    def bias(self) -> Tensor | None:
        found: Tensor | None = getattr(self.module, "bias", None)
        return found

    def shift(self, value: Tensor) -> None:
        """Replace the bias."""
        assert self.bias is not None
        put(self.module, "bias", value.to(self.bias))


Matrices = dict[str, list[Matrix]]


def matrices(block: Block, module: nn.Module, where: Plan) -> tuple[Matrices, Matrices]:
    """What reads the stream and what writes it in `module`, a copy of the block's, by role.

    The norms' weights are folded into them: the norms themselves may go.
    """
    paths = {id(part): path for path, part in block.module.named_modules()}
    reading: Matrices = {"attention": [], "mlp": []}
    writing: Matrices = {"attention": [], "mlp": []}
    for view in {view.tap[:2]: view for view in block.views}.values():
        own = module.get_submodule(paths[id(view.module)])
        side = writing if view.part in ("o", "down") else reading
        side[view.role].append(Matrix(own, view.parameter, view.transposed))
    for role, path in zip(("attention", "mlp"), where.norms, strict=True):
        norm: Any = module.get_submodule(path)
        for matrix in reading[role]:
            if matrix.bias is not None and getattr(norm, "bias", None) is not None:
                matrix.shift(wide(matrix.bias) + matrix.get() @ wide(norm.bias))
            if norm.weight is not None:
                matrix.put(matrix.get() * wide(norm.weight))
        for matrix in writing[role] if where.centred else []:
            matrix.put(matrix.get() - matrix.get().mean(0, keepdim=True))
            if matrix.bias is not None:
                matrix.shift(wide(matrix.bias) - wide(matrix.bias).mean())
    return reading, writing


def write(writing: list[Matrix], slot: nn.Parameter, basis: Tensor) -> None:
    """Let a finished stage, with the matrix of its skip connection, write in `basis`."""
    for matrix in writing:
        matrix.put(basis.T @ matrix.get())
        if matrix.bias is not None:
            matrix.shift(basis.T @ wide(matrix.bias))
    slot.data = (wide(slot) @ basis).to(slot)


# --- blocks with a matrix in every skip connection ----------------------------


class Plan(NamedTuple):
    """Where a family has what touches the stream: paths in a block, of positions in the model."""

    norms: tuple[str, str]
    """In front of attention and MLP"""
    attention: str
    mlp: tuple[str, ...] = ("mlp",)
    """Modules that run one behind the other"""
    positions: tuple[str, ...] = ()
    centred: bool = False
    """Whether the norms subtract the mean"""
    parallel: bool = False
    """Whether attention and MLP read the same stream"""

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The sub-layers, those that share a skip connection together."""
        return (("attention", "mlp"),) if self.parallel else (("attention",), ("mlp",))


_LLAMA = Plan(("input_layernorm", "post_attention_layernorm"), "self_attn")
_PLANS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3"), _LLAMA),
    "opt": Plan(
        ("self_attn_layer_norm", "final_layer_norm"),
        "self_attn",
        ("fc1", "activation_fn", "fc2"),
        ("model.decoder.embed_positions",),
        centred=True,
    ),
    "gpt_neox": _LLAMA._replace(attention="attention", centred=True),
    "phi": Plan(("input_layernorm",) * 2, "self_attn", centred=True, parallel=True),
}
_REASONS = {
    **dict.fromkeys(
        ("gemma2", "gemma3_text", "olmo2"),
        "it norms what a sub-layer adds to the stream, which does not commute with a rotation",
    ),
    **dict.fromkeys(
        ("mixtral", "qwen3_moe"),
        "it has experts answer in the width of what they were given, but the last block widens",
    ),
    "falcon": "its projections have no biases to take up the shifts of its layer norms",
    "bloom": "it adds the skip connection inside its sub-layers",
    "gpt2": "it has its last block answer in the width of the embeddings, but the head stays wide",
}


def plan(model: PreTrainedModel) -> Plan:
    """Where `model` has what touches the stream. Raises `Unsupported` if it cannot be sliced."""
    name, config = family_of(model).name, model.config
    reason = _REASONS.get(name) or (None if name in _PLANS else "nobody has described its norms")
    where = _PLANS.get(name, _LLAMA)
    if name == "gpt_neox":
        where = where._replace(parallel=config.use_parallel_residual)
    if name == "opt" and (
        not config.do_layer_norm_before or config.word_embed_proj_dim != config.hidden_size
    ):
        reason = "its norms are behind the sub-layers, or its embeddings have another width"
    if where.centred and not reason:
        block: Any = blocks(model)[0]
        shifts = any(getattr(block, path).bias is not None for path in where.norms)
        bare = any(m.bias is None for m in block.modules() if isinstance(m, nn.Linear))
        reason = _REASONS["falcon"] if shifts and bare else None
    if reason:
        raise Unsupported(f"slicegpt cannot rotate this {name} model: {reason}")
    return where


class Normalise(nn.Module):
    """x / √(Σ x² / width + ε): an RMSNorm without weights, over what is left of `width` dimensions."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.width, self.epsilon = width, epsilon

    def forward(self, x: Tensor) -> Tensor:
        square = x.float().square().sum(-1, keepdim=True) / self.width
        return (x.float() * torch.rsqrt(square + self.epsilon)).to(x.dtype)


class SlicedBlock(nn.Module):
    """A block of any family with a plan, whose skip connections go through `shortcuts`."""

    where: Plan
    shortcuts: nn.ParameterList
    dense: inspect.Signature
    """Of the original's `forward`"""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = dict(self.dense.bind(self, hidden_states, *args, **kwargs).arguments)
        given |= given.pop("kwargs", {})
        for name in ("self", "hidden_states", "encoder_hidden_states", "encoder_attention_mask"):
            given.pop(name, None)
        first, second = map(self.get_submodule, self.where.norms)
        attended = self.get_submodule(self.where.attention)(first(hidden_states), **given)[0]
        stream = hidden_states @ self.shortcuts[0] + attended
        added = second(hidden_states if self.where.parallel else stream)
        for path in self.where.mlp:
            added = self.get_submodule(path)(added)
        found: Tensor = (stream if self.where.parallel else stream @ self.shortcuts[1]) + added
        return found


class Entry(nn.Module):
    """A block that is given the stream in the original basis, while it is being cut."""

    basis: Tensor

    def __init__(self, block: nn.Module, basis: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("basis", basis)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        found: Tensor = self.block(hidden_states @ self.basis, *args, **kwargs)
        return found


_SLICED: dict[type[nn.Module], type[nn.Module]] = {}


def _sliced(dense: type[nn.Module]) -> type[nn.Module]:
    """The class of sliced blocks that stands in for `dense`, always the same one."""
    if dense not in _SLICED:
        signature = inspect.signature(dense.forward)
        bases = (SlicedBlock, dense)
        _SLICED[dense] = type(f"Sliced{dense.__name__}", bases, {"dense": signature})
    return _SLICED[dense]


def adapt(block: Any, where: Plan, width: int) -> nn.ParameterList:
    """Give `block` norms without weights and matrices in its skip connections, which are returned."""
    weight = next(p for p in block.parameters() if p.ndim > 1)
    for path in set(where.norms):
        norm = getattr(block, path)
        epsilon = norm.eps if where.centred else norm.variance_epsilon
        setattr(block, path, Normalise(width, epsilon))
    block.__class__, block.where = _sliced(type(block)), where
    block.shortcuts = nn.ParameterList(
        nn.Parameter(torch.eye(width).to(weight), requires_grad=weight.requires_grad)
        for _ in where.stages
    )
    shortcuts: nn.ParameterList = block.shortcuts
    return shortcuts


@rebuilds("slicegpt")
def rebuild(model: PreTrainedModel, description: dict[str, Any]) -> None:
    """Give a model of the original config the blocks that slicing leaves, not yet with their shapes."""
    where = plan(model)
    for block in blocks(model):
        adapt(block, where, description["width"])
