"""A pruned model against the dense one, in one process: how far it is, how large, how fast."""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from impl.evaluate import batch_of, predictions, score_of
from impl.losses import Batch, Data, batches, logits
from impl.model import all_views
from impl.session import evaluating
from impl.tasks import LabelledData

POSITIONS = 256
"""How many weights of each matrix are looked at to compare masks"""

PREFILL, DECODE, REPEATS = 512, 32, 5
"""Tokens of a prefill and of a decoding, at most, and how often each is timed"""

Advance = Callable[[int, int, str], None]


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Operations of softmax(QKᵀ)V over (batch, heads, tokens, channels): two products."""
    batch, heads, tokens, channels = query
    return 2 * batch * heads * tokens * key[2] * (channels + value[3])


# What PyTorch computes attention with on a CPU; its counter knows only the operation of CUDA.
_COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


@torch.no_grad()
def compare(
    dense: PreTrainedModel, pruned: PreTrainedModel, data: Data, advance: Advance
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Both models over `data`, sample by sample: the scores of each, and how far they are apart.

    For the scores see `score_of`. The distance is `kl`, KL(dense ‖ pruned) in
    nats, and `agreement`, the share of equal first choices; both are means
    over all predicted tokens, or over labelled samples.
    """
    scores: dict[str, list[float]] = {"dense": [], "pruned": []}
    divergence = same = count = 0.0
    total = len(data) if isinstance(data, LabelledData) else len(data.tokens)
    with evaluating(dense), evaluating(pruned):
        for batch in batches(data, batch_of(data), pruned.device):
            first, second = (predictions(model, batch) for model in (dense, pruned))
            scores["dense"] += score_of(first, batch)
            scores["pruned"] += score_of(second, batch)
            p, q = (found.log_softmax(-1).flatten(0, -2) for found in (first, second))
            divergence += kl_div(q, p, reduction="sum", log_target=True).item()
            same += first.argmax(-1).eq(second.argmax(-1)).sum().item()
            count += len(p)
            done = len(scores["dense"])
            advance(done, total, f"sample {done}")
    return scores, {"kl": divergence / count, "agreement": same / count}


def sizes(model: PreTrainedModel, data: Data) -> dict[str, int]:
    """What a model takes: weights that are not zero, MACs of one sample, bytes on disk and in the cache.

    MACs are the multiply-accumulate operations of the matrix products and
    convolutions as they are computed, so that a zero counts unless it is gone.
    `cache_bytes` are of keys and values after one window; models without a
    cache have none.
    """
    parameters = {id(p): p for p in model.parameters()}.values()
    found = {"nonzeros": sum(int(torch.count_nonzero(p)) for p in parameters)}
    stored = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    found["checkpoint_bytes"] = sum(tensor.nbytes for tensor in stored.values())
    sample = next(batches(data, 1, model.device))
    counter = FlopCounterMode(display=False, custom_mapping=_COUNTED)
    with torch.no_grad(), evaluating(model), counter:
        logits(model, sample)
    found["macs"] = counter.get_total_flops() // 2
    if sample.labels is None:
        with torch.no_grad(), evaluating(model):
            cache = model(**sample.inputs, use_cache=True).past_key_values
        found["cache_bytes"] = sum(
            tensor.nbytes
            for layer in getattr(cache, "layers", [])
            for tensor in (layer.keys, layer.values)
        )
    return found


def speeds(
    dense: PreTrainedModel, pruned: PreTrainedModel, data: Data, advance: Advance
) -> dict[str, float]:
    """How many times as fast as the dense model the pruned one is: above 1 is faster.

    Both read the same sample and then, if they are language models, write
    tokens one by one from their cache; they take turns, and the median of the
    ratios counts, so that what else the machine does hits both.
    """
    sample = next(batches(data, 1, pruned.device))
    decode = 0
    if sample.labels is None:
        context = getattr(pruned.config, "max_position_embeddings", None) or PREFILL + DECODE
        tokens = sample.inputs["input_ids"][:, : min(PREFILL, context - DECODE)]
        sample, decode = Batch({"input_ids": tokens}), DECODE
    ratios: dict[str, list[float]] = {"prefill": [], "decode": []}
    with torch.no_grad(), evaluating(dense), evaluating(pruned):
        for turn in range(REPEATS + 1):
            times = [_timed(model, sample, decode) for model in (dense, pruned)]
            for name, before, after in zip(ratios, *times, strict=False):
                if turn:  # the first warms up
                    ratios[name].append(before / after)
            advance(turn + 1, REPEATS + 1, f"turn {turn + 1}")
    found: dict[str, float] = {
        name: statistics.median(values) for name, values in ratios.items() if values
    }
    if decode:
        found |= {"prefill_tokens": sample.inputs["input_ids"].shape[1], "decode_tokens": decode}
    return found | {"repeats": REPEATS}


def _timed(model: PreTrainedModel, sample: Batch, decode: int) -> list[float]:
    """Seconds for one sample, and for `decode` tokens after it if there are any."""
    device = model.device
    started = _now(device)
    if not decode:
        logits(model, sample)
        return [_now(device) - started]
    output = model(**sample.inputs, use_cache=True)
    between = _now(device)
    for _ in range(decode):
        token = output.logits[:, -1:].argmax(-1)
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
    return [between - started, _now(device) - between]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def sketch(model: nn.Module, seed: int = 0) -> dict[str, Any]:
    """Which of some weights of every matrix are zero: enough to tell how much two masks overlap.

    The same positions are looked at whatever the method: they depend on the
    seed and on number and shape of the matrix alone. Bits are 1 for a zero,
    packed with the first in the highest place, as base64.
    """
    bits = [
        view.W.flatten()[_positions(seed, index, view.numel).to(view.stored.device)].eq(0).cpu()
        for index, view in enumerate(all_views(model))
    ]
    packed = numpy.packbits(torch.cat(bits).numpy()).tobytes()
    return {"positions": POSITIONS, "seed": seed, "bits": base64.b64encode(packed).decode()}


def _positions(seed: int, index: int, numel: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    return torch.randint(numel, (POSITIONS,), generator=generator)
