"""Sheared LLaMA: gates as the paper has them, a cut that loses nothing, and text by need."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl import load, load_calibration, prune
from impl.errors import BadInput
from impl.evidence import toy_calibration
from impl.methods.sheared_llama import (
    Domains,
    Gate,
    descend,
    factor,
    fold,
    gated,
    gates_for,
    kept_of,
    places_of,
)
from impl.model import blocks, heads, neurons
from impl.shape import Shape, cut
from impl.toys import toy, toy_tokens

WHOLE: dict[str, Any] = {"layers": 1.0, "hidden": 1.0, "heads": 1.0, "neurons": 1.0}
NO_HEADS = ("olmo2", "phi3", "bloom", "falcon")
FAMILIES = (
    "llama",
    "llama-multi-query",
    "llama-tied",
    "qwen3",
    "gemma2",
    "opt",
    "gpt2",
    "gpt_neox",
    "falcon-grouped",
    *NO_HEADS,
)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(toy_tokens(2, 12, 7), use_cache=False).logits
    return found


def gate(log_alpha: Tensor, kept: int) -> Gate:
    return Gate(log_alpha, torch.zeros(2, len(log_alpha)), torch.ones_like(log_alpha), kept)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_gates_follow_the_hard_concrete_distribution(log_alpha: float) -> None:
    torch.manual_seed(0)
    many = gate(torch.full((1, 200_000), log_alpha), 1)
    many.sample()
    assert many.z.min() == 0
    assert many.z.max() == 1
    inside = ((many.z > 0) & (many.z < 1)).float().mean()
    assert 0.05 < inside < 0.8
    # The two ends of s (ζ − γ) + γ in (0, 1), solved for u by hand.
    closed = 1 / (1 + math.exp(-(0.83 * math.log(0.1 / 1.1) - log_alpha)))
    opened = 1 - 1 / (1 + math.exp(-(0.83 * math.log(1.1 / 0.1) - log_alpha)))
    assert (many.z == 0).float().mean().item() == pytest.approx(closed, abs=0.005)
    assert (many.z == 1).float().mean().item() == pytest.approx(opened, abs=0.005)
    assert many.expected().item() / 200_000 == pytest.approx(1 - closed, abs=1e-4)


def test_the_constraint_is_linear_and_quadratic_in_the_gap() -> None:
    found = gate(torch.zeros(2, 8), 6)
    found.multipliers = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    gap = (found.expected() - 6) / 8
    assert found.constraint(1.0).item() == pytest.approx(
        (2 * gap[0] + 3 * gap[1] ** 2).item(), rel=1e-5
    )
    start = (found.expected() - 8) / 8
    assert found.constraint(0.0).item() == pytest.approx(
        (2 * start[0] + 3 * start[1] ** 2).item(), rel=1e-5
    )


def test_what_settles_is_the_highest_gates() -> None:
    found = gate(torch.tensor([[0.3, -1.0, 2.0, 0.1], [1.0, 2.0, 3.0, -4.0]]), 2)
    found.settle(2)
    assert (found.z > 0).tolist() == [[True, False, True, False], [False, True, True, False]]
    assert found.z[0, 2].item() == pytest.approx(1 / (1 + math.exp(-0.8 * 2 / 0.83)), rel=1e-5)


def settled(model: PreTrainedModel, family: str) -> tuple[dict[Any, Gate], Any]:
    source = Shape.of(model)
    share = 1.0 if family in NO_HEADS else 0.5
    target = source.scaled(model, 0.67, 0.75, share, 0.5)
    gates = gates_for(model, source, target)
    torch.manual_seed(1)
    for found in gates.values():
        found.log_alpha = 2 * torch.randn_like(found.log_alpha)
        found.settle(found.kept)
    return gates, places_of(model, gates)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cut_model_computes_what_the_gated_one_did(family: str) -> None:
    model = toy(family)
    dense = logits(model)
    gates, places = settled(model, family)
    with gated(model, places, gates["hidden"]):
        masked = logits(model)
    assert torch.equal(logits(model), dense), "gates are left behind"
    assert (masked - dense).abs().max() > 0.1 * dense.abs().max()
    with torch.no_grad():
        fold(places)
    cut(model, kept_of(model, gates))
    assert (logits(model) - masked).abs().max() < 2e-3 * masked.abs().max()
    assert len(blocks(model)) == 2
    assert heads(model, 0).q.shape[1] == 24


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
def test_open_gates_change_nothing(family: str) -> None:
    model = toy(family)
    dense = logits(model)
    gates, places = settled(model, family)
    for found in gates.values():
        found.z = torch.ones_like(found.z)
    with gated(model, places, gates["hidden"]):
        assert torch.allclose(logits(model), dense, atol=1e-5)


def test_the_number_of_open_gates_comes_near_the_target() -> None:
    model = toy("llama")
    source = Shape.of(model)
    gates = gates_for(model, source, source.scaled(model, 1.0, 0.75, 0.5, 0.25))
    text = Domains(model, toy_calibration(8).tokens, 2, 50)
    before = {kind: found.expected() for kind, found in gates.items()}
    torch.manual_seed(0)
    with torch.no_grad(), gated(model, places_of(model, gates), gates["hidden"]):
        descend(model, text, 120, 1e-4, 1, 12, list(gates.values()), 1.0)
    for kind, found in gates.items():
        size = found.z.shape[-1]
        assert (before[kind] > 0.95 * size).all()
        off = (found.expected() - found.kept).mean().abs() / size
        assert off < 0.15, f"{kind}: {found.expected().tolist()} instead of {found.kept}"


def test_parts_that_do_nothing_are_found() -> None:
    """Half of the neurons of every block are disconnected: the gates must close those."""
    model, tokenizer, _ = load("tiny")
    assert tokenizer is not None
    text = load_calibration("synthetic", tokenizer, 16, 64)
    dead = torch.arange(neurons(model, 0).count) % 2 == 0
    for index in range(len(blocks(model))):
        down = neurons(model, index).down
        down.W = down.W.masked_fill(dead, 0)
    source = Shape.of(model)
    gates = gates_for(model, source, source.scaled(model, 1.0, 1.0, 1.0, 0.5))
    torch.manual_seed(0)
    with torch.no_grad(), gated(model, places_of(model, gates), None):
        descend(model, Domains(model, text.tokens, 1, 99), 40, 1e-5, 4, 4, list(gates.values()))
    gates["neurons"].settle(gates["neurons"].kept)
    closed = gates["neurons"].z == 0
    assert (closed & dead).sum() > 0.7 * closed.sum()  # half, by chance


def test_a_domain_gains_weight_by_how_far_it_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy("llama")
    text = Domains(model, toy_calibration(8).tokens, 2, 10)
    assert text.weights.tolist() == [0.5, 0.5]
    assert [len(part) for part in text.train] == [3, 3]
    assert [len(part) for part in text.held] == [1, 1]
    text.reference = torch.tensor([1.0, 3.0], dtype=torch.float64)
    monkeypatch.setattr(
        Domains, "losses", lambda self, model: torch.tensor([1.5, 2.0], dtype=torch.float64)
    )
    text.update(model)
    # The second is ahead of its reference: its difference counts as 0.
    e = math.exp(0.5)
    assert text.weights.tolist() == pytest.approx([e / (e + 1), 1 / (e + 1)])
    text.update(model)
    assert text.weights[0].item() == pytest.approx(e * e / (e * e + 1))


def test_text_is_drawn_in_proportion_and_never_the_held_out_windows() -> None:
    model = toy("llama")
    tokens = torch.arange(8)[:, None].expand(8, 4)
    text = Domains(model, tokens, 2, 10)
    text.weights = torch.tensor([0.8, 0.2], dtype=torch.float64)
    torch.manual_seed(0)
    drawn = text.draw(model, 2000).inputs["input_ids"][:, 0]
    assert set(drawn.tolist()) == {0, 1, 2, 4, 5, 6}
    assert (drawn < 4).float().mean().item() == pytest.approx(0.8, abs=0.03)


def test_one_window_is_a_domain_of_its_own() -> None:
    text = Domains(toy("llama"), toy_tokens(1, 8), 4, 10)
    assert len(text.train) == len(text.held) == 1
    assert torch.equal(text.train[0], text.held[0])


def test_the_learning_rate_ends_at_a_tenth() -> None:
    assert factor(100, 10, 9) == pytest.approx(10 / 11)
    assert factor(100, 10, 10) == 1
    assert factor(100, 10, 100) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "options", [{"gate_steps": 0}, {"domains": 0}, {"lr": 0.0}, {"steps": -1}, {"batch": 0}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    model = toy("llama")
    before = logits(model)
    with pytest.raises(BadInput):
        prune(model, "sheared-llama", calibration=toy_calibration(), **options)
    assert torch.equal(logits(model), before)
