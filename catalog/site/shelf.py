"""The catalog as the pages need it: in reading order, with tags, counts and figures looked up."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property

from catalog.bibtex import to_bibtex
from catalog.boards import Board, alike, boards
from catalog.methods import MethodDoc
from catalog.results import BUDGETS, Observation, Protocol, Result
from catalog.schema import DIMENSIONS, Dimension, Edge, Entry, Value
from catalog.site import addresses
from catalog.store import Catalog

# Dimensions whose values say nothing without their dimension: "Without", "Frozen".
_NEEDS_CONTEXT = ("retraining", "weight_update")

RELATIONS = {
    "extends": ("Extends", "Extended by"),
    "simplifies": ("Simplifies", "Simplified by"),
    "allocates-for": ("Allocates budgets for", "Gets its budgets from"),
    "refines": ("Refines", "Refined by"),
    "combines": ("Combines", "Combined in"),
    "implements": ("Implements", "Implemented by"),
    "analyses": ("Analyses", "Analysed by"),
    "compares": ("Compares", "Compared in"),
}
"""Each relation in words, read from this paper and read from the other one."""


def appeared(entry: Entry) -> int:
    """When a paper was first public, in months: an arXiv id of its year tells the month."""
    found = re.match(r"(\d\d)(\d\d)\.", entry.ids.arxiv or "")
    known = found is not None and int(found[1]) == entry.year % 100
    return entry.year * 12 + (int(found[2]) - 1 if found is not None and known else 0)


@dataclass(frozen=True)
class Tag:
    """A tag on a paper: `seen` is what a run showed, `not_run` why none did."""

    dimension: Dimension
    value: Value
    seen: Observation | None = None
    not_run: str | None = None

    @property
    def page(self) -> str:
        """The page of the value."""
        return addresses.value(self.dimension.id, self.value.id)

    @property
    def needs_context(self) -> bool:
        """Whether the value's name is unclear without the dimension's."""
        return self.dimension.id in _NEEDS_CONTEXT or self.value.id == "other"


@dataclass(frozen=True)
class Node:
    """A value in the hierarchy of its dimension, with the number of papers that have it."""

    dimension: Dimension
    value: Value
    depth: int
    count: int

    @property
    def page(self) -> str:
        """The page of the value."""
        return addresses.value(self.dimension.id, self.value.id)


@dataclass(frozen=True)
class Measured:
    """Runs whose figures may be compared: one protocol, one row a run."""

    protocol: Protocol
    results: list[Result]


@dataclass(frozen=True)
class Related:
    """An edge to another paper; `entry` is None where that paper has no entry."""

    key: str
    entry: Entry | None
    edge: Edge
    words: str


class Shelf:
    """One catalog, prepared for writing pages."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @cached_property
    def entries(self) -> list[Entry]:
        """All entries, newest first, then by what people call them."""
        return sorted(
            self.catalog.entries.values(),
            key=lambda entry: (-appeared(entry), called(entry).casefold(), entry.key),
        )

    @cached_property
    def dimensions(self) -> list[Dimension]:
        """The tag dimensions in their fixed order."""
        return [*self.catalog.vocabulary.dimensions.values()]

    @cached_property
    def _papers(self) -> dict[tuple[str, str], list[Entry]]:
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            if entry.tags is None:
                continue
            for name in DIMENSIONS:
                reached: set[str] = set()
                for identifier in entry.tags.of(name):
                    reached.add(identifier)
                    reached.update(self.catalog.vocabulary.ancestors(name, identifier))
                for identifier in reached:
                    found.setdefault((name, identifier), []).append(entry)
        return found

    def papers_with(self, dimension: str, value: str) -> list[Entry]:
        """The papers that have a tag or one below it, newest first."""
        return self._papers.get((dimension, value), [])

    def nodes(self, dimension: Dimension) -> list[Node]:
        """All values of a dimension, each parent before its children."""
        vocabulary = self.catalog.vocabulary
        found: list[Node] = []
        seen: set[str] = set()

        def visit(identifier: str, depth: int) -> None:
            if identifier in seen:
                return
            seen.add(identifier)
            value = vocabulary.value(dimension.id, identifier)
            count = len(self.papers_with(dimension.id, identifier))
            found.append(Node(dimension, value, depth, count))
            for child in vocabulary.children(dimension.id, identifier):
                visit(child, depth + 1)

        for root in vocabulary.roots(dimension.id):
            visit(root, 0)
        # Values whose parents form a circle have no root; a page must exist all the same.
        for identifier in vocabulary.ids(dimension.id):
            visit(identifier, 0)
        return found

    def tags(self, entry: Entry, dimension: str) -> list[Tag]:
        """A paper's tags in one dimension, with what was seen of them."""
        vocabulary = self.catalog.vocabulary
        if entry.tags is None or dimension not in vocabulary.dimensions:
            return []
        method = self.method(entry)
        verification = self.catalog.verified.get(method.name) if method else None
        seen = verification.tags.get(dimension, {}) if verification else {}
        reasons = {
            item.value: item.text
            for item in (method.not_run if method else [])
            if item.dimension == dimension
        }
        return [
            Tag(
                vocabulary.dimensions[dimension],
                vocabulary.value(dimension, identifier),
                seen.get(identifier),
                reasons.get(identifier),
            )
            for identifier in entry.tags.of(dimension)
            if vocabulary.has(dimension, identifier)
        ]

    def all_tags(self, entry: Entry) -> list[Tag]:
        """A paper's tags in all dimensions."""
        return [tag for name in DIMENSIONS for tag in self.tags(entry, name)]

    def method(self, entry: Entry) -> MethodDoc | None:
        """The implementation that the entry names, if it exists."""
        if entry.implementation is None:
            return None
        return self.catalog.methods.get(entry.implementation)

    def measured(self, method: str | None = None) -> list[Measured]:
        """Results, of one method or of all, parted wherever two protocols must not be compared.

        In a group, settings stand together, and within a setting the better first.
        """
        wanted = [each for each in self.catalog.heads if method in (None, each.method)]
        groups = [Measured(members[0].protocol, members) for members in alike(wanted)]
        for group in groups:
            group.results.sort(key=_rank)
        return sorted(groups, key=lambda group: group.protocol.name)

    @cached_property
    def boards(self) -> list[Board]:
        """The leaderboards of what was measured here."""
        return boards(self.catalog)

    @cached_property
    def _board_of(self) -> dict[str, Board]:
        return {result.path: board for board in self.boards for result in board.results}

    def board_page(self, result: Result) -> str:
        """The leaderboard that a result is on."""
        board = self._board_of.get(result.path)
        return addresses.board(board.slug) if board is not None else addresses.RESULTS

    def method_name(self, method: str) -> str:
        """What people call a method; "Wanda: weights times …" begins with it."""
        doc = self.catalog.methods.get(method)
        name, colon, _ = doc.summary.partition(": ") if doc else ("", "", "")
        return name if colon and len(name.split()) <= 3 else method

    def method_page(self, method: str) -> str:
        """Where a method is described: the page of its paper, or else that of all methods."""
        papers = self.catalog.papers_of.get(method, [])
        return addresses.paper(papers[0].key) if papers else addresses.METHODS

    @cached_property
    def named(self) -> dict[tuple[str, str], set[str]]:
        """By key and list (models, data sets, tools): the ids that a paper names in any role."""
        found: dict[tuple[str, str], set[str]] = {}
        for (group, identifier), uses in self.catalog.uses.items():
            for use in uses:
                found.setdefault((use.entry.key, group), set()).add(identifier)
        return found

    def builds_on(self, entry: Entry) -> list[Related]:
        """What a paper builds on."""
        return [
            Related(edge.key, self.catalog.entries.get(edge.key), edge, RELATIONS[edge.relation][0])
            for edge in entry.builds_on
        ]

    def built_on_by(self, entry: Entry) -> list[Related]:
        """What builds on a paper, newest first."""
        found = [
            Related(other.key, other, edge, RELATIONS[edge.relation][1])
            for other, edge in self.catalog.built_on_by(entry.key)
        ]
        return sorted(found, key=lambda each: (-each.entry.year if each.entry else 0, each.key))

    @cached_property
    def _bibtex(self) -> dict[str, str]:
        return {entry.key: to_bibtex([entry]).strip() for entry in self.entries}

    def bibtex(self, entry: Entry) -> str:
        """A paper's BibTeX."""
        return self._bibtex[entry.key]


def _rank(result: Result) -> tuple[str, float, str, float, str]:
    return (
        result.budget.unit,
        result.budget.asked,
        setting(result),
        result.quality.rank,
        result.method,
    )


def called(entry: Entry) -> str:
    """What people call a paper: its method's name, or else its title."""
    return entry.name or entry.title


def series(entry: Entry) -> str:
    """The venue without its year, to group by: `ICLR 2024` gives `ICLR`."""
    without = re.sub(r"\b(19|20)\d\d\b", " ", entry.venue.short)
    return " ".join(without.split()) or entry.venue.short


def authors_in_short(entry: Entry, limit: int = 4) -> str:
    """The authors for a list: all of them, or the first ones and how many more, or that none is."""
    names = [display_name(author) for author in entry.authors]
    if not names:
        return "Authors unknown"
    if len(names) <= limit + 1:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def display_name(author: str) -> str:
    """`Family, Given` as `Given Family`; other names as they are."""
    family, comma, given = author.partition(",")
    return f"{given.strip()} {family.strip()}" if comma and given.strip() else author


def first_sentence(text: str) -> str:
    """The first sentence; a full stop ends one only before a space and a capital letter."""
    # Abbreviations before a capital: "e.g. Llama", "vs. Wanda", "Eq. 3" and initials.
    ends = re.finditer(
        r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bal)(?<!\bcf)(?<!\b[A-Z])[.!?](?=\s+[A-Z])", text
    )
    first = next(ends, None)
    return text[: first.end()] if first else text


