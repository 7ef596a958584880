"""Orders that the papers claim, on a real language model: SmolLM2-135M, news, one run.

A quarter of the text of smollm2-lee-1 (8 windows calibrate, 4 evaluate, 512 tokens each), to save
minutes. The figures under the whole protocol are in impl/results.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl import PrunedexError, load, load_calibration, perplexity, prune
from impl.calibration import Calibration
from impl.methods import flap
from impl.model import blocks
from impl.surgery import drop_blocks


class Real(NamedTuple):
    dense: PreTrainedModel
    calibration: Calibration
    evaluation: Tensor

    def after(self, method: str, windows: int = 8, **options: Any) -> float:
        """Perplexity after a method."""
        model = copy.deepcopy(self.dense)
        text = replace(self.calibration, tokens=self.calibration.tokens[:windows])
        prune(model, method, calibration=text, **options)
        return perplexity(model, self.evaluation)


@pytest.fixture(scope="module")
def real() -> Real:
    try:
        model, tokenizer, _ = load("smollm2-135m", device="cpu")
        calibration = load_calibration("lee", tokenizer, samples=8)
        evaluation = load_calibration("lee", tokenizer, samples=4, split="evaluation")
    except PrunedexError as error:
        pytest.skip(f"the model or the text could not be fetched: {error}")
    return Real(model, calibration, evaluation.tokens)


pytestmark = pytest.mark.orders


def test_owl_lowers_wandas_perplexity_at_seventy_percent(real: Real) -> None:
    owl, wanda = (real.after(method, sparsity=0.7) for method in ("owl", "wanda"))
    print(f"70 %: OWL {owl:.1f}, Wanda {wanda:.1f}")
    assert owl < wanda


def test_dsnot_is_no_worse_than_the_mask_it_starts_from(real: Real) -> None:
    dsnot, wanda = (real.after(method, sparsity=0.6) for method in ("dsnot", "wanda"))
    print(f"60 %: DSnoT {dsnot:.1f}, Wanda {wanda:.1f}")
    assert dsnot <= wanda


def test_admm_is_better_than_sparsegpt_at_sixty_percent(real: Real) -> None:
    admm, sparsegpt = (real.after(method, sparsity=0.6) for method in ("admm", "sparsegpt"))
    print(f"60 %: ADMM {admm:.1f}, SparseGPT {sparsegpt:.1f}")
    assert admm < sparsegpt


def test_flap_is_better_than_random_heads_and_neurons(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = real.after("flap", ratio=0.2)
    monkeypatch.setattr(flap, "standardised", torch.rand_like)
    at_random = [real.after("flap", ratio=0.2, seed=seed) for seed in (0, 1)]
    print(f"20 % of the parameters: FLAP {chosen:.1f}, random {at_random}")
    assert chosen < min(at_random)


def test_shortgpt_is_better_than_random_blocks(real: Real) -> None:
    chosen = real.after("shortgpt", drop=6)
    at_random = []
    for seed in range(3):
        model = copy.deepcopy(real.dense)
        drop_blocks(model, random.Random(seed).sample(range(len(blocks(model))), 6))
        at_random.append(perplexity(model, real.evaluation))
    print(f"6 blocks: ShortGPT {chosen:.1f}, random {at_random}")
    assert chosen < sorted(at_random)[1], "better than half of the random choices"


def divergence(real: Real, window: Tensor) -> Callable[[PreTrainedModel], float]:
    """KL divergence of a model's next-token distributions from the dense one's, nats a token."""
    with torch.no_grad():
        dense = real.dense(window, use_cache=False).logits.log_softmax(-1)

    def of(model: PreTrainedModel) -> float:
        with torch.no_grad():
            own = model(window, use_cache=False).logits.log_softmax(-1)
        return float((dense.exp() * (dense - own)).sum(-1).mean())

    return of


def test_heavy_hitters_stay_closer_to_dense_than_a_sliding_window(real: Real) -> None:
    distance = divergence(real, real.evaluation[:2])
    found = {}
    for name, recent in (("h2o", 0.5), ("window", 1.0)):
        model = copy.deepcopy(real.dense)
        prune(model, "h2o", keep=0.2, recent=recent)
        found[name] = distance(model)
    print(f"20 % of the cache, KL to dense: {found}")
    assert found["h2o"] < found["window"]
