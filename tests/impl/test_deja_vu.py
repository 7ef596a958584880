"""Deja Vu: what a choice does to a model, what the predictors see and learn, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from impl import load, load_calibration, perplexity, registry, runtime
from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.evidence import hidden_states, toy_calibration
from impl.experiments import observe_tags
from impl.experiments.runtime import strengths
from impl.methods.deja_vu import Choice, Contextual, Units, sizes, strongest, train
from impl.model import blocks, heads, neurons
from impl.registry import Amount, prune
from impl.runtime import attach
from impl.store import read_checkpoint, save
from impl.toys import toy, toy_tokens, toys_of
from impl.walk import walk

FAMILIES = [name for name in toys_of("decoder") if name not in ("mixtral", "qwen3_moe")]
QUICK: dict[str, Any] = {"rank": 8, "epochs": 5, "batch": 16, "lr": 0.03}
TEXT = toy_tokens(2, 12, 7)


@torch.no_grad()
def read(model: Any) -> Tensor:
    found: Tensor = model(TEXT, use_cache=False).logits
    return found


def random_choices(model: Any, seed: int = 0) -> list[Units[Choice | None]]:
    """Untrained predictors that choose half of everything."""
    generator = torch.Generator().manual_seed(seed)
    width = model.get_input_embeddings().weight.shape[1]

    def one(units: int) -> Choice:
        A = torch.randn(5, width, generator=generator)
        return Choice(A, torch.randn(units, 5, generator=generator), units // 2)

    return [Units(*map(one, sizes(model, index))) for index in range(len(blocks(model)))]


@pytest.mark.parametrize("family", FAMILIES)
def test_units_that_are_not_chosen_are_as_good_as_cut_out(family: str) -> None:
    """With predictors that choose the same units for every token, against zeroed columns."""
    model, cut = toy(family), toy(family)
    choices = []
    for index in range(len(blocks(model))):
        found = []
        for kind, units in zip(Units._fields, sizes(model, index), strict=True):
            chosen = torch.randperm(units, generator=torch.Generator().manual_seed(index))
            chosen = chosen[: units // 2]
            found.append(Fixed(units, chosen))
            view = neurons(cut, index).down if kind == "neurons" else heads(cut, index).o
            keep = torch.zeros(units).index_fill(0, chosen, 1)
            view.W = view.W * keep.repeat_interleave(view.shape[1] // units)
        choices.append(Units(*found))
    attach(model, Contextual(choices))  # type: ignore[arg-type]
    assert (read(model) - read(cut)).abs().max() < 1e-5
    assert (read(model) - read(toy(family))).abs().max() > 1e-3


class Fixed:
    """Stands in for a predictor that always chooses the same units."""

    def __init__(self, units: int, chosen: Tensor) -> None:
        self.row = torch.zeros(units).index_fill(0, chosen, 1)

    def mask(self, x: Tensor) -> Tensor:
        return self.row.expand(*x.shape[:-1], -1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "falcon"])
def test_predictors_look_ahead(family: str) -> None:
    """Neurons are chosen by their own block's input, heads by that of the block before."""
    model = toy(family)
    choices = random_choices(model)
    attach(model, Contextual(choices))
    stream = hidden_states(model, Calibration(TEXT, "", "", 0))
    for (index, kind), strength in strengths(model, TEXT).items():
        choice = getattr(choices[index], kind)
        seen = stream[index if kind == "neurons" else max(index - 1, 0)]
        expected = choice.mask(seen.flatten(0, 1)) > 0
        assert torch.equal(strength > 0, expected), (index, kind)
        if kind == "heads" and index:
            assert not torch.equal(expected, choice.mask(stream[index].flatten(0, 1)) > 0)


