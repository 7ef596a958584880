"""Whether a draft still carries marks of what a person has to decide."""

from __future__ import annotations

import re
from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, shown
from catalog.reader import parse_yaml
from catalog.store import PAPERS

MARK = "# decide:"
"""What every comment begins with that a person has to settle and then delete."""


class Undecided(Check):
    code = "undecided"
    help = "Decide, correct the value where it is wrong, and delete the comment."

    def run(self) -> Iterator[Problem]:
        for path, located in self.catalog.located.items():
            if not path.startswith(f"{PAPERS}/"):
                continue
            text = located.text
            if MARK not in text:
                continue
            # An empty value is reported as such; its comment says what it waits for.
            empty = {
                located.at_key(*location)[0]
                for location, spelling in located.spelling.items()
                if spelling == ""
            }
            lines = text.split("\n")
            for number, line in enumerate(lines, start=1):
                match = re.search(rf"(?:^|\s){MARK}(.*)", line)
                if match is None or number in empty:
                    continue
                without = [*lines[: number - 1], line[: match.start()], *lines[number:]]
                other, _ = parse_yaml(path, "\n".join(without))
                # Text that only looks like a comment would be missing now.
                if other is not None and other.data == located.data:
                    message = f"somebody has to decide: {shown(match[1].strip(), 300)[1:-1]}"
                    column = match.start() + line[match.start() :].index("#") + 1
                    yield self.at_line(path, message, number, column)
