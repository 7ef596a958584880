"""Run the methods of the pruning literature on a model.

    from impl import load, load_calibration, perplexity, prune
    model, tokenizer, _ = load("smollm2-135m")
    report = prune(model, "wanda", calibration=load_calibration("lee", tokenizer), sparsity=0.5)

The names below are imported when first used, so that `import impl` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impl.calibration import Calibration, load_calibration
    from impl.errors import BadInput, PrunedexError, Unsupported
    from impl.evaluate import perplexity
    from impl.registry import Report, method_names, prune
    from impl.sources import load
    from impl.store import save

_HOME = {
    "Calibration": "calibration",
    "load_calibration": "calibration",
    "BadInput": "errors",
    "PrunedexError": "errors",
    "Unsupported": "errors",
    "perplexity": "evaluate",
    "Report": "registry",
    "method_names": "registry",
    "prune": "registry",
    "load": "sources",
    "save": "store",
}
__all__ = [
    "BadInput",
    "Calibration",
    "PrunedexError",
    "Report",
    "Unsupported",
    "load",
    "load_calibration",
    "method_names",
    "perplexity",
    "prune",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'impl' has no attribute '{name}'")
    return getattr(importlib.import_module(f"impl.{_HOME[name]}"), name)
