"""What an entry and a vocabulary file may say.

One pydantic model per thing that people edit. Strings are never coerced from
numbers (an arXiv id read as a float loses its zero), unknown fields are
errors, and every message is written for the person who edits the YAML.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

DIMENSIONS: tuple[str, ...] = (
    "type",
    "criterion",
    "budget",
    "data",
    "retraining",
    "weight_update",
)
"""The six tag dimensions, in the order in which they are shown everywhere."""

KINDS: tuple[str, ...] = ("method", "survey", "analysis", "system", "benchmark")

Kind = Literal["method", "survey", "analysis", "system", "benchmark"]
VenueType = Literal["conference", "journal", "workshop", "preprint", "thesis", "other"]
Relation = Literal[
    "extends",
    "simplifies",
    "allocates-for",
    "refines",
    "combines",
    "implements",
    "analyses",
    "compares",
]
"""How a paper relates to one that it builds on, read as "this paper … that paper"."""


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s<>\"'`\\]+", value):
        raise ValueError("a link must start with http:// or https:// and hold no space or quote")
    return value


def _text(value: str) -> str:
    if value != value.strip():
        raise ValueError("remove the space at the start or the end")
    if not value.isprintable() and any(ord(each) < 32 and each != "\n" for each in value):
        raise ValueError("remove the control characters")
    return value


Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_text)]
Url = Annotated[str, AfterValidator(_http_url)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z]+[0-9]{4}[a-z0-9]+$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([:-][a-z0-9]+)*$")]
Year = Annotated[int, Field(ge=1980, le=2100)]
ArxivId = Annotated[
    str, StringConstraints(pattern=r"^([0-9]{4}\.[0-9]{4,5}|[a-z-]+(\.[A-Z]{2})?/[0-9]{7})$")
]
Doi = Annotated[str, StringConstraints(pattern=r"^10\.[0-9]{4,9}/[^\s\"<>{}\\]+$")]
Repository = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$")
]


Gap = Literal[
    "authors",
    "ids",
    "links.paper",
    "links.code",
    "venue",
    "mechanism",
    "challenges",
    "tags",
    "evaluated_on.models",
    "evaluated_on.calibration",
    "evaluated_on.finetuning",
    "evaluated_on.evaluation",
]
"""Parts of an entry that may be declared unconfirmed: left empty, or resting on an abstract."""


RESOURCES: tuple[str, ...] = ("models", "datasets", "tools")
"""The lists of things that experiments name, in the order in which they are shown."""

ROLES: dict[str, str] = {
    "models": "models",
    "calibration": "datasets",
    "finetuning": "datasets",
    "evaluation": "datasets",
    "tools": "tools",
}
"""Each field of `evaluated_on`, with the list in which its names stand."""

ModelKind = Literal[
    "decoder",
    "mixture-of-experts",
    "encoder",
    "encoder-decoder",
    "recurrent",
    "vision",
    "multimodal",
    "other",
]
Task = Literal[
    "language modelling",
    "multiple choice",
    "question answering",
    "text classification",
    "summarisation",
    "data to text",
    "translation",
    "mathematics",
    "code",
    "instructions",
    "dialogue",
    "long context",
    "image classification",
    "vision",
    "multimodal",
    "suite",
    "other",
]
"""What a data set asks of a model; language modelling stands for running text."""

ResourceId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Strict(BaseModel):
    """Base of everything that is read from a file: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Venue(Strict):
    """Where the final version appeared; an arXiv preprint has `type: preprint`."""

    short: Text = Field(
        description="As people say it, with the year",
        examples=["ICLR 2024", "Findings of EMNLP 2023"],
    )
    full: Text = Field(
        description="The proceedings' or journal's full name",
        examples=["The Twelfth International Conference on Learning Representations"],
    )
    year: Year = Field(description="Year of publication at this venue", examples=[2024])
    type: VenueType = Field(
        description="What kind of venue it is; arXiv is a preprint",
        examples=["conference", "preprint"],
    )
    volume: Text | None = Field(
        default=None, description="Volume of the journal or proceedings, in quotes", examples=["38"]
    )
    number: Text | None = Field(
        default=None, description="Number of the issue, in quotes", examples=["10"]
    )
    pages: Text | None = Field(
        default=None, description="First and last page, as in BibTeX", examples=["10865--10873"]
    )
    publisher: Text | None = Field(
        default=None,
        description="Who published the proceedings or the journal",
        examples=["AAAI Press"],
    )
    series: Text | None = Field(
        default=None,
        description="Series of which the proceedings are a volume",
        examples=["Proceedings of Machine Learning Research"],
    )


