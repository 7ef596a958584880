"""What `prunedex new-method` writes runs as it is, in a checkout of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]


def test_the_template_runs_and_its_test_can_fail(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("results", "assets", "__pycache__")
    shutil.copytree(HERE / "impl", root / "impl", ignore=ignored)
    for folder in ("papers", "catalog/vocabulary", "catalog/resources"):
        shutil.copytree(HERE / folder, root / folder)
    (root / "tests/impl").mkdir(parents=True)
    # The copy of impl goes before the one of the checkout; catalog is only there.
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{HERE}"}
    environment.pop("PYTEST_ADDOPTS", None)
    environment["PRUNEDEX_ROOT"] = str(root)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    free = next(
        file.stem
        for file in sorted((root / "papers").glob("*.yaml"))
        if "\nimplementation:" not in file.read_text("utf-8")
        and "\nkind: method" in file.read_text("utf-8")
    )
    made = run("-m", "catalog", "new-method", "some-toy", "--paper", free)
    assert made.returncode == 0, made.stderr
    contract = (
        "from impl.contract import check_method\n"
        "bad = [o for o in check_method('some-toy', ['llama', 'gpt2']) if o.result != 'passed']\n"
        "assert not bad, bad\n"
    )
    checked = run("-c", contract)
    assert checked.returncode == 0, checked.stderr[-2000:]
    test = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/impl/test_some_toy.py")
    assert run(*test).returncode == 0
    file = root / "impl/methods/some_toy.py"
    broken = file.read_text("utf-8").replace(".float().abs()", ".float()")
    file.write_text(broken, encoding="utf-8")
    assert run(*test).returncode == 1
