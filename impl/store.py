"""Save a pruned model so that it can be loaded again, by plain transformers where it can be."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from impl import runtime
from impl.errors import BadInput, PrunedexError
from impl.families import Kind, families
from impl.registry import find
from impl.surgery import fit

MANIFEST = "prunedex.json"
"""What was done to the model, beside its weights; also marks a folder as ours."""


Rebuilder = Callable[[PreTrainedModel, dict[str, Any]], None]
_REBUILDERS: dict[str, Rebuilder] = {}
Function = TypeVar("Function", bound=Rebuilder)

AUTO = {
    "decoder": AutoModelForCausalLM,
    "encoder": AutoModelForSequenceClassification,
    "convnet": AutoModelForImageClassification,
}
"""What transformers builds for each kind of family."""


def rebuilds(name: str) -> Callable[[Function], Function]:
    """Register how a fresh model gets the modules that the method `name` leaves.

    The method leaves `config.prunedex = {"structure": name, …}`; the function
    is called with a model made from the config and with that description,
    before the weights are read. Shapes need not be right yet.
    """

    def register(function: Function) -> Function:
        _REBUILDERS[name] = function
        return function

    return register


def read_checkpoint(folder: str | Path, config: Any = None, dtype: Any = None) -> PreTrainedModel:
    """A model from a checkpoint that plain transformers cannot build: by the shapes in its files.

    Also puts run-time policies back. Raises `BadInput` for a checkpoint whose
    files do not make up a model.
    """
    folder = Path(folder)
    config = config or AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "prunedex", None):
        model = _from_shapes(folder, config, dtype)
    else:
        kind = AUTO[describe_kind(config)]
        model = kind.from_pretrained(
            folder, config=config, dtype=dtype or "auto", local_files_only=True
        )
    model.eval()
    attach_saved(model, folder)
    return model


def describe_kind(config: Any) -> str:
    """The kind of the family that `config` belongs to; decoder for those not described."""
    name = getattr(config, "model_type", "")
    kinds: tuple[Kind, ...] = ("encoder", "convnet")
    return next((kind for kind in kinds if name in families(kind)), "decoder")


def attach_saved(model: PreTrainedModel, folder: Path) -> None:
    """Attach the run-time policies that a checkpoint of ours was saved with."""
    try:
        saved = json.loads((folder / MANIFEST).read_text("utf-8")).get("runtime", [])
    except (OSError, ValueError, AttributeError):
        return
    for policy in saved:
        find(str(policy["method"]))  # only methods of ours are ever imported
        file = folder / f"{policy['method']}.safetensors"
        tensors = load_file(file) if file.is_file() else {}
        runtime.restore(model, str(policy["method"]), policy["options"], tensors)


def _from_shapes(folder: Path, config: Any, dtype: Any) -> PreTrainedModel:
    description = dict(config.prunedex)
    wanted = dtype if isinstance(dtype, torch.dtype) else getattr(config, "dtype", None)
    model: PreTrainedModel = AUTO[describe_kind(config)].from_config(
        config, dtype=wanted or torch.float32
    )
    structure = description.get("structure")
    if structure is not None:
        find(str(structure))
        if structure not in _REBUILDERS:
            raise BadInput(f"{folder}: {structure} leaves no structure of its own")
        _REBUILDERS[structure](model, description)
    state: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        state |= load_file(file)
    try:
        fit(model, {name: tensor.shape for name, tensor in state.items()})
        missing = set(model.load_state_dict(state, strict=False).missing_keys)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise BadInput(f"{folder} is not a checkpoint of this model: {error}") from error
    model.tie_weights()
    tied = {
        name for name in missing if model.get_parameter(name).data_ptr() in _pointers(model, state)
    }
    if missing - tied:
        raise BadInput(f"{folder} is incomplete: {sorted(missing - tied)[0]} is not in its files")
    return model


def _save_shapes(model: PreTrainedModel, folder: Path) -> None:
    """Config and weights of a model that transformers cannot build, under its own names."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    state: dict[str, torch.Tensor] = {}
    stored: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in stored or not tensor.numel():  # tied ones once
            state[name] = tensor.detach().contiguous()
            stored.add(tensor.data_ptr())
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _pointers(model: PreTrainedModel, names: Iterable[str]) -> set[int]:
    own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    return {own[name].data_ptr() for name in names}


def check_target(folder: Path, overwrite: bool = False) -> None:
    """Make sure that a checkpoint can be written to `folder`, before hours of work.

    An existing folder is only ever replaced if it is a checkpoint that this
    module wrote and `overwrite` is set. Raises `BadInput`.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BadInput(f"cannot save to {folder}: it is not a folder", "Name another folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise BadInput(
                f"cannot save to {folder}: it holds files that are not a checkpoint of ours",
                "Name another folder.",
            )
        if not overwrite:
            raise BadInput(
                f"cannot save to {folder}: there is a checkpoint already",
                "Name another folder, or say --overwrite.",
            )
    with _beside(folder):
        pass


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: str | Path,
    record: dict[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write model, tokenizer and `record` to `folder` as a Hugging Face checkpoint.

    Everything is written beside `folder` and renamed when it is complete, so
    an interruption leaves either the old state or the new one.
    Raises `BadInput` if the folder cannot be used, `PrunedexError` if writing fails.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    with _beside(folder) as draft:
        try:
            if getattr(model.config, "prunedex", None):
                _save_shapes(model, draft)
            else:
                with _without_bars():
                    model.save_pretrained(draft)
            if tokenizer is not None:
                tokenizer.save_pretrained(draft)
            policies = []
            for policy in runtime.attached(model):
                options, tensors = policy.state()
                policies.append({"method": policy.name, "options": options})
                if tensors:
                    save_file(tensors, draft / f"{policy.name}.safetensors")
            if policies:
                record = {**record, "runtime": policies}
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            (draft / MANIFEST).write_text(text, encoding="utf-8")
            publish(draft, folder)
        except OSError as error:
            raise PrunedexError(f"cannot save to {folder}: {error.strerror or error}") from error
    return folder


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' own progress bars out of ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A draft folder next to `folder`, gone afterwards unless it was renamed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BadInput(
            f"cannot save to {folder}: {error.strerror or error}", "Name a folder you may write to."
        ) from error
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, folder: Path) -> None:
    """Rename `draft` to `folder`; what was there is put back if that fails, else deleted.

    Drafts are private; what is done is as readable as any other new file.
    """
    mask = _umask()
    for path in [draft, *draft.rglob("*")]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
    if not folder.exists():
        draft.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "old")
    try:
        draft.rename(folder)
    except BaseException:
        (old / "old").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
