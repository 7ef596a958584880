"""What people install is whole: source distribution, wheel from it, and the commands outside a checkout."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.package

ROOT = Path(__file__).resolve().parents[2]
BUILT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "checkpoints", ".*cache", ".hypothesis", "*.egg-info",
    "__pycache__",
)  # fmt: skip


def build(hook: str, source: Path, out: Path) -> Path:
    """The file that a hook of the build backend makes, as `python -m build` would call it."""
    code = f"import setuptools.build_meta as b, sys; print(b.{hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def dists(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution of this tree, and the wheel that is built from it."""
    work = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, work / "tree", ignore=BUILT)
    sdist = build("build_sdist", work / "tree", work)
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    return sdist, build("build_wheel", work / sdist.name.removesuffix(".tar.gz"), work)


class Installed:
    """A fresh environment with the wheel in it, and a folder that is no checkout."""

    def __init__(self, wheel: Path, work: Path) -> None:
        self.here = work / "elsewhere"
        self.here.mkdir()
        venv.create(work / "venv", with_pip=False, symlinks=True)
        self.bin = work / "venv" / "bin"
        self.packages = next((work / "venv" / "lib").glob("python*")) / "site-packages"
        # The dependencies of the environment that runs the tests, so that nothing is downloaded.
        # Paths that a .pth file adds have no .pth files of their own: the checkout stays out.
        (self.packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        done = subprocess.run(
            [*pip, "--quiet", "--no-deps", "--no-index", str(wheel)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def run(self, *words: str) -> str:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PRUNEDEX"))
        }
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.here, env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def data(self) -> list[str]:
        folder = self.packages / "prunedex_data"
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


@pytest.fixture(scope="module")
def installed(dists: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(dists[1], tmp_path_factory.mktemp("installed"))


def here(*words: str) -> str:
    """What the checkout says."""
    command = [sys.executable, "-m", "catalog", *words, "--root", str(ROOT)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_source_distribution_can_be_worked_on(dists: tuple[Path, Path]) -> None:
    with tarfile.open(dists[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for file in (
        "Makefile",
        "tests/conftest.py",
        "scripts/constraints.txt",
        "scripts/build_data.py",
        ".ci/run",
    ):
        assert file in names
    assert not [name for name in names if name.endswith(".pyc") or ".venv" in name]


def test_the_wheel_brings_three_folders(installed: Installed) -> None:
    import importlib.metadata

    path = [str(installed.packages)]
    (found,) = importlib.metadata.distributions(name="prunedex", path=path)
    tops = {file.parts[0] for file in found.files or () if ".." not in file.parts}
    assert {top for top in tops if "dist-info" not in top} == {"catalog", "impl", "prunedex_data"}
    assert all(Path(str(found.locate_file(file))).exists() for file in found.files or ())


def test_the_checkout_is_out_of_reach(installed: Installed) -> None:
    said = installed.run(
        "python", "-c", "import catalog, impl; print(catalog.__file__, impl.__file__)"
    )
    assert str(ROOT) not in said
    assert said.count(str(installed.packages)) == 2


@pytest.mark.parametrize("words", ["list --json", "methods --json", "check --json", "cite"])
def test_the_catalog_is_the_same(installed: Installed, words: str) -> None:
    told = installed.run("prunedex", *words.split())
    assert told == here(*words.split())


def test_an_entry_is_shown_and_cited(installed: Installed) -> None:
    assert "Mingjie Sun" in installed.run("prunedex", "show", "sun2023simple")
    assert installed.run("prunedex", "cite", "wanda").startswith("@inproceedings{sun2023simple,")


def test_a_method_runs(installed: Installed) -> None:
    record = json.loads(installed.run("prunedex", "run", "magnitude", "--model", "tiny", "--json"))
    assert record["budget"]["achieved"] == pytest.approx(0.5, abs=1e-3)
    assert record["quality"]["perplexity_after"] > record["quality"]["perplexity_before"] > 1


def test_the_site_is_built_where_the_person_is(installed: Installed) -> None:
    before = installed.data()
    installed.run("prunedex", "site", "build")
    pages = {file.stem for file in (installed.here / "build" / "site" / "papers").glob("*.html")}
    assert {file.stem for file in (ROOT / "papers").glob("*.yaml")} <= pages
    assert installed.data() == before, "something was written into the installation"
