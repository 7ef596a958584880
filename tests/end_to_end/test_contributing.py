"""What the files for contributors say is so: commands and options exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from catalog.cli import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
COMMANDS = sorted(set(re.findall(r"`prunedex ([^`]+)`", TEXT)))
DOCUMENTS = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_exists(command: str) -> None:
    words = shlex.split(command)
    depth = 2 if words[0] == "site" else 1
    done = CliRunner().invoke(app, [*words[:depth], "--help"], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    for word in words:
        if word.startswith("--"):
            assert word in done.output


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_files_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`((?:impl|scripts|catalog|tests)/[\w/.]+)`", text):
        assert "my_method" in target or (ROOT / target).exists(), target
    for script in re.findall(r"python (scripts/\w+\.py)", text):
        assert (ROOT / script).is_file()


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", TEXT))
    assert {"install", "lint", "test"} <= named <= targets


def test_the_way_without_torch_is_the_one_that_workflows_take() -> None:
    action = (ROOT / ".github" / "actions" / "catalog" / "action.yml").read_text("utf-8")
    installed = re.findall(r"[\w.-]+", action.partition("constraints.txt")[2])
    command = re.search(r"pip install -c scripts/constraints.txt ((?:.*\\\n)*.*)", TEXT)
    assert command is not None
    assert re.findall(r"[\w.-]+", command[1].replace("\\\n", " ")) == installed


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = YAML(typ="safe", pure=True).load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    released = re.findall(
        r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert not released or released[0] == project["version"]


def test_no_script_hides_a_module() -> None:
    """A script that is run puts its folder before everything that is installed."""
    names = {file.stem for file in (ROOT / "scripts").glob("*.py")}
    assert names
    assert names.isdisjoint({*packages_distributions(), *sys.stdlib_module_names})
