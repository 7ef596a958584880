"""Whether a model can lose heads and neurons: asked before anything of it is changed."""

from __future__ import annotations

from torch import nn

from impl.errors import Unsupported
from impl.families import family_of
from impl.model import blocks, heads, neurons


def check_width(model: nn.Module) -> None:
    """Raises `Unsupported` for models whose heads or neurons cannot be taken out."""
    family = family_of(model)
    if family.heads_stay:
        raise Unsupported(f"heads of {family.name} cannot be taken out: {family.heads_stay}")
    for index in range(len(blocks(model))):
        heads(model, index)
        neurons(model, index)
