"""What it needs to see: everything that the model was run on, compared with what was given."""

from __future__ import annotations

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


@experiment("data", "small", "medium", "large")
def given_or_labelled(runs: list[Evidence]) -> Verdict:
    """A data set beyond calibration may have labels: then it is they that were given and read."""
    return labelled(runs) if isinstance(runs[0].data, LabelledData) else given(runs)


def labelled(runs: list[Evidence]) -> Verdict:
    """For methods whose data are labelled samples: only those given were read."""
    for run in runs:
        if not isinstance(run.data, LabelledData) or not run.seen:
            return False, f"it read no labelled samples ({run.family})"
        if strange := same_text(run):
            return False, f"it ran on {strange} that it was not given ({run.family})"
    return True, f"it ran on the {len(runs[0].data or [])} labelled samples that it was given"  # type: ignore[arg-type]
