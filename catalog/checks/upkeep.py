"""Checks of what entries point to, by what was last seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from catalog.checks.base import Check
from catalog.errors import Problem, Severity, details, shown


class DeadLink(Check):
    code = "dead-link"
    severity: ClassVar[Severity] = "notice"
    help = "Find the page's new address, or link the archived copy and say so in a note."

    def run(self) -> Iterator[Problem]:
        from catalog.upkeep.links import addresses

        dead = {url: seen for url, seen in self.catalog.state.links.items() if seen.dead}
        if not dead:
            return
        places = addresses(self.catalog)
        for url, seen in dead.items():
            since = f"has not answered since {seen.failed[0].isoformat()}"
            hint = details(seen.reason or "", f"a copy: {seen.archived}" if seen.archived else "")
            for path, line, column in places.get(url, ()):
                yield self.at_line(path, f"{shown(url, 200)} {since}{hint}", line, column)
