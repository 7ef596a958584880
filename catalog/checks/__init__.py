"""Checks across the whole catalog: one small class each, all run by `run_checks`."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks import (
    citation,
    concepts,
    drafts,
    gaps,
    identity,
    implementation,
    lineage,
    reported,
    resources,
    results,
    tags,
    upkeep,
    vocabulary,
)
from catalog.checks.base import REGISTRY, Check
from catalog.errors import Problem
from catalog.store import Catalog

__all__ = [
    "REGISTRY",
    "Check",
    "citation",
    "concepts",
    "drafts",
    "gaps",
    "identity",
    "implementation",
    "lineage",
    "reported",
    "resources",
    "results",
    "run_checks",
    "tags",
    "upkeep",
    "vocabulary",
]


def run_checks(catalog: Catalog) -> Iterator[Problem]:
    """Everything that any check has to say about the catalog."""
    for check in REGISTRY:
        yield from check(catalog).run()


def advice_codes() -> frozenset[str]:
    """Codes of the problems that are shown only on request."""
    return frozenset(check.code for check in REGISTRY if check.advice)
