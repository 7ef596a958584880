"""Whether references between papers lead somewhere and make sense."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, shown


class UnknownBase(Check):
    code = "unknown-base"
    help = "builds_on names other entries by their keys; add the missing entry first."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for number, edge in enumerate(entry.builds_on):
                if not self.is_paper(edge.key):
                    near = did_you_mean(edge.key, self.catalog.entries)
                    message = (
                        f"builds_on names {shown(edge.key)}, which has no entry{details(near)}"
                    )
                    yield self.in_entry(entry, message, "builds_on", number, "key")


class OwnBase(Check):
    code = "own-base"
    help = "Remove the edge."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for number, edge in enumerate(entry.builds_on):
                if edge.key == entry.key:
                    message = "the paper builds on itself"
                    yield self.in_entry(entry, message, "builds_on", number, "key")


class DuplicateBase(Check):
    code = "duplicate-base"
    help = "Keep one of the two edges; two relations to one paper are fine."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            seen: set[tuple[str, str]] = set()
            for number, edge in enumerate(entry.builds_on):
                if (edge.key, edge.relation) in seen:
                    message = f"builds_on says twice that the paper {edge.relation} {edge.key}"
                    yield self.in_entry(entry, message, "builds_on", number, "key")
                seen.add((edge.key, edge.relation))


class LineageCircle(Check):
    code = "lineage-circle"
    severity = "warning"
    help = "Two papers may compare each other, but only the later one builds on the earlier."

    def run(self) -> Iterator[Problem]:
        bases = {
            entry.key: {
                edge.key: number
                for number, edge in enumerate(entry.builds_on)
                if edge.relation != "compares" and edge.key in self.catalog.entries
            }
            for entry in self.catalog.entries.values()
        }
        for key, edges in bases.items():
            for base, number in edges.items():
                # One report for a circle: from its first key in the alphabet.
                if base != key and key == min(found := _way(bases, base, key), default=""):
                    way = " → ".join([key, *found])
                    message = f"builds_on comes back to this paper: {way}"
                    entry = self.catalog.entries[key]
                    yield self.in_entry(entry, message, "builds_on", number, "key")


def _way(bases: dict[str, dict[str, int]], start: str, end: str) -> list[str]:
    """The shortest way along builds_on, both ends included; empty if there is none."""
    came_from: dict[str, str | None] = {start: None}
    waiting = [start]
    for current in waiting:
        if current == end:
            break
        for following in bases[current]:
            if following not in came_from:
                came_from[following] = current
                waiting.append(following)
    way: list[str] = []
    step: str | None = end if end in came_from else None
    while step is not None:
        way.append(step)
        step = came_from[step]
    return way[::-1]


class UnknownSuccessor(Check):
    code = "unknown-successor"
    help = "superseded_by names another entry by its key; add the missing entry first."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            key = entry.lifecycle.superseded_by
            if key is None or (key != entry.key and self.is_paper(key)):
                continue
            message = "the paper is superseded by itself"
            if key != entry.key:
                near = did_you_mean(key, self.catalog.entries)
                message = f"superseded_by names {shown(key)}, which has no entry{details(near)}"
            yield self.in_entry(entry, message, "lifecycle", "superseded_by")


class StatusAgainstVenue(Check):
    code = "status-venue"
    help = "A preprint has a venue of type preprint; what is published has another."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            status, venue = entry.lifecycle.status, entry.venue.type
            # A thesis or report may be either.
            if venue not in ("thesis", "other") and (status == "preprint") != (venue == "preprint"):
                message = f"the status is {status}, but the venue's type is {venue}"
                yield self.in_entry(entry, message, "lifecycle", "status")
