"""What it needs to see: everything that the model was run on, compared with what was given."""

from __future__ import annotations

from collections import Counter

from impl.evidence import Evidence, same_text
from impl.experiments import Verdict, experiment
from impl.tasks import LabelledData


@experiment("data", "calibration")
def given(runs: list[Evidence]) -> Verdict:
    most = 0
    for run in runs:
        if run.data is None or not run.seen:
            return False, f"it read no text ({run.family})"
        if run.labels:
            return False, f"it was trained on labels ({run.family})"
        if strange := same_text(run):
            return False, f"it ran on {strange} that it was not given ({run.family})"
        if isinstance(run.data, LabelledData):
            return False, f"it was given labels ({run.family})"
        most = max(most, run.data.tokens.numel())
    return True, f"it ran on the {most:,} tokens that it was given, without labels"


@experiment("data", "data-free")
def data_free(runs: list[Evidence]) -> Verdict:
    for run in runs:
        if run.data is not None or run.seen:
            return False, f"it ran the model on text ({run.family})"
    return True, "it was given no data and never ran the model"


@experiment("data", "small")
def trained_or_judged_on(runs: list[Evidence]) -> Verdict:
    """What goes beyond statistics: labels, training on it, or comparing candidates on it.

    Larger classes are not put to the test: no run here reads a part of a pre-training corpus.
    """
    if isinstance(runs[0].data, LabelledData):
        return labelled(runs)
    holds, words = given(runs)
    if not holds:
        return False, words
    if all(run.steps or run.adapted for run in runs):
        return True, f"{words}, and was trained on them"
    times = min(most_read(run) for run in runs)
    if times < CANDIDATES:
        return False, f"{words}, neither for training nor to compare candidates"
    return True, f"{words}, on some of them {times} times over, to compare candidates"


CANDIDATES = 4
"""How often the same text is read at least where candidates are compared on it."""


def most_read(run: Evidence) -> int:
    """How often the model was run on the window that it was run on most."""
    windows = Counter(tuple(window.tolist()) for tokens in run.seen for window in tokens)
    return max(windows.values())


def labelled(runs: list[Evidence]) -> Verdict:
    """For methods whose data are labelled samples: only those given were read."""
    for run in runs:
        if not isinstance(run.data, LabelledData) or not run.seen:
            return False, f"it read no labelled samples ({run.family})"
        if strange := same_text(run):
            return False, f"it ran on {strange} that it was not given ({run.family})"
    return True, f"it ran on the {len(runs[0].data or [])} labelled samples that it was given"  # type: ignore[arg-type]
