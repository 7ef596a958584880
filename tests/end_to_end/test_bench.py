"""`prunedex bench` as people type it: a small protocol of their own, the tiny model, one thread."""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.cli import main
from impl.bench import Cell, Outcome, Shelf, cells, in_process, measure, on_ray
from impl.errors import BadInput, PrunedexError
from impl.language import REVISION
from impl.sources import TINY, folder_revision

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
VOLATILE = ("environment", "cost", "speed")


@pytest.fixture
def protocol(tmp_path: Path) -> str:
    """A protocol in a file: two windows calibrate, two evaluate."""
    data = f'source = "synthetic"\nrevision = "{REVISION}"\nsamples = 2\nlength = 64\n'
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "Mine"\ndescription = "Small."\nkind = "decoder"\nseed = 0\n'
        'dtype = "float32"\nrequires = []\n'
        f'[model]\nname = "tiny"\nrevision = "{folder_revision(TINY)}"\n'
        f"[calibration]\n{data}[evaluation]\n{data}"
        '[budgets.weights]\nsparsity = [0.5]\npattern = ["2:4"]\n[budgets.blocks]\ndrop = [1]\n',
        "utf-8",
    )
    return str(path)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "catalog", "bench", *arguments, "--threads", "1"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=600,
    )


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """What must be the same wherever and whenever a cell is run."""
    return {name: value for name, value in record.items() if name not in VOLATILE}


