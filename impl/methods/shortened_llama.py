r"""Shortened LLaMA: drop the blocks without which perplexity stays lowest, then retrain.

Each block is left out once while the rest of the dense model runs on a little
calibration text; the perplexity that results is its score. Or, with one
backward pass instead of many forward passes, the first-order change in loss
is added up over the block's weights. The lowest scores go together, in one
shot. What is left is retrained: with low-rank adapters, or all of it.

Equations
---------
- Perplexity (§3): $$I^n_{\mathrm{PPL}} = \exp\left\{ -\frac{1}{SL} \sum_s \sum_l \log p_{\theta^n}\left(x_l^{(s)} \mid x_{<l}^{(s)}\right) \right\}$$ θⁿ is the model without block n, S the number of calibration samples and L their length.
- First-order Taylor term (§3): $$I^n_{\mathrm{Taylor}} = \sum_k \sum_i \sum_j \left| \frac{\partial \mathcal{L}(D)}{\partial W_{i,j}^{k,n}} W_{i,j}^{k,n} \right|$$ k runs over the weight matrices of block n; the loss 𝓛 is that of next-token prediction on the calibration text D.
- Protected blocks (§3): $$n \in \{ 5, \dots, N - 2 \}$$ Taylor+, the Taylor score in the form that the paper keeps, never removes the first four and the last two of N blocks.

Hyperparameters
---------------
- drop: how many blocks go; 6 of 32 are the paper's 20 % of LLaMA-7B. A quarter if nothing is said.
- criterion: `perplexity`, or `taylor` for Taylor+.
- windows: how many windows of the calibration text are scored; 10 in the official scripts.
- tokens: how many of each; 128 in the official code.
- first: blocks at the beginning that `taylor` never removes; 4 in the paper.
- last: blocks at the end that `taylor` never removes; 2 in the paper.
- retrain: `lora` trains adapters on all projections, `full` all weights as in continued pre-training, `none` nothing.
- steps: how long; the official LoRA scripts take two epochs of the cleaned Alpaca set in batches of 64, continued pre-training reads 37 to 271 billion tokens.
- lr: 1e-4 for both in the official scripts and model cards.
- rank: of the adapters; 8 in the official scripts, with α twice as large.
- batch: windows in a step.

Official code
-------------
- https://github.com/Nota-NetsPresso/shortened-llm at 0e3f8f9edca7aa8372ae6e78db2062af8c0c86e3

Deviations
----------
- 32 steps of one window of the calibration text, so that a run ends within minutes without a GPU. The paper trains adapters on instructions, and all weights on SlimPajama.
- The official code protects the first four and last two blocks whatever the score; the paper does so for Taylor+ alone, as is done here.
- The official code also adds the weights of a block's norms to its Taylor score; here it is the weight matrices, of which the paper speaks.
- Adapters have no dropout, 0.05 in the official code. Their learning rate rises over a fifth of the steps and then stays, while the scripts' decays linearly after 100 steps; for all weights it falls with a cosine.
- In a mixture of experts, adapters are put on the attention projections alone, because experts share one parameter and have no modules of their own. The paper has no such models.

Not run here
------------
- retraining extensive: adapters are the default; `retrain=full` trains all weights.
- data large: continued pre-training in the paper reads 37 to 271 billion tokens; a run here trains on the windows that it is given.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.gates import passed_over
from impl.losses import batches, losses, weight_gradients
from impl.masks import lowest
from impl.model import all_views, blocks
from impl.registry import method
from impl.session import current, track
from impl.surgery import drop_blocks
from impl.train import lora, train


@method(
    "shortened-llama",
    budget="blocks",
    needs="calibration",
    touches=("embeddings", "norms", "biases", "head", "router"),
    quick={"steps": 2},
)
def shortened_llama(
    model: PreTrainedModel,
    calibration: Calibration,
    drop: int | None = None,
    criterion: Literal["perplexity", "taylor"] = "perplexity",
    windows: int = 10,
    tokens: int = 128,
    first: int = 4,
    last: int = 2,
    retrain: Literal["lora", "full", "none"] = "lora",
    steps: int = 32,
    lr: float = 1e-4,
    rank: int = 8,
    batch: int = 1,
) -> None:
    if not drop:
        return
    some = replace(calibration, tokens=calibration.tokens[:windows, :tokens])
    if some.tokens.numel() == 0 or some.tokens.shape[1] < 2:
        raise BadInput(
            f"{tuple(some.tokens.shape)} tokens have no next token to predict",
            "Give longer windows, or raise windows and tokens.",
        )
    if criterion == "perplexity":
        scores = perplexities(model, some)
    else:
        count = len(blocks(model))
        if drop > max(count - first - last, 0):
            raise BadInput(
                f"drop {drop} is too many: the first {first} and last {last} of {count} blocks stay",
                "Drop fewer, or lower first and last.",
            )
        scores = taylor(model, some)
        protected = [*range(first), *range(count - last, count)]
        scores = [math.inf if n in protected else score for n, score in enumerate(scores)]
    dropped = lowest(torch.tensor(scores, dtype=torch.float64), drop).nonzero().flatten().tolist()
    current().details["scores"] = [score if math.isfinite(score) else None for score in scores]
    current().details["dropped"] = dropped
    drop_blocks(model, dropped)
    if retrain == "lora":
        with lora(model, rank, 2 * rank) as adapters:
            found = train(
                model, calibration, steps, lr, parameters=adapters, batch_size=batch,
                warmup=steps // 5, what="LoRA step",
            )  # fmt: skip
    elif retrain == "full":
        found = train(
            model, calibration, steps, lr, batch_size=batch, warmup=steps // 5, schedule="cosine",
            weight_decay=0.1, betas=(0.9, 0.95), what="training step",
        )  # fmt: skip
    if retrain != "none":
        current().details["loss"] = found


def perplexities(model: PreTrainedModel, calibration: Calibration) -> list[float]:
    """The perplexity on `calibration` of the model without block n, for every n."""
    found = []
    for block in track(list(blocks(model)), "without block"):
        with passed_over([block]):
            rows = [
                losses(model, batch)
                for batch in batches(calibration, current().batch_size, model.device)
            ]
        current().read["perplexity"] += len(calibration.tokens)
        mean = torch.cat(rows).double().mean().item()
        found.append(math.exp(mean) if mean < 700 else math.inf)
    return found


def taylor(model: PreTrainedModel, calibration: Calibration) -> list[float]:
    """Σ |W ∂𝓛/∂W| over the weight matrices of block n, for every n; 𝓛 is summed over samples."""
    gradients = weight_gradients(model, calibration, lambda gradient: gradient)
    scores = [0.0] * len(blocks(model))
    for view in all_views(model):
        scores[view.block] += (view.W.float() * gradients[view.name]).abs().double().sum().item()
    return scores
