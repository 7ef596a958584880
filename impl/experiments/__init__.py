"""The taxonomy as experiments: what a run must show before a tag of a paper counts as verified.

One module for each of the six dimensions. An experiment gets several runs of a
method on small models (`Evidence`) and answers with a verdict: whether the tag
holds, and in words what was seen. It never trusts what the method says of
itself: it watches inputs, gradients, optimiser steps and weights, repeats the
decisive measurement by its own means, or hides a signal and looks whether the
outcome changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from impl.evidence import Evidence

Verdict = tuple[bool, str]
Experiment = Callable[[list["Evidence"]], Verdict]

DIMENSIONS = ("type", "criterion", "budget", "data", "retraining", "weight_update")
EXPERIMENTS: dict[tuple[str, str], Experiment] = {}
"""(dimension, tag) to its experiment; a tag without one never counts as verified."""


def experiment(dimension: str, *tags: str) -> Callable[[Experiment], Experiment]:
    """Register an experiment for one or more tags of a dimension."""

    def register(function: Experiment) -> Experiment:
        for tag in tags:
            EXPERIMENTS[dimension, tag] = function
        return function

    return register


@dataclass(frozen=True)
class Observation:
    """One tag of one entry: whether a run showed it, and what was seen."""

    dimension: str
    value: str
    holds: bool
    observed: str


def observe_tags(
    name: str, tags: Mapping[str, list[str]], families: tuple[str, ...] | None = None
) -> list[Observation]:
    """Run a method and say for each of its tags whether it holds, and what was seen.

    `tags` maps the six dimensions to the values that the entry claims and
    that this implementation is meant to show. `families` are toys, by default
    all that the method does not declare unsupported.
    """
    from impl.evidence import observe_all

    for dimension in DIMENSIONS:
        importlib.import_module(f"impl.experiments.{dimension}")
    runs = observe_all(name, families)
    found = []
    for dimension, values in tags.items():
        for value in values:
            check = EXPERIMENTS.get((dimension, value))
            if check is None:
                holds, text = False, "there is no experiment for this tag yet"
            else:
                for run in runs:
                    run.claims = {d: list(v) for d, v in tags.items()}
                holds, text = check(runs)
            found.append(Observation(dimension, value, holds, text))
    return found
