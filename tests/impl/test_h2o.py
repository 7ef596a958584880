"""H2O: the algorithm against a plain one, what it must equal, and the cache that it leaves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

from impl import registry, runtime
from impl.errors import BadInput, Unsupported
from impl.experiments import observe_tags
from impl.methods.h2o import HeavyHitters
from impl.registry import Amount, prune
from impl.runtime import attach
from impl.session import track
from impl.toys import TOYS, toy, toy_tokens, toys_of

WITHOUT = ("falcon", "falcon-grouped", "bloom")
FAMILIES = [name for name in toys_of("decoder") if name not in WITHOUT]
TEXT = toy_tokens(2, 24, 7)


@torch.no_grad()
def read(model: Any, tokens: Tensor = TEXT, **arguments: Any) -> Tensor:
    found: Tensor = model(tokens, use_cache=False, **arguments).logits
    return found


def off(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def plain(
    logits: list[list[list[float]]], allowed: list[list[bool]], held: int, recent: int
) -> tuple[list[list[int]], list[int]]:
    """Algorithm 1 for one group in plain Python: logits [query head][t][s]; what is seen, what stays."""
    length = len(allowed)
    cache: list[int] = []
    sums = [0.0] * length
    seen = []
    for t in range(length):
        cache.append(t)
        visible = [s for s in cache if allowed[t][s]]
        seen.append(visible)
        for head in logits:
            weights = {s: math.exp(head[t][s]) for s in visible}
            for s in visible:
                sums[s] += weights[s] / sum(weights.values())
        if len(cache) > held:
            candidates = cache[: len(cache) - recent]
            hidden = [s for s in candidates if not allowed[t][s]]
            cache.remove(hidden[0] if hidden else min(candidates, key=lambda s: sums[s]))
    return seen, cache


@pytest.mark.parametrize(("held", "recent"), [(2, 1), (4, 2), (5, 0), (5, 5), (6, 1), (30, 15)])
@pytest.mark.parametrize("window", [99, 7])
def test_it_is_algorithm_1(held: int, recent: int, window: int) -> None:
    generator = torch.Generator().manual_seed(held * 10 + recent)
    batch, groups, queries, length = 2, 3, 2, 20
    logits = 2 * torch.randn(batch, groups, queries, length, length, generator=generator)
    position = torch.arange(length)
    distance = position[:, None] - position
    allowed = ((distance >= 0) & (distance < window))[None, None]
    sees, alive = HeavyHitters(held, recent).choose(
        logits, allowed, torch.zeros(batch, groups, length)
    )
    for b in range(batch):
        for g in range(groups):
            seen, cache = plain(logits[b, g].tolist(), allowed[0, 0].tolist(), held, recent)
            assert [row.nonzero().flatten().tolist() for row in sees[b, g]] == seen
            assert alive[b, g].nonzero().flatten().tolist() == cache


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cache_that_holds_everything_changes_nothing_but_rounding(family: str) -> None:
    model = toy(family)
    dense = read(model)
    attach(model, HeavyHitters(24, 12))
    assert off(read(model), dense) < 1e-5
    runtime.detach(model)
    assert torch.equal(read(model), dense)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gpt_neox"])
def test_with_only_recent_tokens_it_is_a_sliding_window(family: str) -> None:
    model = toy(family)
    position = torch.arange(24)
    distance = position[:, None] - position
    near = ((distance >= 0) & (distance <= 6)).expand(2, 1, 24, 24)
    expected = read(model, attention_mask=near)
    prune(model, "h2o", keep=0.5, window=12, recent=1.0)
    assert off(read(model), expected) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", [1, 5, 24])
@torch.no_grad()
def test_a_text_reads_the_same_in_pieces_of_any_size(family: str, step: int) -> None:
    model = toy(family)
    dense = read(model)
    prune(model, "h2o", keep=0.5, window=14)
    whole = read(model)
    assert off(whole[:, 8:], dense[:, 8:]) > 1e-3, "nothing was evicted"
    cache, parts = None, []
    for start in range(0, 24, step):
        output = model(TEXT[:, start : start + step], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        parts.append(output.logits)
        for layer in cache.layers:
            assert layer.keys.shape[2] == layer.values.shape[2] == min(start + step, 24, 7)
            assert layer.keys.untyped_storage().nbytes() <= layer.keys.nbytes, (
                "evicted in name only"
            )
        assert cache.get_seq_length() == min(start + step, 24)
    assert off(torch.cat(parts, 1), whole) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_writes_what_reading_anew_every_time_writes(family: str) -> None:
    model: Any = toy(family)
    prune(model, "h2o", keep=0.5, window=14)
    text = TEXT[:1, :5]
    written = model.generate(
        text, attention_mask=torch.ones_like(text), max_new_tokens=16, min_new_tokens=16,
        do_sample=False,
    )  # fmt: skip
    for _ in range(16):
        last = read(model, text)[:, -1]
        last[:, model.config.eos_token_id] = -torch.inf
        text = torch.cat([text, last.argmax(-1, keepdim=True)], 1)
    assert torch.equal(written, text)


def test_beams_carry_their_own_cache() -> None:
    model: Any = toy("llama")
    prune(model, "h2o", keep=0.5, window=14)
    text = TEXT[:1, :5]
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "num_beams": 3}
    mask = torch.ones_like(text)
    cached, anew = (
        model.generate(text, attention_mask=mask, use_cache=cache, **settings)
        for cache in (True, False)
    )
    assert torch.equal(cached, anew)


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt", "gpt2"])
@torch.no_grad()
def test_padding_on_the_left_makes_no_difference(family: str) -> None:
    model: Any = toy(family)
    prune(model, "h2o", keep=0.5, window=14)
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), TEXT[:1, :20]], 1)
    mask = (torch.arange(24) >= 4).long()[None]
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    one = model.generate(padded, attention_mask=mask, **settings)[:, 4:]
    other = model.generate(TEXT[:1, :20], attention_mask=torch.ones(1, 20).long(), **settings)
    assert torch.equal(one, other)


def test_sequences_of_a_batch_do_not_mix() -> None:
    model = toy("llama")
    prune(model, "h2o", keep=0.5, window=14)
    alone = torch.cat([read(model, TEXT[:1]), read(model, TEXT[1:])])
    assert off(read(model), alone) < 1e-5


def test_the_budget_is_a_number_of_tokens() -> None:
    report = prune(toy("llama"), "h2o", keep=0.25, window=40)
    assert (report.removed, report.total, report.achieved) == (30, 40, 0.25)
    report = prune(toy("llama"), "h2o")  # the context of the toys is shorter than 512
    assert (report.total, report.removed) == (64, 64 - 13)


@pytest.mark.parametrize(
    "options", [{"window": 1}, {"recent": -0.1}, {"recent": 1.5}, {"keep": 0.0}, {"keep": 1.1}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    model = toy("llama")
    with pytest.raises(BadInput):
        prune(model, "h2o", **options)
    assert not runtime.attached(model)


@pytest.mark.parametrize("family", WITHOUT)
def test_attention_that_cannot_be_replaced_is_refused(family: str) -> None:
    with pytest.raises(Unsupported, match="cannot be replaced"):
        prune(toy(family), "h2o", keep=0.5, window=8)


@torch.no_grad()
def test_caches_of_another_kind_are_refused_and_the_model_stays_usable() -> None:
    model = toy("llama")
    filled = model(TEXT[:, :4], use_cache=True).past_key_values
    prune(model, "h2o", keep=0.5, window=8)
    expected = read(model)
    for cache in (filled, StaticCache(config=model.config, max_cache_len=30)):
        with pytest.raises(Unsupported):
            model(TEXT[:, 4:5], past_key_values=cache)
        assert model.config._attn_implementation == "sdpa"
    empty: Any = DynamicCache(config=model.config)
    model(TEXT[:, :9], past_key_values=empty)
    assert empty.layers[0].keys.shape[2] == 4
    with pytest.raises(Unsupported, match="cannot be put back"):
        empty.crop(-1)
    with pytest.raises(IndexError):
        model(torch.tensor([[10_000]]))  # fails in the embeddings
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(read(model), expected)


def test_gradients_flow_through_what_is_held() -> None:
    model = toy("llama")
    prune(model, "h2o", keep=0.5, window=8)
    model(input_ids=TEXT, labels=TEXT).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# --- impostors ----------------------------------------------------------------


class Wrong(HeavyHitters):
    """Evicts by another rule: `recent`, `heaviest`, or one too late."""

    def __init__(self, held: int, rule: str) -> None:
        super().__init__(held + (rule == "late"), held // 2)
        self.rule = rule

    def choose(self, logits: Tensor, allowed: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        if self.rule == "recent":
            self.recent = self.held
        if self.rule == "heaviest":  # what is small counts as large: shared out to all others
            inverse = -logits
            return super().choose(inverse, allowed, scores)
        return super().choose(logits, allowed, scores)


@pytest.fixture
def impostors(forgets_methods: None) -> None:
    for rule in ("recent", "heaviest", "late", "nothing"):

        def run(model: Any, keep: float = 0.2, window: int = 16, rule: str = rule) -> Amount:
            held = round(keep * window)
            for _ in track([0], "block"):
                pass
            if rule != "nothing" and keep < 1:
                attach(model, Wrong(held, rule))
            return Amount(window - held, window)

        registry.method(f"impostor-{rule}", budget="cache", needs="nothing")(run)


@pytest.mark.usefixtures("impostors")
@pytest.mark.parametrize(
    ("rule", "dimension", "value", "words"),
    [
        ("recent", "criterion", "attention-score", "received less attention"),
        ("heaviest", "criterion", "attention-score", "received less attention"),
        ("late", "type", "kv-cache", "a layer holds 9, not 8"),
        ("late", "budget", "cache", "a layer holds 9"),
        ("nothing", "type", "kv-cache", "a layer holds 9, not 8"),
        ("nothing", "budget", "cache", "a layer holds 9"),
    ],
)
def test_what_only_says_that_it_is_h2o_is_caught(
    rule: str, dimension: str, value: str, words: str
) -> None:
    (seen,) = observe_tags(f"impostor-{rule}", {dimension: [value]}, ("llama",))
    assert not seen.holds
    assert words in seen.observed


def test_every_toy_is_either_tested_or_refused() -> None:
    assert set(FAMILIES) | set(WITHOUT) == set(toys_of("decoder"))
    assert set(WITHOUT) <= set(TOYS)
