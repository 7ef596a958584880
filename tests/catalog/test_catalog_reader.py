"""Reading files: what is wrong is said where it stands, and nothing raises."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sample import ENTRY, to_yaml, write_catalog

from catalog.errors import Problem, is_unsafe
from catalog.reader import MAX_BYTES, parse_yaml, read_yaml
from catalog.schema import Entry
from catalog.store import Catalog
from catalog.validation import validate

GOOD = to_yaml(ENTRY)
NAME = "papers/first2023base.yaml"


def problems_of(text: str) -> list[Problem]:
    located, problems = parse_yaml(NAME, text)
    if located is not None:
        entry, flaws = validate(Entry, located)
        assert (entry is None) == bool(flaws) or problems
        problems = [*problems, *flaws]
    return problems


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_the_sample_entry_is_fine() -> None:
    assert problems_of(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "says"),
    [
        ("arxiv: '2303.10010'", "arxiv: 2303.10010", "unquoted", "2303.10010", "arxiv: '2303.10010'"),
        ("year: 2023", "year: '2023'", "wrong-type", "'2023'", "without quotes"),
        ("year: 2023", "year: 20.5", "wrong-type", "20.5", "whole number"),
        ("year: 2023", "year: 1066", "bad-value", "1066", "1980"),
        ("takeaway:", "takeway:", "unknown-field", "takeway", "did you mean 'takeaway'?"),
        ("  short:", "  shrot:", "unknown-field", "shrot", "in venue (did you mean 'short'?"),
        ("kind: method", "kind: metod", "not-allowed", "metod", "did you mean 'method'?"),
        ("kind: method", "kind:", "empty-value", "kind:", "allowed: method, survey"),
        ("mechanism: Sets", "mechanism: ' Sets", "yaml", "", "a quote"),
        ("name: Zero", "name: ''", "empty-value", "''", "must not be empty"),
        ("name: Zero", "name: ' Zero'", "bad-value", "' Zero'", "space at the start"),
        ("name: Zero", "name: [Zero]", "wrong-type", "[Zero]", "found a list"),
        ("name: Zero", "name: true", "unquoted", "true", "name: 'true'"),
        ("name: Zero", 'name: "\\e[31mZero"', "control-character", '"', "U+001B"),
        ("name: Zero", 'name: "\\u202Eoro"', "control-character", '"', "U+202E"),
        ("name: Zero", "name: a\u202eb", "control-character", "\u202e", "U+202E"),
        ("name: Zero", "name: &a Zero", "alias", "&a", "anchor"),
        ("name: Zero", "name: *a", "alias", "*a", "alias"),
        ("name: Zero", "name: !!int 5", "yaml-tag", "!!int", "type tag"),
        ("name: Zero", "name: " + 5000 * "9", "bad-scalar", "999", "no valid value"),
        ("name: Zero", "name Zero", "yaml", "", "':' after the field's name"),
        ("name: Zero", "title: Zero", "duplicate-key", "title: Zero", "already given in line 2"),
        ("name: Zero", "<<: {name: Zero}", "merge-key", "<<", "merges"),
        ("name: Zero", "1: Zero", "key-form", "1:", "not the name of a field"),
        ("name: Zero", "? [a]\n: Zero", "key-form", "[a]", "must be text"),
        ("name: Zero", "---\nname: Zero", "several-documents", "---", "second document"),
        ("title: 'Zeroing Weights: A Base Line'", "title: Zeroing: A: B", "yaml", ": A", "quotes"),
        ("  short: ICLR", "\tshort: ICLR", "tab", "\t", "tab"),
        ("seen: 2026-11-22", "seen: '2026-11-22'", "wrong-type", "'2026", "such as 2026-11-22"),
        ("seen: 2026-11-22", "seen: 2026-13-22", "bad-scalar", "2026-13", "no valid value"),
        ("seen: 2026-11-22", "seen: 2026-11-22 10:00:00", "wrong-type", "2026", "without a time"),
        ("url: https://example.org/a", "url: javascript:a()", "bad-value", "javascript", "https://"),
        ("  arxiv_class: cs.LG", "  doi: doi.org/10.1/x", "bad-value", "doi.org", "10.18653"),
        ("- unstructured", "- Unstructured", "bad-value", "Unstructured", "lower case"),
        ("  type:\n  - unst", "  notes: {typ: x}\n  type:\n  - unst", "unknown-field", "typ", "'type'"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_where_it_is(
    old: str, new: str, code: str, at: str, says: str
) -> None:
    text = edited(old, new)
    problems = problems_of(text)
    assert [problem.code for problem in problems] == [code]
    (problem,) = problems
    assert says in problem.message
    assert problem.help
    line = text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :].startswith(at)


def test_a_missing_field_is_reported_at_the_group_that_lacks_it() -> None:
    (problem,) = problems_of(edited("  short: ICLR 2024\n", ""))
    assert (problem.code, problem.line, problem.column) == ("missing-field", 9, 3)
    assert "'short' is missing in venue (As people say it" in problem.message
    (problem,) = problems_of(edited("year: 2023\n", ""))
    assert (problem.code, problem.line, problem.column) == ("missing-field", 1, 1)


def test_all_mistakes_of_a_file_are_reported_together() -> None:
    text = edited("kind: method", "kind: metod").replace("- magnitude", "- 5")
    text = text.replace("name: Zero", "nam: Zero") + "title: again\n"
    found = [(problem.code, problem.line) for problem in problems_of(text)]
    lines = text.split("\n")
    assert sorted(found) == sorted(
        [
            ("duplicate-key", len(lines) - 1),
            ("unknown-field", lines.index("nam: Zero") + 1),
            ("not-allowed", lines.index("kind: metod") + 1),
            ("unquoted", lines.index("  - 5") + 1),
        ]
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"# only a remark\n", "empty-file"),
        (b"~", "empty-file"),
        (b"hello", "wrong-type"),
        (b"- a\n", "wrong-type"),
        (b"\xef\xbb\xbfkey: a\n", "encoding"),
        ("key: é\n".encode("utf-16"), "encoding"),
        ("title: é\n".encode("latin-1"), "encoding"),
        (b"key: a\0b\n", "control-character"),
        (b"key: a\rb\n", "control-character"),
        (b"%YAML 1.1\n---\nkey: no\n", "directive"),
        (b"%TAG ! tag:x,2000:\n---\nkey: a\n", "directive"),
        (b"key: " + 20_000 * b"[", "too-deep"),
        (20 * b"- " + b"x\n", "too-deep"),
        (b"#" * (MAX_BYTES + 1), "too-large"),
    ],
)
def test_odd_files(content: bytes, code: str, tmp_path: Path) -> None:
    file = write_catalog(tmp_path) / "papers" / "odd2023file.yaml"
    file.write_bytes(content)
    catalog = Catalog.load(tmp_path)
    assert [(p.path, p.code) for p in catalog.problems] == [("papers/odd2023file.yaml", code)]
    assert catalog.unread == {"odd2023file"}
    assert list(catalog.entries) == ["first2023base", "second2024next"]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    _, problems = parse_yaml(NAME, "\n".join(lines))
    assert {problem.code for problem in problems} == {"alias"}


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    file = write_catalog(tmp_path) / NAME
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert Catalog.load(tmp_path).problems == []


def test_yaml_1_2_keeps_text_text() -> None:
    located, problems = parse_yaml("x", "a: [2:4, n:m, no, on, 12:30:45, 0o7, 1e3]\n")
    assert problems == []
    assert located is not None
    assert located.data == {"a": ["2:4", "n:m", "no", "on", "12:30:45", 7, 1000.0]}


def test_links_out_of_the_repository_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(GOOD)
    root = write_catalog(tmp_path / "root")
    (root / "papers" / "away2023link.yaml").symlink_to(outside)
    (root / "papers" / "loop2023link.yaml").symlink_to("loop2023link.yaml")
    (root / "papers" / "lost2023link.yaml").symlink_to("nowhere.yaml")
    (root / "papers" / "folder2023x.yaml").mkdir()
    os.mkfifo(root / "papers" / "pipe2023x.yaml")
    codes = {problem.path: problem.code for problem in Catalog.load(root).problems}
    assert codes == {
        "papers/away2023link.yaml": "outside-root",
        "papers/loop2023link.yaml": "unreadable",
        "papers/lost2023link.yaml": "unreadable",
        "papers/folder2023x.yaml": "unreadable",
        "papers/pipe2023x.yaml": "unreadable",
    }


def test_files_that_would_be_passed_over_are_reported(tmp_path: Path) -> None:
    root = write_catalog(tmp_path)
    (root / "papers" / "2023").mkdir()
    (root / "papers" / "2023" / "a2023b.yaml").write_text(GOOD)
    (root / "papers" / "a2023b.yml").write_text(GOOD)
    (root / "catalog" / "vocabulary" / "colour.yaml").write_text("id: colour\n")
    (root / "catalog" / "vocabulary" / "data.yaml").unlink()
    (root / "papers" / "README.md").write_text("What is here.")
    found = {(problem.path, problem.code) for problem in Catalog.load(root).problems}
    assert found == {
        ("papers/2023/a2023b.yaml", "file-name"),
        ("papers/a2023b.yml", "file-name"),
        ("catalog/vocabulary/colour.yaml", "file-name"),
        ("catalog/vocabulary/data.yaml", "no-vocabulary"),
    }


def test_the_key_is_the_name_of_the_file(tmp_path: Path) -> None:
    root = write_catalog(tmp_path, {"papers/first2023base.yaml": {"key": "first2023bass"}})
    (problem,) = (p for p in Catalog.load(root).problems if p.severity == "error")
    assert (problem.code, problem.line, problem.column) == ("file-name", 1, 6)
    assert "'first2023bass'" in problem.message
    assert "'first2023base.yaml'" in problem.message


def test_a_reference_to_a_broken_entry_is_not_reported_on_top(tmp_path: Path) -> None:
    root = write_catalog(tmp_path, {"papers/first2023base.yaml": {"year": "soon"}})
    assert [p.code for p in Catalog.load(root).problems if p.severity == "error"] == ["wrong-type"]


# Whatever the bytes ----------------------------------------------------------------------


def sound(problems: list[Problem], text: str) -> None:
    """Every problem can be printed on one line and points into the file."""
    lines = text.split("\n")
    for problem in problems:
        assert 1 <= problem.line <= len(lines) + 1
        assert problem.column >= 1
        assert not any(map(is_unsafe, str(problem)))
        assert problem.help
        str(problem).encode("utf-8")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=400))
@example(content=b"\xff")
@example(content=b"a: !!binary =\n")
@example(content=b"a: 2026-11-22T99:99:99Z")
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "papers.yaml"
    file.write_bytes(content)
    located, problems = read_yaml(tmp_path, file)
    assert located is not None or problems
    sound(problems, content.decode("utf-8", "replace"))


YAML_PIECES = st.sampled_from(
    [*[":", "-", ",", "[", "]", "{", "}", "#", "&", "*", "!", "|", ">", "'", '"', "%", "@", "`", "?", "---", "...", "<<", "~", "\n", "\t"], " ", "\n", "  ", "a",
     "key: ", "- ", "é", "\u2028", "\x85", "\x00", "1", "0x1", "1_0", ".inf", "2026-11-22", "\\x41"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(YAML_PIECES, max_size=40).map("".join)))
@example("- ? - :")
@example("a: |9\n x")
@example("? ? ?")
@example("{a: b, a: c}")
def test_any_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    sound(problems_of(text), text)


VALUES: Any = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.text(max_size=8)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_of_an_entry(data: st.DataObject) -> None:
    """One place of a valid entry holds something else."""
    lines = GOOD.split("\n")
    number = data.draw(st.integers(0, len(lines) - 2))
    line = lines[number]
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))
    piece = data.draw(st.one_of(YAML_PIECES, st.text(max_size=5), VALUES.map(repr)))
    lines[number] = line[:start] + piece + line[end:]
    text = "\n".join(lines).encode("utf-8", "replace").decode("utf-8")
    sound(problems_of(text), text)


@settings(max_examples=200, deadline=None)
@given(field=st.sampled_from(sorted(Entry.model_fields)), value=VALUES)
def test_any_value_of_a_field(field: str, value: Any) -> None:
    """Validation explains values of every type, wherever they came from."""
    located, _ = parse_yaml(NAME, GOOD)
    assert located is not None
    assert isinstance(located.data, dict)
    located.data[field] = value
    entry, problems = validate(Entry, located)
    assert (entry is None) == bool(problems)
    for problem in problems:
        assert not any(map(is_unsafe, str(problem)))
        assert problem.help
