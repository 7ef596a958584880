"""Minitron: what is inactive goes first, heads leave their residual, and a teacher is matched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl import load, load_calibration, perplexity, prune, registry
from impl.calibration import Calibration
from impl.evidence import toy_calibration
from impl.experiments import observe_tags
from impl.losses import batches
from impl.methods.minitron import add_residual, importance, loss_without
from impl.model import View, all_views, blocks, heads, neurons
from impl.shape import Kept, Shape, cut
from impl.toys import toy
from impl.train import distillation

WHOLE: dict[str, Any] = {"layers": 1.0, "hidden": 1.0, "heads": 1.0, "neurons": 1.0}
TEXT = toy_calibration(4, 16)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(TEXT.tokens, use_cache=False).logits
    return found


def synthetic() -> tuple[Calibration, Tensor]:
    """Text of the language that `tiny` speaks: to calibrate on, and held-out windows."""
    tokenizer = load("tiny")[1]
    assert tokenizer is not None
    text = load_calibration("synthetic", tokenizer, 8, 64)
    return text, load_calibration("synthetic", tokenizer, 8, 64, split="evaluation").tokens


def silence(view: View, rows: Tensor) -> None:
    """Make a matrix write zeros to some of its rows."""
    W = view.W.clone()
    W[rows] = 0
    view.W = W
    bias = getattr(view.module, "bias", None)
    if bias is not None:
        own = torch.arange(len(bias)) if view.rows is None else view.rows
        bias.data[own[rows]] = 0


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gpt_neox"])
def test_neurons_that_are_never_active_go_and_nothing_changes(family: str) -> None:
    model = toy(family)
    count = neurons(model, 0).count
    for index in range(len(blocks(model))):
        idle = torch.arange(index % 2, count, 2)
        # Zero before the activation function is zero behind it.
        silence(neurons(model, index).up, idle)
    before = logits(model)
    prune(model, "minitron", calibration=TEXT, **{**WHOLE, "neurons": 0.5}, steps=0)
    assert neurons(model, 0).count == count // 2
    assert torch.allclose(logits(model), before, atol=1e-5)


@pytest.mark.parametrize("family", ["opt", "gpt2", "gpt_neox"])
def test_heads_that_hand_on_nothing_go_and_nothing_changes(family: str) -> None:
    model = toy(family)
    for index in range(len(blocks(model))):
        layout = heads(model, index)
        quiet = torch.arange(4) % 2 == index % 2
        silence(layout.v, quiet.repeat_interleave(layout.size).nonzero().flatten())
    before = logits(model)
    options = {**WHOLE, "heads": 0.5}
    prune(model, "minitron", calibration=TEXT, **options, steps=0, residual=False)
    assert heads(model, 0).count == 2
    assert torch.allclose(logits(model), before, atol=1e-5)


def test_scores_are_means_over_tokens_and_norms_over_samples() -> None:
    model = toy("llama")
    seen: list[Tensor] = []
    view = neurons(model, 1).down
    hook = view.module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    model(TEXT.tokens, use_cache=False)
    hook.remove()
    x = seen[0].double()
    found = importance(model, TEXT).neurons[1]
    assert torch.allclose(found, x.abs().mean(1).norm(dim=0), rtol=1e-5)
    assert not torch.allclose(found, x.abs().mean(1).sum(0), rtol=1e-2)


def test_a_block_that_turns_nothing_goes_first() -> None:
    for place in range(3):
        model = toy("qwen3")
        for view in all_views(model):
            if view.block == place and view.part in ("o", "down"):
                view.W = torch.zeros_like(view.W)
        before = logits(model)
        assert importance(model, TEXT).layers.argmin() == place
        prune(model, "minitron", calibration=TEXT, **{**WHOLE, "layers": 0.67}, steps=0)
        assert torch.allclose(logits(model), before, atol=1e-5)


def test_the_loss_without_a_block_is_that_of_the_model_without_it() -> None:
    model = toy("gemma2")
    found = loss_without(model, TEXT)
    for index in range(3):
        other = copy.deepcopy(model)
        keep = torch.ones(3, dtype=torch.bool)
        keep[index] = False
        cut(other, Kept(layers=keep))
        with torch.no_grad():
            own = other(TEXT.tokens, labels=TEXT.tokens, use_cache=False).loss.item()
        assert found[index].item() == pytest.approx(own, rel=1e-4)


@pytest.mark.parametrize("family", ["qwen2", "opt", "gpt2"])
def test_kept_heads_take_up_the_difference_to_removed_ones(family: str) -> None:
    model, dense = toy(family), toy(family)
    layout, old = heads(model, 0), heads(dense, 0)
    shared = layout.queries > 1
    scores = torch.tensor([[0.1, 0.3], [0.4, 0.2]] if shared else [[0.1, 0.4, 0.3, 0.2]])
    # (kept, removed) pairs, by rank: 2K - i + 1 of the i-th, for K of L heads.
    pairs = [(1, 0), (2, 3)]
    add_residual(model, 0, scores, 1 if shared else 2)
    size, rest = layout.size, torch.ones(layout.q.shape[0], dtype=torch.bool)
    for kept, removed in pairs:
        to, by = slice(kept * size, (kept + 1) * size), slice(removed * size, (removed + 1) * size)
        assert torch.allclose(layout.q.W[to], 2 * old.q.W[to] - old.q.W[by])
        if not shared:
            assert torch.allclose(layout.v.W[to], 2 * old.v.W[to] - old.v.W[by])
        rest[to] = False
    assert torch.equal(layout.q.W[rest], old.q.W[rest])
    assert torch.equal(layout.k.W, old.k.W) == shared
    assert torch.equal(layout.o.W, old.o.W)


def test_where_fewer_than_half_stay_only_the_pairs_that_exist_are_made() -> None:
    model, dense = toy("opt"), toy("opt")
    add_residual(model, 0, torch.tensor([[0.4, 0.3, 0.2, 0.1]]), 1)
    new, old, size = heads(model, 0).q.W, heads(dense, 0).q.W, heads(model, 0).size
    assert torch.allclose(new[:size], 2 * old[:size] - old[size : 2 * size])
    assert torch.equal(new[size:], old[size:])


def test_a_teacher_has_nothing_to_teach_itself() -> None:
    model = toy("llama")
    (batch,) = batches(TEXT, 4)
    assert distillation(model)(model, batch).item() == pytest.approx(0, abs=1e-6)
    assert distillation(toy("llama", seed=1))(model, batch).item() > 0.1


def test_a_teacher_is_not_changed_and_the_student_comes_nearer() -> None:
    text, held = synthetic()
    shape = {**WHOLE, "hidden": 0.75, "neurons": 0.5}
    found = []
    for steps in (0, 24):
        model = load("tiny")[0]
        report = prune(model, "minitron", calibration=text, **shape, steps=steps, lr=1e-3)
        found.append(perplexity(model, held))
    losses = report.details["loss"]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    assert found[1] < 0.9 * found[0]


def test_the_scores_are_better_than_their_opposite() -> None:
    text, held = synthetic()
    best, worst = load("tiny")[0], load("tiny")[0]
    prune(best, "minitron", calibration=text, **{**WHOLE, "neurons": 0.5}, steps=0)
    least = [score <= score.median() for score in importance(worst, text).neurons]
    cut(worst, Kept(neurons=least))
    assert perplexity(best, held) < 0.5 * perplexity(worst, held)


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    @registry.method("impostor-shape", budget="shape", needs="calibration")
    def _shape(
        model: PreTrainedModel,
        calibration: Calibration,
        layers: float = 1.0,
        hidden: float = 1.0,
        heads: float = 1.0,
        neurons: float = 1.0,
    ) -> None:
        """Keeps what comes last, whatever the text says."""
        source = Shape.of(model)
        target = source.scaled(model, layers, hidden, heads, neurons)
        if target == source:
            return

        def last(count: int, kept: int) -> Tensor:
            return torch.arange(count) >= count - kept

        sets = importance(model, calibration).heads
        cut(
            model,
            Kept(
                last(source.layers, target.layers),
                last(source.hidden, target.hidden),
                [last(source.heads, target.heads).expand_as(score) for score in sets],
                [last(source.neurons, target.neurons)] * source.layers,
            ),
        )


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ("activation", "more active than one that stayed"),
        ("cosine-similarity", "a block went with a higher"),
        ("trainable", "nothing but weights"),
    ],
)
def test_a_method_that_does_not_look_is_found_out(
    impostor: None, criterion: str, words: str
) -> None:
    (seen,) = observe_tags("impostor-shape", {"criterion": [criterion]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed
