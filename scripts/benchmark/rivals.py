"""What the benchmarks against other tools share: environments, runs, and where they were made."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import platform
import statistics
import subprocess
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import psutil

if TYPE_CHECKING:  # catalog.py and site.py use this module without torch
    from transformers import PreTrainedTokenizerBase

    from impl.calibration import Calibration

HERE = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results")
WORKERS = Path(__file__).with_name("workers.py")
FIRST = "torch==2.13.0"
"""Is installed before the tool, which must then do with it: the same arithmetic on both sides."""
TEXT = ("lee", 32, 512)
"""Calibration: source, windows, tokens a window"""
EVALUATION_WINDOWS = 16


def texts(
    tokenizer: PreTrainedTokenizerBase, windows: int, length: int
) -> tuple[Calibration, Calibration]:
    """`windows` of the Lee corpus to calibrate on, and those that every comparison is judged on."""
    from impl.calibration import load_calibration

    return (
        load_calibration("lee", tokenizer, windows, length),
        load_calibration("lee", tokenizer, EVALUATION_WINDOWS, length, split="evaluation"),
    )


def environment(*requirements: str, folder: Path | None = None) -> Path:
    """The Python of an environment of its own with `requirements`, made if it is not there.

    It lies in the user's cache, outside of the repository. Raises SystemExit if pip fails or
    brings CUDA libraries in, which would make it another torch than ours.
    """
    name = hashlib.sha256(" ".join((FIRST, *requirements)).encode()).hexdigest()[:12]
    root = folder or platformdirs.user_cache_path("prunedex-benchmark")
    place = root / f"{requirements[0].partition('=')[0]}-{name}"
    python, ready = place / "bin" / "python", place / "ready"
    if ready.exists():
        return python
    venv.create(place, with_pip=True, clear=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(FIRST + "\n")
        constraints.flush()
        for wanted in (FIRST, *requirements):
            pip = [str(python), "-m", "pip", "install", "-q", wanted, "-c", constraints.name]
            done = subprocess.run(pip, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{wanted} cannot be installed:\n{done.stderr[-2000:]}")
    frozen = subprocess.check_output([str(python), "-m", "pip", "freeze"], text=True)
    cuda = [line for line in frozen.splitlines() if line.startswith(("nvidia-cu", "triton"))]
    if cuda:
        raise SystemExit(f"{requirements[0]} brought {', '.join(cuda)}, but this compares CPUs")
    ready.write_text(frozen)
    return python


def run(python: Path | str, worker: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `workers.py` says of one run, with the machine's load before it."""
    load = os.getloadavg()[0]
    done = subprocess.run(
        [str(python), "-P", str(WORKERS), worker, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        # Threads that wait for each other must not spin: that would count as processor time,
        # and take it from whatever else the machine does.
        env={**os.environ, "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"},
        cwd=tempfile.gettempdir(),
    )
    if done.returncode:
        raise SystemExit(f"{worker} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of every number that is measured, the median over the runs; bytes stay whole."""
    names = ("wall_s", "cpu_s", "peak_bytes", "before_bytes")
    found = {
        name: statistics.median(each[name] for each in runs)
        for name in names
        if runs[0][name] is not None
    }
    return {name: round(at) if name.endswith("_bytes") else at for name, at in found.items()}


def circumstances(threads: int) -> dict[str, Any]:
    """Date, commit, machine: what a figure needs besides itself."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=HERE, capture_output=True, text=True, check=False
        ).stdout.strip()

    return {
        "date": dt.date.today().isoformat(),
        "commit": git("rev-parse", "HEAD") + ("+" if git("diff", "--", "impl", "catalog") else ""),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "threads": threads,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def plain() -> dict[str, Any]:
    """Circumstances of what has no settings and runs on as many cores as it likes."""
    return {**circumstances(os.cpu_count() or 1), "settings": {}}


def heading(
    revision: str, windows: int, length: int, sha256: str, threads: int, rival: str | None = None
) -> dict[str, Any]:
    """Circumstances and settings of runs on SmolLM2: `windows` of `length` tokens calibrate.

    `rival` is the tool beside ours, if there is one.
    """
    return {
        **circumstances(threads),
        "settings": {
            "model": "smollm2-135m",
            "revision": revision,
            "calibration": ["lee", windows, length, sha256[:16]],
            "evaluation": ["lee", EVALUATION_WINDOWS, length],
            "dtype": "float32",
            **({"rival": rival} if rival else {}),
        },
    }


def _processor() -> str:
    """The processor's name where the system tells, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def write(name: str, head: Mapping[str, Any], cases: Mapping[str, Any]) -> Path:
    """Put `cases` into results/<name>.json, beside those of earlier runs with the same settings.

    Each case carries its own date, commit and machine.
    """
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    stored: dict[str, Any] = {}
    if path.exists():
        old = json.loads(path.read_text("utf-8"))
        if old.get("settings") == head["settings"]:
            stored = old["cases"]
    where = {key: value for key, value in head.items() if key != "settings"}
    new = {key: {**where, **case} for key, case in cases.items()}
    whole = {"settings": head["settings"], "cases": {**stored, **new}}
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    beside.replace(path)
    return path
