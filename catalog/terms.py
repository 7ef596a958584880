"""The vocabulary: six dimensions of tag values, each a forest of parents and children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from catalog.errors import UsageError, details, did_you_mean, listed
from catalog.forest import Forest
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
        self._forests: dict[str, Forest] = {}
        for name, dimension in self.dimensions.items():
            values: dict[str, Value] = {}
            for value in dimension.values:
                values.setdefault(value.id, value)
            self._values[name] = values
            self._forests[name] = Forest({value.id: value.parent for value in values.values()})

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
        return self._forest(dimension).children(value)

    def roots(self, dimension: str) -> list[str]:
        """The ids without a known parent, in the order of the file."""
        return self._forest(dimension).roots()

    def ancestors(self, dimension: str, value: str) -> list[str]:
        """The ids above a value, nearest first; empty for a root or an unknown id."""
        return self._forest(dimension).ancestors(value)

    def descendants(self, dimension: str, value: str) -> set[str]:
        """A value's id with all ids below it."""
        return self._forest(dimension).descendants(value)

    def _forest(self, dimension: str) -> Forest:
        return self._forests.get(dimension) or Forest()
