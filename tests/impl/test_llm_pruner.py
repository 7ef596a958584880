"""LLM-Pruner: the scores against plain gradients, the plan, what stays whole, and the recovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl import registry
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.experiments import observe_tags
from impl.gates import gate_gradients
from impl.losses import batches, losses
from impl.methods.llm_pruner import plan, salience, scores, together
from impl.model import all_views, blocks, heads, neurons
from impl.registry import prune
from impl.surgery import keep_neurons
from impl.toys import toy, toy_tokens

WIDE = ("llama", "qwen3", "gemma2", "opt", "gpt2", "gpt_neox")


def calibration(samples: int = 5) -> Calibration:
    return Calibration(toy_tokens(samples, 16), "toy", "random", 0)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(toy_tokens(2, 12, 7)).logits
    return found


def gradients(model: PreTrainedModel, data: Calibration) -> Iterator[dict[str, Tensor]]:
    """∂ loss / ∂ W of every view, a window at a time, with transformers' own loss."""
    for window in data.tokens:
        model.zero_grad()
        model(window[None], labels=window[None]).loss.backward()
        yield {
            view.name: view.like(getattr(view.module, view.parameter).grad).clone()
            for view in all_views(model)
        }
    model.zero_grad()


def parts(model: PreTrainedModel, block: int) -> Iterator[tuple[int, list[tuple[Any, int]]]]:
    """Attention and MLP of a block: how many units, and each matrix with the axis to sum over."""
    attention, mlp = heads(model, block), neurons(model, block)
    yield (
        attention.groups,
        [(attention.q, 1), (attention.k, 1), (attention.v, 1), (attention.o, 0)],
    )
    ups = [(view, 1) for view in (mlp.gate, mlp.up) if view is not None]
    yield mlp.count, [*ups, (mlp.down, 0)]


@pytest.mark.parametrize("family", WIDE)
def test_scores_are_sums_of_gradient_times_weight(family: str) -> None:
    model, data = toy(family), calibration()
    every = list(gradients(model, data))
    mean = {name: sum(g[name] for g in every) / len(every) for name in every[0]}
    fisher = {name: sum(g[name] ** 2 for g in every) / len(every) for name in every[0]}
    W = {view.name: view.W.detach() for view in all_views(model)}
    wanted = {
        "first": {name: mean[name] * W[name] for name in W},
        "second": {name: fisher[name] * W[name] ** 2 / 2 for name in W},
        "mixed": {name: mean[name] * W[name] - fisher[name] * W[name] ** 2 / 2 for name in W},
    }
    for importance, weights in wanted.items():
        found = salience(model, data, importance)  # type: ignore[arg-type]
        for block in range(3):
            got = scores(model, block, found, importance, "sum")  # type: ignore[arg-type]
            for score, (units, matrices) in zip(got, parts(model, block), strict=True):
                plain = sum(
                    weights[view.name].abs().sum(axis).view(units, -1).sum(1)
                    for view, axis in matrices
                )
                assert isinstance(plain, Tensor)
                assert torch.allclose(score.float(), plain, rtol=2e-3), importance


@pytest.mark.parametrize("family", WIDE)
def test_the_vector_score_of_the_last_matrix_is_the_gradient_of_a_gate_on_the_neuron(
    family: str,
) -> None:
    """Eq. 3 on a column of the down projection; and the gradient is a finite difference."""
    model, data = toy(family), calibration()
    found = salience(model, data, "vector")
    gates = gate_gradients(model, data, "neurons", lambda gradient: gradient)
    for block in range(3):
        _, units = scores(model, block, found, "vector", "last")
        assert torch.allclose(units.float(), (gates[block] / 5).abs(), rtol=2e-3, atol=1e-5)
    down, step = neurons(model, 1).down, 1e-2
    for neuron in (0, 7):
        W, sides = down.W.clone(), []
        for sign in (1, -1):
            scaled = W.clone()
            scaled[:, neuron] *= 1 + sign * step
            down.W = scaled
            (batch,) = batches(data, 5)
            with torch.no_grad():
                sides.append(loss_in_double(model, batch.inputs["input_ids"]))
            down.W = W
        slope = abs(sides[0] - sides[1]) / (2 * step)
        _, units = scores(model, 1, found, "vector", "last")
        assert units[neuron].item() == pytest.approx(slope, rel=5e-2, abs=1e-4)