def test_a_choice_is_of_the_highest_logits_and_of_exactly_k() -> None:
    choice = Choice(torch.eye(4), torch.eye(4), 2)
    mask = choice.mask(torch.tensor([[3.0, 1.0, 2.0, -9.0], [0.0, 0.0, 0.0, 0.0]]))
    assert mask[0].tolist() == [1, 0, 1, 0]
    assert mask.sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_the_strongest_units_are_those_of_a_plain_count(family: str) -> None:
    model, calibration = toy(family), toy_calibration()
    dense = strengths(model, calibration.tokens)
    for block in walk(model, calibration, propagate="dense"):
        found = strongest(model, block, Units(60, 2))
        for kind, k in (("neurons", 60), ("heads", 2)):
            for row, chosen in zip(
                dense[block.index, kind].tolist(), getattr(found, kind), strict=True
            ):
                order = sorted(range(len(row)), key=lambda unit: -row[unit])[:k]
                assert chosen.nonzero().flatten().tolist() == sorted(u for u in order if row[u] > 0)


def test_a_predictor_learns_what_a_low_rank_rule_says_and_nothing_from_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 24, generator=generator)
    rule = torch.randn(24, 4, generator=generator) @ torch.randn(4, 40, generator=generator)

    def top(logits: Tensor) -> Tensor:
        return torch.zeros_like(logits).scatter(1, logits.topk(10, 1).indices, 1) > 0

    torch.manual_seed(0)
    _, recall = train(x, top(x @ rule), 10, 8, 20, 64, 0.01)
    _, untrained = train(x, top(x @ rule), 10, 8, 0, 64, 0.01)
    _, noise = train(x, top(torch.rand(2000, 40, generator=generator)), 10, 8, 20, 64, 0.01)
    assert recall > 0.85
    assert untrained < 0.4
    assert noise < 0.35


