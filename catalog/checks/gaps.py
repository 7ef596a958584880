"""Whether entries say what they could not confirm, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from catalog.checks.base import Check
from catalog.errors import Problem, Severity, shown
from catalog.gaps import NAMES, WHOLE, is_filled, wanting


class DeclaredGap(Check):
    code = "gap"
    severity: ClassVar[Severity] = "notice"
    advice = True
    help = "Not confirmed so far, and said to be: fill the field when you can confirm it."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for field, reason in entry.gaps.items():
                message = f"{field} is not confirmed: {shown(' '.join(reason.split()), 300)[1:-1]}"
                yield self.in_entry(entry, message, "gaps", field)


class UndeclaredGap(Check):
    code = "undeclared-gap"
    help = "Fill it in, or name the field under gaps with what was looked for and where."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for gap, lack in wanting(entry):
                declare = f" (gaps could declare {gap})" if gap is not None else ""
                field = (gap or "sources").split(".")
                # Where the field is absent, the nearest thing around it is shown.
                yield self.in_entry(entry, f"{lack}{declare}", *field)


class FilledGap(Check):
    code = "gap-filled"
    help = "Remove the gap, or the unconfirmed value; this field is either confirmed or empty."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for field in entry.gaps:
                if field in WHOLE and is_filled(entry, field):
                    message = f"{NAMES[field].lower()} ({field}): declared a gap, but filled"
                    yield self.in_entry(entry, message, "gaps", field)