class Ids(Strict):
    """Identifiers, always quoted in YAML so that 2310.10 keeps its zero."""

    arxiv: ArxivId | None = Field(
        default=None, description="arXiv id without its version, in quotes", examples=["2306.11695"]
    )
    arxiv_class: (
        Annotated[str, StringConstraints(pattern=r"^[a-z-]+(\.[A-Za-z-]{2,})?$")] | None
    ) = Field(default=None, description="Primary arXiv class", examples=["cs.CL"])
    doi: Doi | None = Field(
        default=None,
        description="DOI of the published version, without https://doi.org/",
        examples=["10.18653/v1/2024.emnlp-main.987"],
    )
    openreview: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{6,}$")] | None = Field(
        default=None,
        description="What follows forum?id= in OpenReview's address",
        examples=["PxoFut3dWW"],
    )
    acl: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Za-z0-9.-]+$")] | None = Field(
        default=None,
        description="Last part of the address in the ACL Anthology",
        examples=["2024.emnlp-main.987"],
    )
    pmlr: Annotated[str, StringConstraints(pattern=r"^v[0-9]+/[a-z0-9-]+$")] | None = Field(
        default=None, description="Volume and paper of PMLR's address", examples=["v202/frantar23a"]
    )


class Code(Strict):
    """A repository with code for the paper."""

    url: Url = Field(
        description="Where the code is", examples=["https://github.com/locuslab/wanda"]
    )
    repository: Repository | None = Field(
        default=None, description="owner/name, if on a forge", examples=["locuslab/wanda"]
    )
    note: Text | None = Field(
        default=None,
        description="What it covers, or what to know before using it",
        examples=["Covers the LLaMA experiments only."],
    )


class Links(Strict):
    """Everything about the paper that has an address."""

    paper: Url | None = Field(
        default=None,
        description="Where the paper can be read, on arXiv if it is there",
        examples=["https://arxiv.org/abs/2306.11695"],
    )
    code: Code | None = Field(default=None, description="The authors' own code")
    code_unofficial: list[Code] = Field(
        default_factory=list, description="Code by others, each with a note on whose it is"
    )
    proceedings: Url | None = Field(
        default=None,
        description="The published version's own page",
        examples=["https://proceedings.mlr.press/v202/frantar23a.html"],
    )
    blog: Url | None = Field(
        default=None,
        description="An article that explains the paper",
        examples=["https://example.org/an-article"],
    )
    reviews: Url | None = Field(
        default=None,
        description="Its public reviews",
        examples=["https://openreview.net/forum?id=PxoFut3dWW"],
    )
    models: Url | None = Field(
        default=None,
        description="Pruned models to download",
        examples=["https://huggingface.co/princeton-nlp/Sheared-LLaMA-1.3B"],
    )
    website: Url | None = Field(
        default=None, description="The project's page", examples=["https://example.org/a-project"]
    )
    summary: Url | None = Field(
        default=None,
        description="A summary by others",
        examples=["https://huggingface.co/papers/2306.11695"],
    )
    discussion: Url | None = Field(
        default=None,
        description="Where it is discussed in public",
        examples=["https://example.org/a-discussion"],
    )


