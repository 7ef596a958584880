"""The catalog as data: `catalog.json`, which the catalog page and other programs read.

The shape is described in site/pages/data.md and in `catalog.site.published`, and changes only
together with `SCHEMA`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from catalog.schema import DIMENSIONS, KINDS, Entry
from catalog.site import addresses
from catalog.site.facets import uses
from catalog.site.shelf import Shelf, address, display_name, series

SCHEMA = 1
"""Grows when a field of catalog.json is renamed, removed or changes its meaning."""

SCHEMA_FILE = "catalog.schema.json"
"""Beside catalog.json: its JSON Schema."""


def catalog_data(shelf: Shelf) -> dict[str, Any]:
    """Everything in catalog.json. No date and no path in it: equal catalogs give equal bytes."""
    entries = [_entry(shelf, entry) for entry in shelf.entries]
    content = json.dumps(entries, ensure_ascii=False, sort_keys=True)
    return {
        "$schema": SCHEMA_FILE,
        "schema": SCHEMA,
        "name": "Prunedex",
        "documentation": addresses.DATA,
        "generated_from": {
            "entries": len(entries),
            "methods": len(shelf.catalog.methods),
            "results": len(shelf.catalog.results),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        },
        "kinds": [*KINDS],
        "dimensions": [
            {
                "id": dimension.id,
                "name": dimension.name,
                "question": dimension.question,
                "url": addresses.dimension(dimension.id),
                "values": [
                    {
                        "id": node.value.id,
                        "name": node.value.name,
                        "parent": node.value.parent,
                        "count": node.count,
                        "url": node.page,
                    }
                    for node in shelf.nodes(dimension)
                ],
            }
            for dimension in shelf.dimensions
        ],
        "entries": entries,
    }


def _entry(shelf: Shelf, entry: Entry) -> dict[str, Any]:
    tags = {name: entry.tags.of(name) if entry.tags else [] for name in DIMENSIONS}
    verified = {
        name: [tag.value.id for tag in shelf.tags(entry, name) if tag.seen and tag.seen.holds]
        for name in DIMENSIONS
    }
    method = shelf.method(entry)
    links = entry.links.model_dump(mode="json", exclude_none=True)
    return {
        "key": entry.key,
        "title": entry.title,
        "name": entry.name,
        "authors": [display_name(author) for author in entry.authors],
        "year": entry.year,
        "venue": {
            "short": entry.venue.short,
            "full": entry.venue.full,
            "series": series(entry),
            "year": entry.venue.year,
            "type": entry.venue.type,
        },
        "kind": entry.kind,
        "tags": tags,
        "verified": {name: ids for name, ids in verified.items() if ids},
        "uses": uses(shelf, entry),
        "takeaway": entry.takeaway,
        "paper": address(entry),
        "links": {name: link for name, link in links.items() if link},
        "ids": entry.ids.model_dump(mode="json", exclude_none=True),
        "implementation": method.name if method else None,
        "url": addresses.paper(entry.key),
        "bibtex": shelf.bibtex(entry),
    }


def to_json(data: object) -> str:
    """JSON on as few lines as compares well: one line an entry."""
    if not isinstance(data, dict):
        return json.dumps(data, ensure_ascii=False)
    lines = []
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n".join(json.dumps(item, ensure_ascii=False) for item in value)
            lines.append(f"{json.dumps(name)}: [\n{items}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
