"""The JSON Schemas that editors complete entries and vocabulary files with, and that of catalog.json.

Run `python -m catalog.schema_export` after a change of `catalog/schema.py` or of the
vocabulary; with `--check` it only says whether the exported files are current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catalog.reported import Report
from catalog.root import find_root
from catalog.schema import DataList, Dimension, Entry, ModelList, ToolList
from catalog.site.published import published_schema
from catalog.site.published_results import results_schema
from catalog.store import load_vocabulary
from catalog.terms import Vocabulary
from catalog.writing import replace_text

FOLDER = Path("catalog") / "schema"
"""Where the exported schemas are, below the root."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def entry_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """The schema of an entry, in which each dimension's tags are those of the vocabulary."""
    schema = Entry.model_json_schema()
    tags = schema["$defs"]["Tags"]["properties"]
    for dimension in vocabulary:
        tags[dimension]["items"] = {"type": "string", "enum": vocabulary.ids(dimension)}
        tags[dimension]["description"] = vocabulary.dimension(dimension).question
        tags[dimension]["uniqueItems"] = True
    return {"$schema": _DIALECT, **schema, "title": "Prunedex entry"}


def vocabulary_schema() -> dict[str, Any]:
    """The schema of a vocabulary file."""
    return {"$schema": _DIALECT, **Dimension.model_json_schema(), "title": "Prunedex dimension"}


def resource_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema of a list of models, data sets or tools."""
    return {"$schema": _DIALECT, **model.model_json_schema(), "title": title}


def reported_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """The schema of a file of reported figures, in which structures are tags of the type."""
    schema = Report.model_json_schema()
    ids = vocabulary.ids("type") if "type" in vocabulary.dimensions else []
    for name in ("Row", "Table"):
        field = schema["$defs"][name]["properties"]["structure"]
        field["anyOf"] = [{"type": "string", "enum": ids}, {"type": "null"}]
    return {"$schema": _DIALECT, **schema, "title": "Prunedex reported figures"}


def exported(root: Path) -> dict[Path, str]:
    """Every schema file below the root, with what it should hold."""
    vocabulary = load_vocabulary(root)
    schemas = {
        "entry.schema.json": entry_schema(vocabulary),
        "vocabulary.schema.json": vocabulary_schema(),
        "models.schema.json": resource_schema(ModelList, "Prunedex models"),
        "datasets.schema.json": resource_schema(DataList, "Prunedex data sets"),
        "reported.schema.json": reported_schema(vocabulary),
        "tools.schema.json": resource_schema(ToolList, "Prunedex tools"),
        "catalog.schema.json": published_schema(),
        "results.schema.json": results_schema(),
    }
    return {
        root / FOLDER / name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }


def stale(root: Path) -> list[Path]:
    """The schema files that are missing or not what they should be."""
    return [
        file
        for file, content in exported(root).items()
        if not file.is_file() or file.read_text(encoding="utf-8") != content
    ]


def write(root: Path) -> list[Path]:
    """Write the schema files that are stale, each beside its place and then renamed to it."""
    written = stale(root)
    contents = exported(root)
    for file in written:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, contents[file])
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the schemas, or with `--check` only compare; 1 if a file was stale then."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in ([], ["--check"]):
        print("usage: python -m catalog.schema_export [--check]", file=sys.stderr)
        return 2
    root = find_root()
    files = stale(root) if given else write(root)
    for file in files:
        print(f"{'stale' if given else 'wrote'}: {file.relative_to(root).as_posix()}")
    return 1 if given and files else 0


if __name__ == "__main__":
    sys.exit(main())
