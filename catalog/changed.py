"""Which files of a checkout git says were changed since another revision, untracked ones too."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import Problem, PrunedexError, UsageError, shown, visible
from catalog.results import FAILED

DEFAULTS = ("main", "origin/main", "master", "origin/master")
"""The revisions that changes are compared with where none is named; the first that exists."""

CODE = "result-changed"
HELP = "A result never changes: restore it, and write a new one that supersedes it."


@dataclass(frozen=True)
class Changed:
    """Paths below the root, with forward slashes, and the revision that they differ from.

    `modified` are those of `present` that the revision has, too.
    """

    base: str
    present: frozenset[str]
    deleted: frozenset[str]
    modified: frozenset[str] = frozenset()


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
    added = _split(_git(root, *compare, "--diff-filter=A", start, "--", "."))
    # A file may be deleted from the index and stand there again, untracked.
    again = {path for path in deleted & new if _differs(root, start, path)}
    return Changed(
        name,
        present=frozenset((every - deleted) | new),
        deleted=frozenset(deleted - new),
        modified=frozenset((every - deleted - added) | again),
    )


def _differs(root: Path, start: str, path: str) -> bool:
    """Whether an untracked file holds something else than the revision has at its place."""
    there = _git(root, "rev-parse", f"{start}:./{path}").strip()
    return there != _git(root, "hash-object", "--", path).strip()


def rewritten(found: Changed) -> list[Problem]:
    """A problem for every result that was there before and is not as it was.

    What a run wrote stays: a later run supersedes it. Observed tags and records of failures are
    no results, and come and go.
    """
    problems = []
    for word, paths in (("changed", found.modified), ("deleted", found.deleted)):
        for path in paths:
            parts = path.split("/")
            is_result = (
                len(parts) == 4
                and parts[:2] == ["impl", "results"]
                and parts[2] != "tags"
                and path.endswith(".json")
                and not path.endswith(FAILED)
            )
            if is_result:
                name = visible(path).replace("\n", "\\n")
                message = f"this result was {word} since {visible(found.base)}"
                problems.append(Problem(name, 1, 1, CODE, message, help=HELP))
    return sorted(problems)


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
