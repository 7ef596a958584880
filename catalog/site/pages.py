"""Every generated page of the site, as the text of a Markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import escape

from catalog import amounts
from catalog.concepts import Concept
from catalog.figures import Protocol
from catalog.figures import plain as plain_value
from catalog.methods import MethodDoc
from catalog.query import Filter, select
from catalog.reported import SPECIAL
from catalog.results import Result, TextUsed
from catalog.schema import RESOURCES, Entry
from catalog.site import addresses, boards, guide, lessons, performance, see
from catalog.site import shelf as shelves
from catalog.site.facets import facets
from catalog.site.linked import linked_data
from catalog.site.markup import document, front_matter, one_line, plain, render
from catalog.site.masks import panels
from catalog.site.maths import FormulaError, mathml
from catalog.site.reported import Reported
from catalog.site.resources import TITLES, Item, Resources, gaps
from catalog.site.shelf import Node, Shelf


@dataclass(frozen=True)
class Repository:
    """Where the project's files can be seen and edited; `url` is None while that is not known."""

    url: str | None = None
    edit: str = "edit/main/"

    def edit_url(self, path: str) -> str | None:
        """Where a person changes a file of the repository."""
        if self.url is None:
            return None
        return f"{self.url.rstrip('/')}/{self.edit.strip('/')}/{quote(path)}"

    def view_url(self, path: str) -> str | None:
        """Where a person reads a file of the repository."""
        if self.url is None:
            return None
        shown = re.sub(r"^edit\b", "blob", self.edit.strip("/"))
        return f"{self.url.rstrip('/')}/{shown}/{quote(path)}"

    def report_url(self, form: str, **filled: str) -> str | None:
        """Where a person opens an issue with one of the forms, some of its fields filled in."""
        if self.url is None:
            return None
        return f"{self.url.rstrip('/')}/issues/new?{urlencode({'template': form, **filled})}"


class Words:
    """Phrases that templates ask for."""

    called = staticmethod(shelves.called)
    authors = staticmethod(shelves.authors_in_short)
    setting = staticmethod(shelves.setting)
    first_sentence = staticmethod(shelves.first_sentence)
    again = staticmethod(shelves.again)
    value = staticmethod(plain_value)
    amount = staticmethod(amounts.budget)

    @staticmethod
    def needs(needs: str | None) -> str:
        """What a method is given, in words."""
        words = {"calibration": "calibration text", "labels": "labelled samples"}
        return words.get(needs or "", "no data")

    @staticmethod
    def data(data: TextUsed) -> str:
        """How many windows or samples of what."""
        if data.length is None:
            return f"{data.samples:,} labelled samples of {data.source}"
        return f"{data.samples} windows of {data.length} tokens of {data.source}"

    @staticmethod
    def environments(results: list[Result]) -> list[str]:
        """Where the runs were made, each place once."""
        found: list[str] = []
        for result in results:
            where = result.environment
            text = (
                f"{where.hardware} ({where.device}), Python {where.python}, torch {where.torch}, "
                f"transformers {where.transformers}, {where.date}"
            )
            if where.commit:
                changed = " with changes" if where.commit.endswith("+") else ""
                text += f", commit {where.commit[:12]}{changed}"
            if text not in found:
                found.append(text)
        return found


ROWS = 120
"""Papers that the catalog page brings along; of a larger catalog, a page for each year has all."""

TAGGED = 100
"""Papers that a tag's page shows in full; of more, pages for each year have all by title."""

INDEXED = 1_000
"""Papers whose whole pages are searched; of more, title and take-away, or the index is too large."""

EXAMPLES = 6
"""Papers that a group on a concept page lists; the catalog has the others."""


@dataclass(frozen=True)
class Action:
    """A link that the head of a paper's page offers as a button."""

    text: str
    url: str
    icon: str = "out"
    title: str = ""


