"""What happens afterwards: whose parameters an optimiser stepped on."""

from __future__ import annotations

from impl.evidence import Evidence
from impl.experiments import Verdict, experiment


@experiment("retraining", "without")
def without(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.steps:
            return False, f"{run.steps:,} optimiser steps ({run.family})"
        if run.adapted:
            return False, f"adapters were trained and merged into the weights ({run.family})"
    if any(run.own_steps for run in runs):
        return True, "no optimiser step on a weight of the model, only on the method's own"
    return True, "no optimiser step"


def share_trained(run: Evidence) -> float:
    """The share of the model's parameters that optimisers stepped on."""
    sizes = {name: p.numel() for name, p in run.model.named_parameters()}
    return sum(sizes.get(name, 0) for name in run.trained) / sum(sizes.values())


@experiment("retraining", "efficient")
def efficient(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.steps and not run.adapted:
            return False, f"no optimiser step ({run.family})"
        if share_trained(run) > 0.5:
            return False, f"{share_trained(run):.0%} of the weights were trained ({run.family})"
    if any(run.steps for run in runs):
        most = max(share_trained(run) for run in runs)
        return True, f"at most {most:.0%} of the weights were trained"
    return True, "only adapters were trained, then merged"


@experiment("retraining", "extensive")
def extensive(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if share_trained(run) < 0.9:
            return (
                False,
                f"{share_trained(run):.0%} of the weights were trained, not all ({run.family})",
            )
    steps = sorted({run.steps for run in runs})
    return True, f"all weights were trained, for {', '.join(map(str, steps))} steps in these runs"
