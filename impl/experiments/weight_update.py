"""What happens to the survivors: each is compared with its dense value, bit by bit."""

from __future__ import annotations

from impl.evidence import Evidence
from impl.experiments import Verdict, experiment


@experiment("weight_update", "frozen")
def frozen(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.survivors_changed:
            name, changed, alive = run.survivors_changed[0]
            return (
                False,
                f"{changed:,} of {alive:,} surviving weights changed in {name} ({run.family})",
            )
    alive = sum(int((p != 0).sum()) for run in runs for p in run.model.parameters())
    return True, f"all {alive:,} surviving weights are bit-identical"


@experiment("weight_update", "update")
def update(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if not run.survivors_changed:
            return False, f"no surviving weight changed ({run.family})"
    changed = sum(n for run in runs for _, n, _ in run.survivors_changed)
    alive = sum(int((p != 0).sum()) for run in runs for p in run.model.parameters())
    return True, f"{changed / alive:.0%} of the surviving weights changed"
