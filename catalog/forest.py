"""Ids with parents: what is above and below each, also where parents are missing or go in circles."""

from __future__ import annotations

from collections.abc import Mapping


class Forest:
    """Trees of ids, in the order in which they are given.

    A parent that is no id counts as none; where parents form a circle, a walk stops when it
    comes back. The checks report both.
    """

    def __init__(self, parents: Mapping[str, str | None] | None = None) -> None:
        self._parents = dict(parents or {})
        self._children: dict[str, list[str]] = {}
        for identifier, parent in self._parents.items():
            if parent is not None:
                self._children.setdefault(parent, []).append(identifier)

    def roots(self) -> list[str]:
        """The ids without a known parent."""
        return [each for each, parent in self._parents.items() if parent not in self._parents]

    def children(self, identifier: str) -> list[str]:
        """The ids right below one."""
        return list(self._children.get(identifier, ()))

    def ancestors(self, identifier: str) -> list[str]:
        """The ids above one, nearest first; empty for a root or an unknown id."""
        found: list[str] = []
        parent = self._parents.get(identifier)
        while parent in self._parents and parent != identifier and parent not in found:
            found.append(parent)
            parent = self._parents[parent]
        return found

    def descendants(self, identifier: str) -> set[str]:
        """An id with all ids below it."""
        found: set[str] = set()
        waiting = [identifier]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting.extend(self._children.get(current, ()))
        return found


def circle(identifier: str, parent: str | None, parents: Mapping[str, str | None]) -> str:
    """The way from an id over its parents back to itself, as `a → b → a`; empty if none.

    A circle is told once only: from its first id in the alphabet.
    """
    above: list[str] = []
    current = parent
    while current is not None and current != identifier and current not in above:
        above.append(current)
        current = parents.get(current)
    if current != identifier or identifier != min([identifier, *above]):
        return ""
    return " → ".join([identifier, *above, identifier])