def test_training_keeps_the_best_epoch_not_the_last() -> None:
    """On noise and with large steps recall goes up and down; what is kept only goes up."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(400, 8, generator=generator)
    wanted = torch.rand(400, 6, generator=generator) > 0.5
    kept = []
    for epochs in range(6):
        torch.manual_seed(2)
        kept.append(train(x, wanted, 3, 4, epochs, 64, 0.3)[1])
    assert kept == sorted(kept)


def test_trained_predictors_lose_less_than_untrained_ones() -> None:
    model, tokenizer, _ = load("tiny")
    assert tokenizer is not None
    calibration = load_calibration("synthetic", tokenizer, 24, 128)
    evaluation = load_calibration("synthetic", tokenizer, 4, 128, split="evaluation").tokens
    dense = perplexity(model, evaluation)
    found = {}
    for epochs in (0, 8):
        prune(
            model, "deja-vu", calibration=calibration, sparsity=0.5, epochs=epochs, rank=32, lr=0.01
        )
        found[epochs] = perplexity(model, evaluation)
        runtime.detach(model)
    assert dense < found[8] < 0.6 * found[0]
    assert perplexity(model, evaluation) == dense


@pytest.mark.parametrize("family", ["llama", "opt", "phi"])
@torch.no_grad()
def test_one_token_at_a_time_makes_the_same_choices(family: str) -> None:
    model = toy(family)
    prune(model, "deja-vu", calibration=toy_calibration(), sparsity=0.5, **QUICK)
    cache, rows = None, []
    for t in range(TEXT.shape[1]):
        output = model(TEXT[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        rows.append(output.logits)
    assert (torch.cat(rows, 1) - read(model)).abs().max() < 1e-4


def test_heads_may_have_a_share_of_their_own() -> None:
    model = toy("llama")  # 64 neurons and 4 heads in each of 3 blocks
    calibration = toy_calibration()
    report = prune(model, "deja-vu", calibration=calibration, sparsity=0.25, heads=0.5, **QUICK)
    assert (report.removed, report.total) == (3 * (16 + 2), 3 * (64 + 4))
    on = {key: int((s > 0).sum(1).max()) for key, s in strengths(model, TEXT).items()}
    assert on == {(i, kind): k for i in range(3) for kind, k in (("neurons", 48), ("heads", 2))}
    assert [set(one) for one in report.details["recall"]] == [{"neurons", "heads"}] * 3
    runtime.detach(model)
    prune(model, "deja-vu", calibration=calibration, sparsity=0.0, heads=0.5, **QUICK)
    on = {key: int((s > 0).sum(1).max()) for key, s in strengths(model, TEXT).items()}
    assert on == {(i, kind): k for i in range(3) for kind, k in (("neurons", 64), ("heads", 2))}


@pytest.mark.parametrize(
    "options", [{"heads": 1.0}, {"heads": -0.1}, {"rank": 0}, {"epochs": -1}, {"batch": 0}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    model = toy("llama")
    with pytest.raises(BadInput):
        prune(model, "deja-vu", calibration=toy_calibration(), **{**QUICK, **options})
    assert not runtime.attached(model)


def test_a_model_on_which_it_acts_is_not_measured_again() -> None:
    model = toy("llama")
    prune(model, "deja-vu", calibration=toy_calibration(), **QUICK)
    before = read(model)
    with pytest.raises(BadInput, match="already"):
        prune(model, "deja-vu", calibration=toy_calibration(), **QUICK)
    assert torch.equal(read(model), before)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_mixture_of_experts_is_refused(family: str) -> None:
    with pytest.raises(Unsupported, match="mixture of experts"):
        prune(toy(family), "deja-vu", calibration=toy_calibration(), **QUICK)


def test_predictors_are_saved_beside_the_weights_and_must_fit(tmp_path: Path) -> None:
    model = toy("llama")
    prune(model, "deja-vu", calibration=toy_calibration(), sparsity=0.5, heads=0.0, **QUICK)
    save(model, None, tmp_path / "checkpoint", {"method": "deja-vu"})
    file = tmp_path / "checkpoint" / "deja-vu.safetensors"
    tensors = load_file(file)
    assert set(tensors) == {f"{i}.neurons.{part}" for i in range(3) for part in "AB"}
    assert torch.equal(read(read_checkpoint(tmp_path / "checkpoint")), read(model))
    tensors["1.neurons.B"] = tensors["1.neurons.B"][:-1].clone()
    save_file(tensors, file)
    with pytest.raises(BadInput, match=r"predictor of block 1's neurons does not fit"):
        read_checkpoint(tmp_path / "checkpoint")


# --- impostors ----------------------------------------------------------------


@pytest.fixture
def impostors(forgets_methods: None) -> None:
    @registry.method("impostor-static", budget="activations", needs="calibration")
    def _static(model: Any, calibration: Any, sparsity: float = 0.5) -> Amount:
        """The same units for every token."""
        choices, gone, total = [], 0, 0
        for block in walk(model, calibration, propagate="dense"):
            found = []
            for units in sizes(model, block.index):
                left = units - round(sparsity * units)
                found.append(Fixed(units, torch.arange(left)))
                gone, total = gone + units - left, total + units
            choices.append(Units(*found))
        if sparsity:
            attach(model, Contextual(choices))  # type: ignore[arg-type]
        return Amount(gone, total)

    @registry.method("impostor-random", budget="activations", needs="calibration")
    def _random(model: Any, calibration: Any, sparsity: float = 0.5) -> Amount:
        """Predictors of random weights, always of half of the units."""
        for _ in walk(model, calibration):
            pass
        attach(model, Contextual(random_choices(model)))
        return Amount(1, 2)


@pytest.mark.usefixtures("impostors")
@pytest.mark.parametrize(
    ("method", "dimension", "value", "words"),
    [
        ("impostor-static", "type", "contextual-sparsity", "every token has the same neurons"),
        ("impostor-static", "criterion", "activation", "recorded no activations"),
        ("impostor-static", "criterion", "trainable", "no optimiser step"),
        ("impostor-random", "criterion", "activation", "recorded no activations"),
        ("impostor-random", "criterion", "trainable", "no optimiser step"),
        ("impostor-random", "budget", "sparsity-layer", "heads of block 0 work for a token, not 3"),
        ("h2o", "type", "contextual-sparsity", "are computed for a token"),
    ],
)
def test_what_only_says_that_it_is_deja_vu_is_caught(
    method: str, dimension: str, value: str, words: str
) -> None:
    (seen,) = observe_tags(method, {dimension: [value]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed
