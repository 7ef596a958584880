"""A small catalog without any fault, and how to write it with changes."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ENTRY: dict[str, Any] = {
    "key": "first2023base",
    "title": "Zeroing Weights: A Base Line",
    "name": "Zero",
    "authors": ["Ada First", "Jan C. van der Berg"],
    "year": 2023,
    "venue": {
        "short": "ICLR 2024",
        "full": "International Conference on Learning Representations",
        "year": 2024,
        "type": "conference",
    },
    "kind": "method",
    "ids": {"arxiv": "2303.10010", "arxiv_class": "cs.LG"},
    "links": {
        "paper": "https://arxiv.org/abs/2303.10010",
        "code": {"url": "https://github.com/first/zero", "repository": "first/zero"},
    },
    "takeaway": "Removes small weights; good enough up to a half.",
    "mechanism": "Sets the smallest weights of every layer to zero.",
    "challenges": ["Small models suffer."],
    "tags": {
        "type": ["unstructured"],
        "criterion": ["magnitude"],
        "budget": ["sparsity"],
        "data": ["data-free"],
        "retraining": ["without"],
        "weight_update": ["frozen"],
    },
    "evaluated_on": {
        "models": ["Small-1B"],
        "calibration": ["Texts"],
        "evaluation": ["Quiz-easy"],
        "tools": ["Harness"],
    },
    "implementation": "zero-out",
    "lifecycle": {"status": "published"},
    "sources": [
        {
            "what": "bibliography and mechanism",
            "url": "https://example.org/a",
            "seen": "2026-11-22",
        }
    ],
}

SECOND: dict[str, Any] = {
    "key": "second2024next",
    "title": "Dropping Layers by Curvature",
    "name": None,
    "authors": ["Bo Second"],
    "year": 2024,
    "venue": {"short": "arXiv 2024", "full": "arXiv preprint", "year": 2024, "type": "preprint"},
    "ids": {"arxiv": "2401.00020"},
    "links": {"paper": "https://arxiv.org/abs/2401.00020", "code": None},
    "takeaway": "Removes whole layers.",
    "tags": {
        "type": ["depth"],
        "criterion": ["hessian"],
        "data": ["calibration"],
        "weight_update": ["update"],
    },
    "evaluated_on": {"models": ["Small"], "calibration": None, "tools": None},
    "builds_on": [{"key": "first2023base", "relation": "extends"}],
    "implementation": None,
    "lifecycle": {"status": "preprint"},
}

_VALUES: dict[str, list[str | tuple[str, str]]] = {
    "type": ["unstructured", "structured", ("depth", "structured")],
    "criterion": ["magnitude", "taylor", ("hessian", "taylor")],
    "budget": ["sparsity"],
    "data": ["data-free", "calibration"],
    "retraining": ["without"],
    "weight_update": ["frozen", "update"],
}

METHOD = '''r"""Zeroing: the smallest weights of every layer go.

Nothing is trained.

Equations
---------
- Eq. 1 (§2): $$S_{ij} = |W_{ij}|$$ The score of a weight
  is its magnitude.

Hyperparameters
---------------
- sparsity: the share of weights removed.

Official code
-------------
- https://github.com/first/zero at 0123456789abcdef0123456789abcdef01234567

Deviations
----------
- None that matters.
"""

from impl.registry import method


@method("zero-out", budget="weights", needs="nothing")
def zero_out(model, sparsity: float = 0.5, pattern=None) -> None:
    pass
'''

RESULT: dict[str, Any] = {
    "schema": 1,
    "method": "zero-out",
    "options": {"sparsity": 0.5, "pattern": None},
    "protocol": {
        "name": "small",
        "model": {"name": "m", "revision": "r", "parameters": 100, "dtype": "float32"},
        "calibration": None,
        "evaluation": {
            "source": "lee", "revision": "r", "samples": 2, "length": 8, "sha256": "ab",
        },
        "seed": 0,
    },
    "environment": {
        "python": "3.11", "torch": "2", "transformers": "5", "device": "cpu", "hardware": "x",
        "commit": "abc", "date": "2026-11-22",
    },
    "budget": {"unit": "weights", "asked": 0.5, "achieved": 0.5, "removed": 50, "total": 100},
    "quality": {"perplexity_before": 19.125, "perplexity_after": 22.25},
    "cost": {"seconds": 1.5, "peak_memory_bytes": 1000},
}  # fmt: skip

PROTOCOL = """name = "small"
title = "A small one"
description = "For tests."
kind = "decoder"
seed = 0
dtype = "float32"
requires = []

[model]
name = "m"
revision = "r"

[calibration]
source = "lee"
revision = "r"
samples = 4
length = 8

[evaluation]
source = "lee"
revision = "r"
samples = 2
length = 8
sha256 = "ab"

