"""Whether entries use the vocabulary as it is meant."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, listed, shown
from catalog.schema import DIMENSIONS
from catalog.store import PAPERS


class UnknownTag(Check):
    code = "unknown-tag"
    help = "Use a value of the vocabulary, or add one to catalog/vocabulary with its definition."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        # A dimension whose file cannot be read is reported there, not at every tag.
        for dimension in vocabulary:
            allowed = vocabulary.ids(dimension)
            for path, number, tag in self._written(dimension):
                if vocabulary.has(dimension, tag):
                    continue
                elsewhere = [other for other in vocabulary if vocabulary.has(other, tag)]
                hint = did_you_mean(tag, allowed)
                if elsewhere:
                    hint = f"it is a value of {listed(elsewhere)}"
                known = f"allowed: {listed(allowed)}"
                message = f"{dimension} has no value {shown(tag)}{details(hint, known)}"
                yield self.at(path, message, "tags", dimension, number)

    def _written(self, dimension: str) -> Iterator[tuple[str, int, str]]:
        """File, place and text of every tag, in files with other mistakes, too."""
        for path, located in self.catalog.located.items():
            data = located.data if path.startswith(f"{PAPERS}/") else None
            tags = data.get("tags") if isinstance(data, dict) else None
            values = tags.get(dimension) if isinstance(tags, dict) else None
            for number, tag in enumerate(values if isinstance(values, list) else ()):
                if isinstance(tag, str) and not located.is_flawed(("tags", dimension, number)):
                    yield path, number, tag


class RedundantTag(Check):
    code = "redundant-tag"
    help = "Give the most specific value only; a search for its parent finds it."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for dimension in DIMENSIONS if entry.tags is not None else ():
                tags = entry.tags.of(dimension) if entry.tags is not None else []
                implied = {
                    above: tag
                    for tag in tags
                    for above in self.catalog.vocabulary.ancestors(dimension, tag)
                }
                for number, tag in enumerate(tags):
                    if tag in tags[:number]:
                        message = f"{dimension} names {shown(tag)} twice"
                    elif tag in implied:
                        message = f"{shown(tag)} is implied by {shown(implied[tag])}"
                    else:
                        continue
                    yield self.in_entry(entry, message, "tags", dimension, number)


class UnusedValue(Check):
    code = "unused-value"
    severity = "warning"
    advice = True
    help = "Tag the papers that it fits, or remove the value."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        for dimension in vocabulary:
            used = {
                tag
                for entry in self.catalog.entries.values()
                if entry.tags is not None
                for tag in entry.tags.of(dimension)
            }
            unused = [
                identifier
                for identifier in vocabulary.ids(dimension)
                if used.isdisjoint(vocabulary.descendants(dimension, identifier))
            ]
            if unused:
                message = f"{dimension} has values that no entry uses: {listed(unused)}"
                yield self.in_dimension(dimension, message, "values")
