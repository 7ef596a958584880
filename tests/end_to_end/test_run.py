"""`prunedex run` and `eval` as people type them, on the tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from catalog.cli import main

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def prunedex(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "catalog", *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Done]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """The same in this process, where torch is imported already."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert isinstance(stop.value.code, int)
        return Done(stop.value.code, *capsys.readouterr())

    return run


def test_run_saves_what_eval_measures_again(tmp_path: Path) -> None:
    target = tmp_path / "pruned"
    done = prunedex("run", "wanda", "--model", "tiny", "--save", str(target), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["budget"]["achieved"] == 0.5
    assert record["quality"]["perplexity_before"] < record["quality"]["perplexity_after"]
    protocol = record["protocol"]
    assert protocol["name"] is None
    assert protocol["model"]["name"] == "tiny"
    assert protocol["calibration"]["source"] == protocol["evaluation"]["source"] == "synthetic"
    assert protocol["calibration"]["sha256"] != protocol["evaluation"]["sha256"]
    assert record["environment"]["torch"]
    assert json.loads((target / "prunedex.json").read_text()) == record
    length = str(protocol["evaluation"]["length"])
    again = prunedex("eval", str(target), "--text", "synthetic", "--length", length, "--json")
    assert again.returncode == 0, again.stderr
    measured = json.loads(again.stdout)
    assert measured["quality"]["perplexity"] == record["quality"]["perplexity_after"]
    assert measured["protocol"]["evaluation"]["sha256"] == protocol["evaluation"]["sha256"]


@pytest.mark.parametrize("setting", [["--sparsity", "0.5"], ["--pattern", "2:4"]])
def test_the_methods_rank_on_tiny_as_on_real_models(here: Here, setting: list[str]) -> None:
    found = {}
    for method in ("sparsegpt", "wanda", "magnitude"):
        done = here("run", method, *setting, "--json")
        assert done.returncode == 0, done.stderr
        quality = json.loads(done.stdout)["quality"]
        found[method] = quality["perplexity_after"]
    assert quality["perplexity_before"] < found["sparsegpt"] < found["wanda"] < found["magnitude"]


def test_a_run_from_disk_records_what_the_run_in_memory_does(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from impl.shards import Lazy

    run = ["run", "wanda", "--model", "tiny", "--samples", "4", "--length", "64"]
    memory = json.loads(here(*run, "--json").stdout)
    target = tmp_path / "pruned"
    from_disk = [*run, "--offload", "--save", str(target)]
    write = Lazy.write

    def interrupted(self: Lazy, part: int, scratch: Path) -> Path:
        if part == 2:
            raise KeyboardInterrupt
        return write(self, part, scratch)

    with monkeypatch.context() as patch:
        patch.setattr(Lazy, "write", interrupted)
        stopped = here(*from_disk)
    assert stopped.returncode == 130
    assert "the same command goes on" in stopped.stderr.replace("\n", " ")
    assert not target.exists()
    done = here(*from_disk, "--json")
    assert done.returncode == 0, done.stderr
    assert "Going on behind block 1" in done.stderr
    disk = json.loads(done.stdout)
    assert disk["offload"]["resumed_at"] == 2
    same = ["schema", "method", "options", "protocol", "budget", "parameters", "quality", "scores"]
    assert {key: disk[key] for key in same} == {key: memory[key] for key in same}
    assert memory.keys() - disk.keys() == set()
    assert json.loads((target / "prunedex.json").read_text()) == disk
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]
    again = here("eval", str(target), "--text", "synthetic", "--length", "64", "--json")
    measured = json.loads(again.stdout)
    assert measured["quality"]["perplexity"] == pytest.approx(disk["quality"]["perplexity_after"])


def test_the_table_says_what_was_measured_and_how(here: Here) -> None:
    done = here("run", "sparsegpt", "--pattern", "4:8", "--blocksize", "64")
    assert done.returncode == 0, done.stderr
    for words in ("sparsegpt", "50.00% (4:8)", "perplexity before", "peak memory", "synthetic"):
        assert words in done.stdout
    assert "Pruning with sparsegpt" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "wandaa"], 2, ["no method 'wandaa'", "did you mean 'wanda'"]),
        (["run", "wanda", "--sparsity", "1.2"], 2, ["sparsity 1.2 is not in the range"]),
        (["run", "wanda", "--pattern", "4:2"], 2, ["'4:2' is not N:M"]),
        (["run", "wanda", "--pattern", "2:3"], 2, ["3 does not divide"]),
        (["run", "wanda", "--pattern", "2:4", "--sparsity", "0.3"], 2, ["pattern 2:4 removes"]),
        (["run", "wanda", "--alpha", "1"], 2, ["No such option: --alpha"]),
        (["run", "sparsegpt", "--blocksize", "x"], 2, ["'--blocksize'", "valid integer"]),
        (["run", "shortgpt", "--drop", "6"], 2, ["drop 6 leaves nothing: there are 6"]),
        (["run", "shortgpt", "--drop", "2.5"], 2, ["'--drop'"]),
        (["run", "sixteen-heads", "--model", "tiny"], 1, ["prunes an encoder"]),
        (["run", "wanda", "--offload"], 2, ["--offload writes", "Add --save FOLDER"]),
        (["run", "flap", "--offload", "--save", "x"], 1, ["must see in the whole model"]),
        (["check-method", "wandaa"], 2, ["did you mean 'wanda'"]),
        (["check-method", "wanda", "--family", "lama"], 2, ["did you mean 'llama'"]),
        (["run", "wanda", "--model", "smolm2"], 2, ["smollm2-135m"]),
        (["run", "wanda", "--model", "nobody/nothing"], 1, ["nobody/nothing", "tiny"]),
        (["run", "wanda", "--calibration", "le"], 2, ["lee"]),
        (["run", "wanda", "--device", "gpu"], 2, ["gpu", "cpu"]),
        (["run", "wanda", "--dtype", "int4"], 2, ["int4", "bfloat16"]),
        (["run", "wanda", "--save", "/proc/nowhere/model"], 2, ["cannot save to"]),
        (["eval", "no-such-folder/"], 2, ["no-such-folder"]),
        (["fetch", "lea"], 2, ["did you mean 'lee'"]),
    ],
)
def test_mistakes_are_one_clear_line(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    words: list[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = here(*arguments)
    said = done.stderr
    for word in words:
        assert word in said
    assert "Traceback" not in said
    assert done.stdout == ""
    assert done.returncode == status


def test_an_empty_text_is_refused(here: Here, tmp_path: Path) -> None:
    text = tmp_path / "empty.txt"
    text.write_text("")
    done = here("run", "wanda", "--calibration", str(text))
    assert done.returncode == 2
    assert "empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_no_partial_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / "model"
    process = subprocess.Popen(
        f"{sys.executable} -m catalog run sparsegpt --samples 512 --save {target}".split(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & turns it off
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Pruning" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Interrupted" in said
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_run_takes_seconds() -> None:
    """Three seconds after imports is the promise; ten leave room for a busy machine."""
    code = (
        "import time, impl.pipeline as p, contextlib\n"
        "from impl.registry import find; find('wanda')\n"
        "import transformers.models.llama.modeling_llama\n"
        "stage = lambda title: contextlib.nullcontext(lambda *a: None)\n"
        "start = time.perf_counter(); p.run(p.Request('wanda', 'tiny'), stage)\n"
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 10
