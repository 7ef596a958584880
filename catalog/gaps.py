"""What an entry leaves open: which of its fields are empty, and which of these it declares."""

from __future__ import annotations

import re

from catalog.schema import DIMENSIONS, Entry, Gap

NAMES: dict[Gap, str] = {
    "authors": "Authors",
    "ids": "Identifiers",
    "links.paper": "Link to the paper",
    "links.code": "Code",
    "venue": "Venue",
    "mechanism": "Mechanism",
    "challenges": "What it leaves open",
    "tags": "Tags",
    "evaluated_on.models": "Models",
    "evaluated_on.calibration": "Calibration data",
    "evaluated_on.finetuning": "Fine-tuning data",
    "evaluated_on.evaluation": "Evaluation data",
}
"""Each field that may be declared unconfirmed, in words."""

WHOLE: frozenset[Gap] = frozenset({"ids", "links.paper", "challenges"})
"""Fields that are either confirmed or empty. The others may be filled and declared all the same:
lists may be known in part (a family, but not its sizes), text may rest on an abstract."""

_EXPERIMENTS = ("method", "analysis", "benchmark")


def is_filled(entry: Entry, gap: Gap) -> bool:
    """Whether the entry says anything in a field that may be declared unconfirmed."""
    if gap == "authors":
        return bool(entry.authors)
    if gap == "ids":
        return has_id(entry)
    if gap == "links.paper":
        return entry.links.paper is not None
    if gap == "links.code":
        return entry.links.code is not None
    if gap == "challenges":
        return bool(entry.challenges)
    if gap == "tags":
        return entry.tags is not None and any(map(entry.tags.of, DIMENSIONS))
    if gap.startswith("evaluated_on."):
        return bool(getattr(entry.evaluated_on, gap.partition(".")[2]))
    return True  # the schema demands a venue and a mechanism


def has_id(entry: Entry) -> bool:
    """Whether the entry has any identifier; an arXiv class alone is none."""
    ids = entry.ids.model_dump(exclude={"arxiv_class"})
    return any(value is not None for value in ids.values())


def has_link(entry: Entry) -> bool:
    """Whether the entry links to anything."""
    return any(entry.links.model_dump().values())


def wanting(entry: Entry) -> list[tuple[Gap | None, str]]:
    """What an entry lacks without declaring it: the gap that would declare it, and a sentence.

    The gap is None where nothing can: what it names must then be added.
    """
    found: list[tuple[Gap | None, str]] = []
    if not entry.authors:
        found.append(("authors", "the paper has no authors"))
    if not has_id(entry) and not has_link(entry):
        found.append(("ids", "the paper has neither an identifier nor a link"))
    if not entry.challenges:
        found.append(("challenges", "nothing says what the paper struggles with or leaves open"))
    if entry.kind in _EXPERIMENTS:
        if not entry.evaluated_on.models:
            found.append(("evaluated_on.models", "no model is named that the paper evaluates"))
        if not entry.evaluated_on.evaluation:
            found.append(("evaluated_on.evaluation", "no data set is named for the evaluation"))
    if entry.kind in ("method", "system"):
        notes = entry.tags.notes if entry.tags is not None else {}
        open_dimensions = [
            dimension
            for dimension in DIMENSIONS
            if (entry.tags is None or not entry.tags.of(dimension)) and dimension not in notes
        ]
        if len(open_dimensions) == len(DIMENSIONS):
            found.append(("tags", f"the {entry.kind} has no tags"))
        else:
            found += [
                ("tags", f"{name} has neither a tag nor a note that says why")
                for name in open_dimensions
            ]
    # "mechanism and tags" confirms both.
    confirmed = {word for source in entry.sources for word in re.findall(r"\w+", source.what)}
    if "bibliography" not in confirmed:
        found.append((None, "no source confirms the bibliography"))
    if "mechanism" not in confirmed:
        found.append(("mechanism", "no source confirms the mechanism"))
    return [(gap, text) for gap, text in found if gap is None or gap not in entry.gaps]
