r"""EEP: evolution chooses which experts stay, then mixes the others into them.

Two small matrices say what becomes of the E experts of a block when E' are to
be left: one merges their weights, one maps the routing weights. With one-hot
rows they only select. Evolution first searches such selections, then adds
noise to the entries, so that the experts that stay take in what the others
know. A candidate is judged by running the model with it: no gradient is ever
taken, and what memory suffices for inference suffices for the search.

Equations
---------
- Eq. 5 (§4.2): $$G' = W_\mathrm{RM} \operatorname{softmax}(Z W_G)$$ The router still scores all E experts; the mapping, (E', E), turns that into scores of the E' that are left, of which the top k are taken.
- Eq. 6 (§4.2): $$\theta'_j = \left\{ \sum_{i=1}^{E} \omega_{ji} W_{1i}, \; \sum_{i=1}^{E} \omega_{ji} W_{2i}, \; \sum_{i=1}^{E} \omega_{ji} W_{3i} \right\}$$ Row j of the merging matrix, (E', E), gives each matrix of the new expert j as a sum over the old experts.
- Pruning phase (§4.2): $$W_\mathrm{RM} = W_\mathrm{EM}, \quad \text{each row one-hot}$$ The experts that are selected keep their weights and their routing weights.
- Merging phase (§4.2, App. C): $$W \leftarrow W + \varepsilon, \quad \varepsilon \sim \mathcal{N}(0, \sigma^2)$$ The two matrices go separate ways; noise falls on single entries.
- Search (§4.3, Alg. 1): $$W_\mathrm{new} = \operatorname{Mutate}(\operatorname{Crossover}(W_f, W_m)), \qquad W^* = \operatorname{argbest}_{W \in P} \mathcal{F}(W)$$ The parents come from the best of all candidates so far; the best of all is the result.

Hyperparameters
---------------
- drop: experts removed from every block; the paper keeps 4 or 2 of Mixtral's 8.
- groups: runs of neighbouring blocks that share their matrices; 4 in the paper (App. A.1), which for three tasks gives each block its own.
- prune_iterations: candidates tried in the pruning phase after the first; 40 in the paper.
- merge_iterations: candidates tried in the merging phase; 160 in the paper. With 0, experts are only pruned, the survivors keep their weights, and the result is a plain checkpoint.
- windows: calibration windows that a candidate is judged on, the same for all. The paper takes a task's training questions; 4 here, since every one of some 230 candidates runs the model on all of them, and with 32 windows the search takes eight times as long.
- initial: random selections that the population starts with; the paper does not say, 30 in the official code.
- parents: how many of the best candidates can become parents (M_CP); the paper does not say, the official code takes at least 6.
- replace: chance that a selected expert is exchanged in a mutation of the pruning phase; 0.15 in the official code.
- change: chance that a matrix changes in a mutation, and that an entry of it gets noise in the merging phase; 0.25 for both in the official code.
- scale: standard deviation σ of the noise; 0.065 in the official code.

Official code
-------------
- https://github.com/imagination-research/EEP at ee1dd5b027922ce57707188680103317be121daf

Deviations
----------
- A candidate is judged by its loss on the calibration text; the paper generates answers to the questions of one task's training set and counts the right ones.
- One candidate is tried per iteration, as in the official code; Alg. 1 leaves their number open. That code runs other numbers of iterations (100 and 300), crosses in a third of the merging phase only, and sometimes scales the rows of the merging matrix to sum 1.
- In the pruning phase, crossover takes the whole selection of a group from one parent, so that no expert is selected twice; rows are mixed in the merging phase.
- A selection that was tried already is not tried again.
- Mapped scores below zero count as zero; in the official code a negative score can make the sum by which the top k are divided nearly vanish.
- The result of a search without merging is stored with its router rows cut, which equals Eq. 5 if the router scales its top k to sum 1. Otherwise the mapping stays in the model.

Unsupported
-----------
- llama, mistral, qwen2, qwen3, gemma2, gemma3, opt, gpt2, gpt_neox, phi, phi3, olmo2, falcon, bloom: they have no experts
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.losses import batches, losses
from impl.model import blocks, experts
from impl.registry import method
from impl.session import current, track
from impl.store import rebuilds
from impl.surgery import keep_experts

TOKENS = 4096  # that are run at once, at least one window
Candidate = Tensor
"""(groups, 2, E', E): for each group of blocks the merging matrix, then the mapping."""


@method(
    "eep",
    budget="experts",
    needs="calibration",
    touches=("router",),
    quick={"prune_iterations": 4, "merge_iterations": 24, "initial": 2},
)
def eep(
    model: PreTrainedModel,
    calibration: Calibration,
    drop: int | None = None,
    groups: int = 4,
    prune_iterations: int = 40,
    merge_iterations: int = 160,
    windows: int = 4,
    initial: int = 30,
    parents: int = 6,
    replace: float = 0.15,
    change: float = 0.25,
    scale: float = 0.065,
) -> None:
    if not drop:
        return
    if windows < 1:
        raise BadInput(f"windows {windows} is below 1")
    judged = dataclasses.replace(calibration, tokens=calibration.tokens[:windows])
    mixtures = find_mixtures(model, groups)
    count = mixtures[0].count
    kept, groups = count - drop, mixtures[-1].group + 1
    tried: list[tuple[float, Candidate]] = []
    known: set[tuple[float, ...]] = set()
    best: list[float] = []  # after the start, the pruning phase, the merging phase
    ends = (initial, initial + prune_iterations, initial + prune_iterations + merge_iterations)
    with searching(mixtures):
        for step in track(range(ends[2]), "candidate"):
            top = sorted(tried, key=lambda one: one[0])[:parents]
            for _ in range(100):  # a small space may have no more that are new
                if step < ends[0] or not top:
                    new = select(torch.rand(groups, count).argsort(1)[:, :kept], count)
                else:
                    merging = step >= ends[1]
                    chosen = torch.randint(len(top), (2,)).tolist()
                    new = crossover(top[chosen[0]][1], top[chosen[1]][1], rows=merging)
                    new = add_noise(new, change, scale) if merging else swap(new, replace)
                if (key := tuple(new.flatten().tolist())) not in known:
                    break
            known.add(key)
            tried.append((loss(model, mixtures, new, judged), new))
            if step + 1 in ends:
                best.append(min(tried, key=lambda one: one[0])[0])
    lowest, found = min(tried, key=lambda one: one[0])
    selects = only_selects(found)
    plain = selects and all(scales(mixture.router) for mixture in mixtures)
    for mixture in mixtures:
        mixture.settle(model, found[mixture.group], selects, plain)
    if not plain:
        model.config.prunedex = {"structure": "eep"}
    current().details |= {
        "tried": len(tried),
        "loss": lowest,
        "best_after_phases": best,
        "merging": found[:, 0].tolist(),
        "mapping": found[:, 1].tolist(),
    }


# --- the search -------------------------------------------------------------


def select(kept: Tensor, count: int) -> Candidate:
    """The candidate that only keeps the experts `kept`, (groups, E'), of `count`."""
    return one_hot(kept.sort(1).values, count).float()[:, None].repeat(1, 2, 1, 1)


def crossover(one: Candidate, other: Candidate, rows: bool) -> Candidate:
    """A group's matrices from either parent; with `rows`, every row of every matrix by itself."""
    groups, kinds, kept, _ = one.shape
    shape = (groups, kinds, kept, 1) if rows else (groups, 1, 1, 1)
    return torch.where(torch.rand(shape) < 0.5, one, other)


def swap(parent: Candidate, replace: float) -> Candidate:
    """Exchange each selected expert with chance `replace` for one that is not selected."""
    selected = parent[:, 0].argmax(-1)
    for group in selected:
        for slot in range(len(group)):
            others = [e for e in range(parent.shape[-1]) if e not in group.tolist()]
            if torch.rand(()) < replace:
                group[slot] = others[int(torch.randint(len(others), ()))]
    return select(selected, parent.shape[-1])


def add_noise(parent: Candidate, change: float, scale: float) -> Candidate:
    """Add noise to entries, each with chance `change`, of matrices, each with chance `change`."""
    matrices = torch.rand(parent.shape[:2]) < change
    matrices.view(-1)[int(torch.randint(matrices.numel(), ()))] = True  # one at least
    entries = (torch.rand(parent.shape) < change) & matrices[..., None, None]
    return parent + scale * torch.randn(parent.shape) * entries


def only_selects(candidate: Candidate) -> bool:
    """Whether every row is one-hot and the two matrices agree, so that experts only go."""
    return (
        torch.equal(candidate[:, 0], candidate[:, 1])
        and bool((candidate.sum(-1) == 1).all())
        and bool(((candidate == 0) | (candidate == 1)).all())
    )


def loss(
    model: nn.Module, mixtures: list[Mixture], candidate: Candidate, calibration: Calibration
) -> float:
    """The mean loss of a window with the candidate in place; infinite where it is not a number."""
    for mixture in mixtures:
        mixture.put(candidate[mixture.group])
    size = max(current().batch_size, TOKENS // calibration.tokens.shape[1], 1)
    device = next(model.parameters()).device
    total = torch.cat([losses(model, batch) for batch in batches(calibration, size, device)])
    current().read["losses"] += len(total)
    mean = total.double().mean().item()
    return mean if mean == mean else float("inf")


# --- experts and routers ----------------------------------------------------


class Mapped(nn.Module):
    """A router that scores the experts there were, and maps that to the experts that are left."""

    weight: Tensor
    mapping: Tensor
    """(E', E), W_RM of Eq. 5"""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = linear(hidden_states.reshape(-1, self.weight.shape[1]), self.weight)
        return route(self, logits, self.mapping)


def route(router: Any, logits: Tensor, mapping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 5 for (tokens, E) logits: mapped log scores (tokens, E'), weights and experts of the top k."""
    scores = (logits.float().softmax(-1) @ mapping.T.float()).clamp_min(0)
    value, index = scores.topk(min(router.top_k, len(mapping)), dim=-1)
    if scales(router):
        value = value / value.sum(-1, keepdim=True).clamp_min(1e-20)
    return scores.clamp_min(1e-20).log(), value.to(logits.dtype), index


def scales(router: nn.Module) -> bool:
    """Whether a router scales the weights of the experts that it chose to sum 1."""
    return bool(getattr(router, "norm_topk_prob", True))


class Mixture:
    """The experts and the router of a block, what they were, and what they are while searching."""

    def __init__(self, model: nn.Module, index: int, group: int) -> None:
        self.index, self.group = index, group
        self.experts: Any = experts(model, index)
        self.router: Any = router_of(model, index)
        self.dense = {
            name: parameter.data.clone()
            for name, parameter in self.experts.named_parameters(recurse=False)
            if parameter.shape[0] == self.experts.num_experts
        }
        self.mapping = torch.eye(self.count)

    @property
    def count(self) -> int:
        return len(next(iter(self.dense.values())))

    def merged(self, name: str, merging: Tensor) -> Tensor:
        """Eq. 6: the new experts, (E', …), in float32 or wider."""
        old = self.dense[name]
        return torch.einsum("je,e...->j...", merging.to(old.device), old.float())

    def put(self, matrices: Tensor) -> None:
        """Put the new experts in the first places; the mapping sees to it that no others are used."""
        for name in self.dense:
            getattr(self.experts, name).data[: matrices.shape[1]] = self.merged(name, matrices[0])
        self.mapping = matrices[1].to(self.router.weight.device)

    def restore(self) -> None:
        for name, old in self.dense.items():
            getattr(self.experts, name).data.copy_(old)

    def settle(self, model: nn.Module, matrices: Tensor, selects: bool, plain: bool) -> None:
        """Cut experts out, give the others their new weights, and, unless `plain`, map the router."""
        merging, mapping = matrices
        kept = merging.argmax(1) if selects else torch.arange(len(merging))
        keep = torch.zeros(self.count, dtype=torch.bool).index_fill(0, kept, True)
        weight = self.router.weight.data
        keep_experts(model, self.index, keep)
        for name in self.dense:
            getattr(self.experts, name).data.copy_(self.merged(name, merging))
        if not plain:
            flag = self.router.weight.requires_grad
            self.router.weight = nn.Parameter(weight, requires_grad=flag)
            map_router(self.router, mapping.to(weight.device))


def find_mixtures(model: PreTrainedModel, groups: int) -> list[Mixture]:
    """The mixtures of experts of the model in `groups` runs, or as many as there are blocks of them.

    Raises `Unsupported` where there are none or where they differ in their number of experts.
    """
    indices = []
    for index in range(len(blocks(model))):
        try:
            experts(model, index)
        except Unsupported:
            continue
        indices.append(index)
    if not indices:
        experts(model, 0)
    if any(isinstance(router_of(model, index), Mapped) for index in indices):
        raise Unsupported("the routers of this model are mapped already", "Prune the original.")
    groups = max(min(groups, len(indices)), 1)
    found = [
        Mixture(model, index, place * groups // len(indices)) for place, index in enumerate(indices)
    ]
    if len({mixture.count for mixture in found}) > 1:
        raise Unsupported("the blocks of this model have different numbers of experts")
    return found


def router_of(model: nn.Module, index: int) -> nn.Module:
    """The module that scores the experts of block `index`: the one with a top k and a weight."""
    for module in blocks(model)[index].modules():
        if hasattr(module, "top_k") and isinstance(getattr(module, "weight", None), nn.Parameter):
            return module
    raise Unsupported(f"the router of block {index} is not one that chooses the top k")


@contextmanager
def searching(mixtures: list[Mixture]) -> Iterator[None]:
    """Routers follow their mixtures' mapping inside; experts and routers are as before afterwards."""
    handles = [
        mixture.router.register_forward_hook(
            lambda router, _inputs, output, mixture=mixture: route(
                router, output[0], mixture.mapping
            )
        )
        for mixture in mixtures
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for mixture in mixtures:
            mixture.restore()


_MAPPED: dict[type[nn.Module], type[nn.Module]] = {}


def map_router(router: Any, mapping: Tensor) -> None:
    """Turn a router into one that maps; it stays a router of its family."""
    dense = type(router)
    if dense not in _MAPPED:
        _MAPPED[dense] = type(f"Mapped{dense.__name__}", (Mapped, dense), {})
    router.__class__ = _MAPPED[dense]
    router.register_buffer("mapping", mapping.float())


@rebuilds("eep")
def rebuild(model: PreTrainedModel, description: dict[str, Any]) -> None:
    """Give a model of the original config routers that map, not yet with the right numbers."""
    for index in range(len(blocks(model))):
        try:
            count = len(next(p for p in experts(model, index).parameters() if p.ndim == 3))
        except Unsupported:
            continue
        map_router(router_of(model, index), torch.eye(count))
