"""Whether reported figures name what exists, are possible values, and stand in the catalog once."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.checks.base import Check
from catalog.errors import Problem, details, did_you_mean, listed, shown
from catalog.figures import FOLDER, Figure
from catalog.inventory import SINGULAR
from catalog.reported import DENSE, METRICS, Budget, Report

Place = tuple[str | int, ...]


class _FigureCheck(Check, abstract=True):
    """Base of checks of the files of reported figures."""

    def in_report(self, identifier: str, message: str, *location: str | int) -> Problem:
        """A problem at a part of a file of figures."""
        return self.at(f"{FOLDER}/{identifier}.yaml", message, *location)

    def at_figure(self, figure: Figure, message: str) -> Problem:
        """A problem at one value."""
        return self.at(figure.path, message, *figure.place)


class UnknownFigurePaper(_FigureCheck):
    code = "unknown-figure-paper"
    help = "key is the key of an entry; for a paper without one give arxiv, or name, title and url."

    def run(self) -> Iterator[Problem]:
        for identifier, report in self.catalog.reports.items():
            keys: list[tuple[str | None, Place]] = [(report.source.key, ("source", "key"))]
            keys += [
                (measured.key, ("methods", name, "key"))
                for name, measured in report.methods.items()
            ]
            for key, place in keys:
                if key is not None and not self.is_paper(key):
                    near = did_you_mean(key, self.catalog.entries)
                    message = f"there is no entry {shown(key)}{details(near)}"
                    yield self.in_report(identifier, message, *place)


class FigurePaperWithEntry(_FigureCheck):
    code = "figure-paper-with-entry"
    help = "A paper that has an entry is named by its key, so that its page shows the figures."

    def run(self) -> Iterator[Problem]:
        keys = {
            entry.ids.arxiv: entry.key
            for entry in self.catalog.entries.values()
            if entry.ids.arxiv is not None
        }
        for identifier, report in self.catalog.reports.items():
            found: list[tuple[str | None, Place]] = [(report.source.arxiv, ("source", "arxiv"))]
            found += [
                (measured.arxiv, ("methods", name, "arxiv"))
                for name, measured in report.methods.items()
            ]
            for arxiv, place in found:
                if arxiv in keys:
                    message = f"arXiv {shown(arxiv)} has an entry (write key: {keys[arxiv]})"
                    yield self.in_report(identifier, message, *place)


class UnknownFigureMethod(_FigureCheck):
    code = "unknown-figure-method"
    help = "Declare every method of the rows under methods, or write dense for the whole model."

    def run(self) -> Iterator[Problem]:
        for identifier, report in self.catalog.reports.items():
            for t, table in enumerate(report.tables):
                for r, row in enumerate(table.rows):
                    if row.method == DENSE or row.method in report.methods:
                        continue
                    allowed = [DENSE, *report.methods]
                    near = did_you_mean(row.method, allowed)
                    message = f"{shown(row.method)} is not declared under methods"
                    message += details(near, f"declared: {listed(allowed)}")
                    yield self.in_report(identifier, message, "tables", t, "rows", r, "method")


class UnusedFigureMethod(_FigureCheck):
    code = "unused-figure-method"
    severity = "warning"
    help = "Remove the method, or correct its name in the rows that mean it."

    def run(self) -> Iterator[Problem]:
        for identifier, report in self.catalog.reports.items():
            used = {row.method for table in report.tables for row in table.rows}
            for name in report.methods:
                if name not in used:
                    message = f"no row is of {shown(name)}"
                    yield self.in_report(identifier, message, "methods", name)


class UnknownStructure(_FigureCheck):
    code = "unknown-structure"
    help = "structure is a tag of the dimension type; `prunedex tags type` lists them."

    def run(self) -> Iterator[Problem]:
        vocabulary = self.catalog.vocabulary
        if "type" not in vocabulary.dimensions:
            return
        for identifier, report in self.catalog.reports.items():
            for t, table in enumerate(report.tables):
                places: list[tuple[str | None, Place]] = [
                    (table.structure, ("tables", t, "structure"))
                ]
                places += [
                    (row.structure, ("tables", t, "rows", r, "structure"))
                    for r, row in enumerate(table.rows)
                ]
                for structure, place in places:
                    if structure is None or vocabulary.has("type", structure):
                        continue
                    near = did_you_mean(structure, vocabulary.ids("type"))
                    message = f"there is no type {shown(structure)}{details(near)}"
                    yield self.in_report(identifier, message, *place)


class FigureRange(_FigureCheck):
    code = "figure-range"
    help = "Compare the value with the source; a slipped decimal point is the usual cause."

    def run(self) -> Iterator[Problem]:
        for figure in self.catalog.figures.all:
            metric = METRICS[figure.table.metric]
            low, high = metric.least, metric.most
            if (low is None or figure.value >= low) and (high is None or figure.value <= high):
                continue
            allowed = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
            message = f"{figure.value:g} is no {figure.table.metric} (allowed: {allowed})"
            yield self.at_figure(figure, message)


class BudgetRange(_FigureCheck):
    code = "budget-range"
    help = "A budget removes something, and leaves something."

    def run(self) -> Iterator[Problem]:
        for identifier, report in self.catalog.reports.items():
            for t, table in enumerate(report.tables):
                places: list[tuple[Budget | None, Place]] = [
                    (table.budget, ("tables", t, "budget"))
                ]
                places += [
                    (row.budget, ("tables", t, "rows", r, "budget"))
                    for r, row in enumerate(table.rows)
                ]
                for budget, place in places:
                    if budget is not None and (wrong := _impossible(budget)):
                        yield self.in_report(identifier, wrong, *place, budget.unit)


def _impossible(budget: Budget) -> str:
    """What is impossible about a budget; empty if nothing is."""
    if budget.unit == "pattern":
        kept, group = map(int, budget.amount.split(":"))
        if 0 < kept < group:
            return ""
        return f"{shown(budget.words)} keeps {kept} of {group} (allowed: fewer than the second)"
    amount = float(budget.amount)
    shares = ("weights", "parameters", "ratio", "heads")
    if amount <= 0 or (budget.unit in shares and amount >= 100):
        allowed = "more than 0 and less than 100" if budget.unit in shares else "more than 0"
        return f"{shown(budget.words)} is no budget (allowed: {allowed})"
    return ""


class DuplicateFigure(_FigureCheck):
    code = "duplicate-figure"
    help = "One place reports one value of a thing: delete the copy, or say what differs."

    def run(self) -> Iterator[Problem]:
        first: dict[tuple[object, ...], Figure] = {}
        for figure in self.catalog.figures.all:
            table = figure.table
            place = (figure.path, table.url, table.where, table.kind, figure.setting)
            seen = first.setdefault(place, figure)
            if seen is not figure:
                line = self.catalog.located[seen.path].at(*seen.place)[0]
                of = figure.model or figure.dataset or "it"
                message = (
                    f"{shown(figure.method)} on {shown(of)} has a value in line {line} already"
                )
                yield self.at_figure(figure, message)


class FigureName(_FigureCheck):
    code = "figure-name"
    help = "Names stand as catalog/resources spells them; add a model or data set there if new."

    def run(self) -> Iterator[Problem]:
        for identifier, report in self.catalog.reports.items():
            for group, name, place in _names(report):
                if group not in self.catalog.inventory:
                    continue
                item = self.catalog.inventory.meant(group, name)
                if item is not None and item.name == name:
                    continue
                near = item.name if item is not None else self.catalog.inventory.near(group, name)
                hint = f"did you mean '{near}'?" if near else ""
                message = f"there is no {SINGULAR[group]} {shown(name)}{details(hint)}"
                yield self.in_report(identifier, message, *place)


def _names(report: Report) -> Iterator[tuple[str, str, Place]]:
    """List, name and place of every model and data set that a file names."""
    for t, table in enumerate(report.tables):
        here = ("tables", t)
        if table.model is not None:
            yield "models", table.model, (*here, "model")
        if table.dataset is not None:
            yield "datasets", table.dataset, (*here, "dataset")
        for number, task in enumerate(table.suite.tasks if table.suite else ()):
            yield "datasets", task, (*here, "suite", "tasks", number)
        group = "models" if table.columns == "model" else "datasets"
        for r, row in enumerate(table.rows):
            for name in row.values or ():
                yield group, name, (*here, "rows", r, "values", name)
