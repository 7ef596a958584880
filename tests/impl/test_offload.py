"""Pruned from disk, block by block: the same bits as in memory, whatever happens on the way."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from impl import registry
from impl.calibration import Calibration
from impl.draft import draft_folder
from impl.errors import BadInput, PrunedexError, Unsupported
from impl.evaluate import perplexity, summary
from impl.families import family_of
from impl.hub import INDEX
from impl.model import blocks
from impl.offload import Outcome, prune_on_disk
from impl.registry import Report, find, method_names, prune
from impl.shards import FRAME, Lazy, open_model
from impl.store import MANIFEST, save
from impl.toys import toy, toy_tokens
from impl.walk import walk

CALIBRATION = Calibration(toy_tokens(4, 12, 1), "toy", "random", 1)
EVALUATION = Calibration(toy_tokens(2, 12, 5), "toy", "random", 5)
State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """One thread, for which toys are just large enough."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def checkpoint(
    folder: Path, family: str = "llama", dtype: torch.dtype = torch.float32, size: str = "30KB"
) -> Path:
    """A toy on disk, in several files."""
    toy(family, dtype).save_pretrained(folder, max_shard_size=size)
    return folder


def loaded(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder)
    return model


def in_memory(source: Path, name: str, **options: Any) -> tuple[PreTrainedModel, Report]:
    model = loaded(source)
    data = CALIBRATION if find(name).needs == "calibration" else None
    return model, prune(model, name, calibration=data, **{**find(name).quick, **options})


def on_disk(source: Path, target: Path, name: str = "wanda", **arguments: Any) -> Outcome:
    data = CALIBRATION if find(name).needs == "calibration" else None
    given = {"calibration": data, "evaluation": EVALUATION, **find(name).quick, **arguments}
    return prune_on_disk(open_model(str(source), "cpu"), target, name, **given)


def tensors(folder: Path) -> State:
    """All that lies in a folder's files; its index names the same."""
    found: State = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    index = folder / INDEX
    if index.is_file():
        named = json.loads(index.read_text())["weight_map"]
        assert set(named) == set(found)
        assert {folder / file for file in named.values()} == set(folder.glob("*.safetensors"))
    return found


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- the same bits ---------------------------------------------------------

FAMILIES = {
    "llama-tied": torch.float32,
    "qwen2": torch.bfloat16,  # biases
    "gemma2": torch.bfloat16,  # attention that alternates
    "opt": torch.float32,
    "gpt2": torch.float32,  # Conv1D
    "gpt_neox": torch.bfloat16,
    "mixtral": torch.bfloat16,  # experts that are fused in the model, and not in the files
    "qwen3_moe": torch.float32,
    "phi3": torch.float16,
    "falcon-grouped": torch.float32,
    "bloom": torch.bfloat16,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_files_figures_and_losses_are_those_of_the_run_in_memory(
    family: str, tmp_path: Path
) -> None:
    source = checkpoint(tmp_path / "source", family, FAMILIES[family])
    model, report = in_memory(source, "wanda", sparsity=0.4)
    save(model, None, tmp_path / "memory", {"method": "wanda"})
    outcome = on_disk(source, tmp_path / "disk", sparsity=0.4)
    assert equal(tensors(tmp_path / "disk"), tensors(tmp_path / "memory"))
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "disk" / name).read_text() == (tmp_path / "memory" / name).read_text()
    for own in ("layers", "removed", "total", "parameters", "achieved", "options", "read"):
        assert getattr(outcome.report, own) == getattr(report, own)
    assert summary(outcome.scores["dense"], "perplexity") == perplexity(
        loaded(source), EVALUATION.tokens
    )
    assert summary(outcome.scores["pruned"], "perplexity") == perplexity(model, EVALUATION.tokens)
    assert equal(loaded(tmp_path / "disk").state_dict(), model.state_dict())
    assert len(list((tmp_path / "disk").glob("*.safetensors"))) == len(blocks(model)) + 1
    assert entries(tmp_path) == {"source", "memory", "disk"}


WHOLE = {"gblm-pruner"}
"""Methods that zero weights and cannot be offloaded."""