class Pages:
    """Writes pages of one catalog. `flaws` collects what could not be shown as it should."""

    def __init__(
        self,
        shelf: Shelf,
        repository: Repository,
        concepts: Sequence[Concept] = (),
        *,
        cards: bool = False,
    ) -> None:
        """`cards`: whether every paper has a picture of its own for links from elsewhere."""
        self.cards = cards
        self.shelf = shelf
        self.repository = repository
        self.concepts = concepts
        self.resources = Resources(shelf)
        self.reported = Reported(shelf)
        self.flaws: list[str] = []

    def all(self) -> Iterator[tuple[str, str]]:
        """Each page's address with its text."""
        yield addresses.HOME, self.home()
        yield addresses.CATALOG, self.catalog()
        yield addresses.METHODS, self.methods()
        yield addresses.GUIDE, guide.page(self.shelf, self._page)
        yield addresses.TAGS, self.tags()
        yield addresses.CONCEPTS, self.concept_list()
        for entry in self.shelf.entries:
            yield addresses.paper(entry.key), self.paper(entry)
        if len(self.shelf.entries) > ROWS:
            for year, papers in _by_year(self.shelf.entries):
                yield addresses.year(year), self.year(year, papers)
        for dimension in self.shelf.dimensions:
            yield addresses.dimension(dimension.id), self.dimension(dimension.id)
            for node in self.shelf.nodes(dimension):
                yield node.page, self.value(node)
                for year, papers in self._years(node):
                    page = addresses.value_year(dimension.id, node.value.id, year)
                    yield page, self.value_year(node, page, year, papers)
        for group in RESOURCES:
            yield addresses.resources(group), self.resource_list(group)
            for item in self.resources.items(group):
                yield item.page, self.resource(item)
        yield addresses.REPORTED, self.reported_list()
        for protocol, page in self.reported.pages.items():
            yield page, self.protocol(protocol, page)
        yield from see.pages(self.shelf, self.reported.pages, self._page)
        taught = [*lessons.pages(self.shelf, self._page, self.flaws)]
        yield from taught
        yield from boards.pages(self.shelf, self._page, taught=bool(taught))
        yield from performance.pages(self.shelf, self._page)

    def source_of(self, page: str, key: str) -> str | None:
        """The link from a hand-written page to an entry's, as MkDocs wants it; None if unknown."""
        if key not in self.shelf.catalog.entries:
            return None
        return addresses.link(addresses.source(addresses.paper(key)), page)

    def _page(
        self,
        template: str,
        page: str,
        title: str,
        description: str,
        meta: dict[str, object] | None = None,
        **values: Any,
    ) -> str:
        body = render(template, page, shelf=self.shelf, words=Words, **values)
        return document(title, description, body, **(meta or {}))

    def home(self) -> str:
        """The front page."""
        short = []
        for dimension in self.shelf.dimensions:
            nodes = [node for node in self.shelf.nodes(dimension) if node.count and not node.depth]
            nodes.sort(key=lambda node: -node.count)
            short.append(
                (
                    dimension,
                    [
                        {
                            "name": node.value.name,
                            "count": node.count,
                            "query": query(dimension.id, node.value.id),
                        }
                        for node in nodes[:4]
                    ],
                )
            )
        return self._page(
            "home.html",
            addresses.HOME,
            "Prunedex",
            "The literature on pruning language models, which you can filter, cite and run.",
            meta={"search": {"exclude": True}},
            dimensions=short,
            methods=self._methods(),
            known=self._best_known(),
            panels=panels(self.shelf),
            shortcuts=self._shortcuts(),
            observed=sum(
                seen.holds
                for each in self.shelf.catalog.verified.values()
                for values in each.tags.values()
                for seen in values.values()
            ),
            example=shelves.command("prunedex", "run", "METHOD", "--model", "./my-model"),
        )

    def _shortcuts(self) -> list[dict[str, object]]:
        """Questions that people come with, as far as the catalog has an answer."""
        offered: list[tuple[str, dict[str, str]]] = [
            ("No retraining, weights frozen", {"retraining": "without", "weight_update": "frozen"}),
            ("2:4 and other N:M patterns", {"type": "n:m"}),
            ("Needs no data", {"data": "data-free"}),
            ("Removes whole layers", {"type": "depth"}),
            ("Runs here", {"has": "runs"}),
        ]
        runs = {entry.key for entry in self.shelf.entries if self.shelf.method(entry)}
        found: list[dict[str, object]] = []
        for text, wanted in offered:
            count = len(
                set.intersection(
                    *(
                        runs
                        if name == "has"
                        else {entry.key for entry in self.shelf.papers_with(name, value)}
                        for name, value in wanted.items()
                    )
                )
            )
            if count:
                found.append({"text": text, "query": urlencode(wanted), "count": count})
        return found[:4]

    def catalog(self) -> str:
        """The page with all papers and the filters."""
        shelf = self.shelf
        present = {entry.year for entry in shelf.entries}
        # Years without a paper stay in the row of bars: a gap is information too.
        years = [
            (year, sum(entry.year == year for entry in shelf.entries))
            for year in (range(min(present), max(present) + 1) if present else ())
        ]
        return self._page(
            "catalog.html",
            addresses.CATALOG,
            "Catalog",
            f"All {len(shelf.entries)} papers, to filter by six dimensions of tags.",
            # Every paper has its own page in the search; here they would all be found twice.
            meta={"search": {"exclude": True}, "module": "assets/catalog.js"},
            facets=facets(shelf, self.resources),
            years=years,
            rows=shelf.entries[:ROWS],
        )

    def _years(self, node: Node) -> list[tuple[int, list[Entry]]]:
        """The years of a tag whose page does not hold all of its papers, the newest first."""
        papers = self.shelf.papers_with(node.dimension.id, node.value.id)
        return _by_year(papers) if len(papers) > TAGGED else []

    def year(self, year: int, papers: list[Entry]) -> str:
        """The page of all papers of one year, for a catalog that is too large for one page."""
        return self._page(
            "year.html",
            addresses.year(year),
            f"Papers of {year}",
            f"All {len(papers)} papers that were first public in {year}.",
            meta={"search": {"exclude": True}},
            year=year,
            papers=papers,
            heading=f"Papers of {year}",
            crumbs=[("Catalog", addresses.CATALOG)],
        )

    def value_year(self, node: Node, page: str, year: int, papers: list[Entry]) -> str:
        """The page of all papers of one year with a tag that has too many for one page."""
        dimension = node.dimension
        return self._page(
            "year.html",
            page,
            f"{node.value.name} ({dimension.name.lower()}): papers of {year}",
            f"All {len(papers)} papers of {year} with this tag.",
            meta={"search": {"exclude": True}},
            year=year,
            papers=papers,
            heading=f"{node.value.name}: papers of {year}",
            crumbs=[
                ("Tags", addresses.TAGS),
                (dimension.name, addresses.dimension(dimension.id)),
                (node.value.name, node.page),
            ],
        )

    def paper(self, entry: Entry) -> str:
        """The page of one paper."""
        shelf = self.shelf
        method = shelf.method(entry)
        page = addresses.paper(entry.key)
        path = shelf.catalog.path_of(entry.key)
        replaced = entry.lifecycle.superseded_by
        dimensions = [
            (dimension, shelf.tags(entry, dimension.id))
            for dimension in shelf.dimensions
            if entry.tags is not None
        ]
        values: dict[str, Any] = {
            "entry": entry,
            "method": method,
            "authors": [shelves.display_name(author) for author in entry.authors],
            "actions": _actions(entry),
            "superseded": shelf.catalog.entries.get(replaced) if replaced else None,
            "dimensions": _with_notes(entry, dimensions),
            "verification": shelf.catalog.verified.get(method.name) if method else None,
            "ids": _identifiers(entry),
            "related": shelf.builds_on(entry),
            "reverse": shelf.built_on_by(entry),
            "comparable": self.reported.comparable(entry.key),
            "against": self.reported.against(entry),
            "evaluated": self.resources.evaluated(entry),
            "gaps": gaps(entry),
            "reported": self.reported.of_paper(entry),
            "bibtex": shelf.bibtex(entry),
            "state": shelf.catalog.state.of_entry(entry, shelf.catalog.located.get(path)),
            "file": path,
            "edit_url": self.repository.edit_url(path),
            "report_url": self.repository.report_url("correction.yml", key=entry.key),
        }
        if method is not None:
            values |= {
                "commands": _commands(method),
                "measured": shelf.measured(method.name),
                "equations": self._equations(method),
                "hyperparameters": _hyperparameters(method),
                "method_url": self.repository.view_url(method.path),
            }
        values["jumps"] = _jumps(values)
        text = self._page(
            "paper.html",
            page,
            f"{entry.name}: {entry.title}" if _adds_name(entry) else entry.title,
            entry.takeaway,
            meta={
                "linked": linked_data(entry),
                "citation": addresses.citation(entry.key),
                "card": addresses.card(entry.key) if self.cards else None,
            },
            **values,
        )
        if len(shelf.entries) > INDEXED:
            # A heading with an id begins a section of its own in the search's index.
            text = re.sub(r"<(h[2-6])(?= id=)", r"<\1 data-search-exclude", text)
        return text

    def _equations(self, method: MethodDoc) -> list[dict[str, Any]]:
        found = []
        for equation in method.equations:
            try:
                drawn = mathml(equation.latex)
            except FormulaError as error:
                drawn = None
                flaw = f"{method.path}: the formula of '{equation.label}' {error}"
                if flaw not in self.flaws:
                    self.flaws.append(flaw)
            found.append(
                {
                    "label": equation.label,
                    "latex": equation.latex,
                    "text": equation.text,
                    "mathml": drawn,
                }
            )
        return found

    def value(self, node: Node) -> str:
        """The page of one tag value."""
        dimension = node.dimension
        nodes = {each.value.id: each for each in self.shelf.nodes(dimension)}
        vocabulary = self.shelf.catalog.vocabulary
        ancestors = vocabulary.ancestors(dimension.id, node.value.id)
        return self._page(
            "value.html",
            node.page,
            f"{node.value.name} ({dimension.name.lower()})",
            node.value.definition,
            node=node,
            dimension=dimension,
            ancestors=[nodes[each] for each in reversed(ancestors)],
            children=[nodes[each] for each in vocabulary.children(dimension.id, node.value.id)],
            papers=self.shelf.papers_with(dimension.id, node.value.id),
            shown=TAGGED,
            years=[
                (year, len(papers), addresses.value_year(dimension.id, node.value.id, year))
                for year, papers in self._years(node)
            ],
            query=query(dimension.id, node.value.id),
            concepts=self._explaining(dimension.id, [node.value.id, *ancestors]),
        )

    def dimension(self, name: str) -> str:
        """The page of one tag dimension."""
        dimension = self.shelf.catalog.vocabulary.dimensions[name]
        return self._page(
            "dimension.html",
            addresses.dimension(name),
            f"{dimension.name} (tags)",
            dimension.definition,
            dimension=dimension,
            nodes=self.shelf.nodes(dimension),
            concepts=self._explaining(name, []),
        )

    def _explaining(self, dimension: str, values: list[str]) -> list[Concept]:
        """Concept pages for a value and those above it: the nearest first, the dimension's last."""
        found: list[Concept] = []
        for value in values:
            found += [each for each in self.concepts if value in each.head.explains.of(dimension)]
        found += [each for each in self.concepts if dimension in each.head.dimensions]
        return list(dict.fromkeys(found))

    def concept_list(self) -> str:
        """The page with all concepts."""
        return self._page(
            "concepts.html",
            addresses.CONCEPTS,
            "Concepts",
            "How pruning works and how to choose: explanations with formulas, numbers and sources.",
            concepts=self.concepts,
        )

    def concept(self, concept: Concept, prose: str) -> str:
        """A concept page: its text, made ready for Markdown, with the papers that belong to it."""
        shelf = self.shelf
        page = addresses.concept(concept.name)
        place = self.concepts.index(concept)
        groups = []
        for group in concept.head.papers:
            if not group.tags.is_known(shelf.catalog.vocabulary):
                continue
            papers = select(shelf.catalog, Filter(**group.tags.model_dump(), kind=group.kind))
            # What can be run is the better example; within that, the newest first.
            papers.sort(key=lambda entry: (shelf.method(entry) is None, -entry.year, entry.key))
            groups.append(
                {
                    "label": group.label,
                    "papers": papers,
                    "shown": papers[:EXAMPLES],
                    "query": urlencode({**group.tags.model_dump(), "kind": group.kind}, doseq=True),
                }
            )
        explained = concept.head.explains
        foot = render(
            "concept.html",
            page,
            shelf=shelf,
            words=Words,
            groups=groups,
            dimensions=[each for each in shelf.dimensions if each.id in concept.head.dimensions],
            nodes=[
                node
                for dimension in shelf.dimensions
                for node in shelf.nodes(dimension)
                if node.value.id in explained.of(dimension.id)
            ],
            before=self.concepts[place - 1] if place else None,
            after=self.concepts[place + 1] if place + 1 < len(self.concepts) else None,
        )
        head = render("concept_head.html", page, place=place + 1, count=len(self.concepts))
        # The theme writes these into the page as they are.
        title, description = plain(concept.head.title), plain(concept.head.description)
        meta = front_matter(
            {"title": str(escape(title)), "description": str(escape(description)), "concept": True}
        )
        return f"{meta}\n{one_line(head)}\n\n{prose.strip()}\n\n## Papers\n\n{one_line(foot)}\n"

    def tags(self) -> str:
        """The page with all tags."""
        return self._page(
            "tags.html",
            addresses.TAGS,
            "Tags",
            "The six dimensions in which every paper is tagged, with all their values.",
            dimensions=[(each, self.shelf.nodes(each)) for each in self.shelf.dimensions],
        )

    def resource_list(self, group: str) -> str:
        """The page with all models, data sets or tools."""
        lead = {
            "models": "The models that papers prune, with the number of papers that evaluate each "
            "one. A family counts all of its sizes.",
            "datasets": "The data that papers calibrate, fine-tune or evaluate on, with the number "
            "of papers that use each one. A suite counts all of its parts.",
            "tools": "The programs that papers evaluate with, with the number of papers that name "
            "each one.",
        }[group]
        here = addresses.resources(group)
        return self._page(
            "resources.html",
            here,
            TITLES[group],
            lead,
            list=TITLES[group],
            lead=lead,
            here=here,
            lists=[(title, addresses.resources(name)) for name, title in TITLES.items()],
            parts=self.resources.parts(group),
        )

    def resource(self, item: Item) -> str:
        """The page of one model, data set or tool."""
        found = self.resources
        facts, about = found.facts(item), found.about(item)
        papers = "1 paper names it" if item.count == 1 else f"{item.count} papers name it"
        return self._page(
            "resource.html",
            item.page,
            f"{item.resource.name} ({TITLES[item.group].lower()})",
            f"{about or facts}{'' if about else '.'} {papers.capitalize()} or a part of it.",
            item=item,
            list=TITLES[item.group],
            index=addresses.resources(item.group),
            facts=facts,
            sized=found.sized(item),
            about=about,
            ancestors=found.ancestors(item),
            children=found.children(item),
            roles=found.roles(item),
            reported=self.reported.on(
                each.resource.name
                for each in found.items(item.group)
                if each.resource.id in found.inventory.descendants(item.group, item.resource.id)
            ),
        )

    def reported_list(self) -> str:
        """The page with all protocols under which figures are reported."""
        figures = self.reported.figures
        return self._page(
            "reported.html",
            addresses.REPORTED,
            "Reported figures",
            "Figures that papers and repositories report, by the protocol they were measured under.",
            total=len(figures.all),
            sources=len({figure.origin.identifier for figure in figures.all}),
            index=self.reported.index(),
            rest=self.reported.rest(),
        )

    def protocol(self, protocol: Protocol, page: str) -> str:
        """The page of the figures reported under one protocol."""
        group = self.reported.group(protocol)
        return self._page(
            "protocol.html",
            page,
            f"{protocol.title} (reported figures)",
            f"{len(group.lines)} reported figures{', ' if protocol.conditions else ''}"
            f"{protocol.conditions}.",
            group=group,
            special=SPECIAL,
            near=self.reported.near(protocol),
            linked=self._linked(protocol),
        )

    def _linked(self, protocol: Protocol) -> list[tuple[str, str, str | None]]:
        """Model and data of a protocol: title, name, and its page where it has one."""
        inventory = self.shelf.catalog.inventory
        names = [("Model", "models", protocol.model)]
        names += [("Task", "datasets", task) for task in protocol.tasks]
        if not protocol.tasks:
            names.append(("Data", "datasets", protocol.data))
        found = []
        for title, group, name in names:
            item = inventory.meant(group, name) if name else None
            page = addresses.resource(group, item.id) if item is not None else None
            if name:
                found.append((title, name, page))
        return found

    def methods(self) -> str:
        """The page with all implementations."""
        return self._page(
            "methods.html",
            addresses.METHODS,
            "Methods that run here",
            "Pruning methods implemented from their papers, each in one short file.",
            methods=self._methods(),
            repository=self.repository,
            install=self._install(),
            own=shelves.command(
                "prunedex", "run", self._first(), "--model", "./my-model", "--save", "./pruned"
            ),
            load='from impl import load\n\nmodel, tokenizer, _ = load("./pruned")',
            families=sorted(
                {
                    family
                    for each in self.shelf.catalog.verified.values()
                    for family in each.families
                }
            ),
        )

    def _best_known(self) -> list[dict[str, Any]]:
        """The methods that run here to which most papers refer: what newcomers have heard of."""

        def referred(each: dict[str, Any]) -> int:
            return sum(len(self.shelf.built_on_by(paper)) for paper in each["papers"])

        return sorted(self._methods(), key=lambda each: -referred(each))[:6]

    def _install(self) -> str:
        """The commands that make `prunedex` one; without an address, from inside a copy."""
        lines = [
            "python3 -m venv .venv",
            ". .venv/bin/activate",
            "pip install -c scripts/constraints.txt -e .",
        ]
        if self.repository.url:
            lines.insert(0, f"git clone {self.repository.url} prunedex && cd prunedex")
        return "\n".join(lines)

    def _first(self) -> str:
        """The method that an example shows: the one that newcomers know best."""
        known = [each["method"] for each in self._best_known()]
        on_text = [method for method in known if method.on == ["decoder"]]
        return (on_text or known)[0].name if known else "METHOD"

    def _methods(self) -> list[dict[str, Any]]:
        found = []
        for method in self.shelf.catalog.methods.values():
            papers = self.shelf.catalog.papers_of.get(method.name, [])
            lines = [line for line in method.code.splitlines() if line.strip()]
            # "Wanda: weights times …" has the name that people use; the file's name is for machines.
            name, _, brief = method.summary.partition(": ")
            if not brief or len(name.split()) > 3:
                name, brief = method.name, method.summary
            found.append(
                {
                    "method": method,
                    "name": name,
                    "equation": next(iter(self._equations(method)), None),
                    "papers": sorted(papers, key=lambda entry: (entry.year, entry.key)),
                    "lines": len(lines),
                    "command": run_command(method),
                    "brief": brief[:1].upper() + brief[1:],
                }
            )
        return found


