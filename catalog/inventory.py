"""The models, data sets and tools that experiments name, each list a forest of families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from catalog.errors import UsageError, closest, details
from catalog.forest import Forest
from catalog.schema import RESOURCES, ROLES, Entry, ModelResource, Resource

SINGULAR = {"models": "model", "datasets": "data set", "tools": "tool"}
"""What one item of each list is called."""


@dataclass(frozen=True)
class Use:
    """A paper that names a resource, and the field of `evaluated_on` in which it does."""

    entry: Entry
    role: str


class Inventory:
    """The lists of `catalog/resources`; one that cannot be read is absent.

    Where a list repeats an id or a name, the first counts; where parents form a circle, the
    walk stops when it comes back. The checks report both.
    """

    def __init__(self, lists: Mapping[str, Sequence[Resource]]) -> None:
        self._items: dict[str, dict[str, Resource]] = {}
        self._names: dict[str, dict[str, Resource]] = {}
        self._folded: dict[str, dict[str, Resource]] = {}
        self._forests: dict[str, Forest] = {}
        for group in RESOURCES:
            if group not in lists:
                continue
            items: dict[str, Resource] = {}
            for item in lists[group]:
                items.setdefault(item.id, item)
            names: dict[str, Resource] = {}
            folded: dict[str, Resource] = {}
            for item in items.values():
                names.setdefault(item.name, item)
            # Another item's own name or id goes before a mere alias.
            for text_of in (_own, _aliases):
                for item in items.values():
                    for text in text_of(item):
                        folded.setdefault(text.casefold(), item)
            self._items[group], self._names[group] = items, names
            self._folded[group] = folded
            self._forests[group] = Forest({item.id: item.parent for item in items.values()})

    def __contains__(self, group: object) -> bool:
        return group in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def items(self, group: str) -> list[Resource]:
        """Everything in a list, in the order of its file."""
        return list(self._items.get(group, {}).values())

    def get(self, group: str, identifier: str) -> Resource | None:
        """An item by its id."""
        return self._items.get(group, {}).get(identifier)

    def named(self, group: str, name: str) -> Resource | None:
        """The item whose name is spelt exactly so."""
        return self._names.get(group, {}).get(name)

    def meant(self, group: str, text: str) -> Resource | None:
        """The item that has this name, id or alias, whatever its case."""
        return self.named(group, text) or self._folded.get(group, {}).get(text.casefold())

    def near(self, group: str, text: str) -> str | None:
        """The name that a misspelt one most likely meant."""
        spellings = self._folded.get(group, {})
        found = closest(text, spellings)
        return spellings[found].name if found is not None else None

    def resolve(self, group: str, text: str) -> Resource:
        """The item that somebody at the keyboard means. Raises UsageError with the closest."""
        found = self.meant(group, text.strip())
        if found is not None:
            return found
        near = self.near(group, text.strip())
        hint = f"did you mean '{near}'?" if near else ""
        raise UsageError(
            f"unknown {SINGULAR[group]} '{text}'{details(hint)}",
            f"run `prunedex resources {group}` to see all of them",
        )

    def roots(self, group: str) -> list[Resource]:
        """The items without a known parent, in the order of the file."""
        return self._those(group, self._forest(group).roots())

    def children(self, group: str, identifier: str) -> list[Resource]:
        """The items right below one, in the order of the file."""
        return self._those(group, self._forest(group).children(identifier))

    def ancestors(self, group: str, identifier: str) -> list[Resource]:
        """The items above one, nearest first; empty for a root or an unknown id."""
        return self._those(group, self._forest(group).ancestors(identifier))

    def descendants(self, group: str, identifier: str) -> set[str]:
        """An item's id with all ids below it."""
        return self._forest(group).descendants(identifier)

    def _forest(self, group: str) -> Forest:
        return self._forests.get(group) or Forest()

    def _those(self, group: str, identifiers: Iterable[str]) -> list[Resource]:
        return [self._items[group][each] for each in identifiers]

    def ordered(self, group: str) -> list[tuple[Resource, int]]:
        """Every item with its depth, each parent right before its children."""
        found: list[tuple[Resource, int]] = []
        seen: set[str] = set()

        def visit(item: Resource, depth: int) -> None:
            if item.id in seen:
                return
            seen.add(item.id)
            found.append((item, depth))
            for child in self.children(group, item.id):
                visit(child, depth + 1)

        # Items whose parents form a circle have no root; they are part of the list all the same.
        for item in (*self.roots(group), *self.items(group)):
            visit(item, 0)
        return found

    def kind_of(self, item: ModelResource) -> str | None:
        """What kind of model it is, which the family says where the model does not."""
        for each in (item, *self.ancestors("models", item.id)):
            if isinstance(each, ModelResource) and each.kind is not None:
                return each.kind
        return None

    def uses(self, entries: Sequence[Entry]) -> dict[tuple[str, str], list[Use]]:
        """Where the entries name each item, by list and id; an alias counts as its item."""
        found: dict[tuple[str, str], list[Use]] = {}
        for entry in entries:
            for role, group in ROLES.items():
                seen: set[str] = set()
                for name in names_in(entry, role):
                    item = self.meant(group, name)
                    if item is not None and item.id not in seen:
                        seen.add(item.id)
                        found.setdefault((group, item.id), []).append(Use(entry, role))
        return found


def names_in(entry: Entry, role: str) -> list[str]:
    """The names in one field of an entry's `evaluated_on`."""
    names: list[str] = getattr(entry.evaluated_on, role)
    return names


def _own(item: Resource) -> Sequence[str]:
    return (item.name, item.id)


def _aliases(item: Resource) -> Sequence[str]:
    return item.aliases
