"""What search engines and reference managers read in the head of a paper's page."""

from __future__ import annotations

import json
from typing import Any

from catalog.schema import Entry
from catalog.site.shelf import address, display_name

_VENUES = {"journal": "Periodical", "preprint": "Collection"}


def linked_data(entry: Entry) -> str:
    """The paper as JSON-LD (schema.org), to be put into a `<script>` as it is.

    The page describes the paper and is not the paper: the take-away is the page's, and the paper
    is at its own addresses.
    """
    paper: dict[str, Any] = {
        "@type": "ScholarlyArticle",
        "headline": entry.title,
        "name": entry.title,
        "datePublished": str(entry.year),
    }
    if entry.name and entry.name != entry.title:
        paper["alternateName"] = entry.name
    if entry.authors:
        paper["author"] = [
            {"@type": "Person", "name": display_name(author)} for author in entry.authors
        ]
    paper["isPartOf"] = {
        "@type": _VENUES.get(entry.venue.type, "PublicationVolume"),
        "name": entry.venue.full,
    }
    identifiers = {"doi": entry.ids.doi, "arxiv": entry.ids.arxiv}
    paper["identifier"] = [
        {"@type": "PropertyValue", "propertyID": name, "value": value}
        for name, value in identifiers.items()
        if value
    ]
    paper["sameAs"] = _elsewhere(entry)
    data = {
        "@context": "https://schema.org",
        "@type": "WebPage",
        "description": entry.takeaway,
        "about": {name: value for name, value in paper.items() if value},
    }
    return in_script(data)


def _elsewhere(entry: Entry) -> list[str]:
    found = [address(entry), entry.links.proceedings]
    if entry.ids.doi:
        found.append(f"https://doi.org/{entry.ids.doi}")
    if entry.ids.arxiv:
        found.append(f"https://arxiv.org/abs/{entry.ids.arxiv}")
    return [*dict.fromkeys(each for each in found if each)]


def in_script(data: object) -> str:
    """JSON that cannot end the `<script>` it stands in, nor begin anything in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
