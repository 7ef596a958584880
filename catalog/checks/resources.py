"""Whether experiments name models, data sets and tools as the lists of these spell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from catalog.checks.base import Check
from catalog.errors import Problem, Severity, details, did_you_mean, listed, shown
from catalog.forest import circle
from catalog.inventory import SINGULAR
from catalog.schema import RESOURCES, ROLES
from catalog.store import PAPERS, RESOURCE_FOLDER


class _NameCheck(Check, abstract=True):
    """Base of checks of the names in `evaluated_on`, also in files with other mistakes."""

    def written(self) -> Iterator[tuple[str, str, int, str]]:
        """File, field, place and text of every name whose list could be read."""
        for path, located in self.catalog.located.items():
            data = located.data if path.startswith(f"{PAPERS}/") else None
            experiments = data.get("evaluated_on") if isinstance(data, dict) else None
            if not isinstance(experiments, dict):
                continue
            for role, group in ROLES.items():
                names = experiments.get(role) if group in self.catalog.inventory else None
                for number, name in enumerate(names if isinstance(names, list) else ()):
                    flawed = located.is_flawed(("evaluated_on", role, number))
                    if isinstance(name, str) and not flawed:
                        yield path, role, number, name


class _UnknownName(_NameCheck, abstract=True):
    group: ClassVar[str]

    def run(self) -> Iterator[Problem]:
        inventory = self.catalog.inventory
        for path, role, number, name in self.written():
            if ROLES[role] != self.group or inventory.meant(self.group, name) is not None:
                continue
            near = inventory.near(self.group, name)
            hint = f"did you mean '{near}'?" if near else ""
            file = (RESOURCE_FOLDER / f"{self.group}.yaml").as_posix()
            message = f"there is no {SINGULAR[self.group]} {shown(name)}"
            message += details(hint, f"or add it to {file}")
            yield self.at(path, message, "evaluated_on", role, number)


class UnknownModel(_UnknownName):
    code = "unknown-model"
    group = "models"
    help = "One model an item, as catalog/resources/models.yaml spells it; add it there if new."


class UnknownDataset(_UnknownName):
    code = "unknown-dataset"
    group = "datasets"
    help = "One data set an item, as catalog/resources/datasets.yaml spells it; add it if new."


class UnknownTool(_UnknownName):
    code = "unknown-tool"
    group = "tools"
    help = "One tool an item, as catalog/resources/tools.yaml spells it; add it there if new."


class OtherSpelling(_NameCheck):
    code = "other-spelling"
    help = "A thing has one name in the catalog; its other spellings are only understood."

    def run(self) -> Iterator[Problem]:
        for path, role, number, name in self.written():
            item = self.catalog.inventory.meant(ROLES[role], name)
            if item is not None and item.name != name:
                message = f"{shown(name)} is called {shown(item.name)} here"
                yield self.at(path, message, "evaluated_on", role, number)


class RepeatedName(_NameCheck):
    code = "repeated-name"
    help = "Keep one of the two."

    def run(self) -> Iterator[Problem]:
        seen: set[tuple[str, str, str]] = set()
        for path, role, number, name in self.written():
            item = self.catalog.inventory.meant(ROLES[role], name)
            if item is None:
                continue
            if (path, role, item.id) in seen:
                message = f"{role} names {shown(item.name)} twice"
                yield self.at(path, message, "evaluated_on", role, number)
            seen.add((path, role, item.id))


class _ListCheck(Check, abstract=True):
    """Base of checks of the lists themselves."""

    def in_list(self, group: str, message: str, *location: str | int) -> Problem:
        return self.at((RESOURCE_FOLDER / f"{group}.yaml").as_posix(), message, *location)

    def listed_items(self, group: str) -> Iterator[tuple[int, dict[str, object]]]:
        """The items as they stand in the file, repeated ones too."""
        located = self.catalog.located.get((RESOURCE_FOLDER / f"{group}.yaml").as_posix())
        data = located.data if located is not None and group in self.catalog.inventory else None
        items = data.get("items") if isinstance(data, dict) else None
        yield from enumerate(items if isinstance(items, list) else ())


class DuplicateResource(_ListCheck):
    code = "duplicate-resource"
    help = "A name, alias or id stands for one thing; merge the two, or rename one."

    def run(self) -> Iterator[Problem]:
        for group in RESOURCES:
            owners: dict[str, int] = {}
            for number, item in self.listed_items(group):
                aliases = item.get("aliases")
                texts: list[tuple[tuple[str | int, ...], object]] = [
                    (("id",), item["id"]),
                    (("name",), item["name"]),
                ]
                for place, alias in enumerate(aliases if isinstance(aliases, list) else ()):
                    texts.append((("aliases", place), alias))
                for location, text in texts:
                    owner = owners.setdefault(str(text).casefold(), number)
                    # An id may well be the name in lower case; an alias must say something new.
                    if owner != number or (location[0] == "aliases" and text == item["name"]):
                        message = f"{shown(text)} already stands for {self._name(group, owner)}"
                        yield self.in_list(group, message, "items", number, *location)

    def _name(self, group: str, number: int) -> str:
        return shown(dict(self.listed_items(group))[number]["name"])


class UnknownFamily(_ListCheck):
    code = "unknown-family"
    help = "A parent is the id of another item of the same list."

    def run(self) -> Iterator[Problem]:
        for group in self.catalog.inventory:
            ids = [item.id for item in self.catalog.inventory.items(group)]
            for number, item in self.listed_items(group):
                parent = item.get("parent")
                if isinstance(parent, str) and parent not in ids:
                    near = details(did_you_mean(parent, ids))
                    message = f"the parent {shown(parent)} is no id in {group}{near}"
                    yield self.in_list(group, message, "items", number, "parent")


class FamilyCircle(_ListCheck):
    code = "family-circle"
    help = "Remove one of the parents, so that every family has a root."

    def run(self) -> Iterator[Problem]:
        for group in self.catalog.inventory:
            parents = {item.id: item.parent for item in self.catalog.inventory.items(group)}
            for number, item in enumerate(self.catalog.inventory.items(group)):
                way = circle(item.id, item.parent, parents)
                if way:
                    message = f"the parents form a circle: {way}"
                    yield self.in_list(group, message, "items", number, "parent")


class UnusedResource(_ListCheck):
    code = "unused-resource"
    severity: ClassVar[Severity] = "notice"
    advice = True
    help = "Nothing in the catalog names it so far; remove it unless something soon will."

    def run(self) -> Iterator[Problem]:
        inventory = self.catalog.inventory
        used = {*self.catalog.uses, *self._reported()}
        for group in inventory:
            unused = [
                item.name
                for item in inventory.items(group)
                if used.isdisjoint((group, each) for each in inventory.descendants(group, item.id))
            ]
            if unused:
                message = f"nothing names these {group}: {listed(unused)}"
                yield self.in_list(group, message, "items")

    def _reported(self) -> Iterator[tuple[str, str]]:
        """List and id of everything that reported figures name."""
        for figure in self.catalog.figures.all:
            tasks = figure.suite.tasks if figure.suite is not None else []
            names = [("models", figure.model), ("datasets", figure.dataset)]
            for group, name in [*names, *(("datasets", task) for task in tasks)]:
                item = self.catalog.inventory.meant(group, name) if name is not None else None
                if item is not None:
                    yield group, item.id
