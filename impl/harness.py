"""Tasks of lm-evaluation-harness on a dense and a pruned model (Gao et al., the extra `tasks`)."""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from impl.errors import BadInput, PrunedexError, Unsupported

After = Callable[[Any, Any, Any], dict[str, Any]]
"""Is called with (dense model, pruned model, tokenizer); returns what is added to a record"""


@functools.cache
def _manager(include: str | None, public: bool) -> Any:
    """The harness's index of tasks; its own thousands take a while to read."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise PrunedexError(
            "lm-evaluation-harness is not installed", "Install it: pip install 'prunedex[tasks]'."
        ) from error
    if include is not None and not Path(include).is_dir():
        raise BadInput(f"{include} is not a folder", "Name the folder that has your tasks.")
    return TaskManager(include_path=include, include_defaults=public)


def _index(names: Sequence[str], include: str | None) -> Any:
    """An index that has the tasks `names`: of the folder's own where they are all there."""
    if include is not None:
        own = _manager(include, False)
        if set(names) <= set(own.all_tasks):
            return own
    return _manager(include, True)


def check_tasks(names: Sequence[str], include: str | None = None) -> None:
    """Raises `BadInput`, with the closest name, for a task that the harness does not have.

    `include` is a folder with tasks of your own. Raises `PrunedexError` if the
    harness is not installed.
    """
    known = _index(names, include).all_tasks
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
            raise BadInput(
                f"lm-evaluation-harness has no task '{name}'"
                + (f"; closest: {', '.join(near)}" if near else ""),
                "`lm-eval ls tasks` lists them.",
            )


def evaluator(names: Sequence[str], include: str | None, limit: int | None) -> After:
    """What runs tasks on both models of a run: the record's `tasks`, `tasks_dense` and `harness`.

    Of each task its metrics with standard errors, how many samples, and the
    task's own version; numbers of different versions are not comparable.
    """

    def after(dense: Any, pruned: Any, tokenizer: Any) -> dict[str, Any]:
        return {
            "tasks": _evaluate(pruned, tokenizer, names, include, limit),
            "tasks_dense": _evaluate(dense, tokenizer, names, include, limit),
            "harness": f"lm_eval=={importlib.metadata.version('lm_eval')}",
        }

    return after


def _evaluate(
    model: Any, tokenizer: Any, names: Sequence[str], include: str | None, limit: int | None
) -> dict[str, Any]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    if tokenizer is None:
        raise Unsupported("tasks need a model with a tokenizer")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        found = lm_eval.simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, device=str(model.device)),
            tasks=list(names),
            task_manager=_index(names, include),
            limit=limit,
            log_samples=False,
            bootstrap_iters=1000,
        )
    except (OSError, ConnectionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PrunedexError(f"the data of {', '.join(names)} could not be had: {reason}") from error
    assert found is not None
    return {
        task: {
            **{
                metric.removesuffix(",none"): value
                for metric, value in values.items()
                if isinstance(value, float)
            },
            "samples": found["n-samples"][task]["effective"],
            "version": str(found["versions"].get(task)),
        }
        for task, values in found["results"].items()
        if task in found["n-samples"]
    }
