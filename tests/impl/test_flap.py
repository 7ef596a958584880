"""FLAP: the score, the search over all blocks, and what a bias can stand in for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from impl import registry
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.experiments import observe_tags
from impl.methods.flap import Part, choose, fluctuation, moments, standardised
from impl.model import all_views, blocks, heads, neurons
from impl.registry import prune
from impl.store import read_checkpoint, save
from impl.surgery import keep_neurons
from impl.toys import toy, toy_tokens
from impl.walk import walk


def calibration() -> Calibration:
    return Calibration(toy_tokens(6, 16), "toy", "random", 0)


def logits(model: PreTrainedModel, tokens: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(toy_tokens(2, 12, 7) if tokens is None else tokens).logits
    return found


def ends(model: PreTrainedModel) -> list[tuple[Any, int]]:
    """The projections that end attention and MLP, block by block, with the units that they read."""
    found = []
    for index in range(len(blocks(model))):
        attention, mlp = heads(model, index), neurons(model, index)
        found += [(attention.o.module, attention.groups), (mlp.down.module, mlp.count)]
    return found


def inputs_of_ends(model: PreTrainedModel) -> list[Tensor]:
    """What goes into these projections on the calibration text: (tokens, in) each."""
    seen: dict[nn.Module, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args: seen.update({m: args[0].flatten(0, -2)}))
        for module, _ in ends(model)
    ]
    logits(model, calibration().tokens)
    for hook in hooks:
        hook.remove()
    return [seen[module] for module, _ in ends(model)]


def columns(module: Any) -> Tensor:
    """The weight as (out, in), also of GPT-2's transposed projections."""
    weight: Tensor = module.weight.detach()
    return weight if isinstance(module, nn.Linear) else weight.T


def reference(model: PreTrainedModel, ratio: float) -> list[Tensor]:
    """What FLAP keeps, unit by unit, by one loop over a sorted list."""
    parts, candidates = [], []
    for number, ((module, units), x) in enumerate(
        zip(ends(model), inputs_of_ends(model), strict=True)
    ):
        score = x.double().var(0) * columns(module).double().norm(dim=0) ** 2
        score = ((score - score.mean()) / score.std()).view(units, -1).mean(1)
        block = number // 2
        cost = (
            neurons(model, block).parameters if number % 2 else heads(model, block).group_parameters
        )
        parts.append((torch.ones(units, dtype=torch.bool), module, cost))
        best = int(score.argmax())
        candidates += [(float(s), number, i) for i, s in enumerate(score) if i != best]
    due = ratio * sum(p.numel() for p in blocks(model).parameters())
    gone = 0
    for _, number, unit in sorted(candidates):
        keep, module, cost = parts[number]
        takes = cost - (module.weight.shape[0] if keep.all() and module.bias is None else 0)
        if abs(gone + takes - due) >= abs(gone - due):
            break
        keep[unit], gone = False, gone + takes
    return [keep for keep, _, _ in parts]


