"""Models, data sets and tools as the pages need them: who names them, in which role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from catalog.gaps import NAMES
from catalog.inventory import SINGULAR, names_in
from catalog.schema import (
    RESOURCES,
    ROLES,
    DataResource,
    Entry,
    Gap,
    ModelResource,
    Resource,
    ToolResource,
)
from catalog.site import addresses
from catalog.site.shelf import Shelf

TITLES = {"models": "Models", "datasets": "Data sets", "tools": "Tools"}
"""What the page with one list is called."""

VERBS = {
    "models": ("evaluates", "evaluate"),
    "calibration": ("calibrates on", "calibrate on"),
    "finetuning": ("fine-tunes on", "fine-tune on"),
    "evaluation": ("evaluates on", "evaluate on"),
    "tools": ("uses", "use"),
}
"""What one paper does, and what several do, with what each field of `evaluated_on` names."""

ROLE_NAMES = {
    "models": "Models",
    "calibration": "Calibration",
    "finetuning": "Fine-tuning",
    "evaluation": "Evaluation",
    "tools": "Tools",
}
"""What each field of `evaluated_on` is called on a paper's page."""

_KINDS = {
    "decoder": "Decoders",
    "mixture-of-experts": "Mixtures of experts",
    "encoder": "Encoders",
    "encoder-decoder": "Encoders with decoders",
    "recurrent": "Recurrent models",
    "vision": "Vision models",
    "multimodal": "Multimodal models",
    "other": "Other models",
}


@dataclass(frozen=True)
class Item:
    """One thing with its place in its list: how deep, and how many papers name it or a member."""

    group: str
    resource: Resource
    depth: int
    count: int

    @property
    def page(self) -> str:
        """Its page."""
        return addresses.resource(self.group, self.resource.id)


@dataclass(frozen=True)
class Named:
    """A paper in a list, with the members of the family that it names."""

    entry: Entry
    members: list[Item]


@dataclass(frozen=True)
class Role:
    """The papers that use a thing in one way, newest first.

    `direct` names the thing itself and nothing that belongs to it, `members` what belongs to it;
    `family` only what it belongs to, so that they may mean it or not.
    """

    verbs: tuple[str, str]
    direct: list[Named]
    members: list[Named]
    family: list[Named]

    @property
    def title(self) -> str:
        """How many papers do what: `3 papers calibrate on it`."""
        return f"{self._said(len(self.direct) + len(self.members), 'paper')} it"

    @property
    def families(self) -> str:
        """How many papers do so with something wider, and with what."""
        names = dict.fromkeys(item.resource.name for each in self.family for item in each.members)
        return f"{self._said(len(self.family), 'more paper')} {' or '.join(names)}"

    def _said(self, count: int, noun: str) -> str:
        one, several = self.verbs
        return f"1 {noun} {one}" if count == 1 else f"{count} {noun}s {several}"


