"""SliceGPT: the invariance that it rests on, what may be cut without loss, and the directions cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.evidence import declared
from impl.experiments import observe_tags
from impl.methods import slicegpt
from impl.model import all_views, kind_of
from impl.registry import prune
from impl.toys import TOYS, WIDTH, toy, toy_tokens

SLICED = [name for name in TOYS if declared("slicegpt", name) is None and "bert" not in name]
SLICED = [name for name in SLICED if kind_of(toy(name)) == "decoder"]


def calibration(samples: int = 8, length: int = 32) -> Calibration:
    return Calibration(toy_tokens(samples, length), "toy", "random", 0)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(toy_tokens(2, 12, 7), use_cache=False).logits
    return found


@pytest.mark.parametrize("family", SLICED)
def test_at_full_width_only_rounding_changes(family: str) -> None:
    model = toy(family)
    reading = [view for view in all_views(model) if view.part not in ("o", "down")]
    before, weights = logits(model), [view.W.clone() for view in reading]
    with torch.no_grad():
        slicegpt.slice_stream(model, calibration(), WIDTH)
    assert (logits(model) - before).abs().max() < 1e-5 * before.abs().max()
    for old, view in zip(weights, reading, strict=True):
        assert (old - view.W).abs().max() > 0.1, "it did rotate"


@pytest.mark.parametrize("family", ["llama", "qwen3", "opt", "gpt_neox", "phi"])
def test_directions_that_the_stream_never_takes_are_cut_without_loss(family: str) -> None:
    """All that writes the stream is confined to 20 dimensions at random: the other 12 may go."""
    model: Any = toy(family)
    used = 20
    generator = torch.Generator().manual_seed(5)
    basis = torch.randn(WIDTH, used, generator=generator)
    if slicegpt.plan(model).centred:
        basis -= basis.mean(0)
    projector = basis @ torch.linalg.pinv(basis)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.copy_(module.weight @ projector)
        for view in all_views(model):
            if view.part in ("o", "down"):
                view.W = projector @ view.W
                bias: Any = view.module.bias
                if bias is not None:
                    bias.copy_(projector @ bias)
    before = logits(model)
    prune(model, "slicegpt", calibration=calibration(), slicing=1 - used / WIDTH)
    assert model.get_input_embeddings().weight.shape[1] == used
    assert (logits(model) - before).abs().max() < 1e-4 * before.abs().max()
    prune(other := toy(family), "slicegpt", calibration=calibration(), slicing=1 - used / WIDTH)
    assert (logits(other) - logits(toy(family))).abs().max() > 0.01, "in general there is a loss"


def test_principal_components_are_those_of_the_largest_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(50, 12, generator=generator).double() * torch.arange(1, 13)
    basis = slicegpt.principal_components(X.T @ X, 5)
    assert torch.allclose(basis.T @ basis, torch.eye(5).double(), atol=1e-12)
    largest = torch.linalg.svdvals(X)[:5]
    assert torch.allclose((X @ basis).norm(dim=0), largest)
    flipped = slicegpt.principal_components((-X).T @ (-X), 5)
    assert torch.equal(basis, flipped)


def test_skip_connections_carry_the_change_of_basis() -> None:
    model = toy("llama")
    prune(model, "slicegpt", calibration=calibration(), slicing=0.25)
    shapes = [[tuple(S.shape) for S in block.shortcuts] for block in model.model.layers]
    kept = 24
    assert shapes == [[(kept, kept), (kept, kept)]] * 2 + [[(kept, kept), (kept, WIDTH)]]
    for block in model.model.layers:  # parts of orthogonal matrices: no direction grows
        for S in block.shortcuts:
            assert torch.linalg.svdvals(S.double()).max() < 1 + 1e-5


def test_an_interruption_leaves_the_model_whole() -> None:
    model = toy("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def fail(done: int, total: int, what: str) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, "slicegpt", calibration=calibration(), slicing=0.5, progress=fail)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    prune(model, "slicegpt", calibration=calibration(), slicing=0.5)


def test_the_kept_width_is_rounded_down_to_a_multiple() -> None:
    for multiple, kept in ((1, 26), (8, 24), (10, 20)):
        model: Any = toy("llama")
        prune(model, "slicegpt", calibration=calibration(), slicing=0.2, multiple=multiple)
        assert model.get_input_embeddings().weight.shape[1] == kept
    for multiple in (0, 27):
        with pytest.raises(BadInput, match="multiple"):
            prune(
                toy("llama"), "slicegpt", calibration=calibration(), slicing=0.2, multiple=multiple
            )


def test_a_sliced_model_is_not_sliced_again() -> None:
    model = toy("llama")
    prune(model, "slicegpt", calibration=calibration(), slicing=0.25)
    before = logits(model)
    with pytest.raises(Unsupported, match="slicegpt changed them"):
        prune(model, "slicegpt", calibration=calibration(), slicing=0.25)
    assert torch.equal(before, logits(model))


def test_random_directions_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment behind `singular-value` fails for a rotation that is not that of the PCA."""

    def random(moment: torch.Tensor, kept: int) -> torch.Tensor:
        square = torch.randn(len(moment), len(moment)).double()
        basis: torch.Tensor = torch.linalg.qr(square).Q[:, :kept]
        return basis

    (true,) = observe_tags("slicegpt", {"criterion": ["singular-value"]}, ("llama",))
    monkeypatch.setattr(slicegpt, "principal_components", random)
    (seen,) = observe_tags("slicegpt", {"criterion": ["singular-value"]}, ("llama",))
    assert true.holds
    assert not seen.holds
