"""Whatever an entry's file holds, `prunedex check` says what is wrong and where, in plain words."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import PIECES, changed_entries, texts
from sample import ENTRY, to_yaml, write_catalog

from catalog.cli import main
from catalog.errors import is_unsafe

HERE = Path(__file__).resolve().parents[2]
GOOD = to_yaml({**ENTRY, "key": "third2023other", "title": "Other Rows for Other Columns"})
NAME = "papers/third2023other.yaml"

Check = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "root")


@pytest.fixture
def check(root: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs `prunedex check`: exit status, problems, and the lines that people get to see."""

    def run(*files: str) -> tuple[int, list[dict[str, Any]], str]:
        printed = []
        for form in ("json", "text"):
            capsys.readouterr()
            with pytest.raises(SystemExit) as caught:
                main(["check", "--root", str(root), "--format", form, *files])
            captured = capsys.readouterr()
            assert "Traceback" not in captured.out + captured.err
            assert "Error" not in captured.err
            printed.append((caught.value.code, captured.out))
        (status, problems), (same, lines) = printed
        assert status == same
        assert isinstance(status, int)
        return status, json.loads(problems), lines

    return run


def edited(old: str, new: str) -> str:
    """The sample entry without its identifiers, which are another's, and with one change."""
    text = re.sub(r"ids:\n(  .*\n)*", "", GOOD).replace("arxiv.org/abs/2303.10010", "example.org/b")
    text = text.replace("implementation: zero-out\n", "")
    assert text.count(old) == 1, old
    return text.replace(old, new)


UNCHANGED = ("kind: method", "kind: method")


def test_the_unchanged_entry_is_fine(root: Path, check: Check) -> None:
    (root / NAME).write_text(edited(*UNCHANGED), encoding="utf-8")
    assert check()[:2] == (0, [])