def test_a_matrix_with_a_cell_that_fails_is_not_run_twice(protocol: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    matrix = ("wanda", "--protocol", protocol, "--out", str(out), "--jobs", "2", "--json")
    # No group of 5 divides the model's widths.
    first = bench(*matrix, "--budget", "sparsity=0.5", "--budget", "pattern=3:5")
    assert first.returncode == 1, first.stderr
    states = {row["cell"]: row["state"] for row in json.loads(first.stdout)}
    assert states == {"wanda-0.5": "done", "wanda-3-5": "failed"}
    assert {path.name for path in (out / "mine").iterdir()} == {
        "wanda-0.5.json",
        "wanda-3-5.failed.json",
    }
    failed = read(out / "mine" / "wanda-3-5.failed.json")
    assert "5 does not divide" in failed["failed"]
    assert failed["phase"] == "Loading the model"
    assert failed["environment"]["threads"] == 1
    record = read(out / "mine" / "wanda-0.5.json")
    assert record["protocol"]["name"] == "mine"
    assert record["supersedes"] is None
    for name in ("dense", "pruned"):
        losses = record["scores"][name]
        assert len(losses) == 2
        when = "before" if name == "dense" else "after"
        assert record["quality"][f"perplexity_{when}"] == pytest.approx(math.exp(sum(losses) / 2))
    assert record["distance"]["kl"] > 0
    assert 0 < record["distance"]["agreement"] < 1
    assert record["size"]["nonzeros"]["after"] < record["size"]["nonzeros"]["before"]
    assert record["size"]["macs"]["after"] == record["size"]["macs"]["before"]
    assert set(record["layers"].values()) == {0.5}
    bits = base64.b64decode(record["sketch"]["bits"])
    assert len(bits) * 8 == record["sketch"]["positions"] * len(record["layers"])
    zeros = sum(byte.bit_count() for byte in bits) / (len(bits) * 8)
    assert zeros == pytest.approx(0.5, abs=0.03)
    assert "seconds" not in record["cost"]  # two at a time disturb each other
    assert "speed" not in record

    written = (out / "mine" / "wanda-0.5.json").read_bytes()
    again = bench(*matrix, "--budget", "sparsity=0.5", "--budget", "pattern=3:5")
    states = {row["cell"]: row["state"] for row in json.loads(again.stdout)}
    assert states == {"wanda-0.5": "done before", "wanda-3-5": "failed"}
    assert "Pruning" not in again.stderr
    assert (out / "mine" / "wanda-0.5.json").read_bytes() == written


def test_an_interrupted_matrix_goes_on_where_it_stopped(protocol: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["magnitude", "--protocol", protocol, "--out", str(out), "--threads", "1", "--busy"]
    process = subprocess.Popen(
        [sys.executable, "-m", "catalog", "bench", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & turns it off
    )
    first = out / "mine" / "magnitude-0.5.json"
    deadline = time.monotonic() + 300
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    left = [path.name for path in (out / "mine").iterdir()]
    assert left == ["magnitude-0.5.json"], left
    before = first.read_bytes()
    done = bench(*command, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["cell"]: row["state"] for row in json.loads(done.stdout)}
    assert rows == {"magnitude-0.5": "done before", "magnitude-2-4": "done"}
    assert first.read_bytes() == before


def test_a_later_measurement_supersedes_and_changes_nothing(protocol: str, tmp_path: Path) -> None:
    (cell,) = cells(protocol, ["magnitude"], {"sparsity": [0.5]}, device="cpu", timed=False)
    shelf = Shelf(tmp_path / "shelf")
    assert not shelf.done(cell)
    record = measure(cell)
    first = shelf.write(Outcome(cell, record))
    before = first.read_bytes()
    second = shelf.write(Outcome(cell, measure(cell)))
    assert (first.name, second.name) == ("magnitude-0.5.json", "magnitude-0.5.2.json")
    assert first.read_bytes() == before
    assert read(second)["supersedes"] == first.name
    assert shelf.versions(cell) == [first, second]
    assert shelf.done(cell)
    same = {name: value for name, value in lasting(read(second)).items() if name != "supersedes"}
    assert same == {k: v for k, v in lasting(read(first)).items() if k != "supersedes"}
    # A failure later on leaves what was measured as it is.
    shelf.write(Outcome(cell, failed="no memory", phase="Pruning with magnitude"))
    assert {path.name for path in shelf.folder.iterdir()} == {first.name, second.name}
    # What was measured before there were scores by window is measured anew.
    first.unlink()
    second.write_text(json.dumps({**read(second), "schema": 1}), "utf-8")
    assert not shelf.done(cell)


def test_a_process_that_is_killed_is_a_failure_with_its_reason(protocol: str) -> None:
    (cell,) = cells(protocol, ["magnitude"], {"sparsity": [0.5]}, threads=1)
    outcome = in_process(cell, lambda *_: None, lambda process: process.kill())
    assert outcome.record is None
    assert "SIGKILL, perhaps because memory ran out" in (outcome.failed or "")


def test_a_run_that_departs_from_its_protocol_is_none(protocol: str) -> None:
    path = Path(protocol)
    path.write_text(path.read_text("utf-8").replace(folder_revision(TINY), "sha256:0"), "utf-8")
    (cell,) = cells(protocol, ["magnitude"], {"sparsity": [0.5]}, device="cpu")
    with pytest.raises(PrunedexError, match=r"does not follow mine: it differs in model\.revision"):
        measure(cell)


def test_what_a_matrix_is_made_of(protocol: str) -> None:
    def names(*methods: str, **given: Any) -> list[str]:
        return [cell.name for cell in cells(protocol, methods, given or None)]

    assert names("wanda", "shortgpt") == ["wanda-0.5", "wanda-2-4", "shortgpt-1"]
    assert names("wanda", "shortgpt", drop=[2, 3]) == ["shortgpt-2", "shortgpt-3"]
    assert names("scop", "eep", "flap") == []  # other models, other units
    with pytest.raises(BadInput, match="budget called 'sparsty'"):
        names("wanda", sparsty=[0.5])


def test_mistakes_are_told_before_anything_runs(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        (("wandaa",), "no method 'wandaa'"),
        (("--protocol", "smollm"), "no protocol 'smollm'"),
        (("wanda", "--budget", "0.5"), "--budget 0.5 is no budget"),
        (("flap", "--protocol", protocol), "nothing to measure"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["bench", *arguments, "--out", str(tmp_path / "out")])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def cluster() -> Iterator[str]:
    """A Ray cluster of two workers of one core each on this machine."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    found = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    found.add_node(num_cpus=1)
    yield found.address
    found.shutdown()


@pytest.mark.xdist_group("ray")
def test_a_cluster_gives_the_same_results(protocol: str, cluster: str) -> None:
    how: dict[str, Any] = {"device": "cpu", "threads": 1, "timed": False}
    matrix = cells(protocol, ["wanda"], {"sparsity": [0.5], "pattern": ["3:5"]}, **how)
    found: dict[str, Outcome] = {}
    on_ray(matrix, cluster, lambda *_: None, lambda o: found.update({o.cell.name: o}))
    assert set(found) == {"wanda-0.5", "wanda-3-5"}
    assert "5 does not divide" in (found["wanda-3-5"].failed or "")
    there = found["wanda-0.5"].record
    here = in_process(matrix[0], lambda *_: None, lambda _: None).record
    assert there is not None
    assert here is not None
    assert lasting(there) == lasting(here)


def test_without_a_cluster_one_line_says_so(protocol: str) -> None:
    pytest.importorskip("ray")
    (cell,) = cells(protocol, ["wanda"], {"sparsity": [0.5]})
    with pytest.raises(PrunedexError, match="no Ray cluster answers at"):
        on_ray([cell], "127.0.0.1:9", lambda *_: None, lambda _: None)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task of one's own: which of two words goes on a text of the synthetic language."""
    pytest.importorskip("lm_eval")
    folder = tmp_path / "tasks"
    folder.mkdir()
    lines = [
        {"text": f"the {w}", "choices": ["a", "the"], "answer": n % 2}
        for n, w in enumerate("abcdefgh")
    ]
    data = folder / "data.jsonl"
    data.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {data}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: text\n"
        "doc_to_choice: choices\ndoc_to_target: answer\n"
        "metric_list:\n  - metric: acc\nmetadata:\n  version: 3\n",
        "utf-8",
    )
    return folder


@pytest.mark.timeout(600)
def test_tasks_of_the_harness_run_on_both_models(
    protocol: str, task: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    how: dict[str, Any] = {"include": str(task), "limit": 6, "device": "cpu", "timed": False}
    (cell,) = cells(protocol, ["magnitude"], {"sparsity": [0.9]}, tasks=("mine",), **how)
    record = measure(cell)
    assert record["harness"].startswith("lm_eval==")
    for which in ("tasks", "tasks_dense"):
        found = record[which]["mine"]
        assert 0 <= found["acc"] <= 1
        assert found["acc_stderr"] >= 0
        assert (found["samples"], found["version"]) == (6, "3")
    shelf = Shelf(tmp_path / "shelf")
    shelf.write(Outcome(cell, record))
    assert shelf.done(cell)
    (other,) = cells(protocol, ["magnitude"], {"sparsity": [0.9]}, tasks=("mine", "arc_easy"))
    assert not shelf.done(other)
    (wrong,) = cells(protocol, ["magnitude"], {"sparsity": [0.9]}, tasks=("mien",), **how)
    with pytest.raises(BadInput, match="no task 'mien'; closest: mine"):
        measure(wrong)


def test_a_cell_survives_being_sent() -> None:
    cell = Cell("wanda", {"pattern": "2:4"}, "smollm2-lee-1", tasks=("a", "b"), limit=3)
    assert Cell.from_json(cell.to_json()) == cell
    assert cell.name == "wanda-2-4"
