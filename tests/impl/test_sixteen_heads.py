"""Sixteen heads: gates, their gradients, and what cutting a head does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from impl import registry
from impl.errors import BadInput, Unsupported
from impl.experiments import observe_tags
from impl.gates import gate_gradients, gated
from impl.losses import Data
from impl.methods.sixteen_heads import ablation
from impl.model import all_views, blocks, heads
from impl.registry import prune
from impl.surgery import keep_heads
from impl.tasks import LabelledData
from impl.toys import toy, toy_labelled

ENCODERS = ("bert", "roberta")


def loss(model: PreTrainedModel, data: LabelledData) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(**data.inputs).logits, data.labels, reduction="none")


def logits(model: PreTrainedModel, data: LabelledData) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**data.inputs).logits
    return found


def remaining(dense: PreTrainedModel, pruned: PreTrainedModel) -> list[list[int]]:
    """The numbers of the heads that are left in each layer, by their value weights."""
    found = []
    for index in range(len(blocks(dense))):
        old, new = heads(dense, index), heads(pruned, index)
        rows = {tuple(row.flatten().tolist()): i for i, row in enumerate(old.v.W.split(old.size))}
        found.append([rows[tuple(row.flatten().tolist())] for row in new.v.W.split(new.size)])
    return found


@pytest.mark.parametrize("family", ENCODERS)
def test_the_importance_is_the_finite_difference_of_the_gate(family: str) -> None:
    model, data = toy(family).double(), toy_labelled(family, 6)
    found = gate_gradients(model, data, "heads", torch.abs)
    signed = gate_gradients(model, data, "heads", lambda gradient: gradient)
    step = 1e-3
    for layer in range(3):
        for head in range(heads(model, layer).count):
            sides = []
            for sign in (1, -1):
                with gated(model, "heads") as gates:
                    gates[layer].data[head] = 1 + sign * step
                    sides.append(loss(model, data))
            slopes = (sides[0] - sides[1]) / (2 * step)
            assert found[layer][head].item() == pytest.approx(slopes.abs().sum().item(), rel=1e-2)
            assert signed[layer][head].item() == pytest.approx(
                slopes.sum().item(), rel=1e-2, abs=1e-3
            )
        # Samples of opposite sign do not cancel: that is what the absolute value is for.
        assert (found[layer] >= signed[layer].abs() - 1e-6).all()
    assert any((a > b.abs() * 1.5).any() for a, b in zip(found, signed, strict=True))


@pytest.mark.parametrize("family", ENCODERS)
def test_the_lowest_of_all_layers_together_go(family: str) -> None:
    dense, model, data = toy(family), toy(family), toy_labelled(family, 6)
    report = prune(model, "sixteen-heads", calibration=data, ratio=0.5)
    found = [layer / layer.norm() for layer in gate_gradients(dense, data, "heads", torch.abs)]
    for said, layer in zip(report.details["importance"], found, strict=True):
        assert torch.allclose(torch.tensor(said), layer)
    best = [int(layer.argmax()) for layer in found]
    order = sorted(
        (float(score), layer, head)
        for layer, every in enumerate(found)
        for head, score in enumerate(every)
        if head != best[layer]
    )
    gone = {(layer, head) for _, layer, head in order[: round(0.5 * sum(map(len, found)))]}
    for layer, left in enumerate(remaining(dense, model)):
        assert left == [h for h in range(len(found[layer])) if (layer, h) not in gone]


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("score", ["gradient", "ablation"])
def test_cutting_a_head_is_closing_its_gate(family: str, score: str) -> None:
    dense, model, data = toy(family), toy(family), toy_labelled(family, 6)
    prune(model, "sixteen-heads", calibration=data, ratio=0.5, score=score)
    with gated(dense, "heads") as gates:
        for gate, left in zip(gates, remaining(dense, model), strict=True):
            gate.data.zero_()
            gate.data[left] = 1
        masked = logits(dense, data)
    assert torch.allclose(logits(model, data), masked, atol=1e-5)
    assert not torch.allclose(logits(dense, data), masked, atol=1e-3)


def test_heads_that_reach_nothing_go_first_and_cost_nothing() -> None:
    model, data = toy("bert"), toy_labelled("bert", 6)
    silent = {0: [1, 2], 1: [0], 2: [3]}
    for layer, numbers in silent.items():
        layout = heads(model, layer)
        W = layout.o.W.clone()
        for head in numbers:
            W[:, head * layout.size : (head + 1) * layout.size] = 0
        layout.o.W = W
    before = logits(model, data)
    dense_heads = [heads(model, layer).v.W.clone() for layer in range(3)]
    total = sum(heads(model, layer).count for layer in range(3))
    prune(model, "sixteen-heads", calibration=data, ratio=4 / total)
    for layer, numbers in silent.items():
        size = heads(model, layer).size
        stay = [h for h in range(len(dense_heads[layer]) // size) if h not in numbers]
        assert torch.equal(
            heads(model, layer).v.W, dense_heads[layer].unflatten(0, (-1, size))[stay].flatten(0, 1)
        )
    assert torch.allclose(logits(model, data), before, atol=1e-5)


def test_ablation_is_the_loss_of_the_model_without_the_head() -> None:
    model, data = toy("bert"), toy_labelled("bert", 6)
    found = ablation(model, data)
    whole = loss(model, data).mean()
    for layer in range(3):
        for head in range(heads(model, layer).count):
            cut = toy("bert")
            keep_heads(cut, layer, torch.arange(heads(model, layer).count) != head)
            wanted = loss(cut, data).mean() - whole
            assert found[layer][head].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_every_layer_keeps_its_best_head_and_more_is_refused() -> None:
    dense, model, data = toy("bert"), toy("bert"), toy_labelled("bert", 6)
    total = sum(heads(model, layer).count for layer in range(3))
    prune(model, "sixteen-heads", calibration=data, ratio=(total - 3) / total)
    found = gate_gradients(dense, data, "heads", torch.abs)
    assert remaining(dense, model) == [[int(layer.argmax())] for layer in found]
    again = toy("bert")
    state = {name: tensor.clone() for name, tensor in again.state_dict().items()}
    with pytest.raises(BadInput, match="each of 3 layers keeps one"):
        prune(again, "sixteen-heads", calibration=data, ratio=0.95)
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())


def quiet_start() -> PreTrainedModel:
    """A toy whose first attention adds next to nothing."""
    model = toy("bert")
    view = heads(model, 0).o
    view.W = view.W / 100
    return model


def test_without_normalising_a_quiet_layer_loses_its_heads_first() -> None:
    data, left = toy_labelled("bert", 6), {}
    for normalise in (True, False):
        model = quiet_start()
        prune(model, "sixteen-heads", calibration=data, ratio=0.4, normalise=normalise)
        left[normalise] = [heads(model, layer).count for layer in range(3)]
    assert left[False][0] == 1, "its best head stays even so"
    assert left[True][0] > 1
    assert sum(left[False]) == sum(left[True]) == 12 - 5


def test_survivors_and_everything_else_are_bit_identical() -> None:
    dense, model, data = toy("roberta"), toy("roberta"), toy_labelled("roberta", 6)
    prune(model, "sixteen-heads", calibration=data, ratio=0.4)
    attention = {view.name for view in all_views(model) if view.role == "attention"}
    for name, parameter in model.named_parameters():
        old = dense.get_parameter(name)
        if old.shape == parameter.shape:
            assert torch.equal(old, parameter), name
        else:
            assert name.rpartition(".")[0] in attention, name


def test_a_language_model_is_refused() -> None:
    with pytest.raises(Unsupported, match="an encoder that classifies text"):
        prune(toy("llama"), "sixteen-heads", calibration=toy_labelled("bert", 6), ratio=0.25)


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    @registry.method("impostor-heads", budget="heads", needs="labels", on=("encoder",))
    def _heads(model: PreTrainedModel, calibration: Data, ratio: float = 0.25) -> None:
        """Computes the gradients, and takes the first heads of every layer."""
        gate_gradients(model, calibration, "heads", torch.abs)
        for layer in range(len(blocks(model))):
            count = heads(model, layer).count
            keep_heads(model, layer, torch.arange(count) >= round(ratio * count))


@pytest.mark.usefixtures("impostor")
def test_a_method_that_does_not_use_its_gradients_is_caught() -> None:
    (seen,) = observe_tags("impostor-heads", {"criterion": ["first-order"]}, ("bert",))
    assert not seen.holds
    assert "depends on" in seen.observed


@pytest.mark.parametrize(
    ("dimension", "tag", "words"),
    [
        ("data", "calibration", "it was given labels"),
        ("data", "data-free", "ran the model"),
        ("weight_update", "update", "no surviving weight changed"),
        ("retraining", "efficient", "no optimiser step"),
        ("type", "neuron", "as many neurons"),
    ],
)
def test_false_claims_about_it_are_caught(dimension: str, tag: str, words: str) -> None:
    (seen,) = observe_tags("sixteen-heads", {dimension: [tag]}, ("bert",))
    assert not seen.holds
    assert words in seen.observed
