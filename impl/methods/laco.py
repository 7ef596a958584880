r"""LaCo: collapse later layers into an earlier one, as long as the model still says the same.

Layers are not dropped but merged: the differences of the m layers behind
layer ℓ from layer ℓ are added to it. The search walks from the top of the
model down. Each merge is tried out: if the last hidden states of the smaller
model on a few sentences still point where those of the original do, it stays.

Equations
---------
- Merge (RDSC): $$\theta_\ell^* = \theta_\ell + \sum_{k=1}^{m} \left( \theta_{\ell+k} - \theta_\ell \right)$$ For the matrices (and biases) of attention and feed-forward part; layers ℓ + 1 to ℓ + m are gone afterwards.
- Test (Algorithm 1): $$s = \frac{1}{|D|} \sum_{x \in D} \cos\left( h_{M^*}(x), h_M(x) \right) > T$$ h is the last hidden state of all tokens of x as one vector, M the original model and M* the one with the merge under test.
- Walk (Algorithm 1): $$\ell \leftarrow \ell - I \text{ if } s > T, \qquad \ell \leftarrow \ell - 1 \text{ otherwise}$$ It begins at ℓ = H − C and merges at most C layers into one at a time.

Hyperparameters
---------------
- drop: how many layers go; a quarter if nothing is said. The paper reaches its ratios by choosing T, C and I.
- threshold: T, the cosine that a merge has to exceed. If nothing is said, the highest of 0.95, 0.90, 0.85, … at which the search removes enough. The official notebooks have 0.45 for Llama2-13B and 0.6 for Baichuan2-13B.
- merge: C, how many layers become one at most; 7 and 3 in the official notebooks.
- interval: I, how far the search moves on after a merge; 1 in the official notebooks.
- windows: how many calibration windows are compared; 5 and 2 sentences in the official notebooks.
- tokens: how many of each; the notebooks' sentences are single lines.

Official code
-------------
- https://github.com/yangyifei729/LaCo at 84835877f918dc972df1a1375e09209551e02f3d: two notebooks, for Llama2-13B and Baichuan2-13B.

Deviations
----------
- The official code subtracts the merged layer as it is so far, not layer ℓ itself. Its sums telescope: the result is layer ℓ + m unchanged, and nothing is mixed. Here it is the paper's equation; with two layers (C = 2) both agree.
- The number of layers is asked for and met exactly: the last merge takes fewer layers where C − 1 would be too many, and the search ends there. Should a single walk not remove enough even with every merge accepted, which happens in models of few layers, it walks again.
- The walk begins at layer 0 where H − C would lie before it, so that a model of few layers can be walked at all.
- Norms, also those of queries and keys, stay those of layer ℓ, as in the official code; biases, which its models lack, are merged with their matrices.
- The text is the beginning of the calibration windows, in the official notebooks a few beginnings of sentences from Wikipedia.

Unsupported
-----------
- mixtral, qwen3_moe: the experts of different layers do not correspond to each other, so that a sum over them by number means nothing.
- layers of different sizes: their matrices cannot be added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput, Unsupported
from impl.families import family_of
from impl.gates import passed_over
from impl.model import blocks, views
from impl.registry import method
from impl.session import current, track
from impl.surgery import drop_blocks

Merge = tuple[int, int]
"""Layer ℓ of the model at that time, and how many layers behind it go."""


@method("laco", budget="blocks", needs="calibration", touches=("biases",))
def laco(
    model: PreTrainedModel,
    calibration: Calibration,
    drop: int | None = None,
    threshold: float | None = None,
    merge: int = 3,
    interval: int = 1,
    windows: int = 5,
    tokens: int = 32,
) -> None:
    if not drop:
        return
    if merge < 2 or interval < 1 or windows < 1 or tokens < 1:
        raise BadInput("merge must be at least 2; interval, windows and tokens at least 1")
    collapse = Collapse(model, calibration.tokens[:windows, :tokens].to(model.device))
    grid = [threshold] if threshold is not None else [1 - i / 20 for i in range(1, 41)]
    merges: list[Merge] = []
    for value in track(grid, "threshold"):
        if removed(merges) < drop:
            merges, limit = walk_down(collapse, [], drop, value, merge, interval), value
    while threshold is None and removed(merges) < drop:
        merges = walk_down(collapse, merges, drop, -2.0, merge, interval)
    if removed(merges) < drop:
        raise BadInput(
            f"above a threshold of {threshold} only {removed(merges)} of {drop} layers can go",
            "Lower the threshold, or leave it out.",
        )
    alive, weights = collapse.after(merges)
    current().details.update(
        threshold=limit, merges=merges, cosine=collapse.cosine(merges), kept=alive
    )
    for name, weight in weights.items():
        model.get_parameter(name).copy_(weight)
    drop_blocks(model, set(range(len(blocks(model)))) - set(alive))


def walk_down(
    collapse: Collapse, merges: Sequence[Merge], drop: int, limit: float, C: int, interval: int
) -> list[Merge]:
    """Algorithm 1 from the top of the model after `merges`; ends when `drop` layers are gone."""
    found = list(merges)
    count = collapse.count - removed(found)
    at = max(count - 1 - C, 0)
    while at >= 0 and removed(found) < drop:
        count = collapse.count - removed(found)
        m = min(C - 1, count - 1 - at, drop - removed(found))
        if m > 0 and collapse.cosine([*found, (at, m)]) > limit:
            found.append((at, m))
            at -= interval
        else:
            at -= 1
    return found


def rdsc(base: Tensor, behind: Sequence[Tensor]) -> Tensor:
    """θ + Σ (θ_k − θ) over the parameters behind it, float32."""
    wide = base.float()
    return wide + torch.stack([other.float() - wide for other in behind]).sum(0)


def removed(merges: Sequence[Merge]) -> int:
    return sum(m for _, m in merges)


class Collapse:
    """The model with layers merged, without a change to the model itself."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.count = len(blocks(model))
        self.prefix = family_of(model).blocks
        self.layers = [self._weights(index) for index in range(self.count)]
        shapes = [{name: w.shape for name, w in layer.items()} for layer in self.layers]
        if any(other != shapes[0] for other in shapes):
            raise Unsupported("the layers differ in size, so they cannot be added up")
        self.original = self._last_hidden([], {})
        self._cosines: dict[tuple[Merge, ...], float] = {}

    def _weights(self, index: int) -> dict[str, Tensor]:
        """Matrices and biases of attention and feed-forward part, by their path in the block."""
        names = {id(m): name for name, m in blocks(self.model)[index].named_modules()}
        found: dict[str, Tensor] = {}
        for view in views(self.model, index):
            if view.expert is not None:
                raise Unsupported(
                    "the experts of different layers do not correspond to each other",
                    "Choose a dense model, or a method that drops blocks.",
                )
            for own, parameter in view.module.named_parameters(recurse=False):
                found[f"{names[id(view.module)]}.{own}"] = parameter.detach()
        return found

    def after(self, merges: Sequence[Merge]) -> tuple[list[int], dict[str, Tensor]]:
        """Which layers are left, and their new weights by name, float32."""
        alive, current_weights = list(range(self.count)), dict(enumerate(self.layers))
        changed: dict[int, dict[str, Tensor]] = {}
        for at, m in merges:
            base, gone = alive[at], alive[at + 1 : at + 1 + m]
            old = current_weights[base]
            changed[base] = current_weights[base] = {
                name: rdsc(w, [current_weights[k][name] for k in gone]) for name, w in old.items()
            }
            del alive[at + 1 : at + 1 + m]
        named = {
            f"{self.prefix}.{index}.{name}": w
            for index in alive
            for name, w in changed.get(index, {}).items()
        }
        return alive, named

    def cosine(self, merges: Sequence[Merge]) -> float:
        """s: how far the last hidden states still agree with the original's, from -1 to 1."""
        key = tuple(merges)
        if key not in self._cosines:
            alive, weights = self.after(merges)
            hidden = self._last_hidden(sorted(set(range(self.count)) - set(alive)), weights)
            cosines = cosine_similarity(hidden, self.original, dim=-1)
            self._cosines[key] = cosines.mean().item()
        return self._cosines[key]

    def _last_hidden(self, gone: Sequence[int], weights: dict[str, Tensor]) -> Tensor:
        """(windows, tokens · width) in float32: behind the final norm, all tokens as one vector."""
        frame = f"{self.model.base_model_prefix}."
        dtype = self.model.dtype
        own = {name.removeprefix(frame): w.to(dtype) for name, w in weights.items()}
        with passed_over([blocks(self.model)[index] for index in gone]):
            found = functional_call(
                self.model.get_submodule(frame[:-1]),
                own,
                kwargs={"input_ids": self.tokens, "use_cache": False},
            )
        current().read["last_hidden"] += len(self.tokens)
        hidden: Tensor = found.last_hidden_state
        return hidden.flatten(1).float()
