"""One paper under two keys is found in whatever form it comes, and two papers are let alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sample import write_catalog

from catalog.checks.identity import SimilarTitle
from catalog.store import Catalog

HERE = Path(__file__).resolve().parents[2]
CODES = {
    "duplicate-acl", "duplicate-arxiv", "duplicate-doi", "duplicate-link", "duplicate-openreview",
    "duplicate-pmlr", "duplicate-title", "similar-title",
}  # fmt: skip

TITLE = "FooPrune: Removing the Widest Rows of Language Models in One Shot"
AUTHORS = ["Ada First", "Cy Third", "Di Fourth", "Ed Fifth"]


def found(tmp_path: Path, one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    """The codes that two entries get, where both of them get the same."""
    files = {"papers/third2023one.yaml": one, "papers/third2024two.yaml": two}
    catalog = Catalog.load(write_catalog(tmp_path, files))
    assert len(catalog.entries) == 4
    codes = [
        {problem.code for problem in catalog.problems if problem.path == path} & CODES
        for path in files
    ]
    assert codes[0] == codes[1]
    return codes[0]


@pytest.mark.parametrize(
    "title",
    [
        "FooPrune: Removing the Widest Rows of Language Model in One Shot",
        "FooPrune: Removing the Widets Rows of Language Models in One Shot",
        "FoPrune: Removing the Widest Rows of Language Models in One Shot",
        "FooPrune: Removing in One Shot the Widest Rows of Language Models",
        "FooPrune: Removing the Widest Rows of Language Models in One Shot (Extended Version)",
        "FooPrune: Removing the Widest Rows of Language Models in One Shot, v2",
        "FooPrune: Removing the Widest Rows of Language Models in One Shot [technical report]",
        "Removing the Widest Rows of Language Models in One Shot",
    ],
)
def test_a_title_that_is_nearly_the_same(title: str, tmp_path: Path) -> None:
    one, two = {"title": TITLE}, {"title": title, "authors": ["Bo Second"]}
    assert found(tmp_path, one, two) == {"similar-title"}


@pytest.mark.parametrize(
    "title", [TITLE.upper(), TITLE.replace("o", "ö"), TITLE.replace(":", " –")]
)
def test_a_title_that_is_the_same(title: str, tmp_path: Path) -> None:
    assert found(tmp_path, {"title": TITLE}, {"title": title}) == {"duplicate-title"}


def test_a_subtitle_that_is_dropped(tmp_path: Path) -> None:
    one = {"title": "Which Rows to Remove: A Study of Widths in Language Models"}
    assert found(tmp_path, one, {"title": "Which Rows to Remove"}) == {"similar-title"}


def test_a_published_version_under_another_title(tmp_path: Path) -> None:
    one = {"title": TITLE, "authors": AUTHORS}
    two = {"title": "FooPrune: Removing Wide Rows of Large Language Models", "authors": AUTHORS}
    assert found(tmp_path, one, two) == {"similar-title"}
    initials = ["A. First", "Third, Cy", "Di Fourth", "Ed Fifth", "Flo Sixth"]
    assert found(tmp_path, one, {**two, "authors": initials}) == {"similar-title"}


@pytest.mark.parametrize(
    ("one", "two", "code"),
    [
        ({"ids": {"arxiv": "2303.00001"}}, {"ids": {"doi": "10.48550/arXiv.2303.00001"}}, "arxiv"),
        ({"ids": {"acl": "2024.acl-long.1"}}, {"ids": {"doi": "10.18653/v1/2024.acl-long.1"}}, "acl"),
        ({"ids": {"doi": "10.1145/1.X"}}, {"ids": {"doi": "10.1145/1.x"}}, "doi"),
        ({"links": {"paper": "https://example.org/a"}}, {"links": {"proceedings": "http://www.example.org/a.pdf"}}, "link"),
        ({"links": {"paper": "https://openreview.net/forum?id=abcdef"}}, {"links": {"reviews": "https://openreview.net/pdf?id=abcdef&x=1"}}, "link"),
    ],
)  # fmt: skip
def test_preprint_and_published_version(
    one: dict[str, Any], two: dict[str, Any], code: str, tmp_path: Path
) -> None:
    assert found(tmp_path, one, two) == {f"duplicate-{code}"}


def test_a_link_to_a_version_of_the_preprint(tmp_path: Path) -> None:
    one = {"ids": {"arxiv": "2303.00001"}, "links": {"paper": "https://arxiv.org/abs/2303.00001"}}
    two = {"links": {"proceedings": "https://arxiv.org/pdf/2303.00001v3.pdf"}}
    assert found(tmp_path, one, two) == {"duplicate-link"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Pruning Large Language Models", "Pruning Small Language Models"),
        ("FooPrune: Removing Rows", "FooPrune: A Second Look at What Rows Are For"),
        ("A Survey of Pruning for Language Models", "A Survey of Quantization for Language Models"),
        ("Pruning as a Search Problem", "Pruning as a Sparse Regression"),
        ("Block Pruning: A Survey", "Head Pruning: A Survey"),
    ],
)
def test_two_papers(one: str, two: str, tmp_path: Path) -> None:
    people = [f"{name} Person" for name in ("Flo", "Gus", "Hal")]
    assert found(tmp_path, {"title": one, "authors": people[:1]}, {"title": two}) == set()


def test_no_alarm_among_the_papers_of_this_repository() -> None:
    catalog = Catalog.load(HERE)
    assert len(catalog.entries) > 100
    assert [str(problem) for problem in catalog.problems if problem.code in CODES] == []


def test_every_paper_of_this_repository_is_found_when_it_comes_again() -> None:
    """Each title with two words exchanged, and with its last word cut, as an entry of its own."""
    catalog = Catalog.load(HERE)
    entries = dict(catalog.entries)
    copies = {}
    for key, entry in entries.items():
        words = entry.title.split()
        changed = [*words[:1], *reversed(words[1:3]), *words[3:]]
        if len(words) > 3:
            copies[f"{key}x"] = entry.model_copy(
                update={"key": f"{key}x", "title": " ".join(changed), "authors": []}
            )
    catalog.entries = dict(sorted({**entries, **copies}.items()))
    reported = {Path(problem.path).stem for problem in SimilarTitle(catalog).run()}
    assert set(copies) <= reported
    assert {key.removesuffix("x") for key in copies} <= reported


def test_a_thousand_titles_take_a_second() -> None:
    """Comparing all pairs of these by letters would take minutes."""
    catalog = Catalog.load(HERE)
    entries = [*catalog.entries.values()]
    many = {}
    for number in range(1000):
        entry = entries[number % len(entries)]
        other = entries[(7 * number + number // len(entries) + 1) % len(entries)]
        title = f"{' '.join(entry.title.split()[:5])} {' '.join(other.title.split()[-5:])}"
        key = f"many{2000 + number % 20}n{number}"
        many[key] = entry.model_copy(
            update={"key": key, "title": f"{title} {number}", "authors": []}
        )
    catalog.entries = many
    start = time.process_time()
    list(SimilarTitle(catalog).run())
    assert time.process_time() - start < 3
