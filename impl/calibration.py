"""Text to calibrate on and to evaluate on, as windows of tokens with a hash of their content.

| source | calibration | evaluation |
| --- | --- | --- |
| lee | documents 0-199 of the Lee corpus, windows in order | documents 200-299 |
| synthetic | the language of `tiny`, every window a document's start | the same, other seeds |
| wikitext2 | train, windows at random places | test, windows in order |
| c4 | shard 0 of train, one random window from each of some random documents | validation |
| a text file | the first 80 % of its tokens, windows in order | the rest |

Texts are tokenised as one, without special tokens added; windows in order do not overlap.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch

from impl import artefacts, hub, language
from impl.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Split = Literal["calibration", "evaluation"]
SOURCES = {
    "lee": "300 news stories, out of the package gensim (28 MB)",
    "synthetic": "the language of the model `tiny`, made on the spot",
    "wikitext2": "WikiText-2, raw, from Hugging Face (7 MB)",
    "c4": "the first shard of C4, from Hugging Face (320 MB)",
}
WIKITEXT2 = hub.Dataset("Salesforce/wikitext", "b08601e04326c79dfdd32d625aee71d232d685c3")
C4 = hub.Dataset("allenai/c4", "1588ec454efa1a09f29cd18ddd04fe05fc8653a2")
C4_EVALUATION_DOCUMENTS = 1100  # of the validation shard, as the code of SparseGPT and Wanda does


@dataclass(frozen=True, eq=False)
class Calibration:
    """Windows of tokens, and where they came from.

    `tokens` is a LongTensor [samples, length]; `revision` says which text exactly was cut.
    """

    tokens: torch.Tensor
    source: str
    revision: str
    seed: int

    @cached_property
    def sha256(self) -> str:
        """Of the tokens, window by window, as little-endian 64-bit integers."""
        return hashlib.sha256(self.tokens.cpu().contiguous().numpy().astype("<i8").data).hexdigest()


def load_calibration(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    samples: int = 32,
    length: int = 512,
    seed: int = 0,
    split: Split = "calibration",
) -> Calibration:
    """`samples` windows of `length` tokens of a named source or a UTF-8 text file.

    `split` says whether the text is to calibrate on or to evaluate on; the two never overlap.
    `seed` matters where windows are drawn (synthetic, c4, and wikitext2 for calibration).

    Raises BadInput for an unknown source, an unusable file, a text too short or in a language that
    the tokenizer does not know; PrunedexError where a source cannot be fetched.
    """
    if samples < 1:
        raise BadInput(f"samples is {samples}: at least one window is needed")
    if length < 2:
        raise BadInput(f"length is {length}: a window needs at least 2 tokens, one to predict")
    if split not in get_args(Split):
        raise BadInput(f"unknown split {split!r}", f"Choose {' or '.join(get_args(Split))}.")
    name, encode = source, _Encoder(tokenizer)
    if source == "lee":
        tokens = _in_order(encode(_lee(split)), samples, length, source)
        revision = artefacts.LEE.revision
    elif source == "synthetic":
        texts = language.windows(seed, samples, length, split)
        tokens = torch.stack([_in_order(encode(t), 1, length, source)[0] for t in texts])
        revision = language.REVISION
    elif source == "wikitext2":
        ids = encode(_wikitext2(split))
        drawn = split == "calibration"
        tokens = (_at_random if drawn else _in_order)(ids, samples, length, source, seed)
        revision = WIKITEXT2.name
    elif source == "c4":
        if split == "calibration":
            tokens = _one_of_each(_c4_lines(split), encode, samples, length, seed)
        else:
            documents = [_c4_text(line) for line in _c4_lines(split)[:C4_EVALUATION_DOCUMENTS]]
            tokens = _in_order(encode(" ".join(documents)), samples, length, source)
        revision = C4.name
    else:
        name, text, revision = _file(source)
        ids = encode(text)
        cut = len(ids) * 4 // 5
        ids = ids[:cut] if split == "calibration" else ids[cut:]
        tokens = _in_order(ids, samples, length, f"{split} part of {name}")
    _check_known(tokens, tokenizer, name)
    return Calibration(tokens, name, revision, seed)


def check_length(config: PreTrainedConfig, length: int) -> None:
    """Raises BadInput where windows of `length` tokens do not fit into a model's context."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < length:
        raise BadInput(
            f"length is {length}, but this {config.model_type} model takes at most {limit} tokens",
            f"Choose a length of {limit} or less.",
        )


# --- The texts ----------------------------------------------------------------------------------


def _lee(split: Split) -> str:
    documents = artefacts.fetch(artefacts.LEE).read_text("utf-8").splitlines()
    return "\n\n".join(documents[:200] if split == "calibration" else documents[200:300])


