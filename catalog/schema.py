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

    short: Text = Field(description="As people say it, with the year: ICLR 2024")
    full: Text = Field(description="The proceedings' or journal's full name")
    year: Year = Field(description="Year of publication at this venue")
    type: VenueType
    volume: Text | None = None
    number: Text | None = None
    pages: Text | None = Field(default=None, description="As in BibTeX: 12--34")
    publisher: Text | None = None
    series: Text | None = None


class Ids(Strict):
    """Identifiers, always quoted in YAML so that 2310.10 keeps its zero."""

    arxiv: ArxivId | None = None
    arxiv_class: (
        Annotated[str, StringConstraints(pattern=r"^[a-z-]+(\.[A-Za-z-]{2,})?$")] | None
    ) = Field(default=None, description="Primary arXiv class, for example cs.CL")
    doi: Doi | None = None
    openreview: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{6,}$")] | None = None
    acl: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Za-z0-9.-]+$")] | None = None
    pmlr: Annotated[str, StringConstraints(pattern=r"^v[0-9]+/[a-z0-9-]+$")] | None = None


class Code(Strict):
    """A repository with code for the paper."""

    url: Url
    repository: Repository | None = Field(default=None, description="owner/name, if on a forge")
    note: Text | None = None


class Links(Strict):
    """Everything about the paper that has an address."""

    paper: Url | None = None
    code: Code | None = Field(default=None, description="The authors' own code")
    code_unofficial: list[Code] = Field(default_factory=list)
    proceedings: Url | None = None
    blog: Url | None = None
    reviews: Url | None = None
    models: Url | None = None
    website: Url | None = None
    summary: Url | None = None
    discussion: Url | None = None


class Tags(Strict):
    """One list of vocabulary ids per dimension; empty where it does not apply."""

    type: list[Slug] = Field(default_factory=list)
    criterion: list[Slug] = Field(default_factory=list)
    budget: list[Slug] = Field(default_factory=list)
    data: list[Slug] = Field(default_factory=list)
    retraining: list[Slug] = Field(default_factory=list)
    weight_update: list[Slug] = Field(default_factory=list)
    notes: dict[
        Literal["type", "criterion", "budget", "data", "retraining", "weight_update"], Text
    ] = Field(default_factory=dict, description="Why a tag is what it is, where that is not plain")

    def of(self, dimension: str) -> list[str]:
        """The tag ids of one dimension (a name from `DIMENSIONS`)."""
        values: list[str] = getattr(self, dimension)
        return values


class Edge(Strict):
    """This paper's relation to a paper that it builds on."""

    key: Key
    relation: Relation
    note: Text | None = None


class EvaluatedOn(Strict):
    """Models, data and tools of the paper's experiments, as `catalog/resources` spells them."""

    models: list[Text] = Field(default_factory=list)
    calibration: list[Text] = Field(default_factory=list)
    finetuning: list[Text] = Field(default_factory=list)
    evaluation: list[Text] = Field(default_factory=list)
    tools: list[Text] = Field(
        default_factory=list, description="Evaluation tools, such as lm-evaluation-harness"
    )


class Lifecycle(Strict):
    """Whether this is the last word on the paper."""

    status: Literal["preprint", "published"]
    superseded_by: Key | None = None


class ListMention(Strict):
    """A public list that names the paper."""

    name: Text
    url: Url | None = None


class Source(Strict):
    """Where a fact of the entry was confirmed, and when."""

    what: Text = Field(description="bibliography, code, tags, experiments, mechanism, …")
    url: Url
    seen: dt.date


class Entry(Strict):
    """One paper: the content of `papers/<key>.yaml`."""

    key: Key = Field(
        description="First author, year, first telling word of the title: the file's name"
    )
    title: Text
    name: Text | None = Field(default=None, description="What the method is called; may repeat")
    authors: list[Text] = Field(
        description='In order, "Given Family"; write "Family, Given" where the split is not plain'
    )
    year: Year = Field(description="Year of the first public version")
    venue: Venue
    kind: Kind
    ids: Ids = Ids()
    links: Links = Links()
    takeaway: Text = Field(description="One to three sentences that a practitioner can act on")
    mechanism: Text = Field(description="What exactly is computed")
    challenges: list[Text] = Field(default_factory=list)
    tags: Tags | None = None
    builds_on: list[Edge] = Field(default_factory=list)
    evaluated_on: EvaluatedOn = EvaluatedOn()
    implementation: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] | None = Field(
        default=None, description="The method of impl/methods/ that runs this paper"
    )
    lifecycle: Lifecycle
    lists: list[ListMention] = Field(default_factory=list)
    sources: list[Source] = Field(default_factory=list)
    gaps: dict[Gap, Text] = Field(
        default_factory=dict, description="What could not be confirmed, with what was tried"
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
