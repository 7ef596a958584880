"""The whole catalog in memory: entries, vocabulary, methods, results and problems."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from catalog.benchmarks import Benchmarks, read_benchmarks
from catalog.concepts import Concept, read_concepts
from catalog.errors import Problem, UsageError, closest, details, did_you_mean, listed, shown
from catalog.figures import FOLDER as FIGURES
from catalog.figures import Figures, collect
from catalog.inventory import Inventory, Use
from catalog.methods import MethodDoc, method_files, read_method
from catalog.protocols import Declared, protocol_files, read_protocol
from catalog.reader import Located, read_yaml, relative_name
from catalog.reported import Report
from catalog.results import (
    Failure,
    Result,
    Verification,
    failure_files,
    heads,
    read_failure,
    read_result,
    read_verification,
    result_files,
    verification_files,
)
from catalog.root import find_root
from catalog.schema import (
    DIMENSIONS,
    DataList,
    Dimension,
    Edge,
    Entry,
    ModelList,
    Resource,
    ToolList,
)
from catalog.terms import Vocabulary
from catalog.upkeep.state import State
from catalog.validation import HELP, validate

PAPERS = Path("papers")
"""Where the entries are, below the root."""

VOCABULARY = Path("catalog") / "vocabulary"
"""Where the vocabulary is, below the root."""

RESOURCE_FOLDER = Path("catalog") / "resources"
"""Where the lists of models, data sets and tools are, below the root."""

_LISTS: dict[str, type[ModelList | DataList | ToolList]] = {
    "models": ModelList,
    "datasets": DataList,
    "tools": ToolList,
}

_Model = TypeVar("_Model", bound=BaseModel)
_Named = TypeVar("_Named", bound=Dimension | ModelList | DataList | ToolList)

_FILE_HELP = {
    "file-name": "Name the file as its key, with the ending .yaml, right below its folder.",
    "no-vocabulary": "Restore the file; every dimension needs one.",
    "no-resources": "Restore the file; names in evaluated_on are looked up in it.",
}


@dataclass
class Catalog:
    """Everything that the files below `root` say.

    `results` holds every run, also those that a later one supersedes. `entries` holds the entries that could be read, sorted by key; `unread` the keys of the
    others, so that a reference to one of them is not reported on top.
    """

    root: Path
    vocabulary: Vocabulary
    entries: dict[str, Entry]
    methods: dict[str, MethodDoc]
    results: list[Result]
    verified: dict[str, Verification]
    located: dict[str, Located] = field(repr=False)
    unread: set[str] = field(default_factory=set)
    concepts: list[Concept] = field(default_factory=list)
    protocols: dict[str, Declared] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    inventory: Inventory = field(default_factory=lambda: Inventory({}))
    reading_problems: list[Problem] = field(default_factory=list)

    @classmethod
    def load(cls, root: Path | None = None) -> Catalog:
        """Read the catalog at `root`, or where `catalog.root.find_root` finds it.

        Whatever the files hold, this returns; what is wrong with them is in `problems`.
        Raises PrunedexError only where there is no catalog.
        """
        loader = _Loader(find_root(root))
        # Nearly all that is made here stays, so looking for garbage would only cost a quarter.
        collects = gc.isenabled()
        gc.disable()
        try:
            return loader.load()
        finally:
            if collects:
                gc.enable()

    @cached_property
    def problems(self) -> list[Problem]:
        """All that is wrong, found while reading and by every check, sorted by place."""
        from catalog.checks import run_checks

        found = {*self.reading_problems, *self._reports[1], *self.state.problems}
        found.update(self._benchmarks[1])
        return sorted({*found, *run_checks(self)})

    @cached_property
    def _reverse_edges(self) -> dict[str, list[tuple[Entry, Edge]]]:
        found: dict[str, list[tuple[Entry, Edge]]] = {}
        for entry in self.entries.values():
            for edge in entry.builds_on:
                found.setdefault(edge.key, []).append((entry, edge))
        return found

    def built_on_by(self, key: str) -> list[tuple[Entry, Edge]]:
        """The entries that build on this one, with the edge by which they do."""
        return list(self._reverse_edges.get(key, ()))

    @cached_property
    def uses(self) -> dict[tuple[str, str], list[Use]]:
        """The entries that name each model, data set and tool, by list and id."""
        return self.inventory.uses([*self.entries.values()])

    @cached_property
    def papers_of(self) -> dict[str, list[Entry]]:
        """The entries that each implementation names, by the method's name."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            if entry.implementation is not None:
                found.setdefault(entry.implementation, []).append(entry)
        return found

    @cached_property
    def heads(self) -> list[Result]:
        """The results that no later one supersedes, in the order of their files."""
        return heads(self.results)

    @cached_property
    def _results_in(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.folder, []).append(result)
        return found

    def beside(self, result: Result) -> list[Result]:
        """All results in the folder of one, itself too."""
        return self._results_in.get(result.folder, [])

    def results_of(self, method: str) -> list[Result]:
        """The current results of a method, in the order of their files."""
        return [result for result in self.heads if result.method == method]

    @cached_property
    def _reports(self) -> tuple[dict[str, Report], list[Problem]]:
        # Read on first use: most commands need no figures, and these are many files.
        loader = _Loader(self.root)
        found = loader.reports()
        self.located.update(loader.located)
        return found, loader.problems

    @property
    def reports(self) -> dict[str, Report]:
        """The files of reported figures that could be read, by their names without ending."""
        return self._reports[0]

    @cached_property
    def figures(self) -> Figures:
        """What papers and repositories report, one by one."""
        return collect(self.reports, self.entries)

    @cached_property
    def _benchmarks(self) -> tuple[Benchmarks, list[Problem]]:
        return read_benchmarks(self.root)

    @property
    def benchmarks(self) -> Benchmarks:
        """How fast and how lean the code is, as far as that was measured."""
        return self._benchmarks[0]

    @cached_property
    def state(self) -> State:
        """What was last seen of the links and repositories that the files name."""
        return State.load(self.root)

    def path_of(self, key: str) -> str:
        """The entry's file below the root."""
        return (PAPERS / f"{key}.yaml").as_posix()

    def find(self, text: str) -> Entry:
        """The entry that a person means: by key, arXiv id, DOI, or a name that only one has.

        Raises UsageError with the closest key where there is none, or with all keys where a
        name stands for several.
        """
        wanted = text.strip()
        if wanted in self.entries:
            return self.entries[wanted]
        folded = wanted.casefold()
        named = [
            entry
            for entry in self.entries.values()
            if folded
            in ((entry.name or "").casefold(), entry.key, (entry.ids.doi or "").casefold())
            or wanted == entry.ids.arxiv
        ]
        if len(named) == 1:
            return named[0]
        if named:
            keys = listed(entry.key for entry in named)
            raise UsageError(f"{shown(wanted)} names several papers", f"use a key: {keys}")
        if folded in self.unread:
            raise UsageError(
                f"papers/{folded}.yaml cannot be read", "run `prunedex check` to see why"
            )
        names = {entry.name: entry.key for entry in self.entries.values() if entry.name}
        near = closest(wanted, names)
        hint = f"did you mean '{names[near]}' ({near})?" if near else ""
        hint = did_you_mean(wanted, self.entries) or hint
        raise UsageError(
            f"there is no entry {shown(wanted)}{details(hint)}",
            "run `prunedex list` to see all keys, or `prunedex list --text WORD` to search",
        )


