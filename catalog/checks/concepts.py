"""Whether concept pages name tags, papers and sources that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.concepts import SOURCES, unknown_tags
from catalog.errors import Problem, details, did_you_mean, shown
from catalog.query import Filter, select


class ConceptTag(Check):
    code = "concept-tag"
    help = "Use a value of the vocabulary; prunedex tags lists them all."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        for concept in self.catalog.concepts:
            for location, dimension, tag in unknown_tags(concept, vocabulary):
                near = details(did_you_mean(tag, vocabulary.ids(dimension)))
                message = f"{dimension} has no value {shown(tag)}{near}"
                yield self.at(concept.path, message, *location)


class ConceptExamples(Check):
    code = "concept-examples"
    severity = "warning"
    help = "Choose tags that some paper has, or drop the group until one does."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        for concept in self.catalog.concepts:
            for number, group in enumerate(concept.head.papers):
                # Where a tag is unknown or its dimension unreadable, that is what to mend.
                if not group.tags.is_known(vocabulary):
                    continue
                if not select(self.catalog, Filter(**group.tags.model_dump(), kind=group.kind)):
                    message = f"no paper belongs to {shown(group.label)}"
                    yield self.at(concept.path, message, "papers", number)


class ConceptLink(Check):
    code = "concept-link"
    help = "Link with https://, to a page of the site by its file, or to an entry by paper:KEY."

    def run(self) -> Iterator[Problem]:
        for concept in self.catalog.concepts:
            for line, column, target in concept.links():
                scheme, colon, rest = target.partition(":")
                if scheme == "paper" and colon:
                    if self.is_paper(rest):
                        continue
                    near = details(did_you_mean(rest, self.catalog.entries))
                    message = f"there is no entry {shown(rest)}{near}"
                elif not re.match(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]*:|//", target):
                    continue
                else:
                    message = f"{shown(target)} is no link that a page may have"
                yield self.at_line(concept.path, message, line, column)


class ConceptSource(Check):
    code = "concept-source"
    help = f"End the text with '## {SOURCES}' and a list of links to what it was written from."

    def run(self) -> Iterator[Problem]:
        for concept in self.catalog.concepts:
            if not concept.sources():
                message = "the page names no source"
                yield self.at_line(concept.path, message, concept.start)
