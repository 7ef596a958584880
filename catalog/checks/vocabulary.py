"""Whether each dimension's values form a forest."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, shown
from catalog.forest import circle


class DuplicateValue(Check):
    code = "duplicate-value"
    help = "An id stands for one value; rename or remove the second."

    def run(self) -> Iterator[Problem]:
        for name, dimension in self.catalog.vocabulary.dimensions.items():
            seen: set[str] = set()
            for number, value in enumerate(dimension.values):
                if value.id in seen:
                    message = f"{name} has the id {shown(value.id)} twice"
                    yield self.in_dimension(name, message, "values", number, "id")
                seen.add(value.id)


class UnknownParent(Check):
    code = "unknown-parent"
    help = "A parent is the id of another value of the same dimension."

    def run(self) -> Iterator[Problem]:
        for name, dimension in self.catalog.vocabulary.dimensions.items():
            ids = self.catalog.vocabulary.ids(name)
            for number, value in enumerate(dimension.values):
                if value.parent is not None and value.parent not in ids:
                    near = details(did_you_mean(value.parent, ids))
                    message = f"the parent {shown(value.parent)} is no value of {name}{near}"
                    yield self.in_dimension(name, message, "values", number, "parent")


class ParentCircle(Check):
    code = "parent-circle"
    help = "Remove one of the parents, so that every value has a root."

    def run(self) -> Iterator[Problem]:
        for name, dimension in self.catalog.vocabulary.dimensions.items():
            parents = {value.id: value.parent for value in dimension.values}
            for number, value in enumerate(dimension.values):
                way = circle(value.id, value.parent, parents)
                if way:
                    message = f"the parents form a circle: {way}"
                    yield self.in_dimension(name, message, "values", number, "parent")
