"""Choosing entries: values of one field are alternatives, several fields must all hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.errors import UsageError, details, did_you_mean, listed
from catalog.inventory import names_in
from catalog.schema import DIMENSIONS, KINDS, ROLES, Entry
from catalog.store import Catalog


@dataclass(frozen=True)
class Filter:
    """What to look for; an empty field excludes nothing.

    Tag fields hold vocabulary ids, and a parent finds its children. Years are those of the
    first public version, both ends included. `has_code` and `runs_here` may ask for either
    answer. `text` holds words that must all occur in title, name, authors, takeaway or
    identifiers, whatever their case and accents. Models, data sets and tools are names as
    `catalog/resources` has them, and a family finds its members.
    """

    type: Sequence[str] = ()
    criterion: Sequence[str] = ()
    budget: Sequence[str] = ()
    data: Sequence[str] = ()
    retraining: Sequence[str] = ()
    weight_update: Sequence[str] = ()
    kind: Sequence[str] = ()
    year_from: int | None = None
    year_to: int | None = None
    has_code: bool | None = None
    runs_here: bool | None = None
    text: str | None = None
    models: Sequence[str] = ()
    calibrated_on: Sequence[str] = ()
    finetuned_on: Sequence[str] = ()
    evaluated_on: Sequence[str] = ()
    tools: Sequence[str] = ()

    def tags(self, dimension: str) -> Sequence[str]:
        """The ids asked for in one dimension."""
        values: Sequence[str] = getattr(self, dimension)
        return values

    def names(self, role: str) -> Sequence[str]:
        """The names asked for in one field of `evaluated_on`."""
        values: Sequence[str] = getattr(self, _FILTER_OF[role])
        return values

    @property
    def is_empty(self) -> bool:
        """Whether everything passes."""
        return self == Filter()


_FILTER_OF = {
    "models": "models",
    "calibration": "calibrated_on",
    "finetuning": "finetuned_on",
    "evaluation": "evaluated_on",
    "tools": "tools",
}
"""Each field of an entry's `evaluated_on`, with the filter's field that asks for it."""

# Letters that Unicode does not take apart into a base and an accent.
_BASE_LETTERS = str.maketrans("øØłŁđĐıħŧ", "oOlLdDiht")


def fold(text: str) -> str:
    """Text without case and accents, for searching."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.translate(_BASE_LETTERS))
    return "".join(
        character for character in decomposed if not unicodedata.combining(character)
    ).casefold()


def has_code(entry: Entry) -> bool:
    """Whether any code is linked, by the authors or by others."""
    return entry.links.code is not None or bool(entry.links.code_unofficial)


def runs_here(catalog: Catalog, entry: Entry) -> bool:
    """Whether the entry's method is implemented in this repository."""
    return entry.implementation in catalog.methods


def parse_years(text: str) -> tuple[int | None, int | None]:
    """`2023`, `2022-2024`, `2023-` or `-2021` as first and last year.

    Raises UsageError for anything else.
    """
    match = re.fullmatch(r"\s*([0-9]{4})?\s*(-)?\s*([0-9]{4})?\s*", text, re.ASCII)
    if match is None or not (match[1] or match[3]) or (match[1] and match[3] and not match[2]):
        raise UsageError(
            f"'{text}' is no year", "write a year or a range: 2023, 2022-2024, 2023- or -2021"
        )
    first = int(match[1]) if match[1] else None
    last = int(match[3]) if match[3] else None
    if first is not None and match[2] is None:
        last = first
    if first is not None and last is not None and first > last:
        raise UsageError(f"'{text}' ends before it begins", f"write {last}-{first}")
    return first, last