def _by_year(papers: list[Entry]) -> list[tuple[int, list[Entry]]]:
    """Papers that are in order, newest first, in parts by year."""
    return [(year, [*those]) for year, those in groupby(papers, lambda entry: entry.year)]


def query(dimension: str, value: str) -> str:
    """The part of the catalog's address that filters by one tag."""
    return urlencode({dimension: value})


def run_command(method: MethodDoc, *more: str) -> str:
    """The command that runs a method; on the model that comes along unless told otherwise."""
    return shelves.command("prunedex", "run", method.name, *more)


def _commands(method: MethodDoc) -> list[dict[str, str]]:
    found = [("In seconds, on the tiny model that comes along", run_command(method))]
    if method.on == ["decoder"] and method.budget != "experts":
        found.append(
            ("On a real one, SmolLM2 135M", run_command(method, "--model", "smollm2-135m"))
        )
    if any(parameter.name == "pattern" for parameter in method.parameters):
        pattern = ("--model", "smollm2-135m", "--pattern", "2:4")
        found.append(("With two of every four weights kept", run_command(method, *pattern)))
    own = run_command(method, "--model", "./my-model", "--save", "./pruned")
    found.append(("On one of yours, a folder or a Hugging Face id, and keep the result", own))
    return [{"label": label, "text": text, "language": "shell"} for label, text in found]