def loss_in_double(model: PreTrainedModel, tokens: Tensor) -> float:
    found = model(tokens, use_cache=False).logits.double().log_softmax(-1)
    picked = found[:, :-1].gather(-1, tokens[:, 1:, None])
    return -float(picked.mean())


def test_matrices_of_a_group_count_together_in_four_ways() -> None:
    structures = [torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.5]), torch.tensor([2.0, 2.0])]
    assert together(structures, "sum").tolist() == [6, 6.5]
    assert together(structures, "prod").tolist() == [6, 4]
    assert together(structures, "max").tolist() == [3, 4]
    assert together(structures, "last").tolist() == [2, 2]


@pytest.mark.parametrize(
    ("importance", "aggregate"),
    [
        *((importance, "sum") for importance in ("first", "second", "mixed", "vector")),
        *(("first", aggregate) for aggregate in ("prod", "max", "last")),
    ],
)
def test_every_block_loses_its_weakest_groups(importance: Any, aggregate: Any) -> None:
    dense, model, data = toy("llama"), toy("llama"), calibration()
    found = salience(dense, data, importance)
    prune(
        model, "llm-pruner", calibration=data, ratio=0.4, importance=importance,
        aggregate=aggregate, steps=0,
    )  # fmt: skip
    drops = plan(dense, range(3), 0.4)
    for block in range(3):
        groups, units = scores(dense, block, found, importance, aggregate)
        old = heads(dense, block).o.W.unflatten(1, (2, -1))[:, int(groups.argmax())]
        assert torch.equal(heads(model, block).o.W, old)
        stay = units.argsort(stable=True)[drops[block].neurons :].sort().values
        assert torch.equal(neurons(model, block).down.W, neurons(dense, block).down.W[:, stay])
        assert torch.equal(neurons(model, block).up.W, neurons(dense, block).up.W[stay])


@pytest.mark.parametrize("family", WIDE)
def test_dead_neurons_go_first_and_cost_nothing(family: str) -> None:
    model = toy(family)
    for block in range(3):
        down = neurons(model, block).down
        W = down.W.clone()
        W[:, 11::6] = 0
        down.W = W
    dense, dead = logits(model), len(range(11, neurons(model, 0).count, 6))
    total = sum(p.numel() for p in blocks(model).parameters())
    ratio = 3 * dead * neurons(model, 0).parameters / total
    if plan(model, range(3), ratio)[0].groups:
        pytest.skip("with so much to go, a head goes, too")
    prune(model, "llm-pruner", calibration=calibration(), ratio=ratio, steps=0)
    for block in range(3):
        left = (neurons(model, block).down.W != 0).any(0)
        assert left.all() or family == "opt", "a ReLU that never fires is as dead"
    assert torch.allclose(logits(model), dense, atol=1e-4)


@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.33, 0.5, 0.6])
@pytest.mark.parametrize("family", WIDE)
def test_the_plan_takes_what_was_asked_and_the_same_from_every_treated_block(
    family: str, ratio: float
) -> None:
    model = toy(family)
    total = sum(p.numel() for p in blocks(model).parameters())
    drops = plan(model, range(3), ratio)
    gone = sum(
        drop.groups * heads(model, block).group_parameters
        + drop.neurons * neurons(model, block).parameters
        for block, drop in drops.items()
    )
    assert abs(gone - ratio * total) <= neurons(model, 0).parameters
    assert len({drop.groups for drop in drops.values()}) == 1
    assert max(d.neurons for d in drops.values()) - min(d.neurons for d in drops.values()) <= 1
    for block, drop in drops.items():
        assert drop.groups < heads(model, block).groups
        assert drop.neurons < neurons(model, block).count


def test_too_much_or_no_block_is_refused_before_anything_changes() -> None:
    model = toy("llama")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for options in ({"ratio": 0.9}, {"ratio": 0.4, "first": 2}, {"ratio": 0.2, "last": 3}):
        with pytest.raises(BadInput):
            prune(model, "llm-pruner", calibration=calibration(), **options)  # type: ignore[arg-type]
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_first_and_last_blocks_stay_whole() -> None:
    dense, model = toy("llama"), toy("llama")
    prune(model, "llm-pruner", calibration=calibration(), ratio=0.1, first=1, last=1, steps=0)
    for block, treated in ((0, False), (1, True), (2, False)):
        same = [
            a.W.shape == b.W.shape and torch.equal(a.W, b.W)
            for a, b in zip(all_views(dense), all_views(model), strict=True)
            if a.block == block
        ]
        assert all(same) != treated


