"""Experiments on policies that act while a model runs: a cache that evicts, units left out.

The modules of the six dimensions call these for methods whose budget counts
cache entries or activations. All is seen from outside: the cache after every
token, and what reaches the projections that end attention and MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.evidence import Evidence
from impl.experiments import Verdict
from impl.model import View, blocks, heads, neurons
from impl.toys import toy_tokens
from impl.walk import Block

# --- a cache that evicts --------------------------------------------------------


def allowed_entries(run: Evidence) -> int:
    """How many tokens each head may hold, from what was asked."""
    return round(run.report.asked * run.report.total)


def text_for(run: Evidence) -> Tensor:
    """A text three times as long as the cache, (1, length)."""
    return toy_tokens(1, 3 * allowed_entries(run) + 2, 5)


@torch.no_grad()
def token_by_token(model: PreTrainedModel, text: Tensor) -> Iterator[tuple[Tensor, Any]]:
    """After each token of `text` (1, length): its logits, and the cache as it is then."""
    cache = None
    for t in range(text.shape[1]):
        output = model(text[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        yield output.logits[0, -1], cache


@torch.no_grad()
def cache_is_small(runs: list[Evidence]) -> Verdict:
    """No layer ever holds more than allowed, and what was evicted is really not read any more."""
    for run in runs:
        limit, text, logits = allowed_entries(run), text_for(run), []
        for seen, (row, cache) in enumerate(token_by_token(run.model, text), 1):
            logits.append(row)
            most = max(layer.keys.shape[2] for layer in cache.layers)
            if most > limit:
                return (
                    False,
                    f"after {seen} tokens a layer holds {most}, not {limit} ({run.family})",
                )
        at_once = run.model(text, use_cache=False).logits[0]
        dense = run.dense(text, use_cache=False).logits[0]
        scale = dense.abs().max()
        if (at_once - torch.stack(logits)).abs().max() > 1e-3 * scale:
            return False, f"a text read at once is not read as token by token ({run.family})"
        if (at_once[:limit] - dense[:limit]).abs().max() > 1e-3 * scale:
            return False, f"tokens that all fit into the cache read differently ({run.family})"
        if (at_once[limit + 1 :] - dense[limit + 1 :]).abs().max() < 1e-3 * scale:
            return False, f"a longer text reads as if nothing was evicted ({run.family})"
        if run.survivors_changed or run.shapes_changed:
            return False, f"weights changed ({run.family})"
    return True, (
        "the cache never held more tokens than allowed, in any layer; longer texts read "
        "differently, and at once as token by token; every weight is as before"
    )


def cache_is_exact(runs: list[Evidence]) -> Verdict:
    """Every layer holds all tokens until it is full, and exactly the number asked from then on."""
    for run in runs:
        if run.report.unit != "cache":
            return False, f"its budget counts {run.report.unit}"
        limit = allowed_entries(run)
        for seen, (_, cache) in enumerate(token_by_token(run.model, text_for(run)), 1):
            for layer in cache.layers:
                held = (layer.keys.shape[2], layer.values.shape[2])
                if held != (min(seen, limit),) * 2:
                    return False, f"after {seen} tokens a layer holds {held[0]} ({run.family})"
    limits = sorted({allowed_entries(run) for run in runs})
    return True, (
        f"every layer holds exactly {' or '.join(map(str, limits))} tokens once it has seen more"
    )


@torch.no_grad()
def smallest_attention_goes(runs: list[Evidence]) -> Verdict:
    """In block 0, the token that is evicted had the smallest sum, of those that are not recent.

    Block 0 reads the same whatever was evicted, so the attention of the dense
    model, shared out anew among the tokens that are held, is what they get.
    Which these are is read off the keys.
    """
    evicted = 0
    for run in runs:
        limit, text = allowed_entries(run), text_for(run)
        attention, keys = dense_attention(run.dense, text)
        groups = keys.shape[0]
        sums = torch.zeros(groups, text.shape[1], dtype=torch.float64)
        held = torch.zeros_like(sums, dtype=torch.bool)
        for t, (_, cache) in enumerate(token_by_token(run.model, text)):
            held[:, t] = True
            row = attention[:, t].masked_fill(
                ~held.repeat_interleave(len(attention) // groups, 0), 0
            )
            shared = row / row.sum(-1, keepdim=True)
            sums += shared.unflatten(0, (groups, -1)).sum(1)
            now = which_keys(keys, cache.layers[0].keys[0])
            hidden = (attention[:, t] == 0).unflatten(0, (groups, -1)).all(1)
            for group in range(groups):
                gone = (held[group] & ~now[group]).nonzero().flatten().tolist()
                rivals = now[group].clone()
                rivals[max(t + 1 - limit // 2, 0) :] = False  # half of the cache is for the newest
                for token in gone:
                    if token > t - limit // 2:
                        return False, f"a recent token was evicted ({run.family})"
                    if not hidden[group, token] and (
                        sums[group, token] > sums[group][rivals].min() * (1 + 1e-3)
                    ):
                        return False, (
                            f"token {token} was evicted, though an older or equally old one that "
                            f"stays has received less attention ({run.family})"
                        )
                    evicted += 1
            held &= now
    if not evicted:
        return False, "nothing was evicted"
    return True, (
        f"attention was added up again for block 0: each of {evicted:,} evicted tokens had received "
        "the least of all that were not among the newest"
    )


def dense_attention(model: PreTrainedModel, text: Tensor) -> tuple[Tensor, Tensor]:
    """Of block 0: the attention (heads, T, T) in float64, and the keys (groups, T, channels)."""
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        output = model(text, use_cache=True, output_attentions=True)
    finally:
        model.config._attn_implementation = before
    keys = torch.cat(
        [cache.layers[0].keys[0, :, -1:] for _, cache in token_by_token(model, text)], dim=1
    )
    return output.attentions[0][0].double(), keys


def which_keys(keys: Tensor, kept: Tensor) -> Tensor:
    """Which rows of `keys` (groups, T, channels) are among `kept` (groups, held, channels)."""
    near = torch.cdist(keys.double(), kept.double()) < 1e-4
    assert (near.sum(1) == 1).all(), "keys that the dense model does not have, or two alike"
    return near.any(2)


# --- units left out ---------------------------------------------------------------


Active = dict[tuple[int, str], Tensor]
"""(block, `neurons` or `heads`) to the strength of each unit's output, (tokens, units)"""