class Resources:
    """The lists of one catalog, prepared for writing pages."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.inventory = shelf.catalog.inventory

    @cached_property
    def _keys(self) -> dict[tuple[str, str], set[str]]:
        """By field of `evaluated_on` and id: the keys of the papers that name it there."""
        found: dict[tuple[str, str], set[str]] = {}
        for (_, identifier), uses in self.shelf.catalog.uses.items():
            for use in uses:
                found.setdefault((use.role, identifier), set()).add(use.entry.key)
        return found

    @cached_property
    def _items(self) -> dict[tuple[str, str], Item]:
        found: dict[tuple[str, str], Item] = {}
        for group in RESOURCES:
            for resource, depth in self.inventory.ordered(group):
                keys: set[str] = set()
                for role in _roles(group):
                    for each in self.inventory.descendants(group, resource.id):
                        keys |= self._keys.get((role, each), set())
                found[group, resource.id] = Item(group, resource, depth, len(keys))
        return found

    def items(self, group: str) -> list[Item]:
        """All of a list, each parent before its members."""
        return [item for (where, _), item in self._items.items() if where == group]

    def item(self, group: str, identifier: str) -> Item:
        """One thing by its id."""
        return self._items[group, identifier]

    def parts(self, group: str) -> list[tuple[str, list[Item]]]:
        """A list in parts by kind or task, with the most used families first."""
        parts: dict[str, list[list[Item]]] = {title: [] for title in _KINDS.values()}
        title = ""
        for item in self.items(group):
            # A member stands below its family, whatever kind it has itself.
            if item.depth == 0:
                title = self._part(item.resource)
                parts.setdefault(title, []).append([])
            parts[title][-1].append(item)
        for families in parts.values():
            families.sort(key=lambda family: (-family[0].count, family[0].resource.name.casefold()))
        return [
            (title, [item for family in families for item in family])
            for title, families in parts.items()
            if families
        ]

    def _part(self, resource: Resource) -> str:
        if isinstance(resource, ModelResource):
            return _KINDS[self.inventory.kind_of(resource) or "other"]
        if isinstance(resource, DataResource):
            return resource.task.capitalize() + ("s" if resource.task == "suite" else "")
        return ""

    def ancestors(self, item: Item) -> list[Item]:
        """What a thing belongs to, the outermost first."""
        above = self.inventory.ancestors(item.group, item.resource.id)
        return [self.item(item.group, each.id) for each in reversed(above)]

    def children(self, item: Item) -> list[Item]:
        """What belongs to it directly."""
        below = self.inventory.children(item.group, item.resource.id)
        return [self.item(item.group, each.id) for each in below if each.id != item.resource.id]

    def facts(self, item: Item) -> str:
        """What it is, in a few words."""
        words = [SINGULAR[item.group].capitalize()]
        resource = item.resource
        if isinstance(resource, ModelResource):
            kind = self.inventory.kind_of(resource)
            words += [kind] if kind and kind != "other" else []
            words += [f"{resource.parameters} parameters"] if resource.parameters else []
        if isinstance(resource, DataResource) and resource.task != "other":
            words.append(resource.task)
        return " · ".join(words)

    def sized(self, item: Item) -> bool:
        """Whether it is a family of models of which some say their size in their name."""
        resource = item.resource
        if not isinstance(resource, ModelResource) or resource.parameters is not None:
            return False
        members = (child.resource for child in self.children(item))
        return any(isinstance(each, ModelResource) and each.parameters for each in members)

    def about(self, item: Item) -> str | None:
        """The sentence about it, if it has one."""
        resource = item.resource
        return resource.about if isinstance(resource, DataResource | ToolResource) else None

    def roles(self, item: Item) -> list[Role]:
        """The papers that use a thing, by what they use it for."""
        group, identifier = item.group, item.resource.id
        below = self.inventory.descendants(group, identifier) - {identifier}
        above = {each.id for each in self.inventory.ancestors(group, identifier)}
        found = []
        for role in _roles(group):
            direct, members, family = [], [], []
            for entry, names in self._named.get(role, ()):
                if inside := [each for each in names if each.resource.id in below]:
                    members.append(Named(entry, inside))
                elif any(each.resource.id == identifier for each in names):
                    direct.append(Named(entry, []))
                elif outside := [each for each in names if each.resource.id in above]:
                    family.append(Named(entry, outside))
            if direct or members or family:
                found.append(Role(VERBS[role], direct, members, family))
        return found

    @cached_property
    def _named(self) -> dict[str, list[tuple[Entry, list[Item]]]]:
        """By field of `evaluated_on`: the papers, newest first, with what they name in list order."""
        by_paper: dict[tuple[str, str], list[Item]] = {}
        for role, group in ROLES.items():
            for resource in self.inventory.items(group):
                for key in self._keys.get((role, resource.id), ()):
                    by_paper.setdefault((role, key), []).append(self.item(group, resource.id))
        return {
            role: [
                (entry, names)
                for entry in self.shelf.entries
                if (names := by_paper.get((role, entry.key)))
            ]
            for role in ROLES
        }

    def evaluated(self, entry: Entry) -> list[tuple[str, list[tuple[str, str | None]]]]:
        """A paper's experiments: field, then names with their pages; None where there is none."""
        found = []
        for role, title in ROLE_NAMES.items():
            names = []
            for name in names_in(entry, role):
                resource = self.inventory.meant(ROLES[role], name)
                page = addresses.resource(ROLES[role], resource.id) if resource else None
                names.append((name, page))
            if names:
                found.append((title, names))
        return found


def gaps(entry: Entry) -> Sequence[tuple[str, str]]:
    """What an entry declares as not confirmed: field and reason."""
    fields: dict[Gap, str] = entry.gaps
    return [(NAMES[field], reason) for field, reason in fields.items()]


def _roles(group: str) -> list[str]:
    return [role for role, home in ROLES.items() if home == group]
