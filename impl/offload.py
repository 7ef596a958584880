"""Prune a checkpoint that does not fit into memory, block by block, and go on after an interruption.

One block at a time is in memory, and on the accelerator if there is one, read
from the source's safetensors files and written to a shard of its own when it
is done. Methods run as they are: `walk` asks this module for the blocks.
Hidden states between the blocks lie in two files a stream of windows, input and
output of the block in work, each of samples x length x width values; a batch
of them at a time is in memory, besides what a method keeps of its own accord
(BESA the outputs of one block). The perplexity of the dense and of the pruned
model is measured in the same pass, from windows that go through every block
twice: as it is read, and as it is written.

Until all is done, everything lies in a draft folder beside the target,
`.TARGET.offload`, with a journal: which request this is, how many blocks are
finished, and what is needed to go on. The same request goes on there, however
it ended; another one starts anew.

Masks are those of the run in memory, bit by bit. Methods that zero weights and
go over the blocks in order can run so, also after passes that only measure
(`propagate="dense"`), which are done again when a run goes on. Methods that
need the whole model at once, for gradients or to take parts out, cannot.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from impl import pipeline
from impl.calibration import Calibration, Split, load_calibration
from impl.draft import Draft, draft_folder
from impl.errors import BadInput, PrunedexError, Unsupported
from impl.evaluate import predictions, score_of
from impl.hub import INDEX
from impl.losses import Batch
from impl.model import blocks
from impl.pipeline import Request, Stage
from impl.registry import Layer, Method, Report, check_kind, check_options, find, layers_of, prune
from impl.session import Progress, current, evaluating
from impl.shards import FRAME, Lazy, keys, open_model
from impl.sources import ModelInfo, read_tokenizer
from impl.store import MANIFEST, check_target, publish
from impl.streams import Stream
from impl.walk import Block, passing

Propagate = Literal["pruned", "dense"]


class Offload:
    """Brings blocks to `walk` and takes them away again, pruned; see the module."""

    def __init__(
        self, lazy: Lazy, draft: Draft, method: str, evaluation: Calibration | None
    ) -> None:
        self.lazy, self.draft, self.method, self.evaluation = lazy, draft, method, evaluation
        self.model, self._count = lazy.model, len(blocks(lazy.model))
        self._measured: dict[str, Stream] = {}
        self._pruned = False
        self._guard = self.model.register_forward_pre_hook(self._refuse)

    def _refuse(self, *_: Any) -> NoReturn:
        raise Unsupported(
            f"{self.method} runs the whole model at once, which must be in memory for that",
            "Run it without --offload.",
        )

    def walk(
        self, calibration: Calibration | None, propagate: Propagate, batch_size: int
    ) -> Iterator[Block]:
        """As `impl.walk.walk`. A pass that prunes begins behind the blocks that are finished."""
        pruning = propagate == "pruned"
        if pruning and self._pruned:
            raise Unsupported(
                f"{self.method} prunes in more than one pass over the blocks",
                "Run it without --offload.",
            )
        self._pruned |= pruning
        first = self.draft.done if pruning else 0
        own = self._start(calibration, batch_size, pruning, first)
        settings = current()
        if first:
            self._resume()
        started = time.perf_counter()
        for index in range(first, self._count):
            if settings.progress:
                settings.progress(index, self._count, f"block {index}")
            self.lazy.fill(index)
            block = Block(self.model, index, own.activations if own else None)
            if pruning and self._measured:
                self._measured["dense"].advance(index)
            if own and not pruning:
                own.advance(index)
                block.ahead = own.ahead
            yield block
            if pruning:
                if own and index + 1 < self._count:
                    own.advance(index)
                self._finish(block, own, time.perf_counter() - started)
                started = time.perf_counter()
            elif not self._unchanged(index):
                raise Unsupported(
                    f"{self.method} prunes while it passes on what the dense model computes",
                    "Run it without --offload.",
                )
            elif own:
                own.turn()
            if own:
                own.activations.calls[index].clear()
            self.lazy.empty(index)
        if settings.progress:
            settings.progress(self._count, self._count, "done")

    def finish_blocks(self) -> None:
        """Write the blocks that the method left alone, where it had nothing to do."""
        if self.draft.done < self._count:
            self._pruned = False
            for _ in self.walk(None, "pruned", 1):
                pass

    def layers(self) -> list[Layer]:
        """What happened to each weight matrix, also before an interruption."""
        return [Layer(*layer) for layer in self.draft.journal["layers"]]

    @torch.no_grad()
    def finish(self) -> dict[str, list[float]]:
        """Write the frame and the index; the mean token loss of each window, dense and pruned."""
        self._guard.remove()
        with self.lazy.filled(FRAME), evaluating(self.model):
            found = {name: self._scores(stream) for name, stream in self._measured.items()}
            self.draft.finish(self.lazy.write(FRAME, self.draft.result), FRAME)
        places = {
            key: path.name
            for path in sorted(self.draft.result.glob("*.safetensors"))
            for key in keys(path)
        }
        sizes = {"total_parameters": self.model.num_parameters(), "total_size": self.lazy.bytes}
        text = json.dumps({"metadata": sizes, "weight_map": places}, indent=2) + "\n"
        (self.draft.result / INDEX).write_text(text, encoding="utf-8")
        return found

    def _start(
        self, calibration: Calibration | None, size: int, pruning: bool, first: int
    ) -> Stream | None:
        """Record what reaches the first block, and what every block is called with."""
        hidden, lazy = self.draft.hidden, self.lazy
        with lazy.filled(FRAME), lazy.filled(0):
            if pruning and self.evaluation is not None:
                self._measured = {
                    name: Stream(lazy, hidden, name, self.evaluation, 1, first)
                    for name in ("dense", "pruned")
                }
            if calibration is None:
                return None
            name = "calibration" if pruning else "measuring"
            return Stream(lazy, hidden, name, calibration, size, first)

    def _finish(self, block: Block, own: Stream | None, seconds: float) -> None:
        """Write a pruned block, and that it is finished."""
        if self._measured:
            self._measured["pruned"].advance(block.index)
        for stream in [own, *self._measured.values()]:
            if stream is not None:
                stream.turn()
        journal = self.draft.journal
        journal["layers"] += [[la.name, la.removed, la.total] for la in layers_of(block.views)]
        journal["details"], journal["random"] = current().details, _random()
        journal["seconds"] += seconds
        self.draft.finish(self.lazy.write(block.index, self.draft.folder / "scratch"), block.index)
        journal["done"] = block.index + 1
        self.draft.save()

    def _resume(self) -> None:
        journal = self.draft.journal
        current().details.update(journal["details"])
        cpu, *cuda = [
            torch.frombuffer(bytearray(base64.b64decode(state)), dtype=torch.uint8)
            for state in journal["random"]
        ]
        torch.set_rng_state(cpu)
        for state in cuda:
            torch.cuda.set_rng_state(state)

    def _unchanged(self, index: int) -> bool:
        """Whether a block is what the files say; it is read once more for that."""
        before = dict(blocks(self.model)[index].named_parameters())
        self.lazy.fill(index)
        now = blocks(self.model)[index].named_parameters()
        return all(torch.equal(parameter, before[name]) for name, parameter in now)

    def _scores(self, stream: Stream) -> list[float]:
        """What the head makes of the hidden states behind the last block."""
        found: list[float] = []
        assert self.evaluation is not None
        layers: list[nn.Module] = list(blocks(self.model))
        for number, window in enumerate(self.evaluation.tokens.to(self.lazy.device)):
            batch = Batch({"input_ids": window[None]})
            final = stream.now[number]
            with passing(layers, stream.activations, lambda *_, final=final: final):
                found += score_of(predictions(self.model, batch), batch)
        return found


def _random() -> list[str]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return [base64.b64encode(state.numpy().tobytes()).decode("ascii") for state in states]


def check_offload(method: Method) -> None:
    """Raises `Unsupported` for a method that takes something else away than weights."""
    if method.unit.name != "weights" or "decoder" not in method.on:
        raise Unsupported(
            f"{method.name} does not zero weights block by block: "
            f"what it prunes ({method.unit.name}) it must see in the whole model",
            "Run it without --offload, or choose a method such as wanda or sparsegpt.",
        )


@dataclass(frozen=True)
class Outcome:
    """A finished run: the method's report, losses of the evaluation windows, and how it went."""

    report: Report
    scores: dict[str, list[float]]
    """Mean token loss of each window in nats, `dense` and `pruned`; empty without evaluation"""
    seconds: float
    """Of all processes that worked on it; reading, writing and measuring included"""
    resumed_at: int | None
    """The block at which this process went on with an interrupted run"""
    record: dict[str, Any] = field(default_factory=dict)
    """What is written beside the weights"""


