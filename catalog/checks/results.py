"""Whether what the runs wrote keeps to its protocol, its file name and what came before."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, listed, shown
from catalog.protocols import departures
from catalog.results import FAILED, Result, earlier, setting_names

CLOSE = 1e-4
"""Relative difference up to which a quality is the mean of its scores; runs round."""


class _ResultCheck(Check, abstract=True):
    """Base of checks of result files."""

    def in_result(self, result: Result, message: str) -> Problem:
        """A problem of a result as a whole."""
        return self.at_line(result.path, message)


class UnknownSuperseded(_ResultCheck):
    code = "unknown-superseded"
    help = "supersedes names the file of the earlier run in the same folder; restore that file."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            names = [each.file for each in self.catalog.beside(result)]
            if result.supersedes is not None and result.supersedes not in names:
                near = details(did_you_mean(result.supersedes, names))
                message = f"supersedes {shown(result.supersedes)}, which is not there{near}"
                yield self.in_result(result, message)


class SupersededTwice(_ResultCheck):
    code = "superseded-twice"
    help = "Runs of a cell follow each other in one line: supersede the newest."

    def run(self) -> Iterator[Problem]:
        first: dict[tuple[str, str], Result] = {}
        for result in self.catalog.results:
            if result.supersedes is None:
                continue
            seen = first.setdefault((result.folder, result.supersedes), result)
            if seen is not result:
                message = f"{shown(result.supersedes)} is superseded by {shown(seen.file)} already"
                yield self.in_result(result, message)


class SupersededCircle(_ResultCheck):
    code = "superseded-circle"
    help = "The first run of a cell supersedes none; write null there."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            past = earlier(result, self.catalog.beside(result))
            last = past[-1] if past else result
            if last.supersedes is not None and last.supersedes == result.file:
                yield self.in_result(result, f"{shown(result.file)} comes to supersede itself")


class SupersededOther(_ResultCheck):
    code = "superseded-other"
    help = "A run supersedes one of the same method at the same setting under the same protocol."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            for other in self.catalog.beside(result):
                if result.supersedes == other.file and result.cell != other.cell:
                    fields = [
                        f"{name} {shown(theirs)}, here {shown(ours)}"
                        for name, ours, theirs in zip(
                            ("protocol", "method", "setting"), result.cell, other.cell, strict=True
                        )
                        if ours != theirs
                    ]
                    message = f"{shown(other.file)} is of another cell ({'; '.join(fields)})"
                    yield self.in_result(result, message)


class ResultName(_ResultCheck):
    code = "result-name"
    help = "A file is named <method>-<setting>.json, and .2.json where it supersedes that."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            settings = setting_names(result.budget.unit, result.options)
            stems = [f"{result.method}-{setting}" for setting in settings]
            name = result.file.removesuffix(".json")
            if result.supersedes is None:
                fits = name in stems
                wanted = f"{stems[0]}.json"
            else:
                version = name.rpartition(".")[2]
                numbered = version.isascii() and version.isdecimal() and int(version) > 1
                fits = numbered and name.removesuffix(f".{version}") in stems
                wanted = f"{stems[0]}.<number from 2>.json"
            if not fits:
                message = f"the file is called {shown(result.file)}, but holds {shown(wanted)}"
                yield self.in_result(result, message)
        for failure in self.catalog.failures:
            # What the run would have recorded of its budget is not known, only what was asked.
            method = self.catalog.methods.get(failure.method)
            unit = method.budget if method is not None else None
            stems = [f"{failure.method}-{each}" for each in setting_names(unit, failure.options)]
            if failure.file.removesuffix(FAILED) not in stems:
                wanted = f"{stems[0]}{FAILED}"
                message = f"the file is called {shown(failure.file)}, but holds {shown(wanted)}"
                yield self.at_line(failure.path, message)


class UnknownProtocol(_ResultCheck):
    code = "unknown-protocol"
    help = "A result names a protocol of impl/protocols and stands in the folder of that name."

    def run(self) -> Iterator[Problem]:
        known = self.catalog.protocols
        named = [(each.protocol.name, each.path) for each in self.catalog.results]
        named += [(each.protocol.name, each.path) for each in self.catalog.failures]
        for name, path in named:
            if name not in known:
                near = details(did_you_mean(name, known), f"declared: {listed(known)}")
                yield self.at_line(path, f"there is no protocol {shown(name)}{near}")
                continue
            folder = path.split("/")[-2]
            if folder != name:
                message = f"the protocol is {shown(name)}, but the folder is {shown(folder)}"
                yield self.at_line(path, message)


class ProtocolDeparture(_ResultCheck):
    code = "protocol-departure"
    help = "Numbers compare only where all of it is the same: give another protocol another name."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            declared = self.catalog.protocols.get(result.protocol.name)
            for field, found, wanted in departures(declared, result.protocol) if declared else ():
                message = f"{field} differs from {declared.name if declared else ''}.toml "
                message += f"(found {shown(found)}; declared: {shown(wanted)})"
                yield self.in_result(result, message)


class ResultLengths(_ResultCheck):
    code = "result-lengths"
    help = "Write the file again with what made it, rather than by hand."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            for message in _wrong_lengths(result):
                yield self.in_result(result, message)


def _wrong_lengths(result: Result) -> Iterator[str]:
    scores, sketch = result.scores, result.sketch
    if scores is None and result.schema_version >= 2:
        yield "scores are missing (a file of schema 2 has one for every window)"
    wanted = result.protocol.evaluation.samples
    for name in ("dense", "pruned") if scores is not None else ():
        count = len(getattr(scores, name))
        if count != wanted:
            yield f"scores.{name} has {count} values for {wanted} samples"
    if result.layers and result.budget.unit != "weights":
        yield f"layers are given, but the budget counts {result.budget.unit}"
    if sketch is None:
        return
    if not result.layers:
        yield "sketch is given without layers"
        return
    try:
        count = len(base64.b64decode(sketch.bits, validate=True))
    except (binascii.Error, ValueError):
        yield "sketch.bits is not base64"
        return
    bits = len(result.layers) * sketch.positions
    if count != -(-bits // 8):
        places = f"{len(result.layers)} matrices with {sketch.positions} positions each"
        yield f"sketch.bits has {count} bytes for {places} ({-(-bits // 8)} bytes)"


class ResultScores(_ResultCheck):
    code = "result-scores"
    help = "Perplexity is exp of the mean score, accuracy the mean: write the file again."

    def run(self) -> Iterator[Problem]:
        for result in self.catalog.results:
            if result.scores is None:
                continue
            quality = result.quality
            for name, values, stated in (
                ("dense", result.scores.dense, quality.before),
                ("pruned", result.scores.pruned, quality.after),
            ):
                finite = [value for value in values if value is not None]
                if len(finite) < len(values) or stated is None or not values:
                    if stated is not None and values:
                        message = f"scores.{name} has a value that is not finite, but quality is"
                        yield self.in_result(result, message)
                    continue
                mean = math.fsum(finite) / len(finite)
                if quality.metric == "perplexity":
                    mean = math.exp(mean) if mean < 700 else math.inf
                if abs(mean - stated) > CLOSE * max(abs(mean), abs(stated)):
                    message = f"scores.{name} give {mean:.6g}, but {quality.metric} is {stated:.6g}"
                    yield self.in_result(result, message)


class FailedAndMeasured(_ResultCheck):
    code = "failed-and-measured"
    help = "Delete the record of the failure: the cell was measured."

    def run(self) -> Iterator[Problem]:
        measured = {result.path: result for result in self.catalog.results}
        for failure in self.catalog.failures:
            result = measured.get(f"{failure.path.removesuffix(FAILED)}.json")
            if result is not None:
                message = f"the cell has a result, {shown(result.file)}"
                yield self.at_line(failure.path, message)


class FailedMethod(_ResultCheck):
    code = "failed-method"
    help = "Remove the file, or restore the method that failed."

    def run(self) -> Iterator[Problem]:
        for failure in self.catalog.failures:
            if failure.method not in self.catalog.methods:
                near = details(did_you_mean(failure.method, self.catalog.methods))
                yield self.at_line(
                    failure.path, f"there is no method {shown(failure.method)}{near}"
                )
