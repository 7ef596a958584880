"""One measured run in a process of its own, under Prunedex's Python or another tool's.

Called by pruning.py and structured.py as `python -P workers.py NAME ARGUMENTS`, with JSON for
arguments; the last line of standard output is JSON. The other tools' environments have neither
Prunedex nor its dependencies, so nothing but the standard library is imported until a worker runs.

Measured are time on the clock, processor time of all threads and peak resident memory of the
process (the kernel's high-water mark, set back before the work). The model is loaded and has
seen one window before that, so that neither imports nor reading the checkpoint count.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import resource
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parents[2]
STATUS = Path("/proc/self/status")


class Measured:
    """Seconds on the clock, seconds of processor time and bytes of peak memory of a `with`."""

    def __enter__(self) -> Measured:
        if STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
        self.before = self._memory("VmRSS")
        self._clock, self._work = time.perf_counter(), self._used()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall, self.cpu = time.perf_counter() - self._clock, self._used() - self._work
        self.peak = self._memory("VmHWM")

    def to_dict(self) -> dict[str, float | int | None]:
        return {
            "wall_s": round(self.wall, 2),
            "cpu_s": round(self.cpu, 2),
            "peak_bytes": self.peak,
            "before_bytes": self.before,
        }

    @staticmethod
    def _used() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    @staticmethod
    def _memory(field: str) -> int | None:
        """None where the system does not tell (anything but Linux)."""
        if not STATUS.exists():
            return None
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024


def _model(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """The checkpoint in float32 and the tokens (samples, length), after one forward pass."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments["threads"])
    tokens = load_file(arguments["tokens"])["tokens"]
    model: Any = AutoModelForCausalLM.from_pretrained(
        arguments["model"], dtype=torch.float32, local_files_only=True
    ).eval()
    with torch.no_grad():
        model(tokens[:1], use_cache=False)
    return model, tokens


def _save(model: Any, path: str) -> None:
    """The matrices and vectors of the blocks, as they are now."""
    from safetensors.torch import save_file

    save_file({name: p.contiguous() for name, p in model.model.layers.state_dict().items()}, path)


def _versions(*names: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in names}


def ours(arguments: dict[str, Any]) -> dict[str, Any]:
    """A method of Prunedex; with `forward`, also a pass of the windows through the dense blocks."""
    sys.path.insert(0, str(HERE))
    import torch

    from impl.calibration import Calibration
    from impl.registry import prune

    model, tokens = _model(arguments)
    found: dict[str, Any] = {"versions": _versions("torch", "transformers")}
    if arguments.get("forward"):
        with torch.no_grad(), Measured() as forward:
            for window in tokens:
                model.model(window[None], use_cache=False)
        found["forward"] = {"wall_s": round(forward.wall, 2), "cpu_s": round(forward.cpu, 2)}
    with Measured() as measured:
        prune(
            model,
            arguments["method"],
            calibration=Calibration(tokens, "lee", "", 0),
            **arguments["options"],
        )
    if arguments.get("save"):
        _save(model, arguments["save"])
    parameters = sum(p.numel() for p in model.parameters())
    return {**found, **measured.to_dict(), "parameters": parameters}


