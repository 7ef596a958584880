"""The published shape of catalog.json, from which `catalog.schema.json` is made.

Programs of other people read the file: a field is renamed or removed, or changes its meaning, only
together with `catalog.site.data.SCHEMA`. The models are strict, so that a test finds a field
that nobody described; the published schema admits more fields, since new ones may appear.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catalog.schema import Ids, Links
from catalog.site.data import SCHEMA


class Part(BaseModel):
    """A part of the file, with all of its fields and no other."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PublishedVenue(Part):
    """Where the final version appeared."""

    short: str = Field(description="As people say it, with the year: ICLR 2024")
    full: str = Field(description="The proceedings' or journal's full name")
    series: str = Field(description="The short name without its year, to group by")
    year: int = Field(description="Year of publication at this venue")
    type: str = Field(description="conference, journal, preprint and the like; more may come")


class PublishedEntry(Part):
    """One paper."""

    key: str = Field(
        pattern=r"^[a-z0-9-]+$", description="Citation key, never changed once published"
    )
    title: str
    name: str | None = Field(description="What the method is called; several may share a name")
    authors: list[str] = Field(description="In order, as `Given Family`; empty if unknown")
    year: int = Field(description="Year of the first public version")
    venue: PublishedVenue
    kind: str = Field(description="One of `kinds`")
    tags: dict[str, list[str]] = Field(
        description="Per dimension the ids as tagged, without the values above them"
    )
    verified: dict[str, list[str]] = Field(
        description="Per dimension the ids that a run was seen to fulfil"
    )
    uses: dict[str, list[str]] = Field(
        description="Under `model` and `dataset` the ids of what the paper prunes, calibrates, "
        "fine-tunes or evaluates on, with the families that they belong to"
    )
    takeaway: str = Field(description="One to three sentences that a practitioner can act on")
    paper: str | None = Field(description="Where to read the paper")
    links: Links = Field(description="Other addresses; `code` is the authors' own")
    ids: Ids
    implementation: str | None = Field(description="The method that runs here")
    url: str = Field(description="The paper's page, relative to the site's root")
    bibtex: str = Field(description="The citation, one BibTeX entry")


class PublishedValue(Part):
    """One value of a dimension."""

    id: str
    name: str
    parent: str | None = Field(description="The id of the value above it")
    count: int = Field(ge=0, description="Papers that have it or a value below it")
    url: str


class PublishedDimension(Part):
    """One of the six questions that every paper is asked."""

    id: str
    name: str
    question: str
    url: str
    values: list[PublishedValue]


class Generated(Part):
    """What the file was made from."""

    entries: int = Field(ge=0)
    methods: int = Field(ge=0)
    results: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the entries")


class PublishedCatalog(Part):
    """The literature on pruning language models: every paper with tags, links and a citation."""

    json_schema: str = Field(alias="$schema", description="Address of the schema of this file")
    schema_version: int = Field(
        alias="schema",
        ge=SCHEMA,
        le=SCHEMA,
        description="Grows when a field is renamed, removed or changes its meaning",
    )
    name: str
    documentation: str = Field(description="The page that describes this file")
    generated_from: Generated
    kinds: list[str] = Field(description="The kinds of papers; more may come")
    dimensions: list[PublishedDimension]
    entries: list[PublishedEntry] = Field(description="Newest first")


def published_schema() -> dict[str, Any]:
    """The JSON Schema of catalog.json, for its readers: open to fields that come later."""
    schema: dict[str, Any] = PublishedCatalog.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **opened(schema),
        "title": "Prunedex catalog.json",
    }


def opened(part: Any) -> Any:
    """The same schema without what only a writer must keep to, and without made-up titles."""
    if isinstance(part, list):
        return [opened(each) for each in part]
    if not isinstance(part, dict):
        return part
    inside = {
        name: {key: opened(each) for key, each in value.items()}
        if name in ("properties", "$defs")
        else opened(value)
        for name, value in part.items()
        if not (name == "additionalProperties" and value is False)
    }
    if isinstance(inside.get("title"), str):
        del inside["title"]
    # Fields without a value are left out of links and ids, so their defaults say nothing.
    inside.pop("default", None)
    return inside