@pytest.mark.parametrize(
    ("old", "new", "at", "code", "says"),
    [
        ("name: Zero", "title: Again", "title: Again", "duplicate-key", "'title' was already given in line 2"),
        ("  short: ICLR", "\tshort: ICLR", "\tshort", "tab", "a tab is used for indentation"),
        ("year: 2023", "year: [2023]", "[2023]", "wrong-type", "year must be a whole number without quotes (found a list)"),
        ("authors:\n- Ada First\n", "authors: Ada First\nxs:\n", "Ada First", "wrong-type", "authors must be a list"),
        ("links:\n", "ids: {arxiv: 2310.10}\nlinks:\n", "2310.10", "unquoted", "put it in quotes: arxiv: '2310.10'"),
        ("links:\n", "ids: {arxiv: '2310.10'}\nlinks:\n", "'2310.10'", "bad-value", "an arXiv id without version, such as '2306.11695'"),
        ("takeaway:", "takeway:", "takeway:", "unknown-field", "did you mean 'takeaway'?"),
        ("kind: method", "kind: method\ncolour: red", "colour", "unknown-field", "unknown field 'colour'"),
        ("kind: method", "kind: method\nbuilds_on: [{key: frist2023base, relation: extends}]", "frist2023base", "unknown-base", "did you mean 'first2023base'?"),
        ("kind: method", "kind: method\nbuilds_on: [{key: third2023other, relation: extends}]", "third2023other", "own-base", "itself"),
        ("  paper: https://example.org/b", "  paper: javascript:alert(1)", "javascript:", "bad-value", "must start with http:// or https://"),
        ("  paper: https://example.org/b", "  paper: 'https://example.org/\"onload=x'", "'https", "bad-value", "hold no space or quote"),
        ("title: Other Rows for Other Columns", "title: 'zeroing weights - a base line'", "'zeroing", "duplicate-title", "first2023base"),
        ("name: Zero", "name: &a Zero", "&a", "alias", "is an anchor"),
        ("name: Zero", "name: *a", "*a", "alias", "is an alias"),
        ("name: Zero", "name: !!python/object/apply:os.system [x]", "!!python", "yaml-tag", "is a type tag"),
        ("name: Zero", "<<: {name: Zero}", "<<", "merge-key", "merges other fields"),
        ("name: Zero", "name: 'Zero", "", "yaml", "quote"),
        ("name: Zero", "name: Zero: One", ": One", "yaml", "second ': '"),
        ("name: Zero", "name: a\0b", "\0b", "control-character", "U+0000"),
        ("name: Zero", "name: a\u202eb", "\u202eb", "control-character", "U+202E"),
        ("name: Zero", "name: " + 30 * "[" + 30 * "]", "[", "too-deep", "more than 16 levels"),
        ("name: Zero", "name: " + 30_000 * "[", "[", "too-deep", "more than 16 levels"),
        ("kind: method", "---\nkind: method", "---", "several-documents", "second document"),
        ("key: third2023other", "key: third2023another", "third2023another", "file-name", "but the file is called 'third2023other.yaml'"),
        ("key: third2023other", "key: Third", "Third", "bad-value", "such as sun2023simple"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_entry(
    old: str, new: str, at: str, code: str, says: str, root: Path, check: Check
) -> None:
    text = edited(old, new)
    (root / NAME).write_bytes(text.encode())
    status, problems, lines = check(str(root / NAME))
    assert status == 1
    found = [problem for problem in problems if problem["code"] == code]
    assert found, problems
    problem = found[0]
    line = text.split("\n")[problem["line"] - 1]
    assert line[problem["column"] - 1 :].startswith(at)
    assert says in problem["message"]
    assert problem["help"]
    assert f"{NAME}:{problem['line']}:{problem['column']}: {code}: " in lines


@pytest.mark.parametrize(
    ("content", "line", "column", "code", "says"),
    [
        (b"", 1, 1, "empty-file", "holds no data"),
        (b"# later\n", 1, 1, "empty-file", "holds no data"),
        (b"- key: a\n", 1, 1, "wrong-type", "must hold fields such as 'key: value' (found a list)"),
        (b"just words\n", 1, 1, "wrong-type", "must hold fields such as 'key: value'"),
        (b"key: a\ntitle: caf\xe9 x\n", 2, 11, "encoding", "byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbf" + GOOD.encode(), 1, 1, "encoding", "starts with a byte order mark"),
        (GOOD.encode("utf-16"), 1, 1, "encoding", "starts with a byte order mark"),
        (GOOD.encode().replace(b"Zero\n", b"Ze\0ro\n"), 3, 9, "control-character", "U+0000"),
        (b"key: a\n" + b"#" * 10 * 2**20, 1, 1, "too-large", "the file has 10241 KiB (allowed: 256 KiB)"),
        (GOOD.encode() + b"takeaway2: " + b"x" * 2 * 2**20, 1, 1, "too-large", "allowed: 256 KiB"),
        (b"%YAML 1.1\n---\n" + GOOD.encode(), 1, 1, "directive", "% directive"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_entry(
    content: bytes, line: int, column: int, code: str, says: str, root: Path, check: Check
) -> None:
    (root / NAME).write_bytes(content)
    status, problems, lines = check()
    assert status == 1
    assert [(p["path"], p["line"], p["column"], p["code"]) for p in problems] == [(NAME, line, column, code)]  # fmt: skip
    assert says in problems[0]["message"]
    assert lines.startswith(f"{NAME}:{line}:{column}: {code}: ")


def test_a_long_takeaway_below_the_limit_is_read(root: Path, check: Check) -> None:
    """No length is wrong in itself, and none is slow."""
    long = "word " * 40_000 + "end."
    (root / NAME).write_text(
        edited("takeaway: Removes small weights; good enough up to a half.", f"takeaway: {long}")
    )
    start = time.process_time()
    assert check()[0] == 0
    assert time.process_time() - start < 10


def test_a_bomb_of_aliases_ends_at_once(root: Path, check: Check) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (root / NAME).write_text("\n".join(lines))
    start = time.process_time()
    status, problems, _ = check()
    assert status == 1
    assert {problem["code"] for problem in problems} == {"alias"}
    assert (problems[0]["line"], problems[0]["column"]) == (1, 5)
    assert len(problems) <= 100
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda file: file.symlink_to(file.parents[2] / "outside.yaml"), "outside-root"),
        (lambda file: file.symlink_to(file.name), "unreadable"),
        (lambda file: file.symlink_to("nowhere.yaml"), "unreadable"),
        (lambda file: file.symlink_to("/dev/zero"), "outside-root"),
        (lambda file: file.mkdir(), "unreadable"),
    ],
    ids=["outside", "loop", "nowhere", "device", "folder"],
)
def test_a_file_that_is_none(
    make: Callable[[Path], None], code: str, root: Path, check: Check
) -> None:
    (root.parent / "outside.yaml").write_text(edited(*UNCHANGED))
    make(root / NAME)
    status, problems, _ = check()
    assert status == 1
    assert [(p["path"], p["line"], p["column"], p["code"]) for p in problems] == [(NAME, 1, 1, code)]  # fmt: skip


@pytest.mark.parametrize("name", ["Third2023other.yaml", "third2023other.yml", "sub/third2023other.yaml", "a b.yaml", "третий.yaml", "x\n2023y.yaml"])  # fmt: skip
def test_a_file_of_another_name(name: str, root: Path, check: Check) -> None:
    file = root / "papers" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(edited(*UNCHANGED))
    status, problems, lines = check()
    assert status == 1
    assert [problem["code"] for problem in problems] == ["file-name"]
    assert len(lines.splitlines()) == 1


def test_not_every_one_of_very_many_problems_is_told(root: Path, check: Check) -> None:
    (root / NAME).write_text(edited("kind: method", "".join(f"k{n}: 1\n" for n in range(5000))))
    status, problems, _ = check()
    assert (status, len(problems)) == (1, 101)
    (last,) = (problem for problem in problems if problem["code"] == "too-many")
    assert last["message"] == "more is wrong in this file than these 100 problems"


def test_as_a_process_of_its_own(root: Path) -> None:
    """What a hostile file costs, where nothing catches an exception and memory is limited."""
    (root / NAME).write_bytes(b"a: " + 100_000 * b"{b: ")
    (root / "papers" / "many2023keys.yaml").write_text(
        "".join(f"k{n}: {n}\n" for n in range(12_000))
    )
    (root / "papers" / "long2023line.yaml").write_text("key: [" + "a," * 100_000)
    (root / "papers" / "deep2023list.yaml").write_text(
        "".join(f"{'  ' * n}- \n" for n in range(400))
    )
    run = subprocess.run(
        [sys.executable, "-m", "catalog", "check", "--root", str(root)],
        cwd=HERE, capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30)),
    )  # fmt: skip
    assert run.returncode == 1, run.stderr[-2000:]
    assert "Traceback" not in run.stdout + run.stderr
    paths = {line.split(":")[0] for line in run.stdout.splitlines()}
    assert paths == {
        NAME,
        *(f"papers/{name}.yaml" for name in ("many2023keys", "long2023line", "deep2023list")),
    }


# Any change of any entry ------------------------------------------------------------------

TEXTS = texts()
LIMITS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("shared"))


def sound(shared: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 0 or 1, and each error is on one line and points into its file."""
    (shared / NAME).write_bytes(content)
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["check", "--json", "--root", str(shared)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    problems: list[Mapping[str, Any]] = json.loads(captured.out)
    assert caught.value.code == int(any(problem["severity"] == "error" for problem in problems))
    lines = content.decode("utf-8", "replace").split("\n")
    for problem in problems:
        assert not any(map(is_unsafe, problem["message"]))
        assert problem["code"] not in ("", "error")
        if problem["path"] == NAME:
            assert 1 <= problem["line"] <= len(lines)
            assert 1 <= problem["column"] <= len(lines[problem["line"] - 1]) + 1


@settings(LIMITS, max_examples=40)
@given(text=changed_entries(TEXTS))
def test_a_changed_entry_gives_located_errors(
    text: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound(shared, text.encode(), capsys)


VALUES: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(LIMITS, max_examples=30)
@given(
    content=st.one_of(
        st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode()),
        st.dictionaries(st.sampled_from([*ENTRY, "x", ""]), VALUES, max_size=6).map(
            lambda data: to_yaml(data).encode()
        ),
        st.binary(max_size=60),
    )
)
def test_any_file_gives_located_errors(
    content: bytes, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound(shared, content, capsys)
