r"""Deeper Layers: drop one run of blocks across which the hidden state turns least, then heal the seam.

If n blocks are to go, every run of n neighbouring blocks is judged by the
angle between the hidden state that enters its first block and the one that
enters the block behind it. The run with the smallest angle is taken out in
one piece, and its input goes to the block behind it. Low-rank adapters on the
feed-forward projections are then trained on plain text, so that what comes
after the seam gets used to what comes before it, and merged into the weights.

Equations
---------
- Angular distance (Eq. 7, §3.2): $$d\left(x^{(\ell)}, x^{(\ell+n)}\right) = \frac{1}{\pi} \arccos \frac{x_T^{(\ell)} \cdot x_T^{(\ell+n)}}{\lVert x_T^{(\ell)} \rVert \, \lVert x_T^{(\ell+n)} \rVert}$$ x^{(ℓ)} is the input of block ℓ, T the last token of a sequence, the only one that saw all others; distances are averaged over sequences.
- Choice (Eq. 6, §3.2): $$\ell^\star(n) = \operatorname{arg\,min}_\ell \; d\left(x^{(\ell)}, x^{(\ell+n)}\right)$$ Blocks ℓ* to ℓ* + n − 1 go.
- Simple strategy (§3.2, §4.4): $$\{ L - n, \dots, L - 1 \} \subset \{ 1, \dots, L \}$$ Without any measurement: the deepest n of L blocks except for the very last.

Hyperparameters
---------------
- drop: how many blocks go (n); a quarter if nothing is said. The paper tries all n.
- strategy: `similar` takes the run with the smallest angle, `deepest` the deepest blocks but the last.
- steps: how long adapters are trained; 5,000 in the paper (Appendix A.1), 0 leaves healing out.
- lr: the highest learning rate; 3e-4 for most models in the paper, 3e-6 for Mistral-7B and 3e-5 for Llama-2-70B. It falls with a cosine.
- rank: of the adapters, also their α; 64 in the paper, and 2 to 8 for three models that lost by healing (Appendix B.3).
- batch: windows in a step; 16 in the paper.

Deviations
----------
- 32 steps of one window, with a fifth of them as warm-up, so that a run ends within minutes without a GPU; the paper takes 5,000 steps of 16 sequences of up to 4,096 tokens of C4, 100 of them warm-up.
- Healing reads the calibration text again; the paper measures distances on the validation split of C4 (10,000 sequences) and heals on its training split.
- Weights are not quantized while adapters are trained (the paper: QLoRA in 4 bits), and adapters have no dropout (the paper: 0.05).
- In a mixture of experts, adapters are put on the attention projections, because experts share one parameter and have no modules of their own. The paper has no such models.
- There is no official code. PruneMe, an unofficial one, leaves out the embedding's output, so that no run can begin at the first block, and looks at the last hidden state behind the final norm.

Not run here
------------
- data medium: the paper heals on 164 or 328 million tokens; a run here trains on the windows that it is given.
- retraining without: healing is on unless steps is 0.
- weight_update frozen: so are changed weights; with steps 0 no surviving weight changes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from impl.calibration import Calibration
from impl.errors import BadInput
from impl.model import all_views, blocks
from impl.registry import method
from impl.session import current
from impl.surgery import drop_blocks
from impl.train import lora, train
from impl.walk import walk


@method("deeper-layers", budget="blocks", needs="calibration", quick={"steps": 2})
def deeper_layers(
    model: PreTrainedModel,
    calibration: Calibration,
    drop: int | None = None,
    strategy: Literal["similar", "deepest"] = "similar",
    steps: int = 32,
    lr: float = 3e-4,
    rank: int = 64,
    batch: int = 1,
) -> None:
    if not drop:
        return
    if steps and calibration.tokens.shape[1] < 2:
        raise BadInput("windows of one token have no next token to heal with", "Give longer ones.")
    if strategy == "similar":
        distances = angular_distances(model, calibration, drop)
        start = min(range(len(distances)), key=distances.__getitem__)
        current().details["distances"] = distances
    else:
        start = max(len(blocks(model)) - 1 - drop, 0)
    run = list(range(start, start + drop))
    drop_blocks(model, run)
    current().details["dropped"] = run
    if steps:
        mlps = [view for view in all_views(model) if view.role == "mlp" and view.expert is None]
        with lora(model, rank, rank, mlps or None) as adapters:
            current().details["loss"] = train(
                model,
                calibration,
                steps,
                lr,
                parameters=adapters,
                batch_size=batch,
                warmup=steps // 5,
                schedule="cosine",
                what="healing step",
            )


def angular_distances(model: PreTrainedModel, calibration: Calibration, n: int) -> list[float]:
    """d(x^(ℓ), x^(ℓ+n)) for ℓ = 0, 1, …: the mean over windows, from 0 to 1, of the dense model."""
    states = []
    for block in walk(model, calibration, propagate="dense"):
        pairs = [(x[:, -1].cpu(), y[:, -1].cpu()) for x, y in block.before_and_after()]
        states.append(torch.cat([before for before, _ in pairs]))
    states.append(torch.cat([after for _, after in pairs]))  # what the last block hands on
    found = []
    for before, after in zip(states, states[n:], strict=False):
        cosine = cosine_similarity(before.double(), after.double(), dim=-1).clamp(-1, 1)
        found.append((cosine.arccos() / torch.pi).mean().item())
    return found
