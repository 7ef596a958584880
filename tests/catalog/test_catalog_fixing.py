"""`check --fix` and `check --changed`: what is mended, what is kept, and what is reported."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sample import write_catalog

from catalog.fixing import fix_text
from catalog.reader import parse_yaml
from catalog.schema import DIMENSIONS, Entry
from catalog.store import Catalog
from catalog.validation import model_at

HERE = Path(__file__).resolve().parents[2]
REAL = Catalog.load(HERE)
SAMPLES = sorted((HERE / "papers").glob("*.yaml"))[::9]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command inside of the sample catalog."""
    monkeypatch.chdir(root)
    return run


def fixed(text: str) -> str:
    return fix_text("papers/x.yaml", text, REAL.vocabulary, REAL.inventory)[0]


MESSY = """title: 'Zeroing Weights: A Base Line' \t
# the key comes first
key: first2023base
authors: [Ada First, Jan C. van der Berg]
kind: method
year: '2023'   # as a number
venue:
    year: 2024
    short: ICLR 2024
    # how people cite it
    full: International Conference on Learning Representations
    type: conference
ids:
  doi: "https://doi.org/10.1234/zero"
  arxiv: 2303.10010
links: {paper: 'https://arxiv.org/abs/2303.10010'}
mechanism: >-
  Sets the smallest weights
  of every layer to zero.
  # no comment, but text
takeaway: Good enough.
challenges: [None that matters.]
tags:
  data: [calibration, data-free, calibration]
  type: ['n:m', unstructured]  # both
  notes:
    data: why
    type: why
evaluated_on:
  evaluation: [wikitext2]
  models:
  - llama2-7b  # the small one
  - OPT-125M
sources:
- url: https://example.org/a
  # the day
  seen: '2026-11-22'
  what: bibliography and mechanism
- what: tags
  url: https://example.org/b
  seen: 2026-11-22

lists:
  - name: Zeta
    url: https://example.org/z
  # about the next one
  - name: alpha
lifecycle:
  status: published


"""

NEAT = """# yaml-language-server: $schema=../catalog/schema/entry.schema.json
# the key comes first
key: first2023base
title: 'Zeroing Weights: A Base Line'
authors: [Ada First, Jan C. van der Berg]
year: 2023   # as a number
venue:
    short: ICLR 2024
    # how people cite it
    full: International Conference on Learning Representations
    year: 2024
    type: conference
kind: method
ids:
  arxiv: '2303.10010'
  doi: 10.1234/zero
links: {paper: 'https://arxiv.org/abs/2303.10010'}
takeaway: Good enough.
mechanism: >-
  Sets the smallest weights
  of every layer to zero.
  # no comment, but text
challenges: [None that matters.]
tags:
  type: [unstructured, 'n:m']  # both
  data: [data-free, calibration]
  notes:
    type: why
    data: why
evaluated_on:
  models:
  - LLaMA-2-7B  # the small one
  - OPT-125M
  evaluation: [WikiText-2]
lifecycle:
  status: published

lists:
  # about the next one
  - name: alpha
  - name: Zeta
    url: https://example.org/z
sources:
- what: bibliography and mechanism
  url: https://example.org/a
  # the day
  seen: 2026-11-22
- what: tags
  url: https://example.org/b
  seen: 2026-11-22
"""


def test_all_of_it_at_once() -> None:
    assert fixed(MESSY) == NEAT
    assert fixed(NEAT) == NEAT


def test_what_has_no_one_answer_stays() -> None:
    for line in ("kind: metod", "tags: {type: [unstructurd]}", "year: soon", "keyy: x", "a: &b c"):
        text = f"{NEAT.splitlines()[0]}\n{line}\n"
        assert fixed(text) == text
    broken = "title: 'no end\nkey: x  \n"
    assert fixed(
        broken
    ) == "# yaml-language-server: $schema=../catalog/schema/entry.schema.json\n" + (
        broken.replace("x  ", "x")
    )


