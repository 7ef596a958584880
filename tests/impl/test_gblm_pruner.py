"""GBLM-Pruner: its score against a plain reading with backward passes, and what bounds it."""

from __future__ import annotations

import pytest
import torch
from plain import inputs_of
from torch import Tensor

from impl import registry
from impl.calibration import Calibration
from impl.errors import BadInput
from impl.evidence import toy_calibration
from impl.experiments import observe_tags
from impl.losses import weight_gradients
from impl.masks import per_output
from impl.model import all_views, blocks, views
from impl.registry import prune
from impl.statistics import sum_of_squares
from impl.toys import toy
from impl.walk import walk


def masks(family: str, method: str, **options: object) -> Tensor:
    model = toy(family)
    prune(model, method, calibration=toy_calibration(), **options)
    return torch.cat([(view.W == 0).flatten() for view in all_views(model)])


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
@pytest.mark.parametrize("options", [{"sparsity": 0.6}, {"pattern": "2:4"}], ids=str)
def test_without_the_gradient_term_it_is_wanda(family: str, options: dict[str, object]) -> None:
    wanda = masks(family, "wanda", **options)
    assert torch.equal(masks(family, "gblm-pruner", alpha=0.0, **options), wanda)
    assert not torch.equal(masks(family, "gblm-pruner", **options), wanda)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_masks_equal_a_plain_sequential_reference(family: str, norm: str) -> None:
    """Gradients by `backward` on the dense model, norms with hooks block by block."""
    ours, reference, calibration = toy(family), toy(family), toy_calibration()
    prune(ours, "gblm-pruner", calibration=calibration, sparsity=0.5, norm=norm, alpha=7.0)
    gathered: dict[str, list[Tensor]] = {}
    for window in calibration.tokens:
        reference.zero_grad()
        logits = reference(window[None], use_cache=False).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, window[1:]).backward()
        for view in all_views(reference):
            gradient = view.like(getattr(view.module, view.parameter).grad)
            gathered.setdefault(view.name, []).append(gradient.clone())
    for index in range(len(blocks(reference))):
        targets = views(reference, index)
        inputs = inputs_of(reference, targets, calibration.tokens)
        for view in targets:
            # The mean over windows of each window's summed squares.
            squares = torch.stack([x.square().sum(0) for x in inputs[view.module]])
            gradients = torch.stack(gathered[view.name]).norm(p=1 if norm == "l1" else 2, dim=0)
            score = view.W.abs() * squares.mean(0).sqrt() + 7.0 * view.W.abs() * gradients
            view.W = view.W.masked_fill(per_output(score, 0.5), 0)
    for a, b in zip(all_views(ours), all_views(reference), strict=True):
        assert torch.equal(a.W, b.W), a.name


def test_gradients_are_what_the_loss_does() -> None:
    """For the weight with the largest gradient in each layer, against central differences."""
    model, calibration = toy("llama").double(), toy_calibration(2)
    gradients = weight_gradients(model, calibration, lambda g: g)

    def loss() -> float:
        with torch.no_grad():
            logits = model(calibration.tokens, use_cache=False).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), calibration.tokens[:, 1:].flatten(), reduction="none"
        )
        return float(each.view(2, -1).mean(1).sum())

    for view in all_views(model):
        place = gradients[view.name].abs().argmax()
        i, j = int(place) // view.shape[1], int(place) % view.shape[1]
        W, sides = view.W.clone(), []
        for step in (3e-3, -3e-3):
            moved = W.clone()
            moved[i, j] += step
            view.W = moved
            sides.append(loss())
        view.W = W
        slope = (sides[0] - sides[1]) / 6e-3
        assert slope == pytest.approx(float(gradients[view.name][i, j]), rel=5e-3)


def test_a_weight_that_the_loss_depends_on_stays() -> None:
    """The row's lowest Wanda score is removed; with an ever larger alpha its gradient saves it."""
    calibration, model = toy_calibration(), toy("llama")
    gradients = weight_gradients(model, calibration, torch.abs)
    view = views(model, 2)[-1]
    strongest = (view.W.abs() * gradients[view.name]).argmax(1)
    prune(model, "gblm-pruner", calibration=calibration, sparsity=0.9, alpha=1e9)
    assert (view.W[torch.arange(len(strongest)), strongest] != 0).all()


def test_windows_without_a_next_token_are_refused() -> None:
    model = toy("llama")
    before = [view.W.clone() for view in all_views(model)]
    with pytest.raises(BadInput, match="no next token"):
        prune(model, "gblm-pruner", calibration=toy_calibration(4, 1))
    with pytest.raises(BadInput, match="below 0"):
        prune(model, "gblm-pruner", calibration=toy_calibration(), alpha=-1.0)
    assert all(torch.equal(a, view.W) for a, view in zip(before, all_views(model), strict=True))


@pytest.fixture
def impostors(forgets_methods: None) -> None:
    """Methods that take gradients and do not use them, or not as they say."""

    def register(name: str, uses: bool) -> None:
        @registry.method(name, budget="weights", needs="calibration")
        def _method(
            model: torch.nn.Module,
            calibration: Calibration,
            sparsity: float = 0.5,
            alpha: float = 100.0,
        ) -> None:
            gradients = weight_gradients(model, calibration, torch.abs)
            for block in walk(model, calibration):
                for view, squares in block.collect(sum_of_squares):
                    score = view.W.abs() * squares.sqrt().float()
                    if uses:
                        score = score + alpha * gradients[view.name]  # without the weight
                    view.W = view.W.masked_fill(per_output(score, sparsity), 0)

    register("impostor-idle", False)
    register("impostor-unweighted", True)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("wanda", "no gradients"),
        ("impostor-idle", "higher Σ|g·w|"),
        ("impostor-unweighted", "higher Σ|g·w|"),
    ],
)
@pytest.mark.usefixtures("impostors")
def test_the_tag_does_not_hold_for_another_score(method: str, words: str) -> None:
    (seen,) = observe_tags(method, {"criterion": ["first-order"]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed
