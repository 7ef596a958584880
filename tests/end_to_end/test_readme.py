"""What the README says is so: its numbers are the recorded ones, its commands exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catalog.cli import app
from impl.families import families

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "impl" / "results" / "smollm2-lee-1"
COMMANDS = sorted(set(re.findall(r"^(?:\.venv/bin/)?prunedex ([^#>\n]+)", README, re.MULTILINE)))


def current(cell: str) -> dict[str, Any]:
    """The run of a cell that no later one supersedes."""
    files = [RESULTS / f"{cell}.json", *RESULTS.glob(f"{cell}.[0-9].json")]
    runs = {file.name: json.loads(file.read_text("utf-8")) for file in files}
    past = {run.get("supersedes") for run in runs.values()}
    (head,) = runs.keys() - past
    found: dict[str, Any] = runs[head]
    return found


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "magnitude"])
def test_the_table_is_what_was_measured(method: str) -> None:
    row = next(line for line in README.splitlines() if f"(impl/methods/{method}.py) |" in line)
    shown = [float(cell) for cell in row.split("|")[2:4]]
    recorded = [current(f"{method}-{setting}")["quality"] for setting in ("0.5", "2-4")]
    assert shown == [round(quality["perplexity_after"], 2) for quality in recorded]
    assert all(f"{q['perplexity_before']:.2f}, lower is better" in README for q in recorded)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_exists(command: str) -> None:
    words = shlex.split(command)
    depth = 2 if words[0] in ("site", "run") else 1  # a method brings options of its own
    done = CliRunner().invoke(app, [*words[:depth], "--help"], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    for word in words:
        if word.startswith("--"):
            assert word in done.output


def test_every_method_is_named() -> None:
    for file in (ROOT / "impl" / "methods").glob("[!_]*.py"):
        assert f"](impl/methods/{file.name})" in README


def test_every_described_family_is_named() -> None:
    for name in [*families(), *families("encoder"), *families("convnet")]:
        if name != "llama-like":  # described by a test
            assert name.removesuffix("_text") in README


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
