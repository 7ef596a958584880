"""What is removed: shapes, counts and patterns before and after."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from impl.errors import Unsupported
from impl.evidence import Evidence
from impl.experiments import Verdict, experiment
from impl.experiments.runtime import cache_is_small, sets_differ
from impl.masks import NM
from impl.model import blocks, experts, heads, neurons, views
from impl.surgery import embedding_width
from impl.units import UNITS


def kept_per_group(W: Tensor, pattern: NM) -> Tensor:
    """How many weights each group of consecutive inputs keeps: (out, in / m)."""
    kept: Tensor = (W != 0).unflatten(-1, (-1, pattern.m)).sum(-1)
    return kept


@experiment("type", "unstructured")
def unstructured(runs: list[Evidence]) -> Verdict:
    free = [run for run in runs if run.pattern is None]
    for run in free:
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        if all((kept_per_group(W, NM(2, 4)) <= 2).all() for W in run.after):
            return False, f"every group of four keeps at most two weights ({run.family})"
    zeros = sum(int((W == 0).sum()) for run in free for W in run.after)
    total = sum(W.numel() for run in free for W in run.after)
    if not zeros:
        return False, "no weight is zero"
    return (
        True,
        f"shapes unchanged; {zeros / total:.1%} of the weights are zero, in no fixed pattern",
    )


@experiment("type", "semi-structured", "n:m")
def semi_structured(runs: list[Evidence]) -> Verdict:
    patterned = [run for run in runs if run.pattern]
    if not patterned:
        return False, "it takes no pattern"
    for run in patterned:
        assert run.pattern
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        for view, W in zip(run.views, run.after, strict=True):
            kept = kept_per_group(W, run.pattern)
            if (kept > run.pattern.n).any():
                return False, (
                    f"{int((kept > run.pattern.n).sum()):,} of {kept.numel():,} groups of "
                    f"{run.pattern.m} keep more than {run.pattern.n} weights in {view.name} ({run.family})"
                )
    tried = sorted({str(run.pattern) for run in patterned})
    return True, f"every group keeps at most N of M weights, tried with {' and '.join(tried)}"


def parameters_gone(runs: list[Evidence]) -> Verdict:
    """Every run made the model physically smaller."""
    for run in runs:
        before, after = run.report.parameters
        if after >= before:
            return False, f"{after:,} parameters after, {before:,} before ({run.family})"
    least = min(1 - run.report.parameters[1] / run.report.parameters[0] for run in runs)
    most = max(1 - run.report.parameters[1] / run.report.parameters[0] for run in runs)
    return True, f"{least:.0%} to {most:.0%} of all parameters are gone"


experiment("type", "structured")(parameters_gone)


@experiment("type", "depth")
def depth(runs: list[Evidence]) -> Verdict:
    fewer = [run for run in runs if len(blocks(run.model)) < len(blocks(run.dense))]
    wanted = [run for run in runs if _asks_for(run, "drop", "layers")]
    for run in wanted:
        if run not in fewer:
            return False, f"as many blocks as before ({run.family})"
        if run.model.config.num_hidden_layers != len(blocks(run.model)):
            return False, f"the config counts other blocks than there are ({run.family})"
    if not fewer:
        return False, "no run has fewer blocks than before"
    gone = sorted({len(blocks(run.dense)) - len(blocks(run.model)) for run in fewer})
    return True, f"{' or '.join(map(str, gone))} of the blocks are gone, the config counts the rest"


def _asks_for(run: Evidence, *names: str) -> bool:
    unit = UNITS[run.report.unit]
    return any(run.options.get(name, unit.nothing) != unit.nothing for name in names)


@experiment("type", "width")
def width(runs: list[Evidence]) -> Verdict:
    for part in (head, neuron, hidden_dimension):
        holds, text = part(runs)
        if holds:
            return True, text
    return False, "heads, neurons and the residual stream are as wide as before"


@experiment("type", "head")
def head(runs: list[Evidence]) -> Verdict:
    def count(run: Evidence) -> tuple[int, int]:
        if all(heads(run.dense, i).groups == 1 for i in range(len(blocks(run.dense)))):
            raise Unsupported("where all heads share one key and value, they go or stay together")
        return (
            max(heads(run.dense, i).count for i in range(len(blocks(run.dense)))),
            min(heads(run.model, i).count for i in range(len(blocks(run.model)))),
        )

    return _fewer(runs, count, "heads in a block")


@experiment("type", "neuron")
def neuron(runs: list[Evidence]) -> Verdict:
    def count(run: Evidence) -> tuple[int, int]:
        return (
            max(neurons(run.dense, i).count for i in range(len(blocks(run.dense)))),
            min(neurons(run.model, i).count for i in range(len(blocks(run.model)))),
        )

    return _fewer(runs, count, "neurons in a block")


@experiment("type", "hidden-dimension")
def hidden_dimension(runs: list[Evidence]) -> Verdict:
    def count(run: Evidence) -> tuple[int, int]:
        return (
            embedding_width(run.dense),
            min(heads(run.model, i).q.shape[1] for i in range(len(blocks(run.model)))),
        )

    return _fewer(runs, count, "channels in the residual stream")


@experiment("type", "expert")
def expert(runs: list[Evidence]) -> Verdict:
    def count(run: Evidence) -> tuple[int, int]:
        def least(model: object) -> int:
            module = experts(model, 0)  # type: ignore[arg-type]
            return len(next(p for p in module.parameters() if p.ndim == 3))

        return least(run.dense), least(run.model)

    return _fewer(runs, count, "experts in a block")


def _fewer(runs: list[Evidence], count: object, what: str) -> Verdict:
    """Whether some run of every family has fewer of something, in the weights themselves."""
    seen: dict[str, tuple[int, int]] = {}
    for run in runs:
        try:
            before, after = count(run)  # type: ignore[operator]
        except Unsupported:
            continue
        best = seen.get(run.family)
        if best is None or after < best[1]:
            seen[run.family] = (before, after)
    for family, (before, after) in seen.items():
        if after >= before:
            return False, f"as many {what} as before ({family})"
    if not seen:
        return False, f"no model with {what}"
    found = sorted({f"{after} of {before}" for before, after in seen.values()})
    return True, f"{', '.join(found[:3])} {what} left"


@experiment("type", "layer-merging")
def layer_merging(runs: list[Evidence]) -> Verdict:
    """Every matrix that stays is written as a sum over those of all dense blocks, by least squares."""
    holds, text = depth(runs)
    mixed: dict[str, int] = {}
    for run in runs:
        mixed.setdefault(run.family, 0)
        dense = [views(run.dense, index) for index in range(len(blocks(run.dense)))]
        for index in range(len(blocks(run.model))):
            for number, view in enumerate(views(run.model, index)):
                A = torch.stack([block[number].W.flatten() for block in dense], 1).double()
                b = view.W.double().flatten()
                shares = torch.linalg.lstsq(A, b).solution
                if (A @ shares - b).norm() > 1e-4 * b.norm():
                    return False, f"{view.name} is no sum of the dense blocks' ({run.family})"
                mixed[run.family] += int((shares.abs() > 0.01).sum() > 1)
    for family, count in mixed.items():
        if not count:
            return False, f"no block that stays mixes the weights of several ({family})"
    return holds, f"{text}; {sum(mixed.values())} matrices are sums over several dense blocks"


@experiment("type", "expert-merging")
def expert_merging(runs: list[Evidence]) -> Verdict:
    """Every expert that stays is written as a sum over the dense block's, by least squares."""
    holds, text = expert(runs)
    mixed: dict[str, int] = {}
    for run in runs:
        mixed.setdefault(run.family, 0)
        for index in range(len(blocks(run.dense))):
            dense, left = experts(run.dense, index), experts(run.model, index)
            every, rest = (
                torch.cat([p.flatten(1) for p in module.parameters() if p.ndim == 3], 1).double()
                for module in (dense, left)
            )
            shares = torch.linalg.lstsq(every.T, rest.T).solution
            if (every.T @ shares - rest.T).norm() > 1e-4 * rest.norm():
                return False, f"an expert of block {index} is no sum of the dense ({run.family})"
            mixed[run.family] += int(((shares.abs() > 1e-3).sum(0) > 1).sum())
    for family, count in mixed.items():
        if not count:
            return False, f"no expert that stays has weights mixed from several ({family})"
    return holds, f"{text}; {sum(mixed.values())} experts are sums over several dense ones"