class Tags(Strict):
    """One list of vocabulary ids per dimension; empty where it does not apply."""

    type: list[Slug] = Field(
        default_factory=list, description="What is removed", examples=[["unstructured", "n:m"]]
    )
    criterion: list[Slug] = Field(
        default_factory=list, description="How importance is judged", examples=[["wanda"]]
    )
    budget: list[Slug] = Field(
        default_factory=list,
        description="What is fixed in advance, and over which scope",
        examples=[["sparsity-layer"]],
    )
    data: list[Slug] = Field(
        default_factory=list, description="What it needs to see", examples=[["calibration"]]
    )
    retraining: list[Slug] = Field(
        default_factory=list, description="What training follows", examples=[["without"]]
    )
    weight_update: list[Slug] = Field(
        default_factory=list,
        description="What happens to the weights that stay",
        examples=[["frozen"]],
    )
    notes: dict[
        Literal["type", "criterion", "budget", "data", "retraining", "weight_update"], Text
    ] = Field(
        default_factory=dict,
        description="Why a tag is what it is, where that is not plain",
        examples=[{"budget": "The share is fixed even for each output row."}],
    )

    def of(self, dimension: str) -> list[str]:
        """The tag ids of one dimension (a name from `DIMENSIONS`)."""
        values: list[str] = getattr(self, dimension)
        return values


class Edge(Strict):
    """This paper's relation to a paper that it builds on."""

    key: Key = Field(
        description="The entry of the earlier paper", examples=["frantar2023sparsegpt"]
    )
    relation: Relation = Field(
        description="What this paper does to that one", examples=["simplifies", "compares"]
    )
    note: Text | None = Field(
        default=None,
        description="What it keeps, changes or compares",
        examples=["Drops the inverse Hessian and the weight update."],
    )


class EvaluatedOn(Strict):
    """Models, data and tools of the paper's experiments, as `catalog/resources` spells them."""

    models: list[Text] = Field(
        default_factory=list,
        description="Models that it prunes and evaluates, with their size where it is known",
        examples=[["LLaMA-2-7B"]],
    )
    calibration: list[Text] = Field(
        default_factory=list,
        description="Data that importance is measured on",
        examples=[["C4"]],
    )
    finetuning: list[Text] = Field(
        default_factory=list,
        description="Data that the pruned model is trained on",
        examples=[["Alpaca"]],
    )
    evaluation: list[Text] = Field(
        default_factory=list,
        description="Data that the pruned model is judged on",
        examples=[["WikiText-2", "BoolQ"]],
    )
    tools: list[Text] = Field(
        default_factory=list,
        description="Programs that the evaluation ran with",
        examples=[["lm-evaluation-harness"]],
    )


class Lifecycle(Strict):
    """Whether this is the last word on the paper."""

    status: Literal["preprint", "published"] = Field(
        description="Whether it appeared at its venue", examples=["published"]
    )
    superseded_by: Key | None = Field(
        default=None,
        description="The entry of the paper that replaces this one",
        examples=["sun2023simple"],
    )


class ListMention(Strict):
    """A public list that names the paper."""

    name: Text = Field(description="What the list calls itself", examples=["Awesome-LLM-Pruning"])
    url: Url | None = Field(
        default=None,
        description="Where the list is",
        examples=["https://github.com/example/awesome-list"],
    )


class Source(Strict):
    """Where a fact of the entry was confirmed, and when."""

    what: Text = Field(
        description="What was confirmed: bibliography, code, tags, experiments, mechanism, …",
        examples=["bibliography", "mechanism and tags"],
    )
    url: Url = Field(
        description="What was looked at", examples=["https://arxiv.org/abs/2306.11695"]
    )
    seen: dt.date = Field(description="The day, without quotes", examples=["2026-11-22"])


