"""Pages of reported figures: one table a protocol, ranks, sources, conflicts, nothing unescaped."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from small_catalog import ENTRIES, HOSTILE, REPORTS, _report, _table, add_figures, make_root

from catalog.site import addresses, write_tree
from catalog.site.reported import Reported
from catalog.site.shelf import Shelf
from catalog.store import Catalog

LONG = "reported/llama-7b-wikitext-2-perplexity-4096.html"
SHORT = "reported/llama-7b-wikitext-2-perplexity-2048.html"


@pytest.fixture(scope="module")
def tree(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "tree"
    assert write_tree(catalog, folder) == []
    return folder


def page(tree: Path, name: str) -> str:
    return (tree / "docs" / addresses.source(name)).read_text(encoding="utf-8")


def plain(html: str) -> str:
    """What a reader sees of a page's source."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def tables(html: str) -> list[list[list[str]]]:
    """The cells of every table of figures, row by row."""
    return [
        [
            [plain(cell) for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr\b[^>]*>(.*?)</tr>", table)[1:]
        ]
        for table in re.findall(r'<table class="figures reported".*?</table>', html)
    ]


def test_a_protocol_has_a_page_where_there_is_something_to_compare(
    tree: Path, catalog: Catalog
) -> None:
    pages = Reported(Shelf(catalog)).pages
    assert {SHORT, LONG} < set(pages.values())
    assert len(pages) == 3  # the third is the hostile one
    for address in pages.values():
        assert (tree / "docs" / addresses.source(address)).is_file()
    index = page(tree, addresses.REPORTED)
    for address in pages.values():
        assert f'href="{addresses.link(address, addresses.REPORTED)}"' in index
    assert "14 figures from 3 papers" in plain(index)
    # One figure alone has no page, and stands in the list with its source.
    rest = plain(index).split("Too few to compare")[1]
    assert "ShortGPT at 50 % of the weights: 9.25 , as reported by Other Work" in rest


def test_a_page_ranks_one_protocol_and_marks_conflicts(tree: Path) -> None:
    text = page(tree, SHORT)
    (rows,) = tables(text)
    assert [row[:2] for row in rows] == [
        ["", "dense"],
        ["1", "SparseGPT"],
        ["2", "Wanda"],
        ["3", "Wanda"],
        ["4", "ShortGPT"],
        ["5", "magnitude"],
    ]
    assert rows[2][3:] == [
        "7.26 Conflict: 7.31 as reported by Other Work",
        "as its own authors report Table 3",
    ]
    assert rows[3][3:] == [
        "7.31 Conflict: 7.26 as its own authors report",
        "as reported by Other Work Table 3",
    ]
    assert rows[1][4] == "as reported by Wanda Table 3"
    assert 'href="../papers/sun2023simple.html"' in text
    assert 'href="https://example.org/other"' in text
    # Figures of other lengths are elsewhere, and the page says why.
    assert "6.42" not in plain(text)
    near = plain(text).split("Not comparable with")[1]
    assert "windows of 4,096 tokens : differs in sequence length" in near


def test_no_table_of_the_site_mixes_protocols(tree: Path, catalog: Catalog) -> None:
    """Every value of a table is one of the protocol that its caption or label names."""
    by_title: dict[str, set[str]] = {}
    for protocol, figures in catalog.figures.protocols.items():
        values = {f"{figure.value:g}" for figure in figures}
        by_title.setdefault(protocol.title, set()).update(values)
    seen = 0
    for file in (tree / "docs").rglob("*.md"):
        text = file.read_text(encoding="utf-8")
        for table in re.findall(r'<table class="figures reported".*?</table>', text):
            label = re.search(r'aria-label="([^"]*)"|<caption>(.*?)</caption>', table)
            assert label is not None
            title = unescape(label[1] or label[2])
            known = [values for name, values in by_title.items() if title.startswith(name)]
            assert len(known) == 1, title
            cells = re.findall(r'data-label="Value">([0-9.]+)', table)
            assert cells
            assert {*cells} <= known[0]
            seen += 1
    groups = Reported(Shelf(catalog))
    expected = len(groups.pages) + sum(
        len(part[2]) for entry in catalog.entries.values() for part in groups.of_paper(entry)
    )
    assert seen == expected


def test_a_paper_shows_what_it_reports_and_what_others_report(tree: Path) -> None:
    text = page(tree, "papers/sun2023simple.html")
    section = text[text.index('id="reported"') : text.index('class="paper-foot"')]
    by, about = section.split('id="reported-about"')
    assert len(tables(by)) == 2
    assert [row[0] for row in tables(by)[1]] == ["Wanda", "SparseGPT", "magnitude"]
    assert "All as reported by Wanda: Table 3" in plain(by)
    assert [[row[0], row[2]] for row in tables(about)[0]] == [
        ["Wanda", "7.31 Conflict: 7.26 as its own authors report"]
    ]
    assert "as reported by Other Work" in plain(about)
    assert f'href="{addresses.link(SHORT, "papers/sun2023simple.html")}"' in by
    sparse = page(tree, "papers/frantar2023sparsegpt.html")
    assert 'id="reported-by"' not in sparse
    assert len(tables(sparse)) == 2
    assert "Reported figures" not in plain(page(tree, "papers/zhu2021survey.html"))


def test_hostile_figures_are_escaped_everywhere(tree: Path, catalog: Catalog) -> None:
    hostile = next(
        address
        for protocol, address in Reported(Shelf(catalog)).pages.items()
        if protocol.model == HOSTILE[10]
    )
    assert len(hostile) < 140
    for name in (hostile, addresses.REPORTED, "papers/sun2023simple.html"):
        text = page(tree, name)
        for piece in ("<script>window", "<img src=x", "</title>", "<b>bold", 'onmouseover="w'):
            assert piece not in text
        assert 'href="javascript:' not in text
        assert text.split("\n---\n")[1].strip().count("\n") == 0
    seen = plain(page(tree, hostile))
    for piece in HOSTILE:
        assert " ".join(piece.split()) in seen


def test_the_same_figures_give_the_same_pages(root: Path, tree: Path, tmp_path: Path) -> None:
    write_tree(Catalog.load(root), tmp_path / "again")
    for file in (tree / "docs" / "reported").iterdir():
        assert file.read_bytes() == (tmp_path / "again/docs/reported" / file.name).read_bytes()


def test_names_that_look_alike_get_pages_of_their_own(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", ENTRIES[:2])
    values = {"Wanda": 2.0, "SparseGPT": 3.0, "magnitude": 4.0}
    source = {"name": "Other", "title": "Other", "url": "https://example.org"}
    add_figures(
        root,
        {"other": _report(source, _table("A B", 128, values), _table("A-B", 128, values))},
    )
    loaded = Catalog.load(root)
    assert len({*Reported(Shelf(loaded)).pages.values()}) == 2
    assert write_tree(loaded, tmp_path / "tree") == []


def test_a_catalog_without_figures_says_so(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", ENTRIES[:1])
    assert write_tree(Catalog.load(root), tmp_path / "tree") == []
    assert "No figures have been collected yet" in page(tmp_path / "tree", addresses.REPORTED)


def test_the_list_has_every_protocol_once_below_its_model(tree: Path, catalog: Catalog) -> None:
    text = page(tree, addresses.REPORTED)
    reported = Reported(Shelf(catalog))
    models = re.findall(r"<dt>(.*?)</dt> <dd><ul>(.*?)</ul></dd>", text)
    assert [unescape(model) for model, _ in models] == ["LLaMA-7B", HOSTILE[10]]
    links = {
        unescape(model): re.findall(r'<a href="([^"]+)">(.*?)<span class="sr">', cell)
        for model, cell in models
    }
    assert links["LLaMA-7B"] == [
        (addresses.link(SHORT, addresses.REPORTED), "windows of 2,048 tokens"),
        (addresses.link(LONG, addresses.REPORTED), "windows of 4,096 tokens"),
    ]
    assert sum(len(each) for each in links.values()) == len(reported.pages)
    assert "6 figures, 2 in conflict" in plain(text)


def beside(root: Path, *tables: dict[str, object], **methods: dict[str, str]) -> Reported:
    """Wanda's repository as a source, with other tables; it builds on SparseGPT."""
    source = {"key": "sun2023simple"}
    report = _report(source, *tables)
    report["methods"] |= methods
    add_figures(make_root(root, ENTRIES), {"sun2023simple": report})
    loaded = Catalog.load(root)
    assert loaded.reports, loaded.problems
    return Reported(Shelf(loaded))


def test_a_later_method_stands_beside_an_earlier_one_like_for_like(
    tree: Path, catalog: Catalog
) -> None:
    reported = Reported(Shelf(catalog))
    (one,) = reported.against(catalog.entries["frantar2023sparsegpt"])
    assert one.later.key == "sun2023simple"
    # What other work reports of Wanda alone (7.31) is no pair.
    assert (one.better, one.equal, one.pairs) == (1, 0, 2)
    assert [figure.value for figure in one.example] == [7.26, 7.22]
    assert one.page == SHORT
    assert reported.against(catalog.entries["sun2023simple"]) == []
    text = plain(page(tree, "papers/frantar2023sparsegpt.html"))
    assert "Wanda 1 of 2 LLaMA-7B, WikiText-2: perplexity" in text
    assert "Later methods" not in plain(page(tree, "papers/zhu2021survey.html"))


@pytest.mark.parametrize(
    "more",
    [
        {"budget": {"weights": "60%"}},
        {"structure": "n:m"},
        {"recovery": "LoRA"},
        {"sequence_length": 4096},
        {"dataset": "C4"},
        {"url": "https://example.org/elsewhere"},
    ],
    ids=["budget", "structure", "recovery", "length", "data", "place"],
)
def test_whatever_differs_makes_no_pair(tmp_path: Path, more: dict[str, object]) -> None:
    reported = beside(
        tmp_path / "root",
        _table("LLaMA-7B", 2048, {"dense": 5.0, "SparseGPT": 7.0}),
        _table("LLaMA-7B", 2048, {"dense": 5.0, "Wanda": 6.0}, **more),
    )
    assert reported.against(reported.shelf.catalog.entries["frantar2023sparsegpt"]) == []


def test_the_form_on_top_of_the_earlier_one_counts_and_no_ablation(tmp_path: Path) -> None:
    key = "sun2023simple"
    values = {
        "SparseGPT": 7.0,
        "Wanda (on SparseGPT)": 7.0,
        "Wanda (on magnitude)": 3.0,
        "Wanda without norms": 2.0,
    }
    reported = beside(
        tmp_path / "root",
        _table("LLaMA-7B", 2048, {"dense": 5.0, **values}),
        _table("LLaMA-7B", 2048, {"dense": 50, "SparseGPT": 40, "Wanda": 45}, metric="accuracy"),
        **{
            "Wanda (on SparseGPT)": {"key": key, "variant": "on SparseGPT"},
            "Wanda (on magnitude)": {"key": key, "variant": "on magnitude"},
            "Wanda without norms": {"key": key, "variant": "ablation without norms"},
        },
    )
    (one,) = reported.against(reported.shelf.catalog.entries["frantar2023sparsegpt"])
    # Level on perplexity, where lower is better; better on accuracy, where higher is.
    assert (one.better, one.equal, one.pairs) == (1, 1, 2)


def test_the_fixture_has_both_kinds_of_sources() -> None:
    assert {"key" in each["source"] for each in REPORTS.values()} == {True, False}
