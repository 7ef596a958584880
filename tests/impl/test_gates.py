"""A gate's gradient is what the loss changes by; at 1 it changes nothing, at 0 its part is gone."""

from __future__ import annotations

import pytest
import torch

from impl.evidence import toy_calibration
from impl.gates import Kind, gate_gradients, gated, passed_over
from impl.losses import batches, logits, losses, weight_gradients
from impl.model import all_views, blocks
from impl.surgery import drop_blocks, keep_heads, keep_neurons
from impl.toys import toy, toy_labelled

KINDS: tuple[Kind, ...] = ("heads", "groups", "neurons", "attention", "mlp", "blocks")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "opt"])
def test_the_gradient_of_a_gate_is_its_finite_difference(family: str, kind: Kind) -> None:
    model, text = toy(family, torch.float64), toy_calibration(2, 12)
    found = gate_gradients(model, text, kind, lambda g: g)

    def loss() -> float:
        return sum(float(losses(model, batch).sum()) for batch in batches(text, 1))

    with gated(model, kind) as gates, torch.no_grad():
        for index in (0, 1, 2):
            gates[index][0] = 1 + 1e-3
            above = loss()
            gates[index][0] = 1 - 1e-3
            slope = (above - loss()) / 2e-3
            gates[index][0] = 1
            assert slope == pytest.approx(float(found[index][0]), rel=1e-2, abs=5e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_closed_gate_is_a_part_that_is_gone(family: str) -> None:
    model, (batch,) = toy(family), batches(toy_calibration(2, 12), 2)
    with torch.no_grad():
        before = logits(model, batch)
        with gated(model, "groups") as gates:
            assert torch.equal(before, logits(model, batch))
            gates[1].data[0] = 0
            without = logits(model, batch)
        cut = toy(family)
        keep_heads(cut, 1, torch.arange(len(gates[1])) > 0)
        assert torch.allclose(without, logits(cut, batch), atol=1e-4)
        with gated(model, "neurons") as gates:
            gates[2].data[:5] = 0
            without = logits(model, batch)
        cut = toy(family)
        keep_neurons(cut, 2, torch.arange(len(gates[2])) >= 5)
        assert torch.allclose(without, logits(cut, batch), atol=1e-4)
        with gated(model, "blocks") as gates:
            gates[1].data.zero_()
            without = logits(model, batch)
        with passed_over([blocks(model)[1]]):
            skipped = logits(model, batch)
        cut = toy(family)
        drop_blocks(cut, [1])
        assert torch.allclose(without, logits(cut, batch), atol=1e-4)
        assert torch.equal(skipped, logits(cut, batch))
        assert torch.equal(before, logits(model, batch)), "no gate is left"


def test_gates_work_on_encoders_and_their_labels() -> None:
    model, data = toy("bert"), toy_labelled("bert")
    found = gate_gradients(model, data, "heads", torch.abs)
    assert [g.shape for g in found] == [torch.Size([4])] * 3
    assert all(g.sum() > 0 for g in found)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_the_gradient_of_a_view_is_that_of_its_weights(family: str) -> None:
    model, text = toy(family, torch.float64), toy_calibration(1, 12)
    found = weight_gradients(model, text, lambda g: g)
    (batch,) = batches(text, 1)
    for view in all_views(model)[::3]:
        W = view.W.clone()
        values = []
        for step in (2e-3, -2e-3):
            moved = W.clone()
            moved[0, 1] += step
            view.W = moved
            with torch.no_grad():
                values.append(float(losses(model, batch).sum()))
        view.W = W
        slope = (values[0] - values[1]) / 4e-3
        assert slope == pytest.approx(float(found[view.name][0, 1]), rel=2e-2, abs=5e-4), view.name
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
