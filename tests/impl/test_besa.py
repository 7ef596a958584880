"""BESA: masks and their gradients, whole budgets, and that training pays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impl import load, load_calibration, perplexity, registry
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.experiments import observe_tags
from impl.masks import per_output
from impl.methods.besa import Rates, exact, masked, tilted
from impl.model import all_views, views
from impl.registry import prune
from impl.toys import toy, toy_tokens, toys_of
from impl.walk import walk


def calibration(samples: int = 4) -> Calibration:
    return Calibration(toy_tokens(samples, 16), "toy", "random", 0)


def rates_of(rows: int = 5, width: int = 12, candidates: int = 10, seed: int = 0) -> Rates:
    generator = torch.Generator().manual_seed(seed)
    model = toy("llama")
    logits = torch.randn(rows, candidates + 1, generator=generator)
    return Rates(views(model, 0)[0], torch.randn(5, width, generator=generator), logits)


def probabilities(layer: Rates, beta: torch.Tensor) -> torch.Tensor:
    """P(pruned) of every weight, weight by weight and candidate by candidate."""
    out, width = layer.score.shape
    D = beta.shape[1] - 1
    rows = []
    for i in range(out):
        order = sorted(range(width), key=lambda j: (float(layer.score[i, j]), j))
        of_row = beta[i if len(beta) > 1 else 0]
        row = {
            j: sum((of_row[d] for d in range(D + 1) if (d * width) // D > k), of_row.new_zeros(()))
            for k, j in enumerate(order)
        }
        rows.append(torch.stack([row[j] for j in range(width)]))
    return torch.stack(rows)


@pytest.mark.parametrize("rows", [5, 1])
def test_the_mask_is_hard_and_its_gradient_that_of_the_probability(rows: int) -> None:
    layer = rates_of(rows)
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    mask = layer.mask()
    rates = layer.rates().detach().expand(5)
    for i in range(5):
        pruned = (mask[i] < 0.5).nonzero().flatten().tolist()
        lowest = layer.score[i].argsort()[: int(float(rates[i]) * 12)].tolist()
        assert sorted(lowest) == pruned
    assert (mask.round() - mask).abs().max() < 1e-6
    (ours,) = torch.autograd.grad((weight * mask).sum(), layer.logits)
    kept = 1 - probabilities(layer, layer.logits.softmax(-1))
    (expected,) = torch.autograd.grad((weight * kept).sum(), layer.logits)
    torch.testing.assert_close(ours, expected)


def test_probabilities_fall_with_the_rank_and_add_up_to_the_rate() -> None:
    """Summed over the ranks they are the expected number of pruned weights, floors included."""
    layer = rates_of(5, width=20, candidates=10)  # 10 candidates: no rounding at width 20
    P = probabilities(layer, layer.logits.softmax(-1)).detach()
    order = layer.score.argsort(dim=-1)
    assert (P.gather(1, order).diff(dim=1) <= 1e-6).all()
    torch.testing.assert_close(P.mean(1), layer.rates().detach())


@pytest.mark.parametrize("mean", [0.01, 0.37, 0.5, 0.9, 0.99])
def test_the_start_has_the_target_as_its_mean(mean: float) -> None:
    logits = tilted(mean, 100)
    assert float(logits.softmax(0) @ torch.linspace(0, 1, 101)) == pytest.approx(mean, abs=1e-4)
    if mean == 0.5:
        assert logits.abs().max() < 1e-6


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(1, 40)),
        min_size=1,
        max_size=6,
    ),
    st.floats(0.01, 0.99),
)
def test_counts_are_whole_exact_and_moved_together(
    layers: list[tuple[list[float], int]], sparsity: float
) -> None:
    rates = [torch.tensor(r) for r, _ in layers]
    widths = [w for _, w in layers]
    counts = exact(rates, widths, sparsity)
    total = sum(len(r) * w for r, w in zip(rates, widths, strict=True))
    assert sum(int(c.sum()) for c in counts) == round(sparsity * total)
    moves = []
    for rate, width, count in zip(rates, widths, counts, strict=True):
        assert (count >= 0).all()
        assert (count <= width).all()
        inside = (count > 1) & (count < width - 1)
        moves += [
            (float(c / width - r), 1 / width)
            for r, c in zip(rate[inside], count[inside], strict=True)
        ]
    for one, step in moves:
        assert abs(one - moves[0][0]) <= 1.01 * (step + moves[0][1])


@pytest.mark.parametrize("family", toys_of("decoder"))
def test_a_masked_run_is_a_run_with_zeros_in_place(family: str) -> None:
    """Fused projections, transposed weights and experts are put together as they are stored."""
    model = toy(family)
    for block in walk(model, calibration(2)):
        layers = []
        for view in block.views:
            score = torch.randn(view.shape, generator=torch.Generator().manual_seed(view.numel))
            layers.append(Rates(view, score, torch.zeros(view.shape[0], 11)))
        groups: dict[str, list[Rates]] = {}
        paths = {id(p): path for path, p in block.module.named_parameters()}
        for layer in layers:
            name = paths[id(getattr(layer.view.module, layer.view.parameter))]
            groups.setdefault(name, []).append(layer)
        with torch.no_grad():
            ours = block.run(0, weights={name: masked(parts) for name, parts in groups.items()})
            unpruned = block.run(0)
            for layer in layers:
                layer.view.W = layer.view.W * layer.mask().round()
            expected = block.run(0)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(ours, unpruned, rtol=1e-2)


@pytest.mark.parametrize("granularity", ["row", "layer"])
def test_untrained_it_is_wanda(granularity: str) -> None:
    ours, wanda = toy("llama"), toy("llama")
    options: dict[str, Any] = {"epochs": 0, "granularity": granularity}
    prune(ours, "besa", calibration=calibration(), sparsity=0.5, **options)
    prune(wanda, "wanda", calibration=calibration(), sparsity=0.5)
    for a, b in zip(all_views(ours), all_views(wanda), strict=True):
        assert torch.equal(a.W, b.W), a.name


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_every_block_meets_the_target_and_layers_differ(family: str) -> None:
    model = toy(family)
    report = prune(model, "besa", calibration=calibration(), sparsity=0.37)
    shares: dict[int, list[float]] = {}
    for index in range(3):
        targets = views(model, index)
        zeros = sum(int((view.W == 0).sum()) for view in targets)
        assert zeros == round(0.37 * sum(view.numel for view in targets))
        shares[index] = [float((view.W == 0).double().mean()) for view in targets]
        assert max(shares[index]) - min(shares[index]) > 0.005
    assert report.removed > 0


def test_rows_of_one_layer_share_a_rate_if_asked() -> None:
    spread = {}
    for granularity in ("row", "layer"):
        model = toy("llama")
        prune(
            model,
            "besa",
            calibration=calibration(),
            sparsity=0.5,
            granularity=granularity,
            rate=0.5,
        )
        per_row = [(view.W == 0).sum(1) for view in all_views(model)]
        spread[granularity] = max(int(counts.max() - counts.min()) for counts in per_row)
    assert spread["layer"] <= 1 < spread["row"]


def test_training_lowers_the_error_of_the_block() -> None:
    """Of the first block, on its own calibration inputs: the quantity that is trained on."""
    errors = []
    for epochs in (0, 4):
        model, tokenizer, _ = load("tiny", "cpu")
        assert tokenizer is not None
        text = load_calibration("synthetic", tokenizer, 8, 64)
        with torch.no_grad():
            block = next(walk(model, text))
            before = [block.run(i) for i in range(8)]
            prune(model, "besa", calibration=text, sparsity=0.5, epochs=epochs)
            error = 0.0
            for i, dense in enumerate(before):
                gap = (dense - block.run(i)).square().flatten(0, -2).sum(0)
                error += float((gap / dense.square().flatten(0, -2).sum(0)).mean())
        errors.append(error)
    assert errors[1] < 0.6 * errors[0]


def test_it_beats_uniform_rates_on_a_trained_model() -> None:
    found = {}
    for method in ("wanda", "besa"):
        model, tokenizer, _ = load("tiny", "cpu")
        assert tokenizer is not None
        text = load_calibration("synthetic", tokenizer, 16, 64)
        prune(model, method, calibration=text, sparsity=0.7)
        held_out = load_calibration("synthetic", tokenizer, 16, 64, split="evaluation")
        found[method] = perplexity(model, held_out.tokens)
    assert found["besa"] < 0.9 * found["wanda"]


def test_it_leaves_no_gradients_and_changes_no_survivor() -> None:
    model, dense = toy("llama"), toy("llama")
    prune(model, "besa", calibration=calibration(), sparsity=0.5)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for new, old in zip(all_views(model), all_views(dense), strict=True):
        assert torch.equal(new.W, old.W * (new.W != 0)), new.name


@pytest.mark.usefixtures("forgets_methods")
def test_training_that_decides_nothing_does_not_pass_for_trained_masks() -> None:
    @registry.method("impostor-trained", budget="weights", needs="calibration")
    def _trained(model: Any, calibration: Calibration, sparsity: float = 0.5) -> None:
        logits = torch.zeros(3)
        optimizer = torch.optim.Adam([logits])
        for block in walk(model, calibration):
            with torch.enable_grad():
                logits.requires_grad_()
                (logits.grad,) = torch.autograd.grad(logits.sigmoid().sum(), logits)
            optimizer.step()
            for view in block.views:
                view.W = view.W.masked_fill(per_output(view.W.abs(), sparsity), 0)

    (found,) = observe_tags("impostor-trained", {"criterion": ["trainable"]}, ("llama",))
    assert not found.holds
    assert "when its optimiser stands still" in found.observed


def test_its_hyperparameters_matter() -> None:
    results = []
    for options in (
        {},
        {"candidates": 5},
        {"epochs": 3},
        {"rate": 0.5},
        {"penalty": 0.0},
        {"granularity": "layer"},
    ):
        model = toy("llama")
        prune(model, "besa", calibration=calibration(), sparsity=0.3, **options)
        results.append(torch.cat([view.W.flatten() for view in all_views(model)]))
    assert not any(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(
    "wrong", [{"candidates": 0}, {"epochs": -1}, {"rate": 0.0}, {"penalty": -1.0}]
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        prune(toy("llama"), "besa", calibration=calibration(), sparsity=0.5, **wrong)
