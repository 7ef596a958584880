"""ShortGPT: Block Influence against a literal reading, and what must follow from it."""

from __future__ import annotations

import pytest
import torch
from deep import deep, logits, make_idle, text, without
from transformers import PreTrainedModel

from impl import registry
from impl.calibration import Calibration
from impl.experiments import observe_tags
from impl.model import blocks
from impl.registry import prune
from impl.surgery import drop_blocks
from impl.toys import toy
from impl.walk import walk


def influence(model: PreTrainedModel) -> list[float]:
    """Eq. 1, one block, window and token after the other."""
    sums = [0.0] * len(blocks(model))
    count = 0
    for window in text().tokens:
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        hooks = [
            block.register_forward_hook(
                lambda _m, args, output, seen=seen: seen.append((args[0], output))
            )
            for block in blocks(model)
        ]
        with torch.no_grad():
            model(window[None], use_cache=False)
        for hook in hooks:
            hook.remove()
        for i, (x, y) in enumerate(seen):
            y = y[0] if isinstance(y, tuple) else y
            for t in range(len(window)):
                a, b = x[0, t].double(), y.reshape(x.shape)[0, t].double()
                sums[i] += (1 - a @ b / (a.norm() * b.norm())).item()
        count += len(window)
    return [value / count for value in sums]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "bloom", "mixtral"])
def test_influence_is_that_of_the_equation(family: str) -> None:
    expected = influence(toy(family))
    found = prune(toy(family), "shortgpt", calibration=text(), drop=1).details["influence"]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("drop", [1, 3, 7])
def test_the_blocks_of_lowest_influence_go_together(drop: int) -> None:
    model, reference = deep(8), deep(8)
    scores = influence(reference)
    order = sorted(range(8), key=scores.__getitem__)
    report = prune(model, "shortgpt", calibration=text(), drop=drop)
    assert report.details["dropped"] == sorted(order[:drop])
    torch.testing.assert_close(logits(model), without(reference, *order[:drop]))


@pytest.mark.parametrize("place", range(6))
def test_an_idle_block_goes_first_wherever_it_is(place: int) -> None:
    model = deep(6)
    make_idle(model, place)
    before = logits(model)
    report = prune(model, "shortgpt", calibration=text(), drop=1)
    assert report.details["dropped"] == [place]
    assert report.details["influence"][place] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits(model), before)


def test_scores_are_of_the_dense_model() -> None:
    """Greedy re-scoring would follow what is left; here two idle blocks and one more go at once."""
    model, reference = deep(6), deep(6)
    for m in (model, reference):
        make_idle(m, 1, 4)
    scores = influence(reference)
    third = min((i for i in range(6) if i not in (1, 4)), key=scores.__getitem__)
    report = prune(model, "shortgpt", calibration=text(), drop=3)
    assert report.details["dropped"] == sorted([1, 4, third])


@pytest.fixture
def impostor(forgets_methods: None) -> None:
    """Measures the influence and then drops the last blocks."""

    @registry.method("impostor-depth", budget="blocks", needs="calibration")
    def _depth(model: PreTrainedModel, calibration: Calibration, drop: int | None = None) -> None:
        if drop:
            for block in walk(model, calibration, propagate="dense"):
                list(block.before_and_after())
            drop_blocks(model, range(len(blocks(model)) - drop, len(blocks(model))))


@pytest.mark.usefixtures("impostor")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("cosine-similarity", "another went|higher 1 - cosine"),
        ("angular-distance", "has a smaller angle"),
        ("perplexity", "higher perplexity"),
        ("first-order", "no gradients"),
    ],
)
def test_dropping_the_last_blocks_is_unmasked(value: str, words: str) -> None:
    families = ("llama", "gpt2", "opt", "gpt_neox")
    (seen,) = observe_tags("impostor-depth", {"criterion": [value]}, families)
    assert not seen.holds, seen.observed
    assert any(word in seen.observed for word in words.split("|"))
