"""Deeper Layers: angles of runs of blocks, the simple strategy, and the healing."""

from __future__ import annotations

import pytest
import torch
from deep import deep, logits, make_idle, text, without

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.evidence import hidden_states
from impl.experiments import observe_tags
from impl.losses import batches, losses
from impl.methods.deeper_layers import angular_distances
from impl.model import all_views, blocks
from impl.registry import prune
from impl.session import Session, session
from impl.toys import toy, toy_tokens


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_distances_are_those_of_the_equation(family: str, n: int) -> None:
    model = deep(6, family)
    states = hidden_states(model, text())
    expected = []
    for start in range(6 - n + 1):
        angles = []
        for a, b in zip(states[start][:, -1], states[start + n][:, -1], strict=True):
            cosine = (a @ b / (a.norm() * b.norm())).clamp(-1, 1)
            angles.append(torch.arccos(cosine) / torch.pi)
        expected.append(torch.stack(angles).mean().item())
    found = angular_distances(model, text(), n)
    assert len(found) == 6 - n + 1
    assert found == pytest.approx(expected, abs=1e-5)


def test_only_the_last_token_is_looked_at() -> None:
    """In a model without attention a token's state depends on that token alone."""
    model = deep(6)
    for view in all_views(model):
        if view.part == "o":
            view.W = torch.zeros_like(view.W)
    other = toy_tokens(4, 16, 8)
    other[:, -1] = text().tokens[:, -1]
    same_end = Calibration(other, "toy", "random", 8)
    assert angular_distances(model, same_end, 2) == pytest.approx(
        angular_distances(model, text(), 2), abs=1e-6
    )
    assert angular_distances(model, text(seed=9), 2) != pytest.approx(
        angular_distances(model, text(), 2), abs=1e-3
    )


@pytest.mark.parametrize("place", [0, 2, 4])
def test_an_idle_run_goes_and_nothing_needs_healing(place: int) -> None:
    model = deep(6)
    make_idle(model, place, place + 1)
    before = logits(model)
    report = prune(model, "deeper-layers", calibration=text(), drop=2, steps=0)
    assert report.details["dropped"] == [place, place + 1]
    torch.testing.assert_close(logits(model), before)


def test_two_idle_blocks_that_are_no_neighbours_do_not_make_a_run() -> None:
    """ShortGPT would take both; a run of neighbours with the smallest angle goes here."""
    model = deep(6)
    make_idle(model, 1, 4)
    distances = angular_distances(model, text(), 2)
    report = prune(model, "deeper-layers", calibration=text(), drop=2, steps=0)
    start = min(range(5), key=distances.__getitem__)
    assert report.details["dropped"] == [start, start + 1]


@pytest.mark.parametrize(("drop", "gone"), [(1, [4]), (3, [2, 3, 4]), (5, [0, 1, 2, 3, 4])])
def test_the_simple_strategy_drops_the_deepest_but_the_last(drop: int, gone: list[int]) -> None:
    model, reference = deep(6), deep(6)
    report = prune(
        model, "deeper-layers", calibration=text(), drop=drop, strategy="deepest", steps=0
    )
    assert report.details["dropped"] == gone
    assert not report.read.get("before_and_after")
    torch.testing.assert_close(logits(model), without(reference, *gone))


def loss(model: torch.nn.Module) -> float:
    with torch.no_grad():
        return torch.cat([losses(model, batch) for batch in batches(text(), 4)]).mean().item()


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_healing_lowers_the_loss_and_changes_feed_forward_weights_alone(family: str) -> None:
    cut, healed = toy(family), toy(family)
    prune(cut, "deeper-layers", calibration=text(), drop=1, steps=0)
    prune(healed, "deeper-layers", calibration=text(), drop=1, steps=30, lr=1e-2, rank=8)
    assert loss(healed) < loss(cut) - 0.1
    mlps = {f"{v.name}.{v.parameter}" for v in all_views(healed) if v.role == "mlp"}
    dense = dict(cut.named_parameters())
    for name, parameter in healed.named_parameters():
        assert torch.equal(parameter, dense[name]) == (name not in mlps), name


def test_in_a_mixture_of_experts_attention_is_healed() -> None:
    cut, healed = toy("mixtral"), toy("mixtral")
    prune(cut, "deeper-layers", calibration=text(), drop=1, steps=0)
    prune(healed, "deeper-layers", calibration=text(), drop=1, steps=5, lr=1e-2, rank=4)
    for a, b in zip(all_views(cut), all_views(healed), strict=True):
        assert torch.equal(a.W, b.W) == (a.role == "mlp"), a.name


def test_text_too_short_to_heal_with_is_refused_before_anything_is_dropped() -> None:
    model = toy("llama")
    with pytest.raises(BadInput, match="no next token"):
        prune(model, "deeper-layers", calibration=text(length=1), drop=1)
    assert len(blocks(model)) == 3
    prune(model, "deeper-layers", calibration=text(length=1), drop=1, steps=0)
    assert len(blocks(model)) == 2


def test_distances_are_measured_within_a_session_of_any_batch_size() -> None:
    model = deep(4)
    alone = angular_distances(model, text(), 1)
    with torch.no_grad(), session(model, Session(batch_size=3), 0):
        assert angular_distances(model, text(), 1) == pytest.approx(alone, abs=1e-6)


def test_a_false_claim_is_caught() -> None:
    """Blocks that turn the last token least are not those of lowest perplexity."""
    families = ("llama", "gpt2", "opt", "gpt_neox")
    (seen,) = observe_tags("shortened-llama", {"criterion": ["angular-distance"]}, families)
    assert not seen.holds
    (seen,) = observe_tags("shortgpt", {"retraining": ["efficient"]}, ("llama",))
    assert not seen.holds