def _hyperparameters(method: MethodDoc) -> list[tuple[str, str | None, str]]:
    """Name, default and text of what can be set; the docstring's order, then the signature's."""
    defaults = {parameter.name: parameter.default for parameter in method.parameters}
    said = [(item.name, defaults.get(item.name), item.text) for item in method.hyperparameters]
    named = {name for name, _, _ in said}
    return said + [(name, default, "") for name, default in defaults.items() if name not in named]


def _adds_name(entry: Entry) -> bool:
    """Whether the method's name is not already the start of the title."""
    return bool(entry.name) and not entry.title.casefold().startswith(str(entry.name).casefold())


def _with_notes(entry: Entry, dimensions: list[Any]) -> list[Any]:
    """Dimensions that have a tag or a note; a survey may have neither in any."""
    notes = entry.tags.notes if entry.tags else {}
    shown = [(dimension, tags) for dimension, tags in dimensions if tags or dimension.id in notes]
    return dimensions if shown else []


def _jumps(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts of a paper's page that people come for, by their anchors; a long page needs them."""
    method = values["method"] is not None
    parts = [
        ("mechanism", "What it computes", True),
        ("against", "Later methods beside it", values["against"]),
        ("lineage", "Lineage", values["related"] or values["reverse"]),
        ("cite", "Cite", True),
        ("run", "Run it", method),
        ("measured", "Measured here", method and values["measured"]),
        ("equations", "Equations and code", method),
        ("reported", "Reported figures", values["reported"]),
    ]
    return [(anchor, title) for anchor, title, there in parts if there]


def _actions(entry: Entry) -> list[Action]:
    links = entry.links
    found: list[Action] = []
    read = shelves.address(entry)
    if read:
        found.append(Action("Paper", read))
    if links.code:
        found.append(Action("Official code", links.code.url, "code", links.code.repository or ""))
    for text, url in [
        ("Proceedings", links.proceedings),
        ("Reviews", links.reviews),
        ("Website", links.website),
        ("Blog", links.blog),
        ("Models", links.models),
        ("Summary", links.summary),
        ("Discussion", links.discussion),
    ]:
        if url and url != read:
            found.append(Action(text, url))
    return found


def _identifiers(entry: Entry) -> list[tuple[str, str, str | None]]:
    """Name, text and address of each identifier."""
    ids = entry.ids
    found: list[tuple[str, str, str | None]] = []
    if ids.arxiv:
        kind = f" [{ids.arxiv_class}]" if ids.arxiv_class else ""
        found.append(("arXiv", ids.arxiv + kind, f"https://arxiv.org/abs/{ids.arxiv}"))
    if ids.doi:
        found.append(("DOI", ids.doi, f"https://doi.org/{quote(ids.doi, safe='/:;().-_')}"))
    if ids.openreview:
        found.append(
            ("OpenReview", ids.openreview, f"https://openreview.net/forum?id={ids.openreview}")
        )
    if ids.acl:
        found.append(("ACL Anthology", ids.acl, f"https://aclanthology.org/{ids.acl}/"))
    if ids.pmlr:
        found.append(("PMLR", ids.pmlr, f"https://proceedings.mlr.press/{ids.pmlr}.html"))
    return found