Describe = Callable[[Outcome], dict[str, Any]]


def prune_on_disk(
    lazy: Lazy,
    target: Path,
    method: str,
    *,
    calibration: Calibration | None = None,
    evaluation: Calibration | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    batch_size: int = 1,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda text: None,
    overwrite: bool = False,
    describe: Describe | None = None,
    environment: dict[str, Any] | None = None,
    **options: Any,
) -> Outcome:
    """Prune the checkpoint that `open_model` gave, into the folder `target`.

    The result is a plain Hugging Face checkpoint of a shard a block. `describe`
    makes its record; `environment` is what a run must share with an
    interrupted one to go on with it. `note` is told whether it does.

    Raises `BadInput` and `Unsupported` before anything is written,
    `PrunedexError` if reading or writing fails on the way; finished blocks
    are then kept beside `target`, and the same call goes on with them.
    """
    chosen = find(method)
    check_offload(chosen)
    check_options(chosen, options)
    check_target(target, overwrite)
    check_kind(chosen, lazy.model)
    arguments = check_options(chosen, options, lazy.model)
    request = {
        "method": method,
        "model": lazy.revision,
        **{name: str(value) for name, value in arguments.items()},
        "calibration": _identity(calibration),
        "evaluation": _identity(evaluation),
        "seed": seed,
        "dtype": str(lazy.dtype).removeprefix("torch."),
        "device": str(lazy.device),
        "batch_size": batch_size,
        **(environment or {}),
    }
    _check_space(target, lazy, [calibration, evaluation, evaluation])
    with Draft(target, request, len(blocks(lazy.model))) as draft:
        try:
            if draft.found:
                note(draft.found)
            resumed_at, earlier = draft.done or None, draft.journal["seconds"]
            offload = Offload(lazy, draft, method, evaluation)
            report = prune(
                lazy.model, method, calibration=calibration, seed=seed, device=lazy.device,
                batch_size=batch_size, progress=progress, offload=offload, **options,
            )  # fmt: skip
            scores = offload.finish()
            outcome = Outcome(report, scores, earlier + report.seconds, resumed_at)
            if tokenizer is not None:
                tokenizer.save_pretrained(draft.result)
            record = describe(outcome) if describe else {"method": method}
            outcome = dataclasses.replace(outcome, record=record)
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            (draft.result / MANIFEST).write_text(text, encoding="utf-8")
            publish(draft.result, target)
        except OSError as error:
            raise PrunedexError(f"cannot save to {target}: {error.strerror or error}") from error
    return outcome


