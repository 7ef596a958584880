"""A checkpoint on disk that is never whole in memory: read, and written, a part at a time.

A part is a block, by its number, or the frame: embeddings, last norm, head.
The model is a skeleton on the meta device; a part has values only while
something is done with it. What a name in a file means, and under which name
a weight is saved, is left to transformers: checkpoints have one tensor an
expert where the model has one for all, or lack the model's prefix.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.modeling_utils import LoadStateDictConfig

from impl.errors import BadInput, PrunedexError, Unsupported
from impl.families import family_of
from impl.hub import INDEX
from impl.model import blocks
from impl.sources import locate, quiet_transformers, read_config, resolve_device, resolve_dtype
from impl.store import MANIFEST, describe_kind

WHOLE = "model.safetensors"
FRAME = -1
"""The part that is no block."""


class Shards:
    """The safetensors files of a folder, mapped into memory only while something is read.

    `shapes` has all tensors, by name, from the files' headers alone. Raises
    `BadInput` for a file that is missing, damaged or outside of the folder.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.shapes: dict[str, list[int]] = {}
        self._stored: dict[str, str] = {}
        self._file: dict[str, Path] = {}
        self._stamp: dict[Path, tuple[int, int]] = {}
        for path in self._files(folder):
            try:
                self._stamp[path] = _stamp(path)
                with safe_open(path, framework="pt") as file:
                    for key in file.keys():  # noqa: SIM118 -- it is no dictionary
                        self._file[key] = path
                        tensor = file.get_slice(key)
                        self.shapes[key] = tensor.get_shape()
                        self._stored[key] = tensor.get_dtype()
            except FileNotFoundError:
                raise BadInput(f"{name} is incomplete: {path.name} is not there") from None
            except (OSError, SafetensorError) as error:
                raise BadInput(f"{name}/{path.name} cannot be read: {error}") from None

    def _files(self, folder: Path) -> list[Path]:
        if (folder / WHOLE).is_file():
            return [folder / WHOLE]
        try:
            named = set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values())
            if any(Path(file).name != file for file in named):
                raise BadInput(f"{self.name}/{INDEX} names files outside of its folder")
            return [folder / file for file in sorted(named)]
        except FileNotFoundError:
            raise BadInput(f"{self.name} has neither {WHOLE} nor {INDEX}") from None
        except BadInput:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{self.name}/{INDEX} cannot be read: {error}") from None

    @property
    def dtype(self) -> torch.dtype:
        """Of the first tensor with fractions; float32 if there is none."""
        known = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
        return next((known[d] for d in self._stored.values() if d in known), torch.float32)

    @contextmanager
    def reading(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The tensors `names` as slices, of which nothing is read until it is asked for.

        Raises `PrunedexError` if a file has changed since it was first seen.
        """
        with ExitStack() as stack:
            files: dict[Path, Any] = {}
            found = {}
            for name in names:
                path = self._file[name]
                if path not in files:
                    if not path.is_file() or _stamp(path) != self._stamp[path]:
                        raise PrunedexError(
                            f"{self.name}/{path.name} changed while it was being pruned",
                            "Start again, and leave the checkpoint alone meanwhile.",
                        )
                    files[path] = stack.enter_context(safe_open(path, framework="pt"))
                found[name] = files[path].get_slice(name)
            yield found


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class Lazy:
    """A decoder on disk: `model` is a skeleton, whose parts are filled and emptied.

    `dtype` is that of the files where it is `auto`. All that can be wrong with
    names and shapes is found here, from the files' headers.

    Raises `Unsupported` for what is no plain decoder, `BadInput` for files that
    do not make up the model.
    """

    def __init__(
        self, folder: Path, name: str, revision: str, dtype: str, device: torch.device
    ) -> None:
        self.folder, self.name, self.revision, self.device = folder, name, revision, device
        config = read_config(folder)
        if describe_kind(config) != "decoder":
            raise Unsupported(f"{name} is no language model", "Run it without --offload.")
        if getattr(config, "prunedex", None) or _has_policies(folder):
            raise Unsupported(
                f"{name} is a pruned model that plain transformers cannot build",
                "Run it without --offload.",
            )
        self.shards = Shards(folder, name)
        own = getattr(config, "dtype", None) or self.shards.dtype
        self.dtype: torch.dtype = own if dtype == "auto" else getattr(torch, dtype)
        with quiet_transformers(), init_empty_weights(include_buffers=False):
            self.model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=self.dtype)
        if (folder / "generation_config.json").is_file():
            self.model.generation_config = type(self.model.generation_config).from_pretrained(
                folder, local_files_only=True
            )
        self.model.eval()
        self._blocks = family_of(self.model).blocks
        self._place = re.compile(rf"(?:^|\.){self._blocks.rpartition('.')[2]}\.(\d+)\.")
        self._check()
        for module_name, module in self.model.named_modules():
            if not f"{module_name}.".startswith(f"{self._blocks}."):
                for own_name, buffer in module.named_buffers(recurse=False):
                    module._buffers[own_name] = buffer.to(device)
        with self.filled(FRAME):
            pass  # which weights are tied depends on their values, where files hold both

    def part_of(self, name: str) -> int:
        """The part that a tensor belongs to, by its name in the model or in a file."""
        found = self._place.search(name)
        return int(found[1]) if found else FRAME

    @property
    def bytes(self) -> int:
        """What the weights take on disk, in the dtype in which they are written."""
        return sum(p.numel() for p in self.model.parameters()) * self.dtype.itemsize

    @contextmanager
    def filled(self, part: int) -> Iterator[None]:
        """The part in memory while the context lasts, as it is in the files."""
        self.fill(part)
        try:
            yield
        finally:
            self.empty(part)

    def fill(self, part: int) -> None:
        """Read a part into memory, on the device, whatever was there before."""
        info = self._fill(name for name in self.shards.shapes if self.part_of(name) == part)
        if part == FRAME:
            # Tied weights are stored once.
            self.model.tie_weights(missing_keys=info.missing_keys, recompute_mapping=False)
        else:
            for module in blocks(self.model)[part].modules():
                for name, buffer in module.named_buffers(recurse=False):
                    module._buffers[name] = buffer.to(self.device)
        self._swap(part, lambda tensor: tensor.to(self.device))

    def empty(self, part: int) -> None:
        """Take the values of a part away; its shapes and ties stay."""
        self._swap(part, lambda tensor: tensor.to("meta"))

    def write(self, part: int, scratch: Path) -> Path:
        """Save a filled part as a file in `scratch`, under the names that transformers saves it.

        With the frame go the config and the generation config. Raises `OSError`.
        """
        state = {k: v for k, v in self.model.state_dict().items() if self.part_of(k) == part}
        made = Path(tempfile.mkdtemp(dir=scratch))
        try:
            with quiet_transformers():
                self.model.save_pretrained(made, state_dict=state, max_shard_size="1000GB")
            if part == FRAME:
                for path in made.glob("*.json"):
                    path.replace(scratch / path.name)
            written = scratch / f"part-{part}.safetensors"
            (made / WHOLE).replace(written)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
        sync(written)
        return written

    def _fill(self, names: Iterable[str]) -> Any:
        with self.shards.reading(names) as slices:
            return self._assign(slices, "cpu")

    def _assign(self, tensors: dict[str, Any], device: str) -> Any:
        """Set parameters as `from_pretrained` does, those in `tensors` only."""
        with quiet_transformers():
            mapping: Any = get_model_conversion_mapping(self.model)
            plan = LoadStateDictConfig(
                dtype=self.dtype, device_map={"": device}, weight_mapping=mapping
            )
            load: Any = type(self.model)._load_pretrained_model
            found = load(self.model, tensors, None, plan)
        return found[0] if isinstance(found, tuple) else found

    def _swap(self, part: int, change: Callable[[Tensor], Tensor]) -> None:
        """Put `change(values)` in place of every parameter of a part; tied ones stay tied."""
        made: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # the old ones keep their ids
        for name, old in list(self.model.named_parameters(remove_duplicate=False)):
            if self.part_of(name) == part:
                path, _, own = name.rpartition(".")
                new = nn.Parameter(change(old.data), requires_grad=old.requires_grad)
                made.setdefault(id(old), (old, new))
                self.model.get_submodule(path)._parameters[own] = made[id(old)][1]

    def _check(self) -> None:
        """Load tensors without values, which is what names and shapes have to say."""
        empty = {
            name: torch.empty(shape, dtype=self.dtype, device="meta")
            for name, shape in self.shards.shapes.items()
        }
        info = self._assign(empty, "meta")
        for key, found, wanted in sorted(info.mismatched_keys)[:1]:
            raise BadInput(
                f"{self.name} does not fit its config: {key} has the shape {tuple(found)}, "
                f"not {tuple(wanted)}"
            )
        for key in sorted(info.conversion_errors)[:1]:
            raise BadInput(f"{self.name} does not fit its config: {key} cannot be put together")
        tied = self.model.all_tied_weights_keys
        missing = set(info.missing_keys)
        for pair in tied.items():
            if not missing.issuperset(pair):
                missing.difference_update(pair)
        if missing:
            raise BadInput(
                f"{self.name} is incomplete: {len(missing)} weights that its config asks for are "
                f"not in its files, such as {min(missing)}"
            )


def open_model(name: str, device: str = "auto", dtype: str = "auto") -> Lazy:
    """The model `name`, a folder or anything else that `impl.load` knows, without its values.

    Raises as `impl.load` does.
    """
    where, wanted = resolve_device(device), resolve_dtype(name, dtype)
    folder, revision = locate(name)
    return Lazy(folder, name, revision, wanted, where)


def keys(path: Path) -> list[str]:
    """The names of the tensors in a file."""
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def sync(path: Path) -> None:
    """Make sure that a file is on the disk, not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_policies(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST).read_text("utf-8")).get("runtime"))
    except (OSError, ValueError, AttributeError):
        return False