def llmcompressor(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with llm-compressor's `oneshot` and its sequential pipeline.

    Its targets must be the blocks: given `Linear`, it ends without an error and prunes nothing.
    The windows come without an attention mask, since all are full: with one it would only do more.
    """
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
    from loguru import logger

    logger.remove()
    model, tokens = _model(arguments)
    pattern = arguments["options"].get("pattern")
    common: dict[str, Any] = {
        "sparsity": arguments["options"].get("sparsity", 0.5),
        "mask_structure": pattern or "0:0",
        "targets": [r"re:model\.layers\.\d+$"],
        "ignore": ["lm_head"],
    }
    recipe = (
        WandaPruningModifier(**common)
        if arguments["method"] == "wanda"
        else SparseGPTModifier(**common, block_size=128, dampening_frac=0.01)
    )
    dataset = Dataset.from_dict({"input_ids": tokens.tolist()})
    with Measured() as measured:
        oneshot(
            model=model,
            dataset=dataset,
            recipe=recipe,
            num_calibration_samples=len(tokens),
            max_seq_length=tokens.shape[1],
            shuffle_calibration_samples=False,
            batch_size=1,
        )
    if arguments.get("save"):
        _save(model, arguments["save"])
    parameters = sum(p.numel() for p in model.parameters())
    versions = _versions("torch", "transformers", "llmcompressor", "compressed-tensors")
    return {"versions": versions, **measured.to_dict(), "parameters": parameters}


def toy(arguments: dict[str, Any]) -> dict[str, Any]:
    """A method of Prunedex on a llama with random weights: `width`, `depth`; `samples`, `length`."""
    sys.path.insert(0, str(HERE))
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from impl.calibration import Calibration
    from impl.registry import prune

    torch.set_num_threads(arguments["threads"])
    torch.manual_seed(0)
    width, samples, length = (arguments[name] for name in ("width", "samples", "length"))
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=arguments["depth"],
            num_attention_heads=width // 32,
            num_key_value_heads=width // 32,
            max_position_embeddings=length,
        )
    ).eval()
    tokens = torch.randint(3, 256, (samples, length))
    with torch.no_grad():
        model(tokens[:1], use_cache=False)
    with Measured() as measured:
        prune(model, arguments["method"], calibration=Calibration(tokens, "random", "", 0))
    return measured.to_dict()


def flap(arguments: dict[str, Any]) -> dict[str, Any]:
    """FLAP of Prunedex at a share `ratio` of the blocks' parameters, judged in the same process."""
    sys.path.insert(0, str(HERE))
    from impl.calibration import Calibration
    from impl.registry import prune

    model, tokens = _model(arguments)
    before = _sizes(model)
    with Measured() as measured:
        prune(
            model, "flap", calibration=Calibration(tokens, "lee", "", 0), ratio=arguments["ratio"]
        )
    found = {"versions": _versions("torch", "transformers"), **measured.to_dict()}
    return {**found, **_removed(model, before), "perplexity": _perplexity(model, arguments)}


def torch_pruning(arguments: dict[str, Any]) -> dict[str, Any]:
    """Neurons by the norm of their weights, with torch-pruning's `BasePruner`, as far as it runs.

    The settings are those of its example for language models, but attention and the width of the
    residual stream stay as they are: with shared keys and values it never finishes looking for
    what depends on what (its issue 527). All layers lose the same share of their neurons, which is
    chosen so that the blocks lose `ratio` of their parameters.
    """
    import torch
    import torch_pruning as tp

    model, tokens = _model(arguments)
    before = _sizes(model)
    layers = model.model.layers
    own = sum(p.numel() for layer in layers for p in layer.mlp.parameters())
    kept = [model.lm_head, model.model.embed_tokens]
    for layer in layers:
        attention = layer.self_attn
        kept += [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        kept.append(layer.mlp.down_proj)
    with Measured() as measured, torch.enable_grad():
        pruner = tp.pruner.BasePruner(
            model,
            example_inputs=tokens[:1, :8],
            importance=tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean"),
            global_pruning=False,
            pruning_ratio=arguments["ratio"] * before["blocks"] / own,
            ignored_layers=kept,
            forward_fn=lambda model, x: model(x, use_cache=False),
            output_transform=lambda output: output.logits,
        )
        pruner.step()
    found = {
        "versions": _versions("torch", "transformers", "torch-pruning"),
        **measured.to_dict(),
    }
    return {**found, **_removed(model, before), "perplexity": _perplexity(model, arguments)}


def _sizes(model: Any) -> dict[str, int]:
    """Parameters of the blocks and of the whole model."""
    return {
        "blocks": sum(p.numel() for p in model.model.layers.parameters()),
        "model": sum(p.numel() for p in model.parameters()),
    }


def _removed(model: Any, before: dict[str, int]) -> dict[str, Any]:
    now = _sizes(model)
    return {
        "parameters": [before["model"], now["model"]],
        "removed": round(1 - now["blocks"] / before["blocks"], 5),
    }


def _perplexity(model: Any, arguments: dict[str, Any]) -> float:
    """As `impl.evaluate.perplexity`, which the other tool's environment lacks."""
    import torch
    from safetensors.torch import load_file

    losses = []
    with torch.no_grad():
        for window in load_file(arguments["judged"])["tokens"]:
            logits = model(window[None], use_cache=False).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits.float(), window[1:]).item())
    return round(math.exp(math.fsum(losses) / len(losses)), 4)


WORKERS = {
    "ours": ours,
    "llmcompressor": llmcompressor,
    "toy": toy,
    "flap": flap,
    "torch_pruning": torch_pruning,
}


def main() -> None:
    name, arguments = sys.argv[1:]
    found = WORKERS[name](json.loads(arguments))
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
