"""Citations: what is written parses back, and the real BibTeX programs take it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bibtexparser.entrypoint import parse_string
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import ENTRY, merged

from catalog.bibtex import author, bibtex_fields, latex, to_bibtex
from catalog.errors import is_unsafe
from catalog.schema import Entry
from catalog.store import Catalog

ROOT = Path(__file__).resolve().parents[2]


def entry(**changes: Any) -> Entry:
    return Entry.model_validate(merged(merged(ENTRY, {"sources": None}), changes))


def fields(**changes: Any) -> dict[str, str]:
    return bibtex_fields(entry(**changes))[1]


def test_a_conference_paper_with_an_eprint() -> None:
    proceedings = "https://proceedings.mlr.press/v1/a_b%20c.html#x?y=1&z={2}"
    text = to_bibtex(
        [
            entry(
                title="SparseGPT: 50% of LLMs & More",
                ids={"doi": "10.1000/a_b%c#d", "openreview": "abcdef"},
                links={"proceedings": proceedings},
                venue={"series": "PMLR", "volume": "202", "pages": "1–12", "publisher": "P & Q"},
            )
        ]
    )
    assert text == (
        "@inproceedings{first2023base,\n"
        "  title = {{SparseGPT}: 50\\% of {LLMs} \\& More},\n"
        "  author = {First, Ada and van der Berg, Jan C.},\n"
        "  booktitle = {International Conference on Learning Representations},\n"
        "  series = {PMLR},\n"
        "  volume = {202},\n"
        "  pages = {1--12},\n"
        "  publisher = {P \\& Q},\n"
        "  year = {2024},\n"
        "  doi = {10.1000/a_b%c#d},\n"
        "  eprint = {2303.10010},\n"
        "  archivePrefix = {arXiv},\n"
        "  primaryClass = {cs.LG},\n"
        "  url = {https://proceedings.mlr.press/v1/a_b%20c.html#x?y=1&z=%7B2%7D},\n"
        "}\n"
    )


def test_the_address_is_that_of_the_cited_version() -> None:
    ids, page = {"openreview": "abcdef"}, "https://openreview.net/forum?id=abcdef"
    assert fields(ids=ids)["url"] == page
    assert fields(ids=ids, venue={"type": "journal"})["url"] == page
    # A submission that was not accepted there, or a workshop, is cited as the preprint.
    preprint = ENTRY["links"]["paper"]
    assert fields(ids=ids, venue={"type": "preprint"})["url"] == preprint
    assert fields(ids=ids, venue={"type": "workshop"})["url"] == preprint
    assert fields()["url"] == preprint
    proceedings = "https://proceedings.mlr.press/v1/a.html"
    assert fields(ids=ids, links={"proceedings": proceedings})["url"] == proceedings


def test_types_follow_the_venue() -> None:
    kind, found = bibtex_fields(entry(venue={"type": "journal", "volume": "3", "number": "4"}))
    assert (kind, found["journal"]) == ("article", ENTRY["venue"]["full"])
    assert (found["volume"], found["number"]) == ("3", "4")
    kind, found = bibtex_fields(entry(venue={"type": "preprint", "year": 2023}))
    assert kind == "misc"
    assert found["eprint"] == "2303.10010"
    assert (found["archivePrefix"], found["primaryClass"]) == ("arXiv", "cs.LG")
    assert not {"booktitle", "journal", "howpublished"} & set(found)
    kind, found = bibtex_fields(entry(venue={"type": "preprint"}, ids={"arxiv": None}))
    assert (kind, found["howpublished"]) == ("misc", ENTRY["venue"]["full"])
    assert not {"eprint", "archivePrefix", "primaryClass"} & set(found)
    kind, found = bibtex_fields(entry(venue={"type": "thesis"}))
    assert (kind, found["school"]) == ("phdthesis", ENTRY["venue"]["full"])


def test_no_author_is_made_up() -> None:
    kind, found = bibtex_fields(entry(authors=[]))
    assert kind == "misc"
    assert "author" not in found
    assert found["key"] == ENTRY["title"]
    assert found["howpublished"] == ENTRY["venue"]["full"]


def test_nothing_is_lost_where_plain_bst_cannot_have_it() -> None:
    found = fields(venue={"volume": "38", "number": "10"})
    assert (found["volume"], found["note"]) == ("38", "Number 10")
    assert "number" not in found
    assert fields(venue={"number": "10", "series": "LNCS"})["number"] == "10"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada First", "First, Ada"),
        ("Tycho F. A. van der Ouderaa", "van der Ouderaa, Tycho F. A."),
        ("Marcelo Gennari do Nascimento", "do Nascimento, Marcelo Gennari"),
        ("García Márquez, José", "Garc{\\'i}a M{\\'a}rquez, Jos{\\'e}"),
        ("King, Jr., Martin", "King, Jr., Martin"),
        ("Madonna", "Madonna"),
        ("{Meta AI}", "{Meta AI}"),
        ("Clément Žižka", "{\\v{Z}}i{\\v{z}}ka, Cl{\\'e}ment"),
        ("Jörg Weiß", 'Wei{\\ss}, J{\\"o}rg'),
        ("Łukasz Ångström", '{\\r{A}}ngstr{\\"o}m, {\\L}ukasz'),
        ("Thị Nguyễn", "Nguy{\\~{ê}}n, Th{\\d{i}}"),
        ("Endre Szűcs", "Sz{\\H{u}}cs, Endre"),
        ("Jean-Pierre d’Alembert", "d'Alembert, Jean-Pierre"),
        ("王 小明", "小明, 王"),
        ("Smith and Sons", "{and} Sons, Smith"),
        ("A, B, C, D", "{A, B, C, D}"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert author(name) == expected


@pytest.mark.parametrize(
    ("title", "name", "expected"),
    [
        ("A Survey on Pruning", None, "A Survey on Pruning"),
        ("LLM-Pruner: On the Pruning of LLMs", None, "{LLM-Pruner}: On the Pruning of {LLMs}"),
        ("Wanda: A Story", "Wanda", "{Wanda}: A Story"),
        ("Wandas: A Story", "Wanda", "Wandas: A Story"),
        ("On Deja Vu at Inference", "Deja Vu / DV", "On {Deja Vu} at Inference"),
        ("E-Sparse with N:M Sparsity", None, "{E-Sparse} with {N:M} Sparsity"),
        ("Plug-and-Play (OWL)", None, "Plug-and-Play ({OWL})"),
        ("Bayesian Pruning of H2O", None, "{Bayesian} Pruning of {H2O}"),
        ('On "May Cry" and “Why”', None, "On ``May Cry'' and ``Why''"),
        ("A_b #1 $5 {x} ~ ^ \\ 100%", None,
         "{A_b} \\#1 \\$5 {\\textbraceleft}x{\\textbraceright} {\\textasciitilde} "
         "{\\textasciicircum} {\\textbackslash} 100\\%".replace("{A_b}", "{A\\_b}")),
        ("D²Prune – naïve", None, "{D{\\texttwosuperior}Prune} -- na{\\\"i}ve"),
        ("Two\n  lines", None, "Two lines"),
    ],
)  # fmt: skip
def test_titles(title: str, name: str | None, expected: str) -> None:
    assert fields(title=title, name=name)["title"] == expected


def test_order_and_format_are_stable_and_keys_unique() -> None:
    one, two = entry(), entry(key="second2023x")
    assert to_bibtex([two, one]) == f"{to_bibtex([two])}\n{to_bibtex([one])}"
    assert to_bibtex([]) == ""
    with pytest.raises(ValueError, match="first2023base"):
        to_bibtex([one, one])


def test_every_paper_of_the_repository_parses_back_equal() -> None:
    entries = [*Catalog.load(ROOT).entries.values()]
    assert len(entries) > 100
    text = to_bibtex(entries)
    assert text.isascii(), [line for line in text.splitlines() if not line.isascii()]
    library = parse_string(text)
    assert not library.failed_blocks
    assert [block.key for block in library.entries] == [entry.key for entry in entries]
    assert len(library.blocks) == len(entries)
    for block, made in zip(library.entries, entries, strict=True):
        kind, expected = bibtex_fields(made)
        assert block.entry_type == kind
        assert [(field.key, field.value) for field in block.fields] == list(expected.items())
        assert expected.get("author", "").count(" and ") == max(len(made.authors) - 1, 0)
        assert {"title", "year", "url"} <= expected.keys(), made.key


TEXT = (
    st.text(
        st.one_of(
            st.sampled_from("{}\\\"@,=%#&~^$ab A-:'`_()"),
            st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")),
        ),
        min_size=1,
        max_size=15,
    )
    .map(str.strip)
    .filter(lambda text: text and not any(map(is_unsafe, text)))
)
ADDRESS = st.text("{}@,=%#&~^$ab-:_()é|[]!*;", min_size=1, max_size=15)


@settings(max_examples=200, deadline=None)
@given(
    title=TEXT,
    authors=st.lists(TEXT, max_size=3),
    other=TEXT,
    url=ADDRESS,
    doi=ADDRESS.filter(lambda text: not set(text) & set("{}")),
    kind=st.sampled_from(["conference", "journal", "preprint", "workshop", "thesis", "other"]),
)
def test_any_text_parses_back_equal(
    title: str, authors: list[str], other: str, url: str, doi: str, kind: str
) -> None:
    names = ("full", "volume", "number", "pages", "publisher", "series")
    made = entry(
        title=title,
        name=title[:3].strip() or None,
        authors=authors,
        venue={**dict.fromkeys(names, other), "type": kind},
        links={"paper": f"https://example.org/{url}"},
        ids={"doi": f"10.1234/{doi}"},
    )
    expected_type, expected = bibtex_fields(made)
    library = parse_string(to_bibtex([made]))
    assert not library.failed_blocks
    (block,) = library.blocks
    assert block is library.entries[0]
    assert (library.entries[0].entry_type, library.entries[0].key) == (expected_type, made.key)
    found = [(field.key, field.value) for field in library.entries[0].fields]
    assert found == list(expected.items())


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_braces_balance_and_accents_become_ascii(text: str) -> None:
    encoded = latex(text)
    depth = 0
    for character in encoded:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    assert latex("Çéňőßł") == "{\\c{C}}{\\'e}{\\v{n}}{\\H{o}}{\\ss}{\\l}"


# The programs themselves ------------------------------------------------------------------

AWKWARD = [
    {"authors": ["Tycho F. A. van der Ouderaa", "Clément Žižka", "Thị Nguyễn", "Şerban Țepeș"]},
    {"authors": []},
    {"authors": ["{The LLaMA Team}", "王 小明", "King, Jr., Martin"]},
    {"title": "50% of {LLMs} & #1_x $y ~ ^ \\ “q” < > | D²Prune ℓ₀ λ → é"},
    {"venue": {"type": "journal", "volume": "1", "number": "2", "pages": "1-2", "publisher": "P"}},
    {"venue": {"type": "journal", "number": "2", "series": "S"}},
    {"venue": {"volume": "1", "number": "2", "series": "S", "pages": "3", "publisher": "P"}},
    {"venue": {"number": "2"}},
    {"venue": {"number": "2", "series": "S"}},
    {"venue": {"type": "preprint", "pages": "3", "publisher": "P"}},
    {"venue": {"type": "preprint"}, "ids": {"arxiv": None}},
    {"venue": {"type": "workshop"}, "ids": {"doi": "10.1000/a_b%c#d&e"}},
    {"venue": {"type": "thesis"}},
    {"venue": {"type": "thesis"}, "authors": ["Solo"]},
    {"venue": {"type": "journal"}, "authors": []},
    {"venue": {"type": "other", "volume": "9"}},
    {"links": {"paper": "https://example.org/a_b%20c?d=e&f#g~h{i}é"}},
]


@pytest.fixture
def bibliography(tmp_path: Path) -> Path:
    """Awkward entries, with all entries of the repository, as one file."""
    made = [entry(**{"key": f"odd20{10 + n}x", **change}) for n, change in enumerate(AWKWARD)]
    made += Catalog.load(ROOT).entries.values()
    file = tmp_path / "all.bib"
    file.write_text(to_bibtex(made), encoding="utf-8")
    return file


@pytest.mark.skipif(not shutil.which("bibtex"), reason="bibtex is not installed")
def test_bibtex_takes_it_without_a_warning(bibliography: Path) -> None:
    (bibliography.parent / "all.aux").write_text(
        "\\citation{*}\n\\bibdata{all}\n\\bibstyle{plain}\n"
    )
    run = subprocess.run(
        ["bibtex", "all"], cwd=bibliography.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
    assert not re.search(r"warning|error", run.stdout, re.IGNORECASE), run.stdout
    items = (bibliography.parent / "all.bbl").read_text(encoding="utf-8")
    assert items.count("\\bibitem") == bibliography.read_text(encoding="utf-8").count("\n}\n")
    # Names keep their parts and titles their capitals.
    assert "Tycho F.~A. van~der Ouderaa" in " ".join(items.split())
    assert "50\\% of {\\textbraceleft}{LLMs}{\\textbraceright}" in " ".join(items.split())


@pytest.mark.skipif(not shutil.which("biber"), reason="biber is not installed")
def test_biber_takes_it_without_a_warning(bibliography: Path) -> None:
    run = subprocess.run(
        ["biber", "--tool", "--validate-datamodel", "--output-file", "out.bib", "all.bib"],
        cwd=bibliography.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert not re.search(r"WARN|ERROR", run.stdout), run.stdout
    # biber turns the accents back into letters.
    decoded = (bibliography.parent / "out.bib").read_text(encoding="utf-8")
    for name in ("Žižka, Clément", "Nguyễn, Thị", "van der Ouderaa, Tycho F. A."):
        assert name in decoded