def test_the_share_of_protected_blocks_is_that_of_the_released_commands() -> None:
    """4 and 2 of 32 blocks; small models protect none."""
    model = toy("llama")
    whole = [neurons(model, block).count for block in range(3)]
    prune(model, "llm-pruner", calibration=calibration(), ratio=0.2, steps=0)
    assert all(neurons(model, block).count < whole[block] for block in range(3))
    config = toy("llama").config
    config.num_hidden_layers = 16
    with torch.random.fork_rng():
        deep: PreTrainedModel = type(model)(config).eval()
    prune(deep, "llm-pruner", calibration=calibration(), ratio=0.2, steps=0)
    lost = [64 - neurons(deep, block).count for block in range(16)]
    assert [bool(count) for count in lost] == [False] * 2 + [True] * 13 + [False]


def test_only_the_first_samples_are_scored_on() -> None:
    few, many = toy("llama"), toy("llama")
    data = calibration(8)
    prune(few, "llm-pruner", calibration=data, ratio=0.3, windows=2, steps=0)
    prune(many, "llm-pruner", calibration=calibration(2), ratio=0.3, steps=0)
    first = calibration(8).tokens[:2]
    assert torch.equal(first, data.tokens[:2])
    short = Calibration(first, "toy", "random", 0)
    again = toy("llama")
    prune(again, "llm-pruner", calibration=short, ratio=0.3, steps=0)
    assert all(torch.equal(a, b) for a, b in zip(few.parameters(), again.parameters(), strict=True))


def test_recovery_lowers_the_loss_and_leaves_no_adapter() -> None:
    model, plain, data = toy("llama"), toy("llama"), calibration()
    prune(plain, "llm-pruner", calibration=data, ratio=0.3, steps=0)
    prune(model, "llm-pruner", calibration=data, ratio=0.3, steps=15, lr=1e-2)
    (batch,) = batches(data, 5)
    with torch.no_grad():
        before, after = losses(plain, batch).mean(), losses(model, batch).mean()
    assert after < before - 0.1
    names = [name for name, _ in model.named_parameters()]
    assert names == [name for name, _ in plain.named_parameters()]
    for name, parameter in model.named_parameters():
        trained = not torch.equal(parameter, plain.get_parameter(name))
        assert trained == ("proj" in name), name
        if trained:  # an update of rank 8 at most
            assert torch.linalg.matrix_rank(parameter - plain.get_parameter(name), rtol=1e-3) <= 8


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    @registry.method("impostor-taylor", budget="parameters", needs="calibration")
    def _taylor(
        model: PreTrainedModel, calibration: Calibration, ratio: float = 0.2, importance: str = ""
    ) -> None:
        """Computes gradients, then takes the neurons of the smallest norm, most of them early."""
        gate_gradients(model, calibration, "neurons", torch.abs)
        total = sum(p.numel() for p in blocks(model).parameters())
        due = round(ratio * total / neurons(model, 0).parameters)
        for block, share in enumerate((0.5, 0.3, 0.2)):
            norm = neurons(model, block).down.W.norm(dim=0)
            gone = min(round(due * share), len(norm) - 1)
            keep_neurons(model, block, norm.argsort().argsort() >= gone)


@pytest.mark.usefixtures("impostor")
@pytest.mark.parametrize(
    ("dimension", "tag", "words"),
    [
        ("criterion", "first-order", "with a higher score than one it kept"),
        ("budget", "sparsity-layer", "blocks lost"),
        ("retraining", "efficient", "no optimiser step"),
        ("data", "data-free", "it ran the model on text"),
    ],
)
def test_a_method_that_does_not_use_its_gradients_is_caught(
    dimension: str, tag: str, words: str
) -> None:
    (seen,) = observe_tags("impostor-taylor", {dimension: [tag]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed


def test_a_false_claim_about_it_is_caught() -> None:
    claims = {
        ("retraining", "without"): "adapters were trained",
        ("weight_update", "frozen"): "surviving weights changed",
        ("budget", "layers"): "blocks went instead of",
    }
    for (dimension, tag), words in claims.items():
        (seen,) = observe_tags("llm-pruner", {dimension: [tag]}, ("opt",))
        assert words in seen.observed
        assert not seen.holds