@experiment("type", "channel")
def channel(runs: list[Evidence]) -> Verdict:
    fewer = []
    for run in runs:
        before = convolutions(run.dense)
        for name, now in convolutions(run.model).items():
            if now.out_channels < before[name].out_channels:
                fewer.append(f"{now.out_channels} of {before[name].out_channels}")
            if now.weight.shape[:2] != (now.out_channels, now.in_channels):
                return False, f"{name} says that it has other filters than it has ({run.family})"
        if run.report.parameters[1] >= run.report.parameters[0]:
            return False, f"no parameter is gone ({run.family})"
    if not fewer:
        return False, "every convolution has as many filters as before"
    found = sorted(set(fewer))
    return True, f"{len(fewer)} convolutions are smaller ({', '.join(found[:3])} filters left)"


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a network, by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


@experiment("type", "low-rank")
def low_rank(runs: list[Evidence]) -> Verdict:
    found = set()
    for run in runs:
        if run.shapes_changed:
            return False, f"{run.shapes_changed[0]} changed its shape ({run.family})"
        changed = changed_matrices(run)
        if not changed:
            return False, f"no matrix changed ({run.family})"
        for name, old, new in changed:
            if numerical_rank(new) >= numerical_rank(old):
                return False, f"{name} has the rank that it had ({run.family})"
            found.add(f"{numerical_rank(new)} of {numerical_rank(old)}")
    return True, f"every matrix that changed has a lower rank: {', '.join(sorted(found)[:4])}"


def changed_matrices(run: Evidence) -> list[tuple[str, Tensor, Tensor]]:
    """The prunable matrices that a run changed: name, before and after."""
    pairs = zip(run.views, run.before, run.after, strict=True)
    return [(view.name, old, new) for view, old, new in pairs if not torch.equal(old, new)]


def numerical_rank(W: Tensor) -> int:
    """How many eigenvalues of W Wᵀ stand out from the rounding of float32."""
    moments = W.double() @ W.double().T
    values = torch.linalg.eigvalsh(moments)
    return int((values > values.max() * 1e-12).sum())


@experiment("type", "kv-cache")
def kv_cache(runs: list[Evidence]) -> Verdict:
    return cache_is_small(runs)


@experiment("type", "contextual-sparsity")
def contextual_sparsity(runs: list[Evidence]) -> Verdict:
    return sets_differ(runs)
