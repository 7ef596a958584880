"""LASER: the best approximation of low rank, and a search that takes the best edit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.experiments import observe_tags
from impl.methods import laser
from impl.model import all_views
from impl.registry import prune
from impl.toys import toy, toy_tokens


def calibration(samples: int = 4) -> Calibration:
    return Calibration(toy_tokens(samples, 16), "toy", "random", 0)


def test_full_rank_is_the_identity_and_what_is_lost_is_the_tail() -> None:
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(24, 40, generator=generator)
    values = torch.linalg.svdvals(W.double())
    assert torch.allclose(laser.truncated(W, 24), W.double(), atol=1e-6)
    for rank in (1, 7, 23):
        lost = (W.double() - laser.truncated(W, rank)).square().sum()
        assert torch.allclose(lost, values[rank:].square().sum())
        other = torch.linalg.qr(torch.randn(24, rank, generator=generator).double()).Q
        assert lost < (W.double() - other @ other.T @ W.double()).square().sum()
        assert torch.linalg.matrix_rank(laser.truncated(W, rank)) == rank


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("llama", ["gate_proj", "down_proj"]),
        ("opt", ["fc1", "fc2"]),
        ("gpt2", ["c_fc", "c_proj"]),
        ("phi3", ["gate", "down_proj"]),
    ],
)
def test_candidates_are_what_the_paper_searches(family: str, names: list[str]) -> None:
    model = toy(family)
    found = [view.name.rpartition(".")[2] for view in laser.candidates(model, 1)]
    assert sorted(found) == sorted(names)
    attention = laser.candidates(model, 1, "attention")
    assert sorted(view.part for view in attention) == ["k", "o", "q", "v"]
    assert len(laser.candidates(model, 1, "all")) == len(all_views(model)) // 3


def test_the_edit_with_the_highest_accuracy_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy is made up: 1 where the down projection of block 1 was cut; the loss decides ties."""
    for name, accuracy in (("down_proj", 1.0), ("gate_proj", 0.0)):
        model = toy("llama")
        dense = {view.name: view.W.clone() for view in all_views(model)}

        def pretend(
            model: Any, data: Calibration, dense: Any = dense, accuracy: float = accuracy
        ) -> tuple[float, float]:
            cut = [v.name for v in all_views(model) if not torch.equal(v.W, dense[v.name])]
            if "model.layers.1.mlp.down_proj" in cut:
                return accuracy, -3.0
            return 0.0, -1.0 if "model.layers.2.mlp.gate_proj" in cut else -2.0

        monkeypatch.setattr(laser, "quality", pretend)
        report = prune(model, "laser", calibration=calibration(), keep=0.25)
        changed = [v for v in all_views(model) if not torch.equal(v.W, dense[v.name])]
        (view,) = changed
        assert view.name == report.details["matrix"]
        assert view.name.endswith(name)
        assert report.details["rank"] == 8
        assert report.details["candidates"] == 6
        assert torch.allclose(view.W.double(), laser.truncated(dense[view.name], 8), atol=1e-6)


def test_accuracy_and_loss_are_those_of_next_tokens() -> None:
    model, data = toy("llama"), calibration(3)
    with torch.no_grad():
        found = model(data.tokens, labels=data.tokens)
    hits = found.logits[:, :-1].argmax(-1) == data.tokens[:, 1:]
    with torch.no_grad():
        accuracy, loss = laser.quality(model, data)
    assert accuracy == pytest.approx(hits.double().mean().item())
    assert -loss == pytest.approx(found.loss.item(), rel=1e-5)


def test_edits_are_compared_on_a_part_of_the_windows_and_reported_on_the_rest() -> None:
    report = prune(toy("llama"), "laser", calibration=calibration(10), keep=0.5, validation=0.3)
    assert report.read["quality"] == 3 * (1 + 6) + 7 * 2
    assert report.details["test"]["accuracy"][0] >= 0
    whole = prune(toy("llama"), "laser", calibration=calibration(2), keep=0.5, validation=1.0)
    assert whole.details["test"] is None
    for validation in (0, 1.5, -1):
        with pytest.raises(BadInput, match="validation"):
            prune(toy("llama"), "laser", calibration=calibration(), validation=validation)


def test_an_interruption_in_a_trial_puts_the_matrix_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = toy("llama"), 0
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def interrupted(*_: Any) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return 0.5, -1.0

    monkeypatch.setattr(laser, "quality", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(model, "laser", calibration=calibration(), keep=0.5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_wrong_directions_and_the_worst_edit_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = {"criterion": ["singular-value", "search"]}
    assert [seen.holds for seen in observe_tags("laser", claims, ("llama",))] == [True, True]

    def smallest(W: torch.Tensor, rank: int) -> torch.Tensor:
        U, S, Vh = torch.linalg.svd(W.double(), full_matrices=False)
        found: torch.Tensor = U[:, -rank:] * S[-rank:] @ Vh[-rank:]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(laser, "truncated", smallest)
        assert not observe_tags("laser", claims, ("llama",))[0].holds
    quality = laser.quality
    with monkeypatch.context() as patch:
        patch.setattr(laser, "quality", lambda *a: tuple(-value for value in quality(*a)))
        assert not observe_tags("laser", claims, ("llama",))[1].holds