def kept(dense: PreTrainedModel, pruned: PreTrainedModel) -> list[Tensor]:
    """Which units of every part are left, read off the columns of its last projection."""
    found = []
    for (module, units), (other, _) in zip(ends(dense), ends(pruned), strict=True):
        left = {tuple(column.tolist()) for column in columns(other).T}
        stay = torch.tensor([tuple(c.tolist()) in left for c in columns(module).T])
        found.append(stay.view(units, -1).all(1))
    return found


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "opt", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("ratio", [0.2, 0.4])
def test_what_goes_is_what_a_plain_reference_takes(family: str, ratio: float) -> None:
    dense, pruned = toy(family), toy(family)
    report = prune(pruned, "flap", calibration=calibration(), ratio=ratio)
    wanted = reference(dense, ratio)
    for number, (a, b) in enumerate(zip(kept(dense, pruned), wanted, strict=True)):
        assert torch.equal(a, b), f"part {number}"
    assert report.details["kept"]["mlp"] == [int(k.sum()) for k in wanted[1::2]]


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt", "gpt2"])
def test_the_result_is_the_dense_model_with_removed_channels_held_at_their_mean(
    family: str,
) -> None:
    dense, pruned = toy(family), toy(family)
    means = [x.mean(0) for x in inputs_of_ends(dense)]
    prune(pruned, "flap", calibration=calibration(), ratio=0.4)
    hooks = []
    for (module, _), stay, mean in zip(ends(dense), kept(dense, pruned), means, strict=True):
        wide = stay.repeat_interleave(len(mean) // len(stay))
        hooks.append(
            module.register_forward_pre_hook(
                lambda _m, args, wide=wide, mean=mean: torch.where(wide, args[0], mean)
            )
        )
    held = logits(dense)
    for hook in hooks:
        hook.remove()
    assert torch.allclose(logits(pruned), held, atol=2e-4), (logits(pruned) - held).abs().max()
    assert not torch.allclose(logits(dense), held, atol=1e-2), "nothing was held"


def steady() -> PreTrainedModel:
    """A toy whose first 20 neurons of every block say the same whatever the text; all others vary."""
    model = toy("opt")
    with torch.no_grad():
        for layer in blocks(model):
            mlp: Any = layer
            mlp.fc1.weight.div_(mlp.fc1.weight.norm(dim=1, keepdim=True))
            mlp.fc2.weight.div_(mlp.fc2.weight.norm(dim=0, keepdim=True))
            mlp.fc1.bias[20:] = 5
            mlp.fc1.weight[:20] = 0
            mlp.fc1.bias[:20] = torch.linspace(0.5, 3, 20)
    return model


def test_neurons_that_never_vary_go_first_and_cost_nothing() -> None:
    model, bare = steady(), steady()
    dense = logits(model)
    total = sum(p.numel() for p in blocks(model).parameters())
    ratio = 60 * neurons(model, 0).parameters / total
    prune(model, "flap", calibration=calibration(), ratio=ratio)
    for block in range(3):
        assert torch.equal(neurons(model, block).down.W, neurons(bare, block).down.W[:, 20:])
        assert heads(model, block).count == 4
        keep_neurons(bare, block, torch.arange(64) >= 20)
    assert torch.allclose(logits(model), dense, atol=1e-4)
    assert not torch.allclose(logits(bare), dense, atol=1e-2), "the bias makes up for nothing"


def test_the_score_is_the_squared_error_that_the_mean_leaves() -> None:
    x, W = torch.randn(50, 8) * torch.rand(8) + 3, torch.randn(5, 8)
    mean, score = fluctuation(moments(x), 50, W, "WIFV")
    for j in range(8):
        held = x.clone()
        held[:, j] = x[:, j].mean()
        error = ((x - held) @ W.T).double().square().sum() / 49
        assert score[j].item() == pytest.approx(error.item(), rel=1e-4)
    assert torch.allclose(mean, x.double().mean(0))
    _, plain = fluctuation(moments(x), 50, W, "IFV")
    assert torch.allclose(plain, x.double().var(0))
    _, norms = fluctuation(moments(x), 50, W, "WIFN")
    assert torch.allclose(norms, (W.abs() * x.norm(dim=0)).double().mean(0), rtol=1e-5)


def test_standardised_scores_are_comparable_and_constant_ones_do_not_divide_by_zero() -> None:
    score = torch.rand(100, dtype=torch.float64)
    assert torch.allclose(standardised(score), standardised(1000 * score + 7))
    assert torch.equal(standardised(torch.full((4,), 3.0)), torch.zeros(4))


@pytest.mark.parametrize("seed", range(8))
def test_the_search_comes_as_near_as_units_allow_and_empties_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = toy("opt")
    parts = []
    for index in range(3):
        for end, units, cost in (
            (heads(model, index).o, 4, 1000 + seed),
            (neurons(model, index).down, 64, 60),
        ):
            score = torch.randn(units, generator=generator, dtype=torch.float64)
            parts.append(Part(index, end, cost, torch.zeros(0), score))
    total = sum(part.cost * len(part.score) for part in parts)
    for ratio in (0.05, 0.3, 0.6):
        keep = choose(parts, ratio, total)
        gone = sum(p.cost * int((~k).sum()) for p, k in zip(parts, keep, strict=True))
        assert abs(gone - ratio * total) <= (1000 + seed) / 2 + 1
        assert all(k.any() for k in keep)
        high = max(
            (p.score[~k].max() for p, k in zip(parts, keep, strict=True) if not k.all()),
            default=torch.tensor(-torch.inf),
        )
        for part, k in zip(parts, keep, strict=True):
            stay = part.score.masked_fill(~k, torch.inf)
            stay[part.score.argmax()] = torch.inf  # protected
            assert stay.min() >= high
    with pytest.raises(BadInput, match="can go if every attention keeps a head"):
        choose(parts, 0.99, total)


def test_only_biases_are_new_or_changed() -> None:
    dense, pruned = toy("opt"), toy("opt")
    prune(pruned, "flap", calibration=calibration(), ratio=0.3)
    for (module, _), (other, _), stay in zip(
        ends(dense), ends(pruned), kept(dense, pruned), strict=True
    ):
        wide = stay.repeat_interleave(columns(module).shape[1] // len(stay))
        assert torch.equal(columns(module)[:, wide], columns(other))
        assert torch.equal(module.bias, other.bias) == bool(stay.all())
    for view in all_views(pruned):
        rows = {tuple(r.tolist()) for v in all_views(dense) if v.name == view.name for r in v.W}
        if view.part not in ("o", "down"):
            assert all(tuple(row.tolist()) in rows for row in view.W)


def test_a_model_pruned_twice_is_loaded_with_all_its_new_biases(tmp_path: Path) -> None:
    model = toy("llama")
    for _ in range(2):
        prune(model, "flap", calibration=calibration(), ratio=0.25)
    assert len(set(model.config.prunedex["biases"])) == len(model.config.prunedex["biases"])
    save(model, None, tmp_path / "twice", {"method": "flap"})
    assert torch.equal(logits(model), logits(read_checkpoint(tmp_path / "twice")))


def test_too_much_is_refused_before_anything_changes() -> None:
    model = toy("llama")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadInput, match="cannot be reached"):
        prune(model, "flap", calibration=calibration(), ratio=0.95)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    @registry.method("impostor-neurons", budget="parameters", needs="calibration")
    def _neurons(model: PreTrainedModel, calibration: Calibration, ratio: float = 0.2) -> None:
        """Reads the activations and takes the same number of small neurons from every block."""
        total = sum(p.numel() for p in blocks(model).parameters())
        due = round(ratio * total / 3 / neurons(model, 0).parameters)
        for block in walk(model, calibration):
            for _ in block.collect(moments):
                pass
            norm = neurons(model, block.index).down.W.norm(dim=0)
            keep_neurons(model, block.index, norm.argsort().argsort() >= due)


@pytest.mark.usefixtures("impostor")
@pytest.mark.parametrize(
    ("dimension", "tag", "words"),
    [
        ("criterion", "activation", "the same goes when every activation"),
        ("budget", "sparsity-global", "every block lost the same"),
        ("type", "head", "as many heads in a block as before"),
        ("weight_update", "update", "no surviving weight changed"),
    ],
)
def test_a_method_that_ignores_what_it_reads_is_caught(
    dimension: str, tag: str, words: str
) -> None:
    (seen,) = observe_tags("impostor-neurons", {dimension: [tag]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed
