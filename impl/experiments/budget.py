"""What is fixed in advance: what was asked, counted again in its own unit and scope."""

from __future__ import annotations

from transformers import PreTrainedModel

from impl.evidence import Evidence
from impl.experiments import Verdict, experiment
from impl.experiments.runtime import cache_is_exact, units_of_each_block
from impl.experiments.type import changed_matrices, convolutions, numerical_rank
from impl.model import blocks, heads, neurons
from impl.surgery import embedding_width


def _weights(runs: list[Evidence], unit: str = "weights") -> str | None:
    for run in runs:
        if run.report.unit != unit:
            return f"its budget counts {run.report.unit}"
    return None


@experiment("budget", "sparsity-layer")
def sparsity_layer(runs: list[Evidence]) -> Verdict:
    if all(run.report.unit == "parameters" for run in runs):
        return units_per_layer(runs)
    if all(run.report.unit == "channels" for run in runs):
        return filters_of_each_layer(runs)
    if all(run.report.unit == "activations" for run in runs):
        return units_of_each_block(runs)
    if wrong := _weights(runs):
        return False, wrong
    for run in runs:
        for view, W in zip(run.views, run.after, strict=True):
            due, found = round(run.sparsity * W.numel()), int((W == 0).sum())
            if due != found:
                return (
                    False,
                    f"{view.name} lost {found:,} weights instead of {due:,} ({run.family})",
                )
    layers = sum(len(run.views) for run in runs)
    return True, f"the share asked was removed from each of {layers:,} layers, to the weight"


@experiment("budget", "sparsity-block")
def sparsity_block(runs: list[Evidence]) -> Verdict:
    if wrong := _weights(runs):
        return False, wrong
    uneven = False
    for run in runs:
        for index in range(len(blocks(run.model))):
            pairs = [(v, W) for v, W in zip(run.views, run.after, strict=True) if v.block == index]
            due = round(run.sparsity * sum(W.numel() for _, W in pairs))
            found = sum(int((W == 0).sum()) for _, W in pairs)
            if abs(due - found) > 1:
                return False, f"block {index} lost {found:,} weights, not {due:,} ({run.family})"
            uneven |= any(
                abs(int((W == 0).sum()) - run.sparsity * W.numel()) > 1.5 for _, W in pairs
            )
    if not uneven:
        return False, "every layer inside a block lost the same share"
    return True, "every block lost the share asked, to the weight; layers inside a block differ"


@experiment("budget", "sparsity-global", "sparsity")
def sparsity_global(runs: list[Evidence]) -> Verdict:
    if all(run.report.unit == "hidden" for run in runs):
        return stream(runs)
    if all(run.report.unit == "parameters" for run in runs):
        return parameters_anywhere(runs)
    if wrong := _weights(runs):
        return False, wrong
    uneven = False
    for run in runs:
        due = round(run.sparsity * run.report.total)
        if abs(run.report.removed - due) > 1:
            return False, f"{run.report.removed:,} weights went, not {due:,} ({run.family})"
        shares: dict[int, tuple[int, int]] = {}
        for view, W in zip(run.views, run.after, strict=True):
            zeros, total = shares.get(view.block, (0, 0))
            shares[view.block] = (zeros + int((W == 0).sum()), total + W.numel())
        values = [zeros / total for zeros, total in shares.values()]
        uneven |= max(values) - min(values) > 0.001
    if not uneven:
        return False, "every block lost the same share"
    return True, "the share asked is exact over the whole model; blocks differ"


@experiment("budget", "parameters")
def parameters(runs: list[Evidence]) -> Verdict:
    worst = 0.0
    for run in runs:
        if run.report.unit != "parameters":
            return False, f"its budget counts {run.report.unit}"
        off = abs(run.report.removed - run.report.asked * run.report.total)
        layouts = [heads(run.dense, index) for index in range(len(blocks(run.dense)))]
        if off > max(layout.group_parameters for layout in layouts):
            return False, (
                f"{run.report.removed:,} of {run.report.total:,} parameters went instead of "
                f"{run.report.asked:.0%}, further off than one group of heads ({run.family})"
            )
        worst = max(worst, off / run.report.total)
    return True, f"the parameters asked for are gone, to {worst:.1%} (whole heads and neurons)"


def units_per_layer(runs: list[Evidence]) -> Verdict:
    """Heads and neurons: what was asked, in equal numbers from every block that lost any."""
    holds, text = parameters(runs)
    if not holds:
        return False, text
    for run in runs:
        lost = _units_lost(run)
        for what, counts in zip(("heads", "neurons"), zip(*lost, strict=True), strict=True):
            some = [count for count in counts if count]
            if some and max(some) - min(some) > (what == "neurons"):
                return False, f"blocks lost {', '.join(map(str, counts))} {what} ({run.family})"
    return True, f"{text}, equally many from every block that lost any"


def parameters_anywhere(runs: list[Evidence]) -> Verdict:
    """Heads and neurons: what was asked over the whole model, while blocks differ."""
    holds, text = parameters(runs)
    if not holds:
        return False, text
    if all(len(set(_units_lost(run))) == 1 for run in runs):
        return False, "every block lost the same"
    return True, f"{text}; blocks differ"


