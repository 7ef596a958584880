"""What stands in .github and beside it does what it says: pinned, with few rights, and runnable."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
USES = re.compile(r"^\s*-?\s*uses:\s*(\S+)(?:\s+#\s*(\S+))?\s*$", re.MULTILINE)

# Who may write what, and why is said beside it. Everything else reads.
WRITES = {
    ("pages.yml", "deploy"): {"pages", "id-token"},
    ("upkeep.yml", "record"): {"contents"},
    ("upkeep.yml", "issue"): {"issues"},
    ("release.yml", "attest"): {"id-token", "attestations"},
    ("release.yml", "publish"): {"id-token"},
}


def read(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text("utf-8"))


def tool(name: str) -> str:
    """A program beside the interpreter or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=lambda file: file.name)
def test_other_peoples_actions_are_pinned(file: Path) -> None:
    for uses, version in USES.findall(file.read_text("utf-8")):
        if uses.startswith("./"):
            assert (ROOT / uses / "action.yml").is_file()
            continue
        assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", uses), uses
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), f"{uses} needs its version as a comment"


def test_one_version_of_each_action() -> None:
    pins: dict[str, set[str]] = {}
    for file in [*WORKFLOWS, *ACTIONS]:
        for uses, version in USES.findall(file.read_text("utf-8")):
            if not uses.startswith("./"):
                name, _, commit = uses.partition("@")
                pins.setdefault(name, set()).add(f"{commit} {version}")
    assert pins
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_rights_are_few_and_every_job_ends(file: Path) -> None:
    workflow, text = read(file), file.read_text("utf-8")
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text
    assert "workflow_run" not in text
    assert "secrets." not in text
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 90, name
        rights = job.get("permissions", {})
        writes = {right for right, level in rights.items() if level == "write"}
        assert writes == WRITES.get((file.name, name), set()), name
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            # What others can name, such as a branch, reaches a shell as a variable only.
            assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_what_runs_exists(file: Path) -> None:
    text = file.read_text("utf-8")
    for script in re.findall(r"python (scripts/\w+\.py)", text):
        shown = subprocess.run(
            [sys.executable, script, "--help"], cwd=ROOT, env={"PYTHONPATH": "."},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        line = next(line for line in text.splitlines() if script in line)
        for option in re.findall(r"(--[\w-]+)", line):
            assert option in shown.stdout
    for command in re.findall(r"python -m catalog ([a-z -]+?)(?: --|$)", text, re.MULTILINE):
        words = command.split()[: 2 if command.startswith("site") else 1]
        shown = subprocess.run(
            [sys.executable, "-m", "catalog", *words, "--help"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr


def test_the_light_environment_has_all_that_the_catalog_imports() -> None:
    """The action that leaves torch out installs every dependency of the catalog and the site."""
    import tomllib

    project = (ROOT / "pyproject.toml").read_text("utf-8")
    head, _, _ = project.partition("# the implementations")
    listed = tomllib.loads(head + "]")["project"]["dependencies"]
    wanted = {re.split(r"[<>=]", each)[0] for each in listed}
    action = (ROOT / ".github" / "actions" / "catalog" / "action.yml").read_text("utf-8")
    installed = set(re.findall(r"[\w.-]+", action.partition("constraints.txt")[2]))
    assert wanted <= installed, wanted - installed


def test_places_that_have_owners_exist() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text("utf-8").splitlines()
    for line in filter(None, lines):
        if line.startswith("#"):
            continue
        place, *owners = line.split()
        assert (ROOT / place.strip("/")).is_dir(), place
        assert all("@" in owner for owner in owners), line


def test_the_form_of_dependabot() -> None:
    found = {each["package-ecosystem"] for each in read(ROOT / ".github/dependabot.yml")["updates"]}
    assert found == {"pip", "github-actions"}


def test_hooks_run_what_the_environment_has() -> None:
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]:
        program, *words = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        if program.endswith("prunedex"):
            assert words == ["check"]
        if "files" in hook:
            tracked = [str(file.relative_to(ROOT)) for file in ROOT.glob("*/**/*.[py][ya]*")]
            assert any(re.search(hook["files"], name) for name in tracked)


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run(
        [tool("zizmor"), "--offline", "--no-progress", ".github"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run(
        [tool("actionlint")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
