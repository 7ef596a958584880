"""The vocabulary: six dimensions of tag values, each a forest of parents and children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from catalog.errors import UsageError, details, did_you_mean, listed
from catalog.schema import DIMENSIONS, Dimension, Value


class Vocabulary:
    """The tag values of every dimension, with their hierarchy.

    Where a file repeats an id, the first value counts; where parents form a circle, the
    walk stops when it comes back. Both are reported by the checks, so nothing here raises
    for them.
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        self.dimensions: dict[str, Dimension] = {
            name: dimensions[name] for name in DIMENSIONS if name in dimensions
        }
        self._values: dict[str, dict[str, Value]] = {}
        self._children: dict[str, dict[str, list[str]]] = {}
        for name, dimension in self.dimensions.items():
            values: dict[str, Value] = {}
            children: dict[str, list[str]] = {}
            for value in dimension.values:
                if value.id in values:
                    continue
                values[value.id] = value
                if value.parent is not None:
                    children.setdefault(value.parent, []).append(value.id)
            self._values[name] = values
            self._children[name] = children

    def __contains__(self, dimension: object) -> bool:
        return dimension in self.dimensions

    def __iter__(self) -> Iterator[str]:
        return iter(self.dimensions)

    def dimension(self, name: str) -> Dimension:
        """A dimension by its id; `weight-update` and `Weight update` also name weight_update.

        Raises UsageError with the closest name.
        """
        folded = name.strip().casefold().replace("-", "_").replace(" ", "_")
        if folded not in self.dimensions:
            raise UsageError(
                f"unknown dimension '{name}'{details(did_you_mean(folded, self.dimensions))}",
                f"the dimensions are {listed(self.dimensions)}",
            )
        return self.dimensions[folded]

    def ids(self, dimension: str) -> list[str]:
        """The ids of a dimension, in the order of its file; none for an absent dimension."""
        return list(self._values.get(dimension, ()))

    def has(self, dimension: str, value: str) -> bool:
        """Whether a dimension has a value of this id."""
        return value in self._values.get(dimension, ())

    def value(self, dimension: str, value: str) -> Value:
        """A value by dimension and id. Raises UsageError with the closest id."""
        name = self.dimension(dimension).id
        values = self._values[name]
        if value not in values:
            raise UsageError(
                f"unknown {name} '{value}'{details(did_you_mean(value, values))}",
                f"the values are {listed(values)}",
            )
        return values[value]

    def children(self, dimension: str, value: str) -> list[str]:
        """The ids right below a value, in the order of the file."""
        return list(self._children.get(dimension, {}).get(value, ()))

    def roots(self, dimension: str) -> list[str]:
        """The ids without a known parent, in the order of the file."""
        values = self._values.get(dimension, {})
        return [key for key, value in values.items() if value.parent not in values]

    def ancestors(self, dimension: str, value: str) -> list[str]:
        """The ids above a value, nearest first; empty for a root or an unknown id."""
        values = self._values.get(dimension, {})
        found: list[str] = []
        current = values.get(value)
        while current is not None and current.parent in values:
            parent = current.parent
            if parent == value or parent in found:
                break
            found.append(parent)
            current = values[parent]
        return found

    def descendants(self, dimension: str, value: str) -> set[str]:
        """A value's id with all ids below it."""
        found: set[str] = set()
        waiting = [value]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting.extend(self.children(dimension, current))
        return found
