"""How the wheel is built: pyproject.toml names the command below as its `build_py`.

In a checkout the data stands beside the packages (`papers/`, `site/`). Installed, it is the
folder `prunedex_data`, laid out as a checkout is, where `catalog.root.find_root` finds it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent

DATA = (
    "papers",
    "site",
    "catalog/vocabulary",
    "catalog/resources",
    "catalog/reported",
    "catalog/schema",
    "catalog/state",
    "impl/methods",
    "impl/protocols",
    "impl/results",
)
"""Folders of a checkout that make up a catalog; those that do not exist are passed over."""

IGNORED = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*", "*.tmp", "*.draft", "make.py")


class BuildWithData(build_py):
    """Copies the data beside the packages, unless the installation is editable."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = self._target()
        # An earlier build may have left files that the checkout no longer has.
        shutil.rmtree(target, ignore_errors=True)
        for name in DATA:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=IGNORED)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        copied = [str(file) for file in self._target().rglob("*") if file.is_file()]
        return [*outputs, *copied]

    def _target(self) -> Path:
        return Path(self.build_lib) / "prunedex_data"
