"""SCOP: real features against knockoffs, and filters that are really gone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from impl.errors import BadInput, Unsupported
from impl.experiments import observe_tags
from impl.methods import scop
from impl.registry import prune
from impl.tasks import LabelledData
from impl.toys import toy, toy_labelled
from impl.train import train

KINDS = ["resnet-basic", "resnet-bottleneck"]


def logits(model: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(pixel_values=images).logits
    return found


def images(samples: int = 8, seed: int = 1) -> Tensor:
    return toy_labelled("resnet-basic", samples, seed).inputs["pixel_values"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_of_one_ignores_the_knockoff_and_one_of_zero_the_image(kind: str) -> None:
    model = toy(kind)
    layers = [layer for branch in scop.branches(model) for layer in branch]
    real, knockoff = images(4, 1), images(4, 2)
    both = torch.cat([real, knockoff])
    for share in (1.0, 0.5, 0.0):
        factors = [torch.full((layer.convolution.out_channels,), share) for layer in layers]
        with scop.mixed(layers, factors):
            found = logits(model, both)
        assert torch.allclose(found[4:], logits(model, knockoff), atol=1e-5), "it passes unmixed"
        alone = torch.allclose(found[:4], logits(model, real), atol=1e-5)
        assert alone == (share == 1.0)
    # The shortcuts never see the knockoffs, the branches only them.
    assert not torch.allclose(found[:4], found[4:], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_filters_is_the_same_as_silencing_them(kind: str) -> None:
    cut, silent = toy(kind), toy(kind)
    generator = torch.Generator().manual_seed(3)
    for ours, theirs in zip(scop.branches(cut), scop.branches(silent), strict=True):
        kept = []
        for layer in theirs:
            norm = layer.normalization
            order = torch.randperm(norm.num_features, generator=generator)
            kept.append(order[: norm.num_features * 2 // 3].sort().values)
            gone = torch.ones(norm.num_features, dtype=torch.bool)
            gone[kept[-1]] = False
            with torch.no_grad():
                norm.weight[gone] = 0
                norm.bias[gone] = 0
        scop.cut(ours, kept)
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in silent.parameters())
    assert torch.allclose(logits(cut, images()), logits(silent, images()), atol=1e-5)


def test_factors_start_in_the_middle_stay_in_range_and_leave_the_network_alone() -> None:
    model, data = toy("resnet-basic"), toy_labelled("resnet-basic", 16)
    layers = [layer for branch in scop.branches(model) for layer in branch]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    for factor in scop.preferences(model, layers, data, 0, 0.1, 8):
        assert (factor == 0.5).all()
    for factor in scop.preferences(model, layers, data, 8, 0.5, 8):
        assert factor.min() >= 0
        assert factor.max() <= 1
        assert (factor != 0.5).any()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_filters_that_carry_the_label_beat_their_knockoffs() -> None:
    """Half the filters of one layer see the image, half of them nothing but a constant."""
    model = toy("resnet-basic")
    layers = [layer for branch in scop.branches(model) for layer in branch]
    first = layers[0]
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    pictures = 0.3 * torch.randn(64, 1, 32, 32, generator=generator)
    pictures += 2.0 * (labels[:, None, None, None] - 0.5)  # bright or dark: the label
    data = LabelledData({"pixel_values": pictures}, labels, "made up", "", 0)
    with torch.no_grad():
        first.convolution.weight[::2] = 0
    torch.manual_seed(0)
    train(model, data, 30, 0.01, batch_size=16)
    with torch.no_grad():
        first.convolution.weight[::2] = 0
    with torch.no_grad():
        factors = scop.preferences(model, layers, data, 40, 0.02, 16)
    assert factors[0][1::2].mean() > 0.53
    assert factors[0][1::2].max() > 0.7
    assert (factors[0][::2] - 0.5).abs().max() < 0.01, "a constant is its own knockoff"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.25, 0.9])
def test_every_layer_loses_its_share_and_keeps_a_filter(kind: str, ratio: float) -> None:
    model = toy(kind)
    before = copy.deepcopy(model)
    report = prune(
        model,
        "scop",
        calibration=toy_labelled(kind),
        ratio=ratio,
        steps=1,
        finetune=1,
        batch_size=4,
    )
    removed = total = 0
    for ours, theirs in zip(scop.branches(model), scop.branches(before), strict=True):
        inputs = ours[0].convolution.in_channels
        for now, then in zip(ours, theirs, strict=False):
            whole, left = then.convolution.out_channels, now.convolution.out_channels
            assert left == max(1, whole - round(ratio * whole))
            assert now.convolution.weight.shape[:2] == (left, inputs)
            assert now.normalization.num_features == left
            assert now.normalization.running_var.shape == (left,)
            removed, total, inputs = removed + whole - left, total + whole, left
    assert (report.removed, report.total) == (removed, total)
    stems = [next(m for m in one.modules() if isinstance(m, nn.Conv2d)) for one in (model, before)]
    assert stems[0].out_channels == stems[1].out_channels


def test_statistics_of_batch_norms_are_those_of_the_data() -> None:
    model: Any = toy("resnet-basic")
    data = toy_labelled("resnet-basic", 8)
    stem = model.resnet.embedder.embedder
    features = stem.convolution(data.inputs["pixel_values"])
    with torch.no_grad():
        scop.recalibrate(model, data, 8)
    assert torch.allclose(stem.normalization.running_mean, features.mean((0, 2, 3)), atol=1e-5)
    variance = features.transpose(0, 1).flatten(1).var(1)
    assert torch.allclose(stem.normalization.running_var, variance, rtol=1e-4)
    assert stem.normalization.momentum == 0.1


def test_what_it_cannot_prune() -> None:
    with pytest.raises(Unsupported, match="convolutional"):
        prune(toy("llama"), "scop", calibration=toy_labelled("resnet-basic"))
    data = toy_labelled("resnet-basic", 1)
    for bad in ({"calibration": data}, {"images": 1}):
        arguments: dict[str, Any] = {"calibration": toy_labelled("resnet-basic"), **bad}
        with pytest.raises(BadInput, match="at least two"):
            prune(toy("resnet-basic"), "scop", **arguments)
    model = toy("resnet-basic")
    quick: dict[str, Any] = {
        "calibration": toy_labelled("resnet-basic"),
        "steps": 1,
        "finetune": 0,
        "images": 4,
    }
    prune(model, "scop", **quick)
    with pytest.raises(Unsupported, match="gone already"):
        prune(model, "scop", **quick)


def test_filters_chosen_without_training_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed choice, with an optimiser that steps on nothing that matters."""
    claims = {"criterion": ["trainable"]}
    (true,) = observe_tags("scop", claims, ("resnet-basic",))
    trained = scop.preferences

    def ignored(*arguments: Any) -> list[Tensor]:
        return [torch.linspace(0, 1, len(factor)) for factor in trained(*arguments)]

    monkeypatch.setattr(scop, "preferences", ignored)
    (seen,) = observe_tags("scop", claims, ("resnet-basic",))
    assert true.holds
    assert not seen.holds
    assert "the same filters" in seen.observed
