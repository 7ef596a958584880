"""Concept pages: hand-written Markdown whose head says which papers exemplify them.

`site/pages/concepts/NAME.md` starts with a head between two lines `---`. Its `papers` are
filters over the tags, so that the lists below the text are made anew at every build and
never go stale. In the text, `[Wanda](paper:sun2023simple)` links to an entry's page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from catalog.errors import Problem
from catalog.reader import Located, parse_yaml, read_text, relative_name
from catalog.schema import DIMENSIONS, Kind, Slug, Strict, Text
from catalog.terms import Vocabulary
from catalog.validation import validate

CONCEPTS = Path("site") / "pages" / "concepts"
"""Where the concept pages are, below the root."""

INDEX = "index"
"""The one name that a concept page cannot have: the list of all of them is written there."""

SOURCES = "Sources"
"""The heading below which a concept page lists what it was written from."""

_HELP = {
    "no-head": "Start the file with a line '---', then title, description and papers, then '---'.",
    "file-name": "Name the file with lower-case words and hyphens, such as outlier-features.md.",
}

_HEAD = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
# Where code begins and ends, and the target of each link outside of it.
_LINK = re.compile(
    r"^(?P<fence>```|~~~).*?(?:^(?P=fence)|\Z)|(?P<code>`+)[^\n]*?(?P=code)"
    r"|\]\((?P<target>[^)\s]*)(?:[^)\n]*)\)",
    re.DOTALL | re.MULTILINE,
)


class Selection(Strict):
    """Values of the six dimensions; as in the catalog, a parent stands for its children too."""

    type: list[Slug] = Field(default_factory=list)
    criterion: list[Slug] = Field(default_factory=list)
    budget: list[Slug] = Field(default_factory=list)
    data: list[Slug] = Field(default_factory=list)
    retraining: list[Slug] = Field(default_factory=list)
    weight_update: list[Slug] = Field(default_factory=list)

    def of(self, dimension: str) -> list[str]:
        """The ids of one dimension (a name from `DIMENSIONS`)."""
        values: list[str] = getattr(self, dimension)
        return values

    def is_known(self, vocabulary: Vocabulary) -> bool:
        """Whether the vocabulary has every tag."""
        return all(vocabulary.has(name, tag) for name in DIMENSIONS for tag in self.of(name))


class Group(Strict):
    """Papers to list below the text, by the rules of the catalog's filters.

    Values of one dimension are alternatives, dimensions must all hold.
    """

    label: Text
    tags: Selection = Field(default_factory=Selection)
    kind: list[Kind] = Field(default_factory=list, description="Surveys have no tags")


def _filled(group: Group) -> Group:
    if not group.kind and not any(map(group.tags.of, DIMENSIONS)):
        raise ValueError("name at least one tag or kind")
    return group


class Head(Strict):
    """What the head of a concept page says."""

    title: Text
    description: Text = Field(description="One sentence, for the list of concepts")
    order: Annotated[int, Field(ge=1)] = Field(description="Its place in the reading order")
    dimensions: list[
        Literal["type", "criterion", "budget", "data", "retraining", "weight_update"]
    ] = Field(default_factory=list, description="Dimensions whose pages link here")
    explains: Selection = Field(
        default_factory=Selection, description="Tags whose pages link here, with their children"
    )
    papers: Annotated[list[Annotated[Group, AfterValidator(_filled)]], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class Concept:
    """One concept page; `start` is the line of the file on which `body` begins."""

    name: str
    path: str
    head: Head
    body: str
    start: int
    located: Located

    def links(self) -> Iterator[tuple[int, int, str]]:
        """Line, column and target of every Markdown link of the text."""
        for match in _LINK.finditer(self.body):
            if match["target"] is not None:
                before = self.body[: match.start("target")]
                line = before.count("\n")
                yield self.start + line, len(before) - before.rfind("\n"), match["target"]

    def sources(self) -> list[str]:
        """The addresses that the page names as its sources."""
        _, _, after = self.body.partition(f"\n## {SOURCES}\n")
        listed = re.split(r"^#{1,2} ", after, maxsplit=1, flags=re.MULTILINE)[0]
        return re.findall(r"\]\((https?://[^)\s]+)\)", listed)


def split(text: str) -> tuple[str, str, int]:
    """Head and text of a Markdown file, and the line on which the text begins.

    The head is empty where there is none.
    """
    match = _HEAD.match(text)
    if match is None:
        return "", text, 1
    return match[1], text[match.end() :], text.count("\n", 0, match.end()) + 1


def read_concepts(root: Path) -> tuple[list[Concept], list[Problem]]:
    """All concept pages below a root in reading order, and what is wrong with their heads."""
    concepts: list[Concept] = []
    problems: list[Problem] = []
    for file in sorted((root / CONCEPTS).glob("*.md")):
        concept, found = read_concept(root, file)
        problems += found
        if concept is not None:
            concepts.append(concept)
    return sorted(concepts, key=lambda each: (each.head.order, each.name)), problems


def read_concept(root: Path, file: Path) -> tuple[Concept | None, list[Problem]]:
    """One concept page, or what is wrong with its head."""
    path = relative_name(root, file)
    text, problems = read_text(root, file)
    if text is None:
        return None, problems

    def refuse(code: str, message: str) -> tuple[None, list[Problem]]:
        return None, [Problem(path, 1, 1, code, message, help=_HELP[code])]

    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", file.stem) or file.stem == INDEX:
        return refuse("file-name", "no concept page can have this name")
    head, body, start = split(text)
    if not head:
        return refuse("no-head", "the page does not start with a head between two lines '---'")
    # The empty line stands for the first '---', so that every line keeps its number.
    located, problems = parse_yaml(path, "\n" + head)
    if located is None:
        return None, problems
    read, flaws = validate(Head, located)
    problems += flaws
    if read is None or problems:
        return None, problems
    return Concept(file.stem, path, read, body, start, located), []


def unknown_tags(
    concept: Concept, vocabulary: Vocabulary
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Location, dimension and id of every tag in the head that the vocabulary does not have.

    A dimension that could not be read is reported at its own file, not here.
    """
    selections: list[tuple[tuple[str | int, ...], Selection]] = [
        (("explains",), concept.head.explains)
    ]
    for number, group in enumerate(concept.head.papers):
        selections.append((("papers", number, "tags"), group.tags))
    for location, selection in selections:
        for dimension in vocabulary:
            for number, tag in enumerate(selection.of(dimension)):
                if not vocabulary.has(dimension, tag):
                    yield (*location, dimension, number), dimension, tag