def _units_lost(run: Evidence) -> list[tuple[int, int]]:
    """Query heads and neurons that each block lost."""

    def sizes(model: PreTrainedModel, index: int) -> tuple[int, int]:
        return heads(model, index).count, neurons(model, index).count

    found = []
    for index in range(len(blocks(run.dense))):
        before, after = sizes(run.dense, index), sizes(run.model, index)
        found.append((before[0] - after[0], before[1] - after[1]))
    return found


@experiment("budget", "shape")
def shape(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.report.unit != "shape":
            return False, f"its budget counts {run.report.unit}"
        for name, due, found in shape_asked(run):
            if due != found:
                return False, f"{found} {name} instead of {due} ({run.family})"
    return True, "layers, heads, neurons and hidden channels are those asked for"


def shape_asked(run: Evidence) -> list[tuple[str, int, int]]:
    """Of every dimension of the shape: its name, the size asked for and the size found."""
    from contextlib import suppress

    from impl.errors import Unsupported
    from impl.model import neurons

    def sizes(model: object) -> dict[str, int]:
        first = heads(model, 0)  # type: ignore[arg-type]
        found = {
            "layers": len(blocks(model)),  # type: ignore[arg-type]
            "hidden": first.q.shape[1],
            "heads": first.count,
        }
        with suppress(Unsupported):
            found["neurons"] = neurons(model, 0).count  # type: ignore[arg-type]
        return found

    before, after = sizes(run.dense), sizes(run.model)
    layout = heads(run.dense, 0)
    groups, queries = layout.groups, layout.queries
    # Of several queries that share a key and a value, some can go where they are rows of their own.
    one_by_one = queries > 1 and layout.q.rows is None
    asked = []
    for name, size in before.items():
        share = float(run.report.options.get(name, 1.0))
        due = max(1, round(share * size))
        if name == "heads":
            part, whole = (queries, groups) if one_by_one else (groups, queries)
            due = whole * max(1, round(share * part))
        asked.append((name, due, after[name]))
    return asked


@experiment("budget", "layers")
def layers(runs: list[Evidence]) -> Verdict:
    for run in runs:
        gone = len(blocks(run.dense)) - len(blocks(run.model))
        if gone != run.report.asked:
            return False, f"{gone} blocks went instead of {run.report.asked:g} ({run.family})"
    asked = sorted({int(run.report.asked) for run in runs})
    return True, f"exactly {' or '.join(map(str, asked))} blocks went, as asked"


@experiment("budget", "heads")
def head_count(runs: list[Evidence]) -> Verdict:
    for run in runs:
        due = round(run.report.asked * run.report.total)
        if run.report.unit != "heads" or run.report.removed != due:
            return False, f"{run.report.removed} {run.report.unit} went, not {due} ({run.family})"
    return True, "the share of all heads that was asked for is gone"


@experiment("budget", "experts")
def expert_count(runs: list[Evidence]) -> Verdict:
    for run in runs:
        due = int(run.report.asked) * len(blocks(run.dense))
        if run.report.unit != "experts" or run.report.removed != due:
            return False, f"{run.report.removed} {run.report.unit} went, not {due} ({run.family})"
    return True, "every block lost as many experts as asked"


def filters_of_each_layer(runs: list[Evidence]) -> Verdict:
    """Of convolutional networks: every convolution that lost filters lost the share asked."""
    cut = 0
    for run in runs:
        before = convolutions(run.dense)
        for name, now in convolutions(run.model).items():
            whole = before[name].out_channels
            due = min(round(run.report.asked * whole), whole - 1)
            if whole - now.out_channels not in (0, due):
                lost = whole - now.out_channels
                return False, f"{name} lost {lost} filters instead of {due} ({run.family})"
            cut += now.out_channels < whole
    if not cut:
        return False, "no convolution lost a filter"
    return True, f"exactly the share asked was removed from each of {cut:,} convolutions"


def stream(runs: list[Evidence]) -> Verdict:
    """Of the residual stream: the share of its dimensions asked for is gone in every block."""
    for run in runs:
        before = embedding_width(run.dense)
        due = before - round(run.report.asked * before)
        widths = {view.shape[1] for view in run.views if view.part in ("q", "k", "v", "gate", "up")}
        if widths != {due} or embedding_width(run.model) != due:
            return False, f"the stream is {widths} wide, not {due} of {before} ({run.family})"
    return True, "the share of the residual stream's dimensions asked for is gone in every block"


@experiment("budget", "rank")
def rank(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.report.unit != "rank":
            return False, f"its budget counts {run.report.unit}"
        changed = changed_matrices(run)
        if len(changed) != 1:
            return False, f"{len(changed)} matrices were treated instead of one ({run.family})"
        for name, old, new in changed:
            due = max(1, int(run.report.asked * min(old.shape)))
            if numerical_rank(new) != due:
                return False, f"{name} has rank {numerical_rank(new)}, not {due} ({run.family})"
    return True, f"in {len(runs)} runs one matrix has exactly the share of its full rank asked for"


@experiment("budget", "cache")
def cache(runs: list[Evidence]) -> Verdict:
    return cache_is_exact(runs)
