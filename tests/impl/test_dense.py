"""A pruned model against the dense one: distances, sizes and mask sketches against plain arithmetic."""

from __future__ import annotations

import base64
import copy
import math

import numpy
import pytest
import torch

from impl import prune
from impl.dense import POSITIONS, compare, sizes, sketch, speeds
from impl.evaluate import perplexity
from impl.evidence import toy_calibration
from impl.model import all_views
from impl.toys import toy, toy_labelled


def quiet(*_: object) -> None:
    """No progress."""


def masks(model: torch.nn.Module) -> numpy.ndarray:
    found = sketch(model)
    assert found["positions"] == POSITIONS
    return numpy.unpackbits(numpy.frombuffer(base64.b64decode(found["bits"]), numpy.uint8))


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_distance_and_scores_are_what_they_say(family: str) -> None:
    dense, text = toy(family), toy_calibration(3, 12)
    pruned = copy.deepcopy(dense)
    same, none = compare(dense, pruned, text, quiet)
    assert none == {"kl": pytest.approx(0, abs=1e-7), "agreement": 1.0}
    assert same["dense"] == same["pruned"]
    prune(pruned, "magnitude", sparsity=0.7)
    scores, distance = compare(dense, pruned, text, quiet)
    assert math.exp(sum(scores["pruned"]) / 3) == pytest.approx(perplexity(pruned, text.tokens))
    with torch.no_grad():
        p, q = (
            torch.softmax(model(text.tokens).logits[:, :-1].double(), -1)
            for model in (dense, pruned)
        )
    assert distance["kl"] == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)
    assert distance["agreement"] == (p.argmax(-1) == q.argmax(-1)).double().mean().item()


def test_labelled_samples_are_right_or_wrong() -> None:
    dense, data = toy("bert"), toy_labelled("bert")
    scores, distance = compare(dense, copy.deepcopy(dense), data, quiet)
    assert set(scores["dense"]) <= {0.0, 1.0}
    assert len(scores["dense"]) == len(data)
    assert distance["agreement"] == 1
    assert "cache_bytes" not in sizes(dense, data)
    assert set(speeds(dense, dense, data, quiet)) == {"prefill", "repeats"}


def test_sizes_are_counted_by_hand() -> None:
    model, text = toy("llama"), toy_calibration(1, 8)
    found = sizes(model, text)
    parameters = sum(p.numel() for p in model.parameters())
    assert found["nonzeros"] == sum(int((p != 0).sum()) for p in model.parameters())
    assert found["checkpoint_bytes"] == 4 * parameters
    config, tokens = model.config, 8
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    # Scores and their products with the values, over all heads and tokens.
    size = config.hidden_size // config.num_attention_heads
    attention = 2 * config.num_attention_heads * tokens * tokens * size
    least = tokens * linear + config.num_hidden_layers * attention
    assert least <= found["macs"] <= 1.05 * least  # rotary positions take a few more
    kept = config.num_key_value_heads * size * 2 * tokens * 4
    assert found["cache_bytes"] == config.num_hidden_layers * kept


def test_tied_weights_are_counted_once() -> None:
    model, text = toy("llama-tied"), toy_calibration(1, 8)
    assert sizes(model, text)["checkpoint_bytes"] == 4 * sum(p.numel() for p in model.parameters())


def test_what_is_gone_costs_less_and_what_is_zero_does_not() -> None:
    text = toy_calibration(2, 8)
    dense, fewer, sparse, cached = (toy("llama") for _ in range(4))
    prune(fewer, "shortgpt", calibration=text, drop=1)
    prune(sparse, "magnitude", sparsity=0.5)
    prune(cached, "h2o", keep=0.5, window=8)
    whole, short, zeros, held = (sizes(model, text) for model in (dense, fewer, sparse, cached))
    for name in ("nonzeros", "macs", "checkpoint_bytes", "cache_bytes"):
        assert short[name] < whole[name], name
    assert zeros["macs"] == whole["macs"]
    assert zeros["nonzeros"] < whole["nonzeros"]
    assert held["cache_bytes"] * 2 == whole["cache_bytes"]


def test_sketches_tell_how_much_masks_overlap() -> None:
    text = toy_calibration(4, 16)
    models = {name: toy("llama") for name in ("magnitude", "wanda", "random")}
    prune(models["magnitude"], "magnitude", sparsity=0.5)
    prune(models["wanda"], "wanda", calibration=text, sparsity=0.5)
    generator = torch.Generator().manual_seed(0)
    for view in all_views(models["random"]):
        view.W = view.W * (torch.rand(view.shape, generator=generator) < 0.5)
    zeros = {
        name: torch.cat([view.W.flatten() == 0 for view in all_views(model)])
        for name, model in models.items()
    }
    seen = {name: masks(model).astype(bool) for name, model in models.items()}
    for one, two in (("magnitude", "wanda"), ("magnitude", "random"), ("wanda", "wanda")):
        truth = (zeros[one] & zeros[two]).sum() / (zeros[one] | zeros[two]).sum()
        guess = (seen[one] & seen[two]).sum() / (seen[one] | seen[two]).sum()
        assert guess == pytest.approx(truth.item(), abs=0.05)
    assert sketch(models["wanda"]) == sketch(models["wanda"])


def test_speed_is_a_ratio_of_both_phases() -> None:
    model, text = toy("llama"), toy_calibration(1, 64)
    found = speeds(model, model, text, quiet)
    assert set(found) == {"prefill", "decode", "prefill_tokens", "decode_tokens", "repeats"}
    assert found["prefill"] > 0
    assert found["decode"] > 0
    context = model.config.max_position_embeddings
    assert found["prefill_tokens"] + found["decode_tokens"] <= context
