"""Policies: attached, asked for, taken off, restored from what was saved."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from impl import runtime
from impl.errors import BadInput
from impl.registry import prune
from impl.store import MANIFEST, read_checkpoint, save
from impl.toys import toy, toy_tokens


class Twice:
    """Doubles the logits."""

    name = "twice"

    def install(self, model: Any) -> None:
        self.handle = model.lm_head.register_forward_hook(lambda _m, _i, output: 2 * output)

    def remove(self) -> None:
        self.handle.remove()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(toy_tokens(1, 6, 3), use_cache=False).logits
    return found


@pytest.fixture
def restorers() -> Iterator[None]:
    known = dict(runtime._RESTORERS)
    yield
    runtime._RESTORERS.clear()
    runtime._RESTORERS.update(known)


def test_a_policy_acts_until_it_is_detached() -> None:
    model = toy("llama")
    before, policy = logits(model), Twice()
    runtime.attach(model, policy)
    assert runtime.attached(model) == [policy]
    assert torch.equal(logits(model), 2 * before)
    runtime.detach(model, "another")
    assert runtime.attached(model) == [policy]
    runtime.detach(model)
    assert runtime.attached(model) == []
    assert torch.equal(logits(model), before)


def test_a_second_policy_of_the_same_name_takes_the_place_of_the_first() -> None:
    model = toy("llama")
    before, second = logits(model), Twice()
    runtime.attach(model, Twice())
    runtime.attach(model, second)
    assert runtime.attached(model) == [second]
    assert torch.equal(logits(model), 2 * before)


def test_nothing_is_kept_of_a_model_that_is_gone() -> None:
    model = toy("llama")
    prune(model, "h2o", keep=0.5, window=8)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_copy_of_the_model_acts_alike() -> None:
    model = toy("llama")
    prune(model, "h2o", keep=0.5, window=8)
    tokens = toy_tokens(1, 20, 3)
    with torch.no_grad():
        assert torch.equal(
            model(tokens, use_cache=False).logits,
            copy.deepcopy(model)(tokens, use_cache=False).logits,
        )


@pytest.mark.usefixtures("restorers")
def test_what_is_saved_is_handed_back() -> None:
    handed: list[Any] = []

    @runtime.restores("twice")
    def _restore(model: Any, options: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        handed.append((options, tensors))
        runtime.attach(model, Twice())

    model, x = toy("llama"), torch.ones(2)
    runtime.restore(model, "twice", {"a": 1}, {"x": x})
    assert handed == [({"a": 1}, {"x": x})]
    assert runtime.attached(model)[0].name == "twice"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wanda", {}),
        ("h2o", {}),
        ("h2o", {"held": "many", "recent": 1}),
        ("h2o", {"held": 4, "recent": 9}),
        ("deja-vu", {"kept": [[4, 2]]}),
        ("deja-vu", {"kept": 3}),
    ],
)
def test_a_state_that_makes_no_sense_is_one_clear_error(name: str, options: dict[str, Any]) -> None:
    from impl.registry import find

    find(name)
    model = toy("llama")
    before = logits(model)
    with pytest.raises(BadInput):
        runtime.restore(model, name, options, {})
    assert not runtime.attached(model)
    assert torch.equal(logits(model), before)


def test_a_checkpoint_with_a_broken_policy_is_refused(tmp_path: Path) -> None:
    model = toy("llama")
    prune(model, "h2o", keep=0.5, window=8)
    save(model, None, tmp_path / "checkpoint", {"method": "h2o"})
    manifest = tmp_path / "checkpoint" / MANIFEST
    record = json.loads(manifest.read_text("utf-8"))
    assert record["runtime"] == [{"method": "h2o", "options": {"held": 4, "recent": 2}}]
    record["runtime"][0]["options"] = {"held": -1, "recent": 0}
    manifest.write_text(json.dumps(record), "utf-8")
    with pytest.raises(BadInput, match="cannot protect"):
        read_checkpoint(tmp_path / "checkpoint")
