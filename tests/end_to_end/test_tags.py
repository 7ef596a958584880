"""The taxonomy is executable: what entries claim is what runs show, and false claims are caught."""

from __future__ import annotations

import json

import pytest
import torch

from catalog.store import Catalog
from impl import registry
from impl.calibration import Calibration
from impl.evidence import toy_calibration
from impl.experiments import Observation, observe_tags
from impl.masks import NM, lowest, n_m, per_layer, per_output
from impl.statistics import gram, sum_of_squares
from impl.walk import walk
from scripts.verify_tags import claims, verify

CATALOG = Catalog.load()


@pytest.mark.parametrize("method", sorted(CATALOG.methods))
def test_the_six_tags_hold_and_their_record_is_up_to_date(method: str) -> None:
    found = verify(CATALOG, method)["tags"]
    assert found.keys() >= {d for d, values in claims(CATALOG, method).items() if values}
    for dimension, values in found.items():
        for value, seen in values.items():
            assert seen["holds"], f"{method}: {dimension} {value}: {seen['observed']}"
    path = CATALOG.root / "impl" / "results" / "tags" / f"{method}.json"
    recorded = json.loads(path.read_text("utf-8"))["tags"]
    assert recorded == found, f"run python scripts/verify_tags.py {method}"


@pytest.mark.parametrize("method", sorted(CATALOG.methods))
def test_every_tag_of_an_entry_is_tested_or_excused(method: str) -> None:
    entry = next(e for e in CATALOG.entries.values() if e.implementation == method)
    assert entry.tags is not None
    excused = {(item.dimension, item.value) for item in CATALOG.methods[method].not_run}
    every = {(d, v) for d in claims(CATALOG, method) for v in entry.tags.of(d)}
    assert excused <= every, "an excuse for a tag that the entry does not have"
    assert all(item.text for item in CATALOG.methods[method].not_run)


def one(name: str, dimension: str, value: str) -> Observation:
    (observation,) = observe_tags(name, {dimension: [value]}, ("llama",))
    return observation


@pytest.mark.parametrize(
    ("method", "dimension", "value", "words"),
    [
        ("sparsegpt", "weight_update", "frozen", "surviving weights changed in model.layers.0"),
        ("wanda", "weight_update", "update", "no surviving weight changed"),
        ("wanda", "data", "data-free", "ran the model on text"),
        ("wanda", "data", "small", "neither for training nor to compare candidates"),
        ("sparsegpt", "data", "small", "neither for training nor to compare candidates"),
        ("magnitude", "data", "calibration", "read no text"),
        ("wanda", "criterion", "magnitude", "ran the model"),
        ("magnitude", "criterion", "wanda", "read no activation norms"),
        ("sparsegpt", "criterion", "wanda", "read no activation norms"),
        ("wanda", "criterion", "hessian", "no second-order statistics"),
        ("wanda", "type", "depth", "no run has fewer blocks"),
        ("wanda", "type", "early-exit", "no experiment"),
    ],
)
def test_a_false_claim_about_a_real_method_is_caught(
    method: str, dimension: str, value: str, words: str
) -> None:
    observation = one(method, dimension, value)
    assert not observation.holds
    assert words in observation.observed


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    """Register methods that are not what they say, and forget them afterwards."""

    @registry.method("impostor-wanda", budget="weights", needs="calibration")
    def _wanda(
        model: torch.nn.Module,
        calibration: Calibration,
        sparsity: float = 0.5,
        pattern: NM | None = None,
    ) -> None:
        """Reads the norms and then prunes by magnitude."""
        for block in walk(model, calibration):
            for view, _ in block.collect(sum_of_squares):
                score = view.W.abs()
                view.W = view.W.masked_fill(
                    n_m(score, pattern) if pattern else per_output(score, sparsity), 0
                )

    @registry.method("impostor-hessian", budget="weights", needs="calibration")
    def _hessian(
        model: torch.nn.Module,
        calibration: Calibration,
        sparsity: float = 0.5,
        pattern: NM | None = None,
    ) -> None:
        """Reads second moments and uses their diagonal alone."""
        for block in walk(model, calibration):
            for view, moments in block.collect(gram):
                score = view.W.abs() * moments.diagonal().sqrt()
                view.W = view.W.masked_fill(
                    n_m(score, pattern) if pattern else per_output(score, sparsity), 0
                )

    @registry.method("impostor-pattern", budget="weights", needs="nothing")
    def _pattern(model: torch.nn.Module, sparsity: float = 0.5, pattern: NM | None = None) -> None:
        """Ignores the pattern, and takes more from MLPs than from attention."""
        for block in walk(model):
            for view in block.views:
                share = sparsity * (1.1 if view.role == "mlp" else 0.95)
                view.W = view.W.masked_fill(per_layer(view.W.abs(), share), 0)

    @registry.method("impostor-frozen", budget="weights", needs="calibration")
    def _frozen(
        model: torch.nn.Module,
        calibration: Calibration,
        sparsity: float = 0.5,
        pattern: NM | None = None,
    ) -> None:
        """Trains a norm with labels on text that it was not given."""
        with torch.enable_grad():
            parameter = model.model.norm.weight
            optimiser = torch.optim.SGD([parameter], lr=0.1)
            other = toy_calibration(seed=99).tokens
            model(input_ids=other, labels=other).loss.backward()
            optimiser.step()
        for block in walk(model):
            for view in block.views:
                count = round(sparsity * view.numel)
                view.W = view.W.masked_fill(
                    lowest(view.W.abs().flatten(), count).view(view.shape), 0
                )


@pytest.mark.usefixtures("impostor")
@pytest.mark.parametrize(
    ("method", "dimension", "value", "words"),
    [
        ("impostor-wanda", "criterion", "wanda", "higher |W|·‖X‖ than one they kept"),
        ("impostor-hessian", "criterion", "hessian", "the same when correlations are hidden"),
        ("impostor-pattern", "type", "n:m", "keep more than 2 weights in"),
        ("impostor-pattern", "budget", "sparsity-layer", "weights instead of"),
        ("impostor-frozen", "retraining", "without", "optimiser steps"),
        ("impostor-frozen", "data", "calibration", "labels"),
        (
            "impostor-frozen",
            "weight_update",
            "frozen",
            "surviving weights changed in model.norm.weight",
        ),
        ("impostor-frozen", "criterion", "magnitude", "ran the model or computed gradients"),
    ],
)
def test_impostors_are_unmasked(method: str, dimension: str, value: str, words: str) -> None:
    observation = one(method, dimension, value)
    assert not observation.holds, observation.observed
    assert words in observation.observed
