"""The shape of a check, and the list of all checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from catalog.errors import Problem, Severity
from catalog.schema import Entry
from catalog.store import VOCABULARY, Catalog

REGISTRY: list[type[Check]] = []
"""Every check, in the order in which their modules are imported."""


class Check(ABC):
    """One thing that can be wrong across the catalog.

    A subclass states its code, its severity and what to do, and yields a problem for each
    place. Defining it registers it, unless it is abstract: a base of several checks.
    `advice` is shown only on request.
    """

    code: ClassVar[str]
    severity: ClassVar[Severity] = "error"
    help: ClassVar[str]
    advice: ClassVar[bool] = False

    def __init_subclass__(cls, abstract: bool = False) -> None:
        super().__init_subclass__()
        if not abstract:
            REGISTRY.append(cls)

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @abstractmethod
    def run(self) -> Iterator[Problem]:
        """Every problem of this kind in the catalog."""

    def at(self, path: str, message: str, *location: str | int) -> Problem:
        """A problem at a part of a YAML file, or at its start if it has no such part."""
        located = self.catalog.located.get(path)
        line, column = located.at(*location) if located is not None else (1, 1)
        return self.at_line(path, message, line, column)

    def at_line(self, path: str, message: str, line: int = 1, column: int = 1) -> Problem:
        """A problem at a line of any file."""
        return Problem(path, line, column, self.code, message, self.severity, self.help)

    def is_paper(self, key: str) -> bool:
        """Whether there is a file for the key, be it readable or not."""
        return key in self.catalog.entries or key in self.catalog.unread

    def in_entry(self, entry: Entry, message: str, *location: str | int) -> Problem:
        """A problem at a field of an entry, such as `"tags", "type", 0`."""
        return self.at(self.catalog.path_of(entry.key), message, *location)

    def in_dimension(self, dimension: str, message: str, *location: str | int) -> Problem:
        """A problem at a part of a vocabulary file."""
        return self.at((VOCABULARY / f"{dimension}.yaml").as_posix(), message, *location)