class Entry(Strict):
    """One paper: the content of `papers/<key>.yaml`."""

    key: Key = Field(
        description="First author, year, first telling word of the title: the file's name",
        examples=["sun2023simple"],
    )
    title: Text = Field(
        description="As the final version has it, without markup",
        examples=["A Simple and Effective Pruning Approach for Large Language Models"],
    )
    name: Text | None = Field(
        default=None, description="What the method is called; may repeat", examples=["Wanda"]
    )
    authors: list[Text] = Field(
        description='In order, "Given Family"; write "Family, Given" where the split is not plain',
        examples=[["Mingjie Sun", "Zhuang Liu"]],
    )
    year: Year = Field(description="Year of the first public version", examples=[2023])
    venue: Venue = Field(description="Where the final version appeared")
    kind: Kind = Field(
        description="What the paper offers: a method, an overview, findings, software or a test",
        examples=["method"],
    )
    ids: Ids = Field(default=Ids(), description="Its identifiers, in quotes")
    links: Links = Field(default=Links(), description="Everything that has an address")
    takeaway: Text = Field(
        description="One to three sentences that a practitioner can act on",
        examples=["The first thing to try at 50 % unstructured sparsity: one forward pass."],
    )
    mechanism: Text = Field(
        description="What exactly is computed",
        examples=["Each weight gets the score S_ij = |W_ij| * ||X_j||_2."],
    )
    challenges: list[Text] = Field(
        default_factory=list,
        description="What it struggles with or leaves open, one thing an item",
        examples=[["Zeros in place bring speed only with sparse kernels."]],
    )
    tags: Tags | None = Field(
        default=None, description="Its place in the six dimensions: claims that a run can test"
    )
    builds_on: list[Edge] = Field(
        default_factory=list,
        description="Papers of the catalog that it starts from or measures up to",
    )
    evaluated_on: EvaluatedOn = Field(
        default=EvaluatedOn(), description="Models, data and tools of its experiments"
    )
    implementation: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] | None = Field(
        default=None,
        description="The method of impl/methods/ that runs this paper",
        examples=["wanda"],
    )
    lifecycle: Lifecycle = Field(description="Whether this is the last word on the paper")
    lists: list[ListMention] = Field(
        default_factory=list, description="Public lists that name the paper"
    )
    sources: list[Source] = Field(
        default_factory=list, description="Where its facts were confirmed, and when"
    )
    gaps: dict[Gap, Text] = Field(
        default_factory=dict,
        description="What could not be confirmed, with what was tried",
        examples=[{"links.code": "The paper promises code; none was found on GitHub."}],
    )


class Definition(Strict):
    """Where a vocabulary value's meaning comes from."""

    title: Text
    url: Url


class Value(Strict):
    """One value of a dimension."""

    id: Slug
    name: Text
    definition: Text
    source: Definition
    parent: Slug | None = None
    shows: Text | None = Field(
        default=None, description="What a run must show for this tag to count as verified"
    )


class Dimension(Strict):
    """One tag dimension: the content of `catalog/vocabulary/<id>.yaml`."""

    id: Literal["type", "criterion", "budget", "data", "retraining", "weight_update"]
    name: Text
    question: Text
    definition: Text
    values: list[Value]


class Resource(Strict):
    """One thing that experiments name: its one spelling here, and the others that it has."""

    id: ResourceId
    name: Text = Field(description="The spelling that entries use")
    aliases: list[Text] = Field(default_factory=list, description="Other spellings, to suggest it")
    parent: ResourceId | None = Field(default=None, description="The family or suite it belongs to")
    url: Url | None = Field(default=None, description="Its official page, if that was seen")


class ModelResource(Resource):
    """A model, or a family of models."""

    kind: ModelKind | None = Field(default=None, description="Left out where it is the parent's")
    parameters: (
        Annotated[str, StringConstraints(pattern=r"^([0-9]+x)?[0-9]+(\.[0-9]+)?[MBT]$")] | None
    ) = Field(default=None, description="As its name says: 7B, 8x7B")


class DataResource(Resource):
    """A data set, or a suite of data sets."""

    task: Task
    about: Text = Field(description="What it holds, in a sentence of ours")


class ToolResource(Resource):
    """A program that runs evaluations."""

    about: Text | None = None


class ModelList(Strict):
    """The content of `catalog/resources/models.yaml`."""

    id: Literal["models"]
    items: list[ModelResource]


class DataList(Strict):
    """The content of `catalog/resources/datasets.yaml`."""

    id: Literal["datasets"]
    items: list[DataResource]


class ToolList(Strict):
    """The content of `catalog/resources/tools.yaml`."""

    id: Literal["tools"]
    items: list[ToolResource]