def address(entry: Entry) -> str | None:
    """Where to read the paper."""
    if entry.links.paper:
        return entry.links.paper
    if entry.ids.doi:
        return f"https://doi.org/{entry.ids.doi}"
    if entry.ids.arxiv:
        return f"https://arxiv.org/abs/{entry.ids.arxiv}"
    return entry.links.proceedings


def option_text(value: object) -> str:
    """An option's value as people write it: a pattern as `2:4`, nothing as `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ":".join(str(part) for part in value)
    if isinstance(value, dict):
        return ":".join(str(part) for part in value.values())
    return str(value)


def setting(result: Result) -> str:
    """The budget of a run as one phrase; its other options are in the command."""
    parts = [
        f"{name} {option_text(value)}"
        for name, value in result.options.items()
        # A pattern says the sparsity too, and a shape of 1 is no change.
        if name in BUDGETS
        and value is not None
        and not (name == "sparsity" and result.options.get("pattern"))
        and not (result.budget.unit == "shape" and value == 1)
    ]
    return ", ".join(parts) or "defaults"


def again(result: Result) -> str:
    """The command that makes the same run once more."""
    words = ["prunedex", "run", result.method, "--model", result.protocol.model.name]
    options = {name: value for name, value in result.options.items() if value is not None}
    if "pattern" in options:
        options.pop("sparsity", None)  # a pattern brings its own
    text = result.protocol.calibration
    if text is not None:
        words += ["--calibration", text.source, "--samples", str(text.samples)]
    if result.protocol.evaluation.length is not None:
        words += ["--length", str(result.protocol.evaluation.length)]
    words += ["--dtype", result.protocol.model.dtype, "--seed", str(result.protocol.seed)]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", option_text(value)]
    return command(*words)


def command(*words: str) -> str:
    """A command line that a shell reads as these words."""
    return shlex.join(words)
