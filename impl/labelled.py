"""Labelled samples for models that classify: a task of ours, or a file of yours.

| source | for | samples |
| --- | --- | --- |
| agreement | texts | synthetic, see `impl.tasks` |
| shapes | images | synthetic, see `impl.tasks` |
| FILE.jsonl | texts | lines such as {"text": "…", "label": 0}, optionally with "text_pair" |
| FILE.safetensors | images | tensors `pixel_values` [samples, channels, height, width] and `labels` [samples], as the model expects them |

Of a file, the first four fifths calibrate and the rest evaluates.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch

from impl.errors import BadInput
from impl.families import Kind
from impl.tasks import TASKS, LabelledData, load_task

Split = Literal["calibration", "evaluation"]
_FITS = {"agreement": "encoder", "shapes": "convnet"}


def load_labelled(
    source: str, kind: Kind, tokenizer: Any, samples: int, seed: int, split: str
) -> LabelledData:
    """`samples` labelled samples for a model of a kind; of a file at most as many as it has.

    Raises `BadInput` for a source that does not exist, cannot be read or does
    not fit the kind of model.
    """
    if source in TASKS:
        if _FITS[source] != kind:
            wanted = next(name for name, fits in _FITS.items() if fits == kind)
            raise BadInput(f"{source} does not fit this model", f"Choose {wanted} or a file.")
        return load_task(source, samples, seed, split)
    path = Path(source).expanduser()
    suffix = ".jsonl" if kind == "encoder" else ".safetensors"
    if not path.is_file() or path.suffix != suffix:
        what = "does not exist" if not path.exists() else f"is not a {suffix} file"
        own = next(name for name, fits in _FITS.items() if fits == kind)
        raise BadInput(f"{source} {what}", f"Choose {own}, or a {suffix} file.")
    revision = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    read = _texts if kind == "encoder" else _images
    inputs, labels = read(path, tokenizer)
    cut = len(labels) * 4 // 5
    part = slice(0, cut) if split == "calibration" else slice(cut, None)
    inputs = {name: tensor[part][:samples] for name, tensor in inputs.items()}
    labels = labels[part][:samples]
    if not len(labels):
        raise BadInput(f"{source} has too few samples: {split} gets none of them")
    return LabelledData(inputs, labels, path.name, revision, seed)


def _texts(path: Path, tokenizer: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    texts, pairs, labels = [], [], []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
            texts.append(str(sample["text"]))
            pairs.append(sample.get("text_pair"))
            labels.append(int(sample["label"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(
                f'{path}:{number}: not a sample such as {{"text": "…", "label": 0}}'
            ) from None
    if tokenizer is None:
        raise BadInput("the model has no tokenizer, texts cannot be read")
    if not texts:
        raise BadInput(f"{path} has no samples")
    both = all(pair is not None for pair in pairs)
    limit = min(int(getattr(tokenizer, "model_max_length", 512)), 512)
    found = tokenizer(
        texts,
        [str(pair) for pair in pairs] if both else None,
        padding=True,
        truncation=True,
        max_length=limit,
        return_tensors="pt",
    )
    return dict(found), torch.tensor(labels)


def _images(path: Path, _: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        images, labels = tensors["pixel_values"].float(), tensors["labels"].long()
    except (SafetensorError, KeyError) as error:
        raise BadInput(f"{path}: no tensors pixel_values and labels: {error}") from None
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise BadInput(
            f"{path}: pixel_values are {tuple(images.shape)}, labels {tuple(labels.shape)}"
        )
    return {"pixel_values": images}, labels
