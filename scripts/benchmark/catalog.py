"""How long the catalog takes to load, check and list as it grows.

    .venv/bin/python scripts/benchmark/catalog.py            # 100, 1,000 and 10,000 entries
    .venv/bin/python scripts/benchmark/catalog.py 1000 --keep /tmp/many
    .venv/bin/python scripts/benchmark/catalog.py 1000 --times 1 --dry    # writes no results

Each size is a catalog of its own: this repository's vocabulary, lists, methods and results with
its entries repeated under other keys, titles, people and identifiers until there are enough of
them. Commands run as processes of their own, so start-up counts; loading is timed within one
process, without the checks. Shown is processor time, since other work on the machine stretches
the time on the clock; of several runs the median. results/catalog.json keeps the figures.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
SIZES = [100, 1_000, 10_000]
COPIED = [
    "catalog/vocabulary",
    "catalog/resources",
    "catalog/concepts",
    "impl/methods",
    "impl/protocols",
    "impl/results",
]


def write(root: Path, size: int, seed: int = 0) -> None:
    """A catalog of `size` entries below `root`, without an error in it."""
    for folder in COPIED:
        if (HERE / folder).is_dir():
            shutil.copytree(HERE / folder, root / folder)
    papers = root / "papers"
    papers.mkdir(parents=True)
    originals = sorted((HERE / "papers").glob("*.yaml"))
    texts = {file.stem: file.read_text(encoding="utf-8") for file in originals}
    # The originals stay whole, for what refers to them.
    for key, text in texts.items():
        (papers / f"{key}.yaml").write_text(text, encoding="utf-8")
    words = sorted(
        {word for text in texts.values() for word in re.findall(r"\b[a-z]{5,9}\b", text)}
    )
    chance = random.Random(seed)
    for number in range(len(texts), size):
        original = originals[number % len(originals)].stem
        key = f"{original}n{number}"
        title = " ".join(chance.choice(words) for _ in range(9)).capitalize()
        text = _varied(texts[original], original, key, title, number, chance)
        (papers / f"{key}.yaml").write_text(text, encoding="utf-8")


def _varied(
    text: str, original: str, key: str, title: str, number: int, chance: random.Random
) -> str:
    """An entry's text with another key, title, first author and identifiers."""
    text = text.replace(f"\nkey: {original}\n", f"\nkey: {key}\n", 1)
    text = re.sub(
        r"\ntitle:.*?\nname:|\ntitle:.*?\nauthors:", _retitled(title), text, count=1, flags=re.S
    )
    text = re.sub(r"\nids:\n(?: .*\n)*", "\n", text, count=1)
    text = re.sub(r"\nimplementation: .*", "", text)
    text = re.sub(
        r"\nlinks:\n(?: .*\n)*", f"\nlinks:\n  paper: https://example.org/{key}\n", text, count=1
    )
    family = "".join(chance.choice("abcdefghiklmnoprstu") for _ in range(7)).capitalize()
    return re.sub(
        r"\nauthors:.*?\nyear:",
        f"\nauthors: [Ada {family}, Bo X{number}]\nyear:",
        text,
        count=1,
        flags=re.S,
    )


def _retitled(title: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f"\ntitle: {title}\n" + match[0].rpartition("\n")[2]


def _command(root: Path, *arguments: str, times: int) -> tuple[float, str]:
    """The median processor time of a command on a catalog, and its last line."""
    seconds = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [sys.executable, "-m", "catalog", *arguments, "--root", str(root)],
            cwd=HERE, capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    said = (run.stderr or run.stdout).strip().splitlines()
    return statistics.median(seconds), said[-1] if said else ""


def _load(root: Path, times: int) -> float:
    from catalog.store import Catalog

    seconds = []
    for _ in range(times):
        start = time.process_time()
        Catalog.load(root)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> None:
    """Write, time and print one line a size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of entries")
    parser.add_argument("--times", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--keep", type=Path, help="write the catalogs here and leave them")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    # Of its own folder, this script would be taken for the package.
    sys.path[:] = [str(HERE), *(each for each in sys.path if Path(each).resolve() != FOLDER)]
    from scripts.benchmark import rivals

    print(f"{'entries':>8} {'load':>8} {'check':>8} {'list':>8} {'list TEXT':>10}   check said")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = (options.keep or Path(folder)) / str(size)
            write(root, size)
            load = _load(root, options.times)
            check, said = _command(root, "check", times=options.times)
            whole, _ = _command(root, "list", times=options.times)
            words, _ = _command(root, "list", "pruning", times=options.times)
        print(f"{size:>8} {load:>7.2f}s {check:>7.2f}s {whole:>7.2f}s {words:>9.2f}s   {said}")
        if not options.dry:
            found = {"load_s": load, "check_s": check, "list_s": whole, "search_s": words}
            case = {name: round(seconds, 3) for name, seconds in found.items()}
            rivals.write("catalog", rivals.plain(), {str(size): case})


if __name__ == "__main__":
    main()
