"""Whether entries, method files and what the runs wrote fit together."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, shown
from catalog.methods import FOLDER
from catalog.schema import DIMENSIONS


class UnknownImplementation(Check):
    code = "unknown-implementation"
    help = "implementation names a file of impl/methods, with hyphens for underscores."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            name = entry.implementation
            if name is None or name in self.catalog.methods:
                continue
            file = self.catalog.root / FOLDER / f"{name.replace('-', '_')}.py"
            if not file.exists():  # one that exists, but cannot be read, is reported there
                near = did_you_mean(name, self.catalog.methods)
                message = f"there is no method {shown(name)}{details(near)}"
                yield self.in_entry(entry, message, "implementation")


class MethodWithoutEntry(Check):
    code = "method-without-entry"
    help = "Name the method in the entry of its paper, as `implementation`."

    def run(self) -> Iterator[Problem]:
        named = set(self.catalog.papers_of)
        for key in self.catalog.unread:
            located = self.catalog.located.get(self.catalog.path_of(key))
            if located is not None and isinstance(located.data, dict):
                named.add(str(located.data.get("implementation")))
        for name, method in self.catalog.methods.items():
            if name not in named:
                message = f"no entry names the method {shown(name)} as its implementation"
                yield self.at_line(method.path, message, method.line)


class ResultWithoutMethod(Check):
    code = "result-without-method"
    help = "Remove the file, or restore the method that it was measured with."

    def run(self) -> Iterator[Problem]:
        files = [(result.method, result.path) for result in self.catalog.results]
        files += [(seen.method, seen.path) for seen in self.catalog.verified.values()]
        for name, path in files:
            if name not in self.catalog.methods:
                near = details(did_you_mean(name, self.catalog.methods))
                yield self.at_line(path, f"there is no method {shown(name)}{near}")


class ObservedTag(Check):
    code = "observed-tag"
    help = "Run the verification again; the vocabulary has changed since."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        for verification in self.catalog.verified.values():
            for dimension, tags in verification.tags.items():
                for tag in tags:
                    if dimension not in DIMENSIONS:
                        message = f"{shown(dimension)} is no dimension"
                    elif dimension in vocabulary and not vocabulary.has(dimension, tag):
                        near = details(did_you_mean(tag, vocabulary.ids(dimension)))
                        message = f"{dimension} has no value {shown(tag)}{near}"
                    else:
                        continue
                    yield self.at_line(verification.path, message)


class RefutedTag(Check):
    code = "refuted-tag"
    help = "A run shows otherwise: correct the tag, or the implementation."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            verification = self.catalog.verified.get(entry.implementation or "")
            if verification is None or entry.tags is None:
                continue
            for dimension in DIMENSIONS:
                seen = verification.tags.get(dimension, {})
                for number, tag in enumerate(entry.tags.of(dimension)):
                    if tag in seen and not seen[tag].holds:
                        message = f"{dimension} {shown(tag)} does not hold in a run of "
                        message += f"{verification.method}: {shown(seen[tag].observed, 120)}"
                        yield self.in_entry(entry, message, "tags", dimension, number)


class NotRunTag(Check):
    code = "not-run-tag"
    help = "`Not run here` lists tags that the method's paper claims, as `- data small: reason`."

    def run(self) -> Iterator[Problem]:
        for name, papers in self.catalog.papers_of.items():
            method = self.catalog.methods.get(name)
            for item in method.not_run if method is not None else ():
                claimed = {
                    tag
                    for entry in papers
                    if entry.tags is not None and item.dimension in DIMENSIONS
                    for tag in entry.tags.of(item.dimension)
                }
                if method is not None and item.value not in claimed:
                    wanted = f"{item.dimension} {item.value}"
                    message = f"{shown(wanted)} is not run here, but no entry claims it"
                    yield self.at_line(method.path, message, method.line)