@pytest.mark.parametrize("name", [n for n in method_names() if find(n).unit.name == "weights"])
def test_every_method_that_zeroes_weights_can_or_says_why_not(name: str, tmp_path: Path) -> None:
    pattern = {"pattern": "2:4"} if find(name).patterned else {"sparsity": 0.25}
    settings: dict[str, dict[str, Any]] = {"mixtral": {"sparsity": 0.5}, "gpt2": pattern}
    for family, chosen in settings.items():
        source, target = checkpoint(tmp_path / family, family), tmp_path / "disk" / family
        if name in WHOLE:
            with pytest.raises(Unsupported, match="runs the whole model at once"):
                on_disk(source, target, name, **chosen)
            assert not entries(target.parent)
            continue
        outcome = on_disk(source, target, name, evaluation=None, **chosen)
        model, report = in_memory(source, name, **chosen)
        assert equal(loaded(target).state_dict(), model.state_dict())
        assert outcome.report.details == report.details
        assert outcome.report.layers == report.layers


def test_neurons_that_change_places_take_their_biases_along(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", "opt")
    options = {"pattern": "2:4", "permute": "neurons"}
    model, _ = in_memory(source, "ria", **options)
    on_disk(source, tmp_path / "disk", "ria", **options)
    assert equal(loaded(tmp_path / "disk").state_dict(), model.state_dict())


def test_batches_go_through_together_as_in_memory(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", "qwen3")
    model, _ = in_memory(source, "sparsegpt", batch_size=3)  # the last batch is smaller
    on_disk(source, tmp_path / "disk", "sparsegpt", batch_size=3)
    assert equal(loaded(tmp_path / "disk").state_dict(), model.state_dict())


@pytest.mark.parametrize("name", ["wanda", "owl"])
def test_a_budget_of_nothing_copies_the_model(name: str, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source")
    outcome = on_disk(source, tmp_path / "disk", name, sparsity=0)
    assert equal(tensors(tmp_path / "disk"), tensors(source))
    assert outcome.scores["dense"] == outcome.scores["pruned"]


def test_names_of_other_versions_of_transformers_are_understood(tmp_path: Path) -> None:
    """GPT-2 as it lies on the hub: without the model's prefix, with masks that are no weights."""
    source = checkpoint(tmp_path / "source", "gpt2", size="1GB")
    file = source / "model.safetensors"
    state = {k.removeprefix("transformer."): v for k, v in load_file(file).items()}
    save_file({**state, "h.0.attn.bias": torch.ones(1, 1, 64, 64)}, file, {"format": "pt"})
    model, _ = in_memory(source, "magnitude")
    save(model, None, tmp_path / "memory", {"method": "magnitude"})
    on_disk(source, tmp_path / "disk", "magnitude")
    assert equal(tensors(tmp_path / "disk"), tensors(tmp_path / "memory"))
    assert equal(loaded(tmp_path / "disk").state_dict(), model.state_dict())


def test_another_dtype_is_taken_before_pruning(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source")
    lazy = open_model(str(source), "cpu", "bfloat16")
    prune_on_disk(lazy, tmp_path / "disk", "magnitude")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    prune(model, "magnitude")
    found = loaded(tmp_path / "disk")
    assert found.dtype == torch.bfloat16
    assert equal(found.state_dict(), model.state_dict())


# --- one block at a time ---------------------------------------------------


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Methods of a test are forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    return


def in_memory_now(model: Any) -> set[str]:
    """The blocks, by number, and whatever else has values."""
    prefix = family_of(model).blocks + "."
    return {
        name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else "frame"
        for name, parameter in model.named_parameters()
        if not parameter.is_meta
    }


@pytest.mark.usefixtures("registered")
def test_one_block_is_in_memory_at_a_time(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    @registry.method("looks", budget="weights", needs="calibration")
    def looks(model: Any, calibration: Any, sparsity: float = 0) -> None:
        for _block in walk(model, calibration):
            seen.append(in_memory_now(model))
        seen.append(in_memory_now(model))

    source = checkpoint(tmp_path / "source")
    on_disk(source, tmp_path / "disk", "looks", calibration=CALIBRATION)
    assert seen == [{"0"}, {"1"}, {"2"}, set()]


@pytest.mark.usefixtures("registered")
def test_methods_that_would_go_wrong_are_refused(tmp_path: Path) -> None:
    @registry.method("backwards", budget="weights", needs="calibration")
    def backwards(model: Any, calibration: Any, sparsity: float = 0) -> None:
        views = [block.views[0] for block in walk(model, calibration)]
        views[0].W = views[0].W * 0

    @registry.method("dense-stream", budget="weights", needs="calibration")
    def dense_stream(model: Any, calibration: Any, sparsity: float = 0) -> None:
        for block in walk(model, calibration, propagate="dense"):
            for view in block.views:
                view.W = view.W * 0

    @registry.method("twice", budget="weights", needs="nothing")
    def twice(model: Any, sparsity: float = 0) -> None:
        for _block in [*walk(model), *walk(model)]:
            pass

    source = checkpoint(tmp_path / "source")
    for name, words in (
        ("backwards", "is not in memory now"),
        ("dense-stream", "passes on what the dense model computes"),
        ("twice", "more than one pass"),
    ):
        with pytest.raises(Unsupported, match=words):
            on_disk(source, tmp_path / "disk", name, calibration=CALIBRATION)
        shutil.rmtree(draft_folder(tmp_path / "disk"), ignore_errors=True)
    for name in ("shortgpt", "sixteen-heads", "flap", "h2o"):
        with pytest.raises(Unsupported, match="does not zero weights"):
            on_disk(source, tmp_path / "disk", name)
    assert entries(tmp_path) == {"source"}


# --- interruptions ---------------------------------------------------------


class Stops:
    """Progress that raises when block `at` begins, and notes where it was told to begin."""

    def __init__(self, at: int | None = None, error: type[BaseException] = KeyboardInterrupt):
        self.at, self.error = at, error
        self.begun: list[int] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        if done == self.at:
            raise self.error
        if what.startswith("block"):
            self.begun.append(done)


@pytest.mark.parametrize("name", ["dsnot", "owl", "magnitude"])
def test_an_interrupted_run_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    model, report = in_memory(source, name)
    # In OWL's first pass, which only measures, nothing is finished yet.
    stops = Stops(2) if name != "owl" else Second(2)
    with pytest.raises(KeyboardInterrupt):
        on_disk(source, target, name, progress=stops)
    assert entries(tmp_path) == {"source", draft_folder(target).name}
    told: list[str] = []
    again = Stops()
    outcome = on_disk(source, target, name, progress=again, note=told.append)
    assert told == ["going on behind block 1 of an interrupted run"]
    assert again.begun == ([0, 1, 2] if name == "owl" else []) + [2]
    assert outcome.resumed_at == 2
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert outcome.report.layers == report.layers
    assert outcome.report.details == report.details
    assert summary(outcome.scores["pruned"], "perplexity") == perplexity(model, EVALUATION.tokens)
    assert summary(outcome.scores["dense"], "perplexity") == perplexity(
        loaded(source), EVALUATION.tokens
    )
    assert entries(tmp_path) == {"source", "disk"}


class Second(Stops):
    """Stops in the second pass."""

    def __call__(self, done: int, total: int, what: str) -> None:
        if done == self.at and self.begun.count(done):
            raise self.error
        self.begun.append(done)


@pytest.mark.usefixtures("registered")
def test_chance_goes_on_where_it_was(tmp_path: Path) -> None:
    @registry.method("chance", budget="weights", needs="nothing")
    def chance(model: Any, sparsity: float = 0.5) -> None:
        for block in walk(model):
            for view in block.views:
                order = torch.randperm(view.numel).view(view.shape)
                view.W = view.W.masked_fill(order < round(sparsity * view.numel), 0)

    source = checkpoint(tmp_path / "source")
    on_disk(source, tmp_path / "whole", "chance", seed=3)
    with pytest.raises(KeyboardInterrupt):
        on_disk(source, tmp_path / "disk", "chance", seed=3, progress=Stops(1))
    on_disk(source, tmp_path / "disk", "chance", seed=3)
    assert equal(tensors(tmp_path / "disk"), tensors(tmp_path / "whole"))


def test_a_killed_process_loses_the_block_in_work_only(tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    killed = subprocess.run(
        [sys.executable, __file__, str(source), str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    again = Stops()
    on_disk(source, target, "sparsegpt", progress=again)
    assert again.begun == [1, 2]
    model, _ = in_memory(source, "sparsegpt")
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert entries(tmp_path) == {"source", "disk"}


def kill_in_the_second_block(source: str, target: str) -> None:
    """What the process does that is killed: it dies amid writing a shard."""
    write = Lazy.write

    def die(self: Lazy, part: int, scratch: Path) -> Path:
        written = write(self, part, scratch)
        if part == 1:
            written.write_bytes(written.read_bytes()[:1000])
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    Lazy.write = die  # type: ignore[method-assign]
    on_disk(Path(source), Path(target), "sparsegpt")


def test_what_fails_after_the_last_block_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    write = Lazy.write

    def fail(self: Lazy, part: int, scratch: Path) -> Path:
        if part == FRAME:
            raise OSError(5, "Input/output error")
        return write(self, part, scratch)

    monkeypatch.setattr(Lazy, "write", fail)
    with pytest.raises(PrunedexError, match="Input/output error") as failed:
        on_disk(source, target)
    assert "3 of 3 blocks" in str(failed.value)
    monkeypatch.undo()
    again = Stops()
    outcome = on_disk(source, target, progress=again)
    assert again.begun == []
    model, _ = in_memory(source, "wanda")
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert summary(outcome.scores["pruned"], "perplexity") == perplexity(model, EVALUATION.tokens)


def test_lost_hidden_states_are_noticed(tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    with pytest.raises(KeyboardInterrupt):
        on_disk(source, target, progress=Stops(1))
    for path in (draft_folder(target) / "hidden").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PrunedexError, match="ends too early"):
        on_disk(source, target)
    assert not target.exists()


@pytest.mark.parametrize("change", ["option", "data", "weights", "damage", "older"])
def test_what_is_finished_of_another_request_is_not_used(change: str, tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    with pytest.raises(KeyboardInterrupt):
        on_disk(source, target, sparsity=0.5, progress=Stops(2))
    arguments: dict[str, Any] = {"sparsity": 0.5}
    if change == "option":
        arguments, words = {"sparsity": 0.6}, "sparsity was 0.5, and is 0.6"
    elif change == "data":
        arguments["evaluation"] = Calibration(toy_tokens(2, 12, 6), "toy", "random", 6)
        words = "evaluation was toy"
    elif change == "weights":
        toy("llama", seed=1).save_pretrained(source, max_shard_size="30KB")
        words = "model was sha256"
    elif change == "damage":
        (shard,) = (draft_folder(target) / "checkpoint").glob("model-00001*")
        shard.write_bytes(b"")
        words = "its files are damaged"
    else:
        arguments["environment"] = {"torch": "3.0"}
        words = "torch was None, and is 3.0"
    told: list[str] = []
    again = Stops()
    on_disk(source, target, progress=again, note=told.append, **arguments)
    assert len(told) == 1
    assert told[0].startswith("starting anew")
    assert words in told[0]
    assert again.begun == [0, 1, 2]
    model, _ = in_memory(source, "wanda", sparsity=arguments["sparsity"])
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert entries(tmp_path) == {"source", "disk"}


# --- what cannot be read or written ----------------------------------------


def break_source(source: Path, how: str) -> None:
    files = sorted(source.glob("*.safetensors"))
    index = json.loads((source / INDEX).read_text())
    if how == "pickle":
        for file in files:
            file.rename(file.with_suffix(".bin"))
    elif how == "missing shard":
        files[1].unlink()
    elif how == "cut shard":
        files[1].write_bytes(files[1].read_bytes()[:-100])
    elif how == "no index":
        (source / INDEX).unlink()
    elif how == "index elsewhere":
        index["weight_map"] = dict.fromkeys(index["weight_map"], "../source/" + files[0].name)
        (source / INDEX).write_text(json.dumps(index))
    elif how == "index of nonsense":
        (source / INDEX).write_text("[1]")
    elif how == "wrong shape":
        state = load_file(files[0])
        state = {k: v[:-1] if v.ndim == 2 else v for k, v in state.items()}
        save_file(state, files[0], {"format": "pt"})
    elif how == "missing weight":
        state = load_file(files[0])
        state.pop(next(k for k in state if "layers" in k))
        save_file(state, files[0], {"format": "pt"})
    elif how == "own format":
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "prunedex": {}, "x": 1}))
        (source / MANIFEST).write_text(json.dumps({"runtime": [{"method": "h2o"}]}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("pickle", "a pickle"),
        ("missing shard", "is not there"),
        ("cut shard", "cannot be read"),
        ("no index", "has neither"),
        ("index elsewhere", "outside of its folder"),
        ("index of nonsense", "cannot be read"),
        ("wrong shape", "has the shape"),
        ("missing weight", "not in its files"),
        ("own format", "plain transformers cannot build"),
    ],
)
def test_a_checkpoint_that_does_not_make_up_a_model_is_refused(
    how: str, words: str, tmp_path: Path
) -> None:
    source = checkpoint(tmp_path / "source")
    break_source(source, how)
    with pytest.raises((BadInput, Unsupported), match=words):
        on_disk(source, tmp_path / "disk")
    assert entries(tmp_path) == {"source"}


def test_only_language_models_are_offloaded(tmp_path: Path) -> None:
    toy("bert").save_pretrained(tmp_path / "source")
    with pytest.raises(Unsupported, match="no language model"):
        on_disk(tmp_path / "source", tmp_path / "disk", "magnitude")


def test_a_source_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"

    def change(done: int, total: int, what: str) -> None:
        if done == 1:
            toy("llama", seed=1).save_pretrained(source, max_shard_size="30KB")

    with pytest.raises(PrunedexError, match="changed while it was being pruned") as refused:
        on_disk(source, target, progress=change)
    assert "1 of 3 blocks are finished" in (refused.value.hint or "")


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint(tmp_path / "source")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("not ours")
    checkpoint(tmp_path / "done")
    (tmp_path / "done" / MANIFEST).write_text("{}")
    before = entries(tmp_path)
    for target, words in (
        ("file", "not a folder"),
        ("file/below", "cannot save"),
        ("other", "not a checkpoint of ours"),
        ("done", "a checkpoint already"),
    ):
        with pytest.raises(BadInput, match=words):
            on_disk(source, tmp_path / target)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(PrunedexError, match="GB are needed"):
        on_disk(source, tmp_path / "disk")
    assert entries(tmp_path) == before


@pytest.mark.parametrize("finished", [0, 1])
def test_a_disk_that_is_full_is_one_clear_line(finished: int, tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(done: int, total: int, what: str) -> None:
        if done == finished:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a shard has 37 KB

    try:
        with pytest.raises(PrunedexError, match="cannot save to") as failed:
            on_disk(source, target, progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    draft = draft_folder(target)
    if not finished:
        assert entries(tmp_path) == {"source"}
        return
    assert f"1 of 3 blocks are finished and kept in {draft}" in str(failed.value)
    assert len(list((draft / "checkpoint").iterdir())) == 1
    on_disk(source, target)
    model, _ = in_memory(source, "wanda")
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert entries(tmp_path) == {"source", "disk"}


def test_two_processes_do_not_write_to_one_place(tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    with pytest.raises(KeyboardInterrupt):
        on_disk(source, target, progress=Stops(1))
    with (
        FileLock(draft_folder(target) / "lock"),
        pytest.raises(BadInput, match="another process is writing"),
    ):
        on_disk(source, target)
    on_disk(source, target)
    assert entries(tmp_path) == {"source", "disk"}


def test_a_folder_that_only_looks_like_a_draft_is_left_alone(tmp_path: Path) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    draft_folder(target).mkdir()
    (draft_folder(target) / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not ours"):
        on_disk(source, target)
    assert entries(draft_folder(target)) == {"thesis.txt"}


def test_a_checkpoint_of_ours_is_replaced_when_asked_also_by_what_is_made_of_it(
    tmp_path: Path,
) -> None:
    source, target = checkpoint(tmp_path / "source"), tmp_path / "disk"
    on_disk(source, target, sparsity=0.3)
    model, _ = in_memory(target, "wanda", sparsity=0.6)
    on_disk(target, target, sparsity=0.6, overwrite=True)
    assert equal(loaded(target).state_dict(), model.state_dict())
    assert entries(tmp_path) == {"source", "disk"}


if __name__ == "__main__":
    kill_in_the_second_block(*sys.argv[1:])
