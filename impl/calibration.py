"""Text to calibrate on and to evaluate on, as windows of tokens with a hash of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch

from impl import artefacts
from impl.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Split = Literal["calibration", "evaluation"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """`tokens` is a LongTensor [samples, length]; the rest says where it came from."""

    tokens: torch.Tensor
    source: str
    revision: str
    seed: int

    @cached_property
    def sha256(self) -> str:
        """Of the tokens, row by row, as little-endian 64-bit integers."""
        return hashlib.sha256(self.tokens.cpu().contiguous().numpy().astype("<i8").data).hexdigest()


def load_calibration(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    samples: int = 32,
    length: int = 512,
    seed: int = 0,
    split: Split = "calibration",
) -> Calibration:
    if source == "lee":
        documents = artefacts.fetch(artefacts.LEE).read_text("utf-8").splitlines()
        chosen = documents[:200] if split == "calibration" else documents[200:300]
        ids = tokenizer("\n\n".join(chosen), add_special_tokens=False, verbose=False)["input_ids"]
        tokens = torch.tensor(ids[: samples * length], dtype=torch.long)
        if len(tokens) < samples * length:
            raise BadInput(f"{source} is too short")
        return Calibration(
            tokens.view(samples, length), source, artefacts.LEE.revision, seed
        )
    raise BadInput(f"unknown source {source}")