def test_command(run: Run, root: Path) -> None:
    file = root / "papers/first2023base.yaml"
    before = file.read_text("utf-8")
    other = (root / "papers/second2024next.yaml").read_bytes()
    file.write_text(before.replace("year: 2023", "year: '2023'"), encoding="utf-8")
    status, out, err = run("check", "papers/first2023base.yaml", "--fix")
    assert (status, out) == (0, "")
    assert re.search(r"papers/first2023base.yaml:\d+: fixed: unquoted year: 2023", err)
    assert "'2023'" not in file.read_text("utf-8")
    assert (root / "papers/second2024next.yaml").read_bytes() == other
    assert not list(root.rglob("*.tmp"))
    status, _, err = run("check", "papers/first2023base.yaml", "--fix")
    assert "0 fixed in 0 entries" in err


def plain(data: Any) -> Any:
    """Data in one form: what `--fix` may change is brought into the form that it gives."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    return " ".join(data.split()) if isinstance(data, str) else data


def comments(text: str) -> Counter[str]:
    return Counter(re.findall(r"# note \d+", text))


def in_order(data: Any, place: tuple[str | int, ...] = ()) -> bool:
    model = model_at(Entry, place)
    if isinstance(data, dict):
        if model is not None:
            fields = [name for name in model.model_fields if name in data]
            if [name for name in data if name in fields] != fields:
                return False
        return all(in_order(value, (*place, key)) for key, value in data.items())
    if isinstance(data, list):
        return all(in_order(value, (*place, number)) for number, value in enumerate(data))
    return True


def scrambled(text: str, seed: int) -> str:
    """An entry with fields and lists in another order, comments and spaces strewn in."""
    chance = random.Random(seed)
    head, _, body = text.partition("\n")
    blocks = re.split(r"(?m)^(?=[a-z_]+:)", body)
    blocks = [block for block in blocks if block]
    chance.shuffle(blocks)
    lines = "".join(blocks).split("\n")
    for number in range(len(lines)):
        line = lines[number]
        nested = re.match(r"[a-z_]+:.*", line) and not line.rstrip().endswith(">-")
        if nested and chance.random() < 0.2:
            lines[number] = f"# note {number}\n{line}"
        elif re.match(r" *(short|type|name|url|arxiv): [^>|'\"]*$", line) and chance.random() < 0.3:
            lines[number] = f"{line}  # note {number}"
        elif chance.random() < 0.1:
            lines[number] = line + "  "
    if chance.random() < 0.5:
        lines.insert(0, head)
    return "\n".join(lines)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 10**6))
def test_any_disorder_is_mended_and_nothing_lost(file: Path, seed: int) -> None:
    text = file.read_text("utf-8")
    wanted, _ = parse_yaml("x", fixed(text))
    messy = scrambled(text, seed)
    mended = fixed(messy)
    found, problems = parse_yaml("x", mended)
    assert found is not None
    assert wanted is not None
    assert not problems
    assert plain(found.data) == plain(wanted.data)
    assert in_order(found.data)
    assert comments(mended) == comments(messy)
    assert fixed(mended) == mended
    assert not re.search(r"(?m)[ \t]$", mended)
    assert max(map(len, mended.split("\n"))) <= max(map(len, messy.split("\n")))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*(line + "\n" for line in MESSY.split("\n")), "- ", "  ", "# x\n", "\t", "key: ", "'", "[", "]", "{", "}", "|\n"]
        ),
        max_size=25,
    ).map("".join)
)  # fmt: skip
def test_any_text_survives(text: str) -> None:
    once = fixed(text)
    assert fixed(once) == once
    before, first = parse_yaml("x", text)
    after, second = parse_yaml("x", once)
    if before is not None and not first:
        assert after is not None
        assert not second
        assert isinstance(after.data, type(before.data))


# --changed ---------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    subprocess.run(
        ["git", "-C", root, *arguments], check=True, capture_output=True, env=environment
    )


@pytest.fixture
def checkout(root: Path) -> Path:
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    return root


def paths(out: str) -> set[str]:
    return {problem["path"] for problem in json.loads(out)}


def test_changed(run: Run, checkout: Path) -> None:
    first, second = (checkout / f"papers/{key}.yaml" for key in ("first2023base", "second2024next"))
    git(checkout, "switch", "-q", "-c", "work")
    status, out, err = run("check", "--changed", "--json")
    assert (status, json.loads(out)) == (0, [])
    assert "0 files changed since main" in err
    # A duplicate is found across entries, and reported where the change is.
    text = second.read_text("utf-8").replace("2401.00020", "2303.10010")
    second.write_text(text, encoding="utf-8")
    status, out, _ = run("check", "--changed", "--json")
    assert status == 1
    assert paths(out) == {"papers/second2024next.yaml"}
    assert "duplicate-arxiv" in out
    assert paths(run("check", "--json")[1]) > {"papers/second2024next.yaml"}
    git(checkout, "commit", "-q", "-a", "-m", "broken")
    assert paths(run("check", "--changed", "main", "--json")[1]) == {"papers/second2024next.yaml"}
    assert json.loads(run("check", "--changed", "HEAD", "--json")[1]) == []
    # Untracked files count, ignored ones do not; a path narrows it further.
    new = checkout / "papers/third2024x.yaml"
    new.write_text("key: third2024x\n", encoding="utf-8")
    assert "papers/third2024x.yaml" in paths(run("check", "--changed", "--json")[1])
    narrowed = run("check", "--changed", "papers/third2024x.yaml", "--json")[1]
    assert paths(narrowed) == {"papers/third2024x.yaml"}
    # What happens on main in the meantime is nobody's change here.
    git(checkout, "stash", "-q", "-u")
    git(checkout, "switch", "-q", "main")
    first.write_text(first.read_text("utf-8").replace("kind: method", "kind: metod"), "utf-8")
    git(checkout, "commit", "-q", "-a", "-m", "elsewhere")
    git(checkout, "switch", "-q", "work")
    assert paths(run("check", "--changed", "--json")[1]) == {"papers/second2024next.yaml"}
    # A deleted file has no problems, but leaves some elsewhere.
    first.unlink()
    _, out, err = run("check", "--changed", "--json")
    assert "1 file is deleted" in err
    assert paths(out) <= {"papers/second2024next.yaml"}


def test_a_committed_result_never_changes(run: Run, checkout: Path) -> None:
    folder = checkout / "impl/results/small"
    result = folder / "zero-out-0.5.json"
    failed = folder / "zero-out-0.7.failed.json"
    text = result.read_text("utf-8")
    failed.write_text(
        text.replace('"schema": 1', '"schema": 2, "failed": "no room"').replace("0.5", "0.7")
    )
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "a failure")
    git(checkout, "switch", "-q", "-c", "work")

    def found() -> list[tuple[str, str]]:
        out = run("check", "--changed", "--json")[1]
        return [(problem["path"], problem["code"]) for problem in json.loads(out)]

    # A new run, tags that were observed again and a failure that is gone are as they should be.
    new = folder / "zero-out-0.5.2.json"
    new.write_text(text.replace('"schema"', '"supersedes": "zero-out-0.5.json", "schema"'), "utf-8")
    tags = checkout / "impl/results/tags/zero-out.json"
    tags.write_text(tags.read_text("utf-8").replace("2026-11-22", "2026-11-23"), "utf-8")
    failed.unlink()
    assert found() == []
    name = "impl/results/small/zero-out-0.5.json"
    result.write_text(text.replace("22.25", "12.25"), encoding="utf-8")
    assert found() == [(name, "result-changed")]
    assert run("check", "--changed", "papers", "--json")[0] == 0
    git(checkout, "commit", "-q", "-a", "-m", "better numbers")
    assert found() == [(name, "result-changed")]
    # From the index alone it makes no difference, as long as the file is what it was.
    result.write_text(text, encoding="utf-8")
    git(checkout, "rm", "-q", "--cached", name)
    assert found() == []
    result.unlink()
    new.unlink()
    status, out, _ = run("check", "--changed", "--json")
    assert status == 1
    assert (name, "result-changed") in found()
    assert "supersedes it" in json.loads(out)[0]["help"]
    git(checkout, "switch", "-q", "-f", "main")
    assert found() == []


def test_changed_needs_git_and_a_base(run: Run, checkout: Path, tmp_path: Path) -> None:
    status, _, err = run("check", "--changed", "nowhere")
    assert (status, "git knows no revision 'nowhere'" in err) == (2, True)
    status, _, err = run("check", "--changed=--output=x")
    assert (status, "git knows no revision" in err) == (2, True)
    git(checkout, "branch", "-m", "trunk")
    status, _, err = run("check", "--changed")
    assert (status, "there is no branch main" in err) == (2, True)
    bare = write_catalog(tmp_path / "bare")
    status, _, err = run("check", "--changed", "--root", str(bare))
    assert (status, "is no git checkout" in err) == (1, True)


# mutated data ------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, 0, -1, 2023, 1e400, 2303.1, "", " ", "x" * 3000, "\u202e", "a\nb", "2:4", "null", "{}",
    "../../x", [], [None], [[]], {}, {"a": {}}, {"url": 3}, ["x"] * 50, [{"key": "a2020b"}], "sun2023simple",
]  # fmt: skip


def mutate(data: Any, chance: random.Random) -> Any:
    """A copy of the data with one part replaced, removed, added, doubled or renamed."""
    data = copy.deepcopy(data)
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, value in items:
            places.append((part, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(data)
    part, key = chance.choice(places)
    kind = chance.randrange(6)
    if kind <= 1:
        part[key] = copy.deepcopy(chance.choice(ODD))
    elif kind == 2:
        del part[key]
    elif kind == 3:
        other, name = chance.choice(places)
        part[key] = copy.deepcopy(other[name])
    elif isinstance(part, list):
        part.insert(key, copy.deepcopy(part[key]))
    elif kind == 4:
        part[f"{key}x"] = part.pop(key)
    else:
        part[chance.choice(["", "extra", "ä", "a b", "key", "2024"])] = chance.choice(ODD)
    return data


def written(data: Any) -> str:
    import io

    buffer = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.representer.ignore_aliases = lambda data: True
    writer.width = 10_000
    writer.dump(data, buffer)
    return buffer.getvalue()


def test_a_thousand_mutations_pass_or_are_located(root: Path) -> None:
    """Of entries and vocabulary, alone and together: a pass, or problems that have a place."""
    reader = YAML(typ="safe", pure=True)
    files = [
        "papers/first2023base.yaml",
        "papers/second2024next.yaml",
        "catalog/vocabulary/type.yaml",
        "catalog/vocabulary/criterion.yaml",
    ]
    originals = {path: (root / path).read_text("utf-8") for path in files}
    plain_data = {path: reader.load(text) for path, text in originals.items()}
    chance = random.Random(20)
    passes = failures = mutations = 0
    while mutations < 1000:
        data = copy.deepcopy(plain_data)
        for _ in range(chance.choice([1, 2, 5, 12])):
            path = chance.choice(files)
            if data[path]:
                data[path] = mutate(data[path], chance)
                mutations += 1
        for path in files:
            changed = data[path] != plain_data[path]
            (root / path).write_text(written(data[path]) if changed else originals[path], "utf-8")
        problems = Catalog.load(root).problems
        for problem in problems:
            lines = (root / problem.path).read_text("utf-8").split("\n")
            assert 1 <= problem.line <= len(lines), problem
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
            assert "\n" not in str(problem), problem
            assert problem.code
            assert problem.help
        failures += bool(problems)
        passes += not problems
    assert failures > 100
    assert passes > 3
    assert len(DIMENSIONS) == 6