[budgets.weights]
sparsity = [0.5, 0.7]
pattern = ["2:4"]
"""

VERIFICATION: dict[str, Any] = {
    "schema": 1,
    "method": "zero-out",
    "checked": "2026-11-22",
    "versions": {"torch": "2"},
    "families": ["llama"],
    "tags": {"type": {"unstructured": {"holds": True, "observed": "zeros in place"}}},
}


MODELS: dict[str, Any] = {
    "id": "models",
    "items": [
        {"id": "small", "name": "Small", "aliases": ["The Small"], "kind": "decoder"},
        {"id": "small-1b", "name": "Small-1B", "parent": "small", "parameters": "1B"},
    ],
}

DATASETS: dict[str, Any] = {
    "id": "datasets",
    "items": [
        {"id": "texts", "name": "Texts", "task": "language modelling", "about": "Some text."},
        {"id": "quiz", "name": "Quiz", "task": "suite", "about": "Two quizzes."},
        {
            "id": "quiz-easy",
            "name": "Quiz-easy",
            "aliases": ["Quiz-e"],
            "parent": "quiz",
            "task": "multiple choice",
            "about": "The easy one.",
        },
    ],
}

TOOLS: dict[str, Any] = {
    "id": "tools",
    "items": [{"id": "harness", "name": "Harness", "url": "https://example.org/harness"}],
}


REPORT: dict[str, Any] = {
    "source": {"key": "first2023base"},
    "methods": {"Zero": {"key": "first2023base"}, "magnitude": {}},
    "tables": [
        {
            "url": "https://github.com/first/zero",
            "where": "README table",
            "kind": "repository",
            "metric": "perplexity",
            "dataset": "Texts",
            "sequence_length": 2048,
            "structure": "unstructured",
            "budget": {"weights": "50%"},
            "rows": [
                {"method": "dense", "values": {"Small-1B": 10.25}},
                {"method": "Zero", "values": {"Small-1B": 12.5}},
                {"method": "magnitude", "values": {"Small-1B": 20.0}},
            ],
        }
    ],
}


def dimension(name: str) -> dict[str, Any]:
    """One vocabulary file of the sample."""
    values = []
    for value in _VALUES[name]:
        identifier, parent = value if isinstance(value, tuple) else (value, None)
        values.append(
            {
                "id": identifier,
                "name": identifier.capitalize(),
                "definition": f"What {identifier} means.",
                "source": {"title": "A Survey", "url": "https://example.org/survey"},
                **({"parent": parent} if parent else {}),
            }
        )
    return {
        "id": name,
        "name": name.replace("_", " ").capitalize(),
        "question": f"Which {name}?",
        "definition": f"What {name} is about.",
        "values": values,
    }


def merged(base: Any, change: Any) -> Any:
    """`base` with the fields of `change`; None removes a field, lists replace each other."""
    if not isinstance(base, dict) or not isinstance(change, Mapping):
        return change
    result = dict(base)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name, {}), value)
    return result


FILES: dict[str, Any] = {
    "papers/first2023base.yaml": ENTRY,
    "papers/second2024next.yaml": merged(ENTRY, SECOND),
    "impl/methods/zero_out.py": METHOD,
    "impl/protocols/small.toml": PROTOCOL,
    "impl/results/small/zero-out-0.5.json": RESULT,
    "impl/results/tags/zero-out.json": VERIFICATION,
    **{f"catalog/vocabulary/{name}.yaml": dimension(name) for name in _VALUES},
    "catalog/resources/models.yaml": MODELS,
    "catalog/resources/datasets.yaml": DATASETS,
    "catalog/resources/tools.yaml": TOOLS,
    "catalog/reported/first2023base.yaml": REPORT,
}


def to_yaml(data: Any) -> str:
    """Data as a YAML file, with dates as YAML has them."""
    buffer = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.width = 1000
    writer.representer.ignore_aliases = lambda data: True
    writer.dump(data, buffer)
    return buffer.getvalue().replace("seen: '2026-11-22'", "seen: 2026-11-22")


def a_third(key: str) -> dict[str, Any]:
    """Another entry that clashes with none."""
    number = sum(map(ord, key))
    return merged(
        ENTRY,
        {
            "key": key,
            "title": " ".join(f"{letter}{number}" for letter in key),
            "name": None,
            "year": int("".join(filter(str.isdigit, key))[:4]),
            "ids": {"arxiv": None, "arxiv_class": None},
            "links": {"paper": f"https://example.org/{key}", "code": None},
            "implementation": None,
        },
    )


def write_catalog(root: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the sample below `root`; a change is merged in, text is a whole file, None removes."""
    files = copy.deepcopy(FILES)
    for path, change in (changes or {}).items():
        if change is None or isinstance(change, str):
            files[path] = change
        else:
            run = RESULT if path.startswith("impl/results/") else None
            start = files.get(path) or run or a_third(Path(path).stem)
            files[path] = merged(start, change)
    (root / "papers").mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        if content is None:
            continue
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            is_json = file.suffix == ".json"
            content = json.dumps(content, indent=2) if is_json else to_yaml(content)
        file.write_text(content, encoding="utf-8")
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    """The content of every file below a folder, to see that nothing was written."""
    return {str(file): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
