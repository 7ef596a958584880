"""`prunedex add --list`: the shapes that public lists have, and what may be wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import write_catalog

from catalog.adding.awesome import Item, command, compare, read_items
from catalog.adding.known import papers
from catalog.cli import main
from catalog.errors import is_unsafe
from catalog.store import Catalog

FIRST = "Zeroing Weights: A Base Line"
ARXIV = "https://arxiv.org/abs/2303.10010"
NEW = "Removing Toys from Boxes"
NEW_ID = "2405.00077"

SHAPES = {
    "bullet": f"- [{NEW}](https://arxiv.org/abs/{NEW_ID})",
    "bullet with a label": f"* {NEW}, Ada Toy, 2024. [[paper](https://arxiv.org/pdf/{NEW_ID}v2.pdf)]",
    "bold": f"- **{NEW}**, *ICML 2024* [[Paper]](https://arxiv.org/abs/{NEW_ID}) [[Code]](https://github.com/a/b)",
    "numbered": f"3. [{NEW}](http://arxiv.org/abs/{NEW_ID})",
    "badge": f"- {NEW} [![arXiv](https://img.shields.io/badge/arXiv-{NEW_ID}-b31b1b.svg)](https://arxiv.org/abs/{NEW_ID})",
    "nested": f"- {NEW}\n    - Author: Ada Toy\n    - Link: https://arxiv.org/pdf/{NEW_ID}.pdf\n    - Code: https://github.com/a/b",
    "loose": f"- {NEW}\n\n  [paper](https://arxiv.org/abs/{NEW_ID})\n",
    "table": f"| Title | Venue | Code |\n|:---|:-:|---|\n| [{NEW}](https://arxiv.org/abs/{NEW_ID}) | ICML | - |",
    "table of badges": (
        "| Title & Authors | Introduction | Links |\n|:--|:--:|:--:|\n"
        "|[![Star](https://img.shields.io/s.svg)](https://github.com/a/b)"
        "[![Publish](https://img.shields.io/badge/Conference-ICML'24-blue)]()<br>"
        f"[{NEW}](https://github.com/a/b) <br> Ada Toy |<img width=\"2\" src=\"x.png\"> |"
        f"[Github](https://github.com/a/b) <br> [Paper](https://arxiv.org/abs/{NEW_ID})|"
    ),
    "HTML table": (
        f"<table>\n<tr><td>\n<a href='https://arxiv.org/abs/{NEW_ID}'>{NEW}</a></td>"
        "<td>ICML</td></tr>\n</table>"
    ),
    "HTML list": f"<ul>\n<li><b>{NEW}</b> <a href=\"https://arxiv.org/abs/{NEW_ID}\">pdf</a>\n</ul>",
    "reference": f"- [{NEW}][1]\n\n[1]: https://arxiv.org/abs/{NEW_ID}",
    "paragraph": f"[{NEW}](https://arxiv.org/abs/{NEW_ID})",
    "quoted": f'- Ada Toy. "{NEW}". [arXiv](https://arxiv.org/abs/{NEW_ID})',
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_shape(shape: str) -> None:
    lines = ["# A list", "", "- [Contents](#contents)", "- [A tool](https://github.com/x/y)", ""]
    items = read_items("\n".join(lines) + "\n" + SHAPES[shape] + "\n")
    assert len(items) == 1, items
    (item,) = items
    assert [each.value for each in item.ids] == [NEW_ID]
    assert any(NEW in name for name in item.names), item
    # The line of the row or item; a table has two lines above its first row.
    expected = {"table": 8, "table of badges": 8, "HTML table": 7, "HTML list": 7}
    assert item.line == expected.get(shape, 6)
    assert command(item) == f"prunedex add {NEW_ID}"


def test_items_of_one_list_stay_apart() -> None:
    text = f"- Surveys\n  - [{NEW}](https://arxiv.org/abs/{NEW_ID})\n  - [{FIRST}]({ARXIV})\n"
    items = read_items(text)
    assert [(item.line, item.title) for item in items] == [(2, NEW), (3, FIRST)]
    text = f"Two in a line: [{NEW}](https://arxiv.org/abs/{NEW_ID}) and [{FIRST}]({ARXIV})."
    assert [item.title for item in read_items(text)] == [NEW, FIRST]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.load(write_catalog(tmp_path / "root"))


def reading(catalog: Catalog, text: str) -> dict[str, Any]:
    return compare(catalog, papers(catalog), read_items(text)).to_dict()


def faults(catalog: Catalog, text: str) -> list[tuple[int, str]]:
    return [(each["line"], each["code"]) for each in reading(catalog, text)["wrong"]]


def test_here_by_identifier_and_by_title(catalog: Catalog) -> None:
    found = reading(
        catalog,
        f"- [Zero: {FIRST}](https://openreview.net/forum?id=whatever1)\n"
        f"- [Dropping layers by curvature!](https://arxiv.org/abs/2401.00020)\n"
        f"- [{NEW}](https://openreview.net/forum?id=AbCdEf_12)\n",
    )
    assert [each["key"] for each in found["here"]] == ["first2023base", "second2024next"]
    (new,) = found["new"]
    assert new["command"] == "prunedex add 'https://openreview.net/forum?id=AbCdEf_12'"
    assert found["wrong"] == []


def test_what_is_wrong_in_a_list(catalog: Catalog) -> None:
    line = f"- [{FIRST}]({ARXIV})"
    assert faults(catalog, line) == []
    assert faults(catalog, f"{line}\n{line}") == [(2, "duplicate")]
    assert faults(catalog, f"- [{NEW}](https://a.org/x.pdf) [paper]()\n") == [(1, "dead-link")]
    assert faults(catalog, f"- [{NEW}](https://arxiv.org/abs/2313.00001)") == [(1, "dead-link")]
    assert faults(catalog, f"- [{NEW}](https://openreview.net/forum?id=)") == [(1, "dead-link")]
    assert faults(catalog, f"- [Dropping Layers by Curvature]({ARXIV})") == [(1, "wrong-id")]
    assert faults(catalog, f"- [Quite Another Paper on Toys]({ARXIV})") == [(1, "wrong-id")]
    same = f"https://arxiv.org/abs/{NEW_ID}"
    assert faults(catalog, f"- [{NEW}]({same})\n- [Quite Another Paper]({same})") == [
        (2, "wrong-id")
    ]


@pytest.mark.parametrize(
    ("tail", "stale"),
    [
        ("arXiv 2023", True),
        ("*arXiv preprint*", True),
        ("(Arxiv)", True),
        ("ICLR 2024", False),
        ("[arXiv](https://arxiv.org/abs/2303.10010)", False),
        ("![v](https://img.shields.io/badge/Conference-Arxiv'23-blue)", True),
        ("![v](https://img.shields.io/badge/arXiv-2303.10010-b31b1b.svg)", False),
        ("\n  - Pub: Arxiv", True),
    ],
)
def test_stale_venue(catalog: Catalog, tail: str, stale: bool) -> None:
    found = faults(catalog, f"- [{FIRST}]({ARXIV}), {tail}")
    assert found == ([(1, "stale-venue")] if stale else [])
    # The preprint of the sample did appear on arXiv.
    second = "https://arxiv.org/abs/2401.00020"
    assert faults(catalog, f"- [Dropping Layers by Curvature]({second}), {tail}") == []


def test_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNEDEX_ROOT", str(write_catalog(tmp_path / "root")))
    file = tmp_path / "README.md"
    file.write_text(f"- [{FIRST}]({ARXIV}), arXiv\n{SHAPES['bullet']}\n\x1b[31m", encoding="utf-8")
    run: Callable[..., int] = lambda *a: _status(main, a)  # noqa: E731
    assert run("add", "--list", str(file)) == 0
    out = capsys.readouterr().out
    assert f"{file}:1: first2023base" in out
    assert f"prunedex add {NEW_ID}" in out
    assert "stale-venue: gives arXiv, but first2023base appeared in ICLR 2024" in out
    assert "\x1b" not in out
    assert run("add", "--list", str(file), "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"file", "here", "new", "wrong"}
    assert run("add", "--list", str(tmp_path / "none.md")) == 2
    assert run("add", "--list", str(file), "--dry-run") == 2
    assert run("add") == 2


def _status(call: Callable[..., Any], arguments: tuple[str, ...]) -> int:
    with pytest.raises(SystemExit) as caught:
        call(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


PIECES = st.sampled_from(
    [
        "- ", "1. ", "| a | b |\n|--|--|\n| ", " | ", "\n", "\n\n", "    ", "[", "]", "(", ")", "`",
        "<table>", "<tr>", "<td>", "</td>", "</tr>", "</p>", "<li>", "<a href='", "'>", "</a>", "<b>",
        "</b>", "<!--", "-->", "**", "```", FIRST, NEW, ARXIV, "https://doi.org/10.1/x",
        "https://arxiv.org/abs/", "https://[", "&amp;", "\u202e", "\x00", "arXiv", "# ",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
def test_any_text_is_read(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 2
    for item in read_items(text):
        assert isinstance(item, Item)
        assert 1 <= item.line <= lines
        assert item.ids or item.names
        assert not any(map(is_unsafe, "".join(item.names)))
