"""Which files of a checkout git says were changed since another revision, untracked ones too."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import PrunedexError, UsageError, shown

DEFAULTS = ("main", "origin/main", "master", "origin/master")
"""The revisions that changes are compared with where none is named; the first that exists."""


@dataclass(frozen=True)
class Changed:
    """Paths below the root, with forward slashes, and the revision that they differ from."""

    base: str
    present: frozenset[str]
    deleted: frozenset[str]


def changed(root: Path, base: str | None = None) -> Changed:
    """The files below `root` that differ from where this branch left `base`.

    Raises UsageError for a revision that does not exist, PrunedexError where there is no git.
    """
    names = [base] if base is not None else [*DEFAULTS]
    name = next((each for each in names if _commit(root, each) is not None), None)
    if name is None:
        if base is not None:
            raise UsageError(f"git knows no revision {shown(base)}", "give a branch or a commit")
        raise UsageError("there is no branch main to compare with", "name one: --changed=BRANCH")
    start = _git(root, "merge-base", _commit(root, name) or "", "HEAD", check=False).strip()
    if not start:
        raise UsageError(f"{shown(name)} has no commit in common with this branch", "name another")
    compare = ("diff", "--relative", "--name-only", "--no-renames", "-z")
    every = _split(_git(root, *compare, start, "--", "."))
    deleted = _split(_git(root, *compare, "--diff-filter=D", start, "--", "."))
    new = _split(_git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "."))
    # A file may be deleted from the index and stand there again, untracked.
    return Changed(name, frozenset((every - deleted) | new), frozenset(deleted - new))


def _commit(root: Path, name: str) -> str | None:
    wanted = f"{name}^{{commit}}"
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted, check=False)
    return found.strip() or None


def _split(output: str) -> set[str]:
    return {name for name in output.split("\0") if name}


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            env=environment,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise PrunedexError("git is not installed", "check everything, without --changed") from None
    except subprocess.TimeoutExpired:
        raise PrunedexError("git takes more than a minute", "check without --changed") from None
    said = done.stderr.decode("utf-8", errors="replace").strip()
    if "not a git repository" in said or "dubious ownership" in said:
        raise PrunedexError(f"{root} is no git checkout ({said.splitlines()[0][:120]})", "")
    if done.returncode and check:
        raise PrunedexError(f"git fails: {said.splitlines()[-1] if said else done.returncode}")
    return done.stdout.decode("utf-8", errors="surrogateescape")
