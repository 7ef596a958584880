r"""H2O: a cache of fixed size that keeps the tokens with most attention, and the newest.

Few tokens receive most of the attention, and they stay the same while a text
goes on. Each head adds up the attention that every cached token has received
so far. When its cache is full, the token with the smallest sum is evicted for
good; the newest tokens are protected. No weight changes: what is left on the
model is a policy, which acts on every text that the model reads or writes.

Equations
---------
- Limited attention (Def. 2.2): $$o_i = D_i^{-1} \exp(Q_{i,*} K_{S_i,*}^\top), \qquad D_i = \exp(Q_{i,*} K_{S_i,*}^\top) \, \mathbf{1}$$ Token i attends only to the set S_i that is in the cache, itself included.
- Heavy hitters (§4.1): $$F_\text{score}(T) = \sum_{s \in T} \sum_{j \le i} o_{j,s}$$ A token's score is the attention that it has received from all queries so far.
- Eviction (Def. 4.3, Alg. 1): $$S_i = (S_{i-1} \cup \{i\}) \setminus \{u\}, \qquad u = \arg\max_{v} F_\text{score}(S_{i-1} \cup \{i\} \setminus \{v\})$$ Once k tokens are held, the one goes without which the score stays highest, that is, the one with the smallest sum; half of the cache is for the newest tokens, which are no candidates (§5.1).

Hyperparameters
---------------
- keep: the share of the window's tokens that each head may hold; 0.2 in most of the paper's experiments, which go from 0.04 to 0.6 of the prompt.
- window: the number of tokens that `keep` is a share of; 512, or the model's context if that is shorter. The cache holds round(keep · window) tokens however long the text is.
- recent: the share of the cache that is for the newest tokens; 0.5 in the paper. At 1 only the newest are kept, the baseline that the paper calls Local; at 0 no token is protected.

Official code
-------------
- https://github.com/FMInference/H2O at ac75c2a8a9e76832b2a4139b9363373b56336bfb: h2o_hf/utils_hh and h2o_hf/utils_lm_eval mask evicted tokens, h2o_hf/utils_real_drop and h2o_flexgen take them out of memory.

Deviations
----------
- Alg. 1 runs from the first token on, also within a prompt and within a text whose perplexity is measured, so a text read at once and token by token gives the same. The official code for generation reads the prompt with full attention and evicts after it.
- The size of the cache is a number of tokens, fixed in advance; in the official code it is a share of the prompt at hand.
- Scores add up the attention among tokens that are still held, as in Def. 2.2. The official code for lm-eval-harness adds attention that is computed over evicted tokens too, and a token that is not among the heavy ones when the next arrives loses its sum at once, though it is still among the newest.
- Query heads that share keys and values share their cache: the group's sums are added. The paper has no such models.
- Scores are kept for each sequence of a batch; the official code adds them up over the batch.
- Tokens that no later query can see, padding and those out of a sliding window, are evicted first. Of equal sums the oldest goes.

Unsupported
-----------
- falcon: its attention cannot be replaced from outside, transformers gives it no attention interface.
- bloom: its attention cannot be replaced from outside, and ALiBi needs the distance to every token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from impl.cache import CachePolicy, check_attention
from impl.errors import BadInput
from impl.model import blocks
from impl.registry import Amount, method
from impl.runtime import attach, restores
from impl.session import track

WINDOW = 512


@method("h2o", budget="cache", needs="nothing", quick={"window": 16})
def h2o(
    model: PreTrainedModel, keep: float = 0.2, window: int | None = None, recent: float = 0.5
) -> Amount:
    context: int | None = getattr(model.config, "max_position_embeddings", None)
    window = window if window is not None else min(WINDOW, context or WINDOW)
    if window < 2:
        raise BadInput(f"window {window} is below 2 tokens")
    if not 0 <= recent <= 1:
        raise BadInput(f"recent {recent:g} is not in the range 0 ≤ recent ≤ 1")
    if keep == 1:
        return Amount(0, window)
    check_attention(model)
    held = max(round(keep * window), 2)
    policy = HeavyHitters(held, round(recent * held))
    for _ in track(list(blocks(model)), "block"):
        pass  # nothing is measured beforehand: the policy decides while the model runs
    attach(model, policy)
    return Amount(window - held, window)


class HeavyHitters(CachePolicy):
    """Of `held` entries a head, the newest `recent` are protected."""

    name = "h2o"

    def __init__(self, held: int, recent: int) -> None:
        super().__init__(held)
        if held < 2 or not 0 <= recent <= held:
            raise BadInput(f"a cache of {held} tokens cannot protect {recent}")
        self.recent = recent

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"held": self.held, "recent": self.recent}, {}

    def choose(self, logits: Tensor, allowed: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Algorithm 1: token by token, attend, add up, evict."""
        *_, T, N = logits.shape
        alive = torch.ones_like(scores, dtype=torch.bool)
        sees = alive.new_zeros(*scores.shape[:2], T, N)
        for t in range(T):
            end = N - T + t + 1
            now = alive[..., :end] & allowed[:, :, t, :end]
            sees[:, :, t, :end] = now
            o = logits[..., t, :end].masked_fill(~now[:, :, None], -torch.inf).softmax(-1)
            scores[..., :end] += o.nan_to_num(0.0).sum(2)
            if end > self.held:
                old = end - self.recent
                sums = scores[..., :old].masked_fill(~allowed[:, :, t, :old], -1.0)
                sums = sums.masked_fill(~alive[..., :old], torch.inf)
                alive.scatter_(2, sums.argmin(-1, keepdim=True), False)
        return sees, alive


@restores("h2o")
def restore(model: PreTrainedModel, options: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    attach(model, HeavyHitters(int(options["held"]), int(options["recent"])))
