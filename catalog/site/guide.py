"""The guide "Which method fits me?": a few answers that end in a filtered catalog.

Every answer is a filter on one facet, so what the guide finds is what the catalog finds under the
address that the guide links to. The questions are here; `site/assets/guide.js` asks them, and
without JavaScript a table shows the same ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from catalog.methods import MethodDoc
from catalog.schema import Entry, Value
from catalog.site import addresses
from catalog.site.shelf import Shelf, command

Wanted = Mapping[str, Sequence[str]]
"""Facets of the catalog with their alternatives; all facets must hold."""


@dataclass(frozen=True)
class Answer:
    """An answer: what it narrows, in the words of the catalog, and why."""

    id: str
    label: str
    why: str
    wanted: Wanted


@dataclass(frozen=True)
class Question:
    """A question; its first answer leaves everything open."""

    id: str
    text: str
    answers: Sequence[Answer]


GOALS = Question(
    "goal",
    "What should get better?",
    (
        Answer("any", "I only look around", "Nothing is left out.", {}),
        Answer(
            "gpu",
            "Faster on a GPU with 2:4 support",
            "Sparse tensor cores speed up matrices of which every four consecutive weights keep "
            "at most two. Zeros in any other pattern need a sparse kernel of their own to gain speed.",
            {"type": ["n:m"]},
        ),
        Answer(
            "anywhere",
            "Faster on any machine, a CPU included",
            "Where whole parts are gone, a smaller dense model remains, and that is faster "
            "without sparse kernels.",
            {"type": ["structured"]},
        ),
        Answer(
            "size",
            "A smaller file, less memory for the weights",
            "Parts that are gone, factors of low rank, shared layers and fewer bits are stored "
            "in fewer bytes. Zeros in a dense matrix are not.",
            {"type": ["structured", "low-rank", "parameter-sharing", "quantization"]},
        ),
        Answer(
            "context",
            "Long contexts",
            "The cache of keys and values grows with every token. Evicting entries bounds it; "
            "the weights stay untouched.",
            {"type": ["kv-cache"]},
        ),
        Answer(
            "token",
            "Less work for each token, all weights kept",
            "What is computed depends on the input: parts are skipped at run time and none is "
            "deleted.",
            {"type": ["activation", "early-exit"]},
        ),
        Answer(
            "zeros",
            "As many zeros as possible at little loss",
            "Single weights are the finest choice there is. Speed or memory is gained only with "
            "a sparse format, a sparse kernel or special hardware.",
            {"type": ["unstructured", "semi-structured"]},
        ),
    ),
)

PARTS = Question(
    "part",
    "What may be removed?",
    (
        Answer("any", "Whatever serves the goal", "", {}),
        Answer(
            "unstructured",
            "Single weights, anywhere",
            "The shapes of all matrices stay.",
            {"type": ["unstructured"]},
        ),
        Answer(
            "n-m",
            "Weights in a 2:4 pattern",
            "N of every M consecutive inputs stay; 2:4 is the pattern that hardware supports.",
            {"type": ["n:m"]},
        ),
        Answer(
            "block",
            "Small blocks of weights",
            "Blocks of a fixed size inside a matrix that keeps its shape.",
            {"type": ["weight-block"]},
        ),
        Answer(
            "depth",
            "Whole layers",
            "Fewer steps from input to output; the layers that stay keep their shape.",
            {"type": ["depth"]},
        ),
        Answer(
            "width",
            "Heads, neurons or channels",
            "As many layers as before, but narrower ones.",
            {"type": ["width"]},
        ),
        Answer(
            "expert",
            "Experts of a mixture",
            "Only for mixtures of experts: a layer has fewer experts, and its router fewer outputs.",
            {"type": ["expert"]},
        ),
        Answer(
            "rank",
            "Rank of a matrix",
            "A matrix is replaced by an approximation of lower rank.",
            {"type": ["low-rank"]},
        ),
        Answer(
            "sharing",
            "Copies: layers may share weights",
            "Fewer weights are stored; as many layers run.",
            {"type": ["parameter-sharing"]},
        ),
        Answer(
            "bits",
            "Bits, together with weights",
            "Sparsity joined with fewer bits for each weight.",
            {"type": ["quantization"]},
        ),
        Answer(
            "cache",
            "Entries of the cache",
            "Keys and values of past tokens go; the weights stay.",
            {"type": ["kv-cache"]},
        ),
        Answer(
            "activation",
            "Activations that are small",
            "Heads or neurons are skipped for one input and computed for the next.",
            {"type": ["activation"]},
        ),
        Answer(
            "exit",
            "The last layers, for easy inputs",
            "How many layers run depends on the input.",
            {"type": ["early-exit"]},
        ),
    ),
)

REST = (
    Question(
        "data",
        "What data do you have?",
        (
            Answer("any", "As much as it takes", "", {}),
            Answer("none", "None", "The weights alone decide.", {"data": ["data-free"]}),
            Answer(
                "calibration",
                "A little text without labels",
                "Typically 128 sequences, read to gather statistics or to solve for survivors.",
                {"data": ["data-free", "calibration"]},
            ),
            Answer(
                "small",
                "A task's or an instruction data set",
                "Up to about 100 million tokens or a million samples, with labels if need be.",
                {"data": ["data-free", "calibration", "small"]},
            ),
        ),
    ),
    Question(
        "retraining",
        "May the model be trained afterwards?",
        (
            Answer("any", "Yes, all of it", "", {}),
            Answer(
                "none",
                "No",
                "The pruned model is used as it comes out.",
                {"retraining": ["without"]},
            ),
            Answer(
                "adapters",
                "A small part, such as adapters",
                "At most about a tenth of the parameters moves.",
                {"retraining": ["without", "efficient"]},
            ),
        ),
    ),
    Question(
        "survivors",
        "May the weights that stay change?",
        (
            Answer("any", "Yes", "", {}),
            Answer(
                "frozen",
                "No, to the bit",
                "Every weight that stays has exactly its dense value.",
                {"weight_update": ["frozen"]},
            ),
        ),
    ),
    Question(
        "code",
        "Must there be code?",
        (
            Answer("any", "No", "", {}),
            Answer("official", "Yes, the authors'", "The authors published it.", {"has": ["code"]}),
            Answer(
                "runs",
                "Yes, to run it here with one command",
                "It is implemented in this project.",
                {"has": ["runs"]},
            ),
        ),
    ),
)

QUESTIONS = (GOALS, PARTS, *REST)


@dataclass(frozen=True)
class Row:
    """A line of the decision table: one part that serves a goal, with the papers behind it."""

    part: Answer
    value: Value
    page: str
    papers: list[Entry]
    untrained: list[Entry]
    runnable: list[tuple[Entry, MethodDoc, str]]
    all_query: str
    untrained_query: str


class Guide:
    """The questions, asked of one catalog. Answers that no paper stands behind are left out."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    @cached_property
    def questions(self) -> list[Question]:
        """All questions, each with the answers to which there is at least one paper."""
        found = []
        for question in QUESTIONS:
            answers = [
                Answer(each.id, each.label, each.why, wanted)
                for each in question.answers
                if (wanted := self._existing(each.wanted)) is not None
            ]
            if len(answers) > 1:
                found.append(Question(question.id, question.text, answers))
        return found

    def _existing(self, wanted: Wanted) -> Wanted | None:
        """The alternatives that a paper has; None where a facet has none left."""
        kept = {
            facet: [value for value in values if self._keys(facet, value)]
            for facet, values in wanted.items()
        }
        return kept if all(kept.values()) else None

    def _keys(self, facet: str, value: str) -> set[str]:
        shelf = self.shelf
        if facet != "has":
            return {entry.key for entry in shelf.papers_with(facet, value)}
        holds: Callable[[Entry], object] = (
            shelf.method if value == "runs" else lambda entry: entry.links.code
        )
        return {entry.key for entry in shelf.entries if holds(entry) is not None}

    def papers(self, wanted: Wanted) -> list[Entry]:
        """What the catalog shows under a filter, newest first."""
        keys = [
            set[str]().union(*(self._keys(facet, value) for value in values))
            for facet, values in wanted.items()
        ]
        return [entry for entry in self.shelf.entries if all(entry.key in each for each in keys)]

    def parts(self, goal: Answer) -> list[Answer]:
        """The parts whose removal serves a goal: the open answer first."""
        question = next((each for each in self.questions if each.id == PARTS.id), None)
        if question is None:
            return []
        vocabulary = self.shelf.catalog.vocabulary
        below = set[str]().union(
            *(vocabulary.descendants("type", each) for each in goal.wanted.get("type", []))
        )
        return [
            part
            for part in question.answers
            if not (goal.wanted and part.wanted) or below.issuperset(part.wanted["type"])
        ]

    def wanted(self, answers: Mapping[str, str]) -> Wanted:
        """The filter of a whole path. A part says more than its goal, so it replaces that.

        Raises KeyError for an answer that is not offered.
        """
        found: dict[str, Sequence[str]] = {}
        for question in self.questions:
            by_id = {answer.id: answer for answer in question.answers}
            found |= by_id[answers.get(question.id, "any")].wanted
        return found

    def table(self) -> list[tuple[Answer, list[Row]]]:
        """Each goal with the parts that serve it: the ends of the guide on paper."""
        goals = next((each for each in self.questions if each.id == GOALS.id), None)
        return [
            (goal, [self._row(part) for part in self.parts(goal) if part.wanted])
            for goal in (goals.answers if goals else [])
            if goal.wanted
        ]

    def _row(self, part: Answer) -> Row:
        (identifier,) = part.wanted["type"]
        untrained: Wanted = {**part.wanted, "retraining": ["without"]}
        papers = self.papers(part.wanted)
        runnable = [
            (entry, method, run(method, part.wanted["type"]))
            for entry in papers
            if (method := self.shelf.method(entry)) is not None
        ]
        return Row(
            part,
            self.shelf.catalog.vocabulary.value("type", identifier),
            addresses.value("type", identifier),
            papers,
            self.papers(untrained),
            runnable,
            query(part.wanted),
            query(untrained),
        )

    def data(self) -> dict[str, Any]:
        """What the browser needs besides catalog.json."""
        return {
            "questions": [
                {
                    "id": question.id,
                    "answers": {answer.id: answer.wanted for answer in question.answers},
                }
                for question in self.questions
            ],
            "parts": {
                goal.id: [part.id for part in self.parts(goal)]
                for question in self.questions
                if question.id == GOALS.id
                for goal in question.answers
            },
            "methods": {
                method.name: {
                    "model": model(method),
                    "pattern": any(each.name == "pattern" for each in method.parameters),
                }
                for method in self.shelf.catalog.methods.values()
            },
        }


def query(wanted: Wanted) -> str:
    """The catalog's address for a filter."""
    return urlencode(wanted, doseq=True)


def model(method: MethodDoc) -> str | None:
    """The model to try a method on: a real one where it fits, else None for what comes along."""
    fits = method.on == ["decoder"] and method.budget != "experts"
    return "smollm2-135m" if fits else None


def run(method: MethodDoc, types: Sequence[str] = ()) -> str:
    """The command that runs a method in the way that was asked for."""
    words = ["prunedex", "run", method.name]
    named = model(method)
    if named:
        words += ["--model", named]
    if list(types) == ["n:m"] and any(each.name == "pattern" for each in method.parameters):
        words += ["--pattern", "2:4"]
    return command(*words)


def page(shelf: Shelf, write: Callable[..., str]) -> str:
    """The text of the page; `write` takes template, address, title and description."""
    guide = Guide(shelf)
    return write(
        "guide.html",
        addresses.GUIDE,
        "Which method fits me?",
        "A few questions on goal, data and training that end in the papers that fit, with the "
        "commands to run them.",
        meta={"style": "assets/guide.css", "module": "assets/guide.js"},
        guide=guide,
        data=json.dumps(guide.data(), separators=(",", ":")),
    )