def load_vocabulary(root: Path) -> Vocabulary:
    """The vocabulary alone, as far as it can be read."""
    return Vocabulary(_Loader(root).dimensions())


def load_inventory(root: Path) -> Inventory:
    """The lists of models, data sets and tools alone, as far as they can be read."""
    return Inventory(_Loader(root).resources())


class _Loader:
    """Reads one catalog; a class only to collect problems while the parts are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.located: dict[str, Located] = {}
        self.unread: set[str] = set()

    def load(self) -> Catalog:
        vocabulary = Vocabulary(self.dimensions())
        inventory = Inventory(self.resources())
        entries = self._entries(vocabulary)
        methods: dict[str, MethodDoc] = {}
        for file in method_files(self.root):
            document, problems = read_method(self.root, file)
            self.problems += problems
            if document is not None:
                methods[document.name] = document
        results: list[Result] = []
        for file in result_files(self.root):
            result, problems = read_result(self.root, file)
            self.problems += problems
            if result is not None:
                results.append(result)
        failures: list[Failure] = []
        for file in failure_files(self.root):
            failure, problems = read_failure(self.root, file)
            self.problems += problems
            if failure is not None:
                failures.append(failure)
        protocols: dict[str, Declared] = {}
        for file in protocol_files(self.root):
            declared, problems = read_protocol(self.root, file)
            self.problems += problems
            if declared is not None:
                protocols[declared.name] = declared
        verified: dict[str, Verification] = {}
        for file in verification_files(self.root):
            verification, problems = read_verification(self.root, file)
            self.problems += problems
            if verification is not None:
                verified[verification.method] = verification
        concepts, problems = read_concepts(self.root)
        self.problems += problems
        self.located |= {concept.path: concept.located for concept in concepts}
        return Catalog(
            root=self.root,
            vocabulary=vocabulary,
            entries=entries,
            methods=methods,
            results=results,
            verified=verified,
            located=self.located,
            unread=self.unread,
            concepts=concepts,
            protocols=protocols,
            failures=failures,
            inventory=inventory,
            reading_problems=self.problems,
        )

    def _report(self, file: Path, code: str, message: str) -> None:
        name = relative_name(self.root, file)
        self.problems.append(Problem(name, 1, 1, code, message, help=_FILE_HELP[code]))

    def _yaml_files(self, folder: Path) -> list[Path]:
        """The YAML files right in a folder; what would be passed over silently is reported."""
        found = []
        for file in sorted((self.root / folder).rglob("*")):
            if file.suffix.lower() not in (".yaml", ".yml") or file.name.startswith("."):
                continue
            if file.suffix != ".yaml":
                self._report(file, "file-name", f"the file ends in {shown(file.suffix)}")
            elif file.parent != self.root / folder:
                self._report(file, "file-name", "the file is in a folder below")
            else:
                found.append(file)
        return found

    def dimensions(self) -> dict[str, Dimension]:
        models = dict.fromkeys(DIMENSIONS, Dimension)
        return self._named(VOCABULARY, models, "dimension", "no dimension", "no-vocabulary")

    def resources(self) -> dict[str, list[Resource]]:
        found = self._named(RESOURCE_FOLDER, _LISTS, "list", "no such list", "no-resources")
        return {name: [*each.items] for name, each in found.items()}

    def _named(
        self,
        folder: Path,
        models: Mapping[str, type[_Named]],
        noun: str,
        strange: str,
        missing: str,
    ) -> dict[str, _Named]:
        """The files of a folder that holds one file for each of these names, by name.

        `strange` is what a file of another name is, `missing` the code where one is not there.
        """
        found: dict[str, _Named] = {}
        present: set[str] = set()
        for file in self._yaml_files(folder):
            name = file.stem
            present.add(name)
            if name not in models:
                hint = details(did_you_mean(name, models), f"allowed: {listed(models)}")
                self._report(file, "file-name", f"{shown(name)} is {strange}{hint}")
                continue
            located, content = self._read(file, models[name])
            if located is None or content is None:
                continue
            if content.id != name:
                self._differs(located, "id", content.id, name)
            else:
                found[name] = content
        for name in models:
            if name not in present:
                absent = self.root / folder / f"{name}.yaml"
                self._report(absent, missing, f"the {noun} '{name}' has no file")
        return found

    def _read(
        self, file: Path, model: type[_Model], vocabulary: Vocabulary | None = None
    ) -> tuple[Located | None, _Model | None]:
        """A file with its places, and what it says if nothing is wrong with it."""
        located, problems = read_yaml(self.root, file)
        self.problems += problems
        if located is None:
            return None, None
        self.located[located.path] = located
        content, flaws = validate(model, located, vocabulary)
        self.problems += flaws
        return located, None if problems else content

    def _entries(self, vocabulary: Vocabulary) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for file in self._yaml_files(PAPERS):
            name = file.stem
            self.unread.add(name)
            located, entry = self._read(file, Entry, vocabulary)
            if located is None or entry is None:
                continue
            if entry.key != name:
                self._differs(located, "key", entry.key, name)
                continue
            self.unread.discard(name)
            entries[name] = entry
        return dict(sorted(entries.items()))

    def reports(self) -> dict[str, Report]:
        reports: dict[str, Report] = {}
        for file in self._yaml_files(Path(FIGURES)):
            located, report = self._read(file, Report)
            if located is None or report is None:
                continue
            key = report.source.key
            if key is not None and key != file.stem:
                self._differs(located, "source", key, file.stem)
            else:
                reports[file.stem] = report
        return reports

    def _differs(self, located: Located, field_name: str, value: str, name: str) -> None:
        message = (
            f"{field_name} is {shown(value)}, but the file is called {shown(name + '.yaml')} "
            f"(rename one of the two)"
        )
        place = located.at(field_name)
        help_text = HELP["bad-value"]
        self.problems.append(Problem(located.path, *place, "file-name", message, help=help_text))