@torch.no_grad()
def strengths(model: PreTrainedModel, text: Tensor) -> Active:
    """|activation| of every neuron, and the norm of every head's output, for each token."""
    found: Active = {}

    def look(key: tuple[int, str], units: int) -> Callable[..., None]:
        def hook(_module: Any, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().double()
            found[key] = x.reshape(-1, units, x.shape[-1] // units).norm(dim=-1)

        return hook

    with ExitStack() as stack:
        for index in range(len(blocks(model))):
            for kind, view, units in places(model, index):
                hook = look((index, kind), units)
                stack.callback(view.module.register_forward_pre_hook(hook).remove)
        model(text, use_cache=False)
    return found


def places(model: PreTrainedModel, index: int) -> list[tuple[str, View, int]]:
    """Where the units of a block come together: kind, the projection, how many there are."""
    mlp, attention = neurons(model, index), heads(model, index)
    return [
        ("neurons", mlp.down, mlp.count),
        ("heads", attention.o, attention.count),
    ]


def stated(run: Evidence, units: int, kind: str) -> int:
    """How many of `units` may be computed for a token, from what was asked."""
    share = run.report.options.get(kind) if kind == "heads" else None
    return units - round((run.report.asked if share is None else share) * units)


def sets_differ(runs: list[Evidence]) -> Verdict:
    """Every token has at most the stated number of units, and not every token the same ones."""
    for run in runs:
        text = toy_tokens(2, 16, 7)
        dense, differ = strengths(run.dense, text), {"neurons": False, "heads": False}
        for (index, kind), strength in strengths(run.model, text).items():
            on, k = strength > 0, stated(run, strength.shape[1], kind)
            if on.sum(1).max() > k:
                return False, (
                    f"{on.sum(1).max()} {kind} of block {index} are computed for a token, not {k} "
                    f"({run.family})"
                )
            if not ((dense[index, kind] > 0) & ~on).any():
                return False, f"no {kind} of block {index} are left out ({run.family})"
            # Where a ReLU puts out zeros of its own, the union may stay small all the same.
            differ[kind] |= bool(on.any(0).sum() > k)
        for kind, varies in differ.items():
            if not varies:
                return False, f"every token has the same {kind}, in every block ({run.family})"
        if run.survivors_changed or run.shapes_changed:
            return False, f"weights changed ({run.family})"
    return True, (
        "no token has more heads or neurons than stated, other tokens have other ones, and all "
        "weights are still there"
    )


def units_of_each_block(runs: list[Evidence]) -> Verdict:
    """In each block each token leaves out exactly what was asked, of heads and of neurons."""
    counted = 0
    for run in runs:
        text = toy_tokens(2, 16, 7)
        dense = strengths(run.dense, text)
        for (index, kind), strength in strengths(run.model, text).items():
            k = stated(run, strength.shape[1], kind)
            on = (strength > 0).sum(1)
            # A ReLU leaves zeros of its own among what is computed.
            if (on > k).any() or ((dense[index, kind] > 0).all() and (on < k).any()):
                return False, (
                    f"{on.min()} to {on.max()} {kind} of block {index} work for a token, not {k} "
                    f"({run.family})"
                )
            counted += 1
    return True, f"the share asked is left out for every token, in each of {counted} places"


def overlap(run: Evidence, model: PreTrainedModel) -> float:
    """How many of the units that are strongest in the dense model `model` chooses: a mean share."""
    assert isinstance(run.data, Calibration)
    dense, shares = strengths(run.dense, run.data.tokens), []
    for (index, kind), strength in strengths(model, run.data.tokens).items():
        k = stated(run, strength.shape[1], kind)
        top = dense[index, kind].topk(k, dim=1).indices
        shares.append((strength > 0).gather(1, top).double().mean().item())
    return sum(shares) / len(shares)


def choices(model: PreTrainedModel) -> list[list[bool]]:
    """Which units of block 0 work for the tokens of a text."""
    found = strengths(model, toy_tokens(2, 16, 7))
    return [row.tolist() for kind in ("neurons", "heads") for row in found[0, kind] > 0]


def units_by_activation(runs: list[Evidence]) -> Verdict:
    """Where units pass for one another in the recorded activations, other ones are chosen."""
    capture = Block.capture

    def swapped(block: Block, wanted: list[View]) -> Iterator[dict[str, Tensor]]:
        for inputs in capture(block, wanted):
            yield {name: x.flip(-1) for name, x in inputs.items()}

    for run in runs:
        if not run.seen or not run.read.get("capture"):
            return False, f"it recorded no activations ({run.family})"
        if run.steps:
            return False, f"it stepped on weights of the model ({run.family})"
        with mock.patch.object(Block, "capture", swapped):
            other = run.rerun()
        if choices(run.model) == choices(other):
            return False, f"the same units are chosen when they pass for others ({run.family})"
        if overlap(run, run.model) <= overlap(run, other):
            return False, f"what it chooses is no stronger than what it chooses then ({run.family})"
    return True, (
        "activations were recorded; what is chosen for a token are more of its strongest units "
        "than when the records of units are exchanged"
    )


def units_by_training(runs: list[Evidence]) -> Verdict:
    """Without its optimiser steps other units are chosen, and fewer of the strongest."""
    gains = []
    for run in runs:
        if not run.own_steps:
            return False, f"no optimiser step on anything but the model's weights ({run.family})"
        with mock.patch.object(torch.optim.AdamW, "step", return_value=None):
            untrained = run.rerun()
        if choices(run.model) == choices(untrained):
            return False, f"the same units are chosen without training ({run.family})"
        gains.append(overlap(run, run.model) - overlap(run, untrained))
        if gains[-1] <= 0:
            return False, f"training finds no more of the strongest units ({run.family})"
    return True, (
        f"{sum(run.own_steps for run in runs):,} optimiser steps on predictors; without them other "
        f"units are chosen, and fewer of the strongest"
    )