def _identity(data: Calibration | None) -> str | None:
    return None if data is None else f"{data.source}, {data.sha256[:16]}"


def _check_space(target: Path, lazy: Lazy, streams: list[Calibration | None]) -> None:
    """Raises `PrunedexError` if what is to be written does not fit on the disk."""
    embeddings: Any = lazy.model.get_input_embeddings()
    width = int(embeddings.weight.shape[1])
    tokens = sum(stream.tokens.numel() for stream in streams if stream is not None)
    needed = lazy.bytes + 2 * tokens * width * lazy.dtype.itemsize
    kept = sum(p.stat().st_size for p in draft_folder(target).rglob("*") if p.is_file())
    free = shutil.disk_usage(target.parent).free + kept
    if needed > free:
        raise PrunedexError(
            f"cannot save to {target}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            "Name a folder on another disk.",
        )


def run(request: Request, stage: Stage) -> tuple[dict[str, Any], Report]:
    """As `impl.pipeline.run`, for a checkpoint on disk: prunes `request.model` to `request.save`.

    The record says the same, and in `offload` how the run went. Times include
    reading, writing and measuring, which happen in the same pass.
    """
    chosen = find(request.method)
    check_offload(chosen)
    options = request.options or {}
    check_options(chosen, options)
    if request.save is None:
        raise BadInput(
            "--offload writes the pruned model block by block, and needs a place for it",
            "Add --save FOLDER.",
        )
    check_target(request.save, request.overwrite)
    name = request.model or pipeline.model_of(chosen)
    with stage("Opening the model"):
        lazy = open_model(name, request.device, request.dtype)
        tokenizer = read_tokenizer(lazy.folder, name, "decoder")
        machine = pipeline.environment(lazy.device)
    length = pipeline.window_length(lazy.model, request.length)
    source = request.calibration or pipeline.source_of(name, "decoder")
    few, many = pipeline.SAMPLES["text"]

    def read(source: str, samples: int, split: Split) -> Calibration:
        assert tokenizer is not None
        return load_calibration(source, tokenizer, samples, length, request.seed, split)

    with stage("Reading the data"):
        evaluation = read(
            request.evaluation or source, request.evaluation_samples or many, "evaluation"
        )
        calibration = (
            read(source, request.samples or few, "calibration")
            if chosen.needs != "nothing"
            else None
        )

    def describe(outcome: Outcome) -> dict[str, Any]:
        report = outcome.report
        info = ModelInfo(
            name,
            lazy.revision,
            report.parameters[0],
            str(lazy.dtype).removeprefix("torch."),
        )
        return pipeline.record_of(
            report,
            pipeline.protocol(info, calibration, evaluation, request.seed),
            machine,
            "perplexity",
            outcome.scores,
            {
                "cost": {
                    "seconds": round(outcome.seconds, 3),
                    "peak_memory_bytes": report.peak_memory_bytes,
                    "memory_before_bytes": report.memory_before_bytes,
                },
                "offload": {
                    "resumed_at": outcome.resumed_at,
                    "seconds_include": "reading, writing and measuring",
                },
            },
            "decoder",
            loads_with="transformers",
        )

    def note(text: str) -> None:
        with stage(text[0].upper() + text[1:]):
            pass

    with stage(f"Pruning with {request.method}, block by block") as advance:
        outcome = prune_on_disk(
            lazy,
            request.save,
            request.method,
            calibration=calibration,
            evaluation=evaluation,
            tokenizer=tokenizer,
            seed=request.seed,
            progress=advance,
            note=note,
            overwrite=request.overwrite,
            describe=describe,
            environment={key: machine[key] for key in ("torch", "transformers", "commit")},
            **options,
        )
    return outcome.record, outcome.report