def select(catalog: Catalog, wanted: Filter) -> list[Entry]:
    """The entries that pass, in the order of their keys.

    Raises UsageError with the closest value for a tag or kind that does not exist.
    """
    accepted = {
        dimension: _accepted(catalog, dimension, wanted.tags(dimension))
        for dimension in DIMENSIONS
        if wanted.tags(dimension)
    }
    kinds = {_kind(name) for name in wanted.kind}
    named = {role: ids for role in ROLES if (ids := _wanted_resources(catalog, role, wanted))}
    words = [re.sub(r"([0-9]{4}\.[0-9]{4,5})v[0-9]+$", r"\1", each) for each in _words(wanted)]

    def passes(entry: Entry) -> bool:
        if kinds and entry.kind not in kinds:
            return False
        if wanted.year_from is not None and entry.year < wanted.year_from:
            return False
        if wanted.year_to is not None and entry.year > wanted.year_to:
            return False
        if wanted.has_code is not None and has_code(entry) != wanted.has_code:
            return False
        if wanted.runs_here is not None and runs_here(catalog, entry) != wanted.runs_here:
            return False
        for dimension, ids in accepted.items():
            if entry.tags is None or ids.isdisjoint(entry.tags.of(dimension)):
                return False
        for role, wanted_ids in named.items():
            if wanted_ids.isdisjoint(resources_in(catalog, entry, role)):
                return False
        if words:
            text = searched(entry)
            return all(word in text for word in words)
        return True

    return [entry for entry in catalog.entries.values() if passes(entry)]


def _words(wanted: Filter) -> list[str]:
    return [word.strip(",;") for word in fold(wanted.text or "").split()]


def searched(entry: Entry) -> str:
    """All text of an entry in which words are looked for, folded."""
    ids = entry.ids
    texts = [entry.key, entry.title, entry.name or "", *entry.authors, entry.takeaway]
    texts += [ids.doi or "", ids.openreview or "", ids.acl or "", ids.pmlr or ""]
    if ids.arxiv is not None:
        texts += [f"arxiv:{ids.arxiv}", f"https://arxiv.org/abs/{ids.arxiv}"]
    return fold(" ".join(texts))


def resources_in(catalog: Catalog, entry: Entry, role: str) -> set[str]:
    """The ids of what an entry names in one field of `evaluated_on`."""
    found = (catalog.inventory.meant(ROLES[role], name) for name in names_in(entry, role))
    return {item.id for item in found if item is not None}


def _wanted_resources(catalog: Catalog, role: str, wanted: Filter) -> set[str]:
    """The ids that satisfy a wish: each thing asked for with all below it."""
    found: set[str] = set()
    for name in wanted.names(role):
        item = catalog.inventory.resolve(ROLES[role], name)
        found |= catalog.inventory.descendants(ROLES[role], item.id)
    return found


def select_by_family(catalog: Catalog, wanted: Filter, role: str) -> tuple[list[str], list[Entry]]:
    """The families of what is asked for in one field of `evaluated_on`, and who names only them.

    Such a paper passes all other filters, but does not say which member of the family it means.
    """
    group, inventory = ROLES[role], catalog.inventory
    above = {
        item.id: item.name
        for name in wanted.names(role)
        for item in inventory.ancestors(group, inventory.resolve(group, name).id)
    }
    if not above:
        return [], []
    nothing: tuple[str, ...] = ()
    changes: dict[str, Any] = {_FILTER_OF[role]: nothing}
    entries = [
        entry
        for entry in select(catalog, replace(wanted, **changes))
        if not above.keys().isdisjoint(resources_in(catalog, entry, role))
    ]
    return [*above.values()], entries


def _accepted(catalog: Catalog, dimension: str, wanted: Sequence[str]) -> set[str]:
    """The ids that satisfy a wish: each wanted value with all below it."""
    found: set[str] = set()
    for value in wanted:
        identifier = catalog.vocabulary.value(dimension, value.strip().lower()).id
        found |= catalog.vocabulary.descendants(dimension, identifier)
    return found


def _kind(name: str) -> str:
    folded = name.strip().lower()
    if folded not in KINDS:
        raise UsageError(
            f"unknown kind '{name}'{details(did_you_mean(folded, KINDS))}",
            f"the kinds are {listed(KINDS)}",
        )
    return folded