def _wikitext2(split: Split) -> str:
    import pyarrow.parquet

    part = "train" if split == "calibration" else "test"
    path = WIKITEXT2.file(f"wikitext-2-raw-v1/{part}-00000-of-00001.parquet", "wikitext2")
    column = pyarrow.parquet.read_table(path, columns=["text"]).column("text")
    return "\n\n".join(column.to_pylist())


def _c4_lines(split: Split) -> list[bytes]:
    """The documents of a shard, each as a line of JSON."""
    part = "train.00000-of-01024" if split == "calibration" else "validation.00000-of-00008"
    with gzip.open(C4.file(f"en/c4-{part}.json.gz", "c4")) as lines:
        return list(lines)


def _c4_text(line: bytes) -> str:
    return cast(str, json.loads(line)["text"])


def _file(source: str) -> tuple[str, str, str]:
    """A text file's name, text and revision."""
    path = Path(source).expanduser()
    if path.is_dir():
        raise BadInput(f"{source} is a folder", "Name one UTF-8 text file.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        close = difflib.get_close_matches(source, SOURCES, n=1, cutoff=0.5)
        guess = f"Did you mean {close[0]}? " if close else ""
        raise BadInput(
            f"no text source and no file is called {source!r}",
            f"{guess}Choose {', '.join(SOURCES)}, or the path of a UTF-8 text file.",
        ) from None
    except OSError as error:
        raise BadInput(f"cannot read {source}: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} is not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}",
            "Save it as UTF-8 first.",
        ) from None
    if "\0" in text:
        raise BadInput(f"{source} is a binary file: it has a zero byte at {text.index(chr(0))}")
    if not text.strip():
        raise BadInput(f"{source} has no text in it")
    return path.name, text, f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"


# --- The windows --------------------------------------------------------------------------------


class _Encoder:
    """Turns a text into its tokens, a LongTensor [tokens]."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: str) -> torch.Tensor:
        # verbose=False: a whole corpus is longer than any context, and that is as it should be.
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.long)


def _in_order(
    ids: torch.Tensor, samples: int, length: int, source: str, seed: int = 0
) -> torch.Tensor:
    """The first `samples` windows that do not overlap: [samples, length]."""
    if len(ids) < samples * length:
        raise _too_short(ids, samples, length, source)
    return ids[: samples * length].view(samples, length)


def _at_random(
    ids: torch.Tensor, samples: int, length: int, source: str, seed: int
) -> torch.Tensor:
    """`samples` windows from anywhere: [samples, length]."""
    if len(ids) < samples * length:
        raise _too_short(ids, samples, length, source)
    rng = random.Random(seed)
    starts = [int(rng.random() * (len(ids) - length + 1)) for _ in range(samples)]
    return torch.stack([ids[start : start + length] for start in starts])


def _one_of_each(
    lines: list[bytes], encode: _Encoder, samples: int, length: int, seed: int
) -> torch.Tensor:
    """A window from a random place of each of `samples` random documents: [samples, length]."""
    rng = random.Random(seed)
    windows: list[torch.Tensor] = []
    for line in sorted(lines, key=lambda _: rng.random()):
        # A token takes at least one byte, so short lines need not be tokenised.
        if len(line) > length and len(ids := encode(_c4_text(line))) > length:
            start = int(rng.random() * (len(ids) - length + 1))
            windows.append(ids[start : start + length])
            if len(windows) == samples:
                return torch.stack(windows)
    raise BadInput(
        f"c4: only {len(windows)} of {len(lines)} documents are longer than {length} tokens, "
        f"and {samples} are needed",
        "Ask for fewer samples or a smaller length.",
    )


def _too_short(ids: torch.Tensor, samples: int, length: int, source: str) -> BadInput:
    fit = len(ids) // length
    return BadInput(
        f"{source} is too short: it has {len(ids)} tokens, and {samples} windows of {length} "
        f"need {samples * length}",
        f"Ask for at most {fit} samples, or for a smaller length."
        if fit
        else f"Ask for a length of at most {len(ids)}, or give a longer text."
        if len(ids) >= 2
        else "Give a longer text.",
    )


def _check_known(tokens: torch.Tensor, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raises BadInput where most of the text means nothing to the tokenizer."""
    if tokenizer.unk_token_id is None:
        return
    unknown = (tokens == tokenizer.unk_token_id).float().mean().item()
    if unknown > 0.5:
        raise BadInput(
            f"the model's tokenizer does not know {unknown:.0%} of the words of {source}",
            "The model tiny speaks only the source synthetic; choose that, or another model.",
        )
