"""What is written into the tree: a pure function of the catalog, with nothing left unescaped."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_catalog import (
    ENTRIES,
    HOSTILE,
    METHOD,
    REPOSITORY,
    RESULT,
    add_results,
    entry,
    make_root,
)

from catalog.bibtex import to_bibtex
from catalog.errors import PrunedexError
from catalog.site import addresses, write_tree
from catalog.site.data import catalog_data
from catalog.site.markup import document, duration, number, one_line, percent, size
from catalog.site.maths import FormulaError, mathml
from catalog.site.shelf import Shelf
from catalog.store import Catalog


@pytest.fixture(scope="module")
def tree(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "tree"
    assert write_tree(catalog, folder) == []
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def page(tree: Path, name: str) -> str:
    return (tree / "docs" / addresses.source(name)).read_text(encoding="utf-8")


def plain(html: str) -> str:
    """What a reader sees of a page's source."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_equal_catalogs_give_equal_trees(root: Path, tree: Path, tmp_path: Path) -> None:
    write_tree(Catalog.load(root), tmp_path / "again")
    assert written(tmp_path / "again") == written(tree)


def test_the_tree_stands_alone(tree: Path) -> None:
    settings = YAML(typ="safe", pure=True).load((tree / "mkdocs.yml").read_text(encoding="utf-8"))
    assert "hooks" not in settings
    names = {
        name
        for plugin in settings["plugins"]
        for name in (plugin if isinstance(plugin, dict) else [plugin])
    }
    assert names == {"search"}
    assert settings["theme"]["font"] is False
    for path in (settings["docs_dir"], settings["theme"]["custom_dir"]):
        assert (tree / path).is_dir()


def test_every_paper_value_and_dimension_has_its_page(tree: Path, catalog: Catalog) -> None:
    for key in catalog.entries:
        assert (tree / "docs" / "papers" / f"{key}.md").is_file()
    for name in catalog.vocabulary:
        assert (tree / "docs" / addresses.source(addresses.dimension(name))).is_file()
        for value in catalog.vocabulary.ids(name):
            assert (tree / "docs" / addresses.source(addresses.value(name, value))).is_file()


def test_generated_pages_are_one_line_of_html_below_their_head(tree: Path) -> None:
    """A line feed in the body would let Markdown see fences, lists and attribute lists."""
    for key in (each["key"] for each in ENTRIES):
        head, body = page(tree, addresses.paper(key)).split("\n---\n")
        assert body.strip().count("\n") == 0
        assert body.strip().startswith("<article")
        assert head.startswith("---\n")


def test_hostile_text_is_escaped_in_body_and_head(tree: Path) -> None:
    text = page(tree, "papers/mallory2022escape.html")
    for piece in ("<script>window", "<img src=x", "</title>", "<b>bold"):
        assert piece not in text
    assert 'href="javascript:' not in text
    seen = plain(text)
    for piece in HOSTILE:
        assert " ".join(piece.split()) in seen
    head = YAML(typ="safe", pure=True).load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert unescape(head["title"]).startswith(HOSTILE[0])
    assert "<" not in head["title"]
    assert "<" not in head["description"]


def test_control_characters_never_reach_a_page() -> None:
    """Python-Markdown puts what it set aside between these two, and would take ours for its own."""
    assert one_line("<p>a\x02wzxhzdk:0\x03b</p>") == "<p>awzxhzdk:0b</p>"
    assert "\x02" not in document("a\x02", "b\x02", "<p>c\x02</p>")


def test_lines_of_code_survive_on_one_line() -> None:
    assert one_line("<div>\n <pre>a\n  b</pre>\n</div>") == "<div> <pre>a&#10;  b</pre> </div>"


def test_catalog_json_has_the_documented_shape(tree: Path, catalog: Catalog) -> None:
    data = json.loads((tree / "docs" / "catalog.json").read_text(encoding="utf-8"))
    assert data["schema"] == 1
    documented = (REPOSITORY / "site" / "pages" / "data.md").read_text(encoding="utf-8")
    for name in (*data, *data["entries"][0], *data["dimensions"][0], *data["generated_from"]):
        assert f"`{name}`" in documented, f"{name} is not described in data.md"
    years = [each["year"] for each in data["entries"]]
    assert years == sorted(years, reverse=True)
    wanda = next(each for each in data["entries"] if each["key"] == "sun2023simple")
    assert wanda["tags"]["type"] == ["unstructured", "n:m"]
    assert wanda["verified"] == {"type": ["unstructured"]}
    assert wanda["implementation"] == "wanda"
    assert wanda["venue"]["series"] == "ICLR"
    assert wanda["bibtex"] == to_bibtex([catalog.entries["sun2023simple"]]).strip()
    assert (tree / "docs" / wanda["url"].replace(".html", ".md")).is_file()


def test_a_parent_counts_the_papers_of_its_children(catalog: Catalog) -> None:
    values = {
        value["id"]: value
        for dimension in catalog_data(Shelf(catalog))["dimensions"]
        if dimension["id"] == "type"
        for value in dimension["values"]
    }
    assert values["structured"]["count"] == 2  # one removes layers, one heads and neurons
    assert values["width"]["count"] == 1
    assert values["expert"]["count"] == 0


def test_a_paper_without_code_here_says_nothing_of_running(tree: Path) -> None:
    text = page(tree, "papers/men2024shortgpt.html")
    assert "Run it" not in text
    assert "Measured here" not in text


def test_a_method_shows_equation_code_deviation_and_command(tree: Path) -> None:
    text = page(tree, "papers/sun2023simple.html")
    assert "<math" in text
    seen = plain(text)
    assert "prunedex run wanda --model smollm2-135m --pattern 2:4" in seen
    assert "Exact counts, <b>not</b> thresholds." in seen
    code = unescape(re.sub(r"<[^>]+>", "", text))
    assert "def wanda(model, calibration, sparsity: float = 0.5" in code
    assert "the fixture runs nothing" in seen
    assert "mamba" in seen


def test_measured_figures_come_with_their_protocol_and_command(tree: Path) -> None:
    seen = plain(page(tree, "papers/sun2023simple.html"))
    for piece in (
        "19.12",
        "22.25",
        "31.50",
        "1.20\u202fGiB",
        "80.1\u202fs",
        "53\u202f084\u202f160",
    ):
        assert " ".join(piece.split()) in seen
    for piece in ("134\u202f515\u202f008", "32 windows of 512 tokens", "torch 2.13.0"):
        assert " ".join(piece.split()) in seen
    assert (
        "prunedex run wanda --model smollm2-135m --calibration lee --samples 32 --length 512 "
        "--dtype float32 --seed 0 --pattern 2:4"
    ) in seen


def test_verified_tags_say_what_was_observed(tree: Path) -> None:
    seen = plain(page(tree, "papers/sun2023simple.html"))
    assert "Verified 50.0 % of every layer is zero" in seen
    assert "Did not hold when run a group of four kept three" in seen


def test_runs_of_different_protocols_are_not_put_into_one_table(tmp_path: Path) -> None:
    other = json.loads(json.dumps(RESULT))
    other["protocol"]["evaluation"]["length"] = 128
    data_free = json.loads(json.dumps(RESULT))
    data_free["protocol"]["calibration"] = None
    made = make_root(tmp_path / "root", ENTRIES[:2])
    add_results(made, RESULT, other, data_free)
    shelf = Shelf(Catalog.load(made))
    for groups in (shelf.measured("wanda"), shelf.measured()):
        assert sorted(len(group.results) for group in groups) == [1, 2]


def test_methods_are_ranked_within_a_setting(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1])
    results = []
    for method, pattern, perplexity in [
        ("wanda", None, 22.0),
        ("other", None, 21.0),
        ("worse", None, None),
        ("wanda", "2:4", 10.0),
    ]:
        result = json.loads(json.dumps(RESULT))
        result |= {"method": method, "options": {"sparsity": 0.5, "pattern": pattern}}
        result["quality"]["perplexity_after"] = perplexity
        results.append(result)
    add_results(made, *results)
    write_tree(Catalog.load(made), tmp_path / "tree")
    text = page(tmp_path / "tree", "results/smollm2-lee-1.html")
    rows = [plain(row) for row in re.findall(r'<tr class="told[^>]*>(.*?)</tr>', text)]
    assert [row.replace(" 50 %", "") for row in rows] == [
        "other 1 21.00 +0.094 × 1.10 best",
        "Wanda 2 22.00 +0.140 × 1.15 +0.047 × 1.05 cannot be told",
        "worse 3 not finite not finite",
        "Wanda 1 10.00 −0.648 × 0.52 the only one measured",
    ]
    assert "results/smollm2-lee-1.html" in page(tmp_path / "tree", "methods.html")


def test_lineage_goes_both_ways(tree: Path) -> None:
    assert "Simplifies SparseGPT" in plain(page(tree, "papers/sun2023simple.html"))
    assert "Simplified by Wanda" in plain(page(tree, "papers/frantar2023sparsegpt.html"))


def test_an_empty_catalog_has_all_pages(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", [], method="")
    assert write_tree(Catalog.load(made), tmp_path / "tree") == []
    assert "no papers yet" in plain(page(tmp_path / "tree", "catalog.html"))
    assert json.loads((tmp_path / "tree/docs/catalog.json").read_text())["entries"] == []


def test_a_correction_link_needs_a_repository(root: Path, tree: Path, tmp_path: Path) -> None:
    without = page(tree, "papers/sun2023simple.html")
    assert "Suggest a correction" not in without
    assert "papers/sun2023simple.yaml" in without

    made = make_root(tmp_path / "root", ENTRIES[:1])
    shutil.copytree(REPOSITORY / "site", made / "site")
    settings = made / "site" / "mkdocs.yml"
    settings.write_text(
        settings.read_text(encoding="utf-8") + "\nrepo_url: https://forge.example/o/p\n",
        encoding="utf-8",
    )
    write_tree(Catalog.load(made), tmp_path / "tree")
    link = 'href="https://forge.example/o/p/edit/main/papers/sun2023simple.yaml"'
    assert link in page(tmp_path / "tree", "papers/sun2023simple.html")


def test_two_pages_for_one_address_are_refused(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1])
    file = made / "catalog" / "vocabulary" / "type.yaml"
    text = file.read_text(encoding="utf-8")
    value = "\n  - {id: n-m, name: Twin, definition: D., source: {title: T, url: 'https://example.org/'}}\n"
    file.write_text(text.rstrip() + value, encoding="utf-8")
    with pytest.raises(PrunedexError, match=r"tags/type/n-m\.html"):
        write_tree(Catalog.load(made), tmp_path / "tree")


def test_names_in_bibliographic_order_are_shown_as_people_write_them(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", [entry("van2020order", authors=["van der Berg, Anna"])])
    write_tree(Catalog.load(made), tmp_path / "tree")
    assert "Anna van der Berg" in plain(page(tmp_path / "tree", "papers/van2020order.html"))


def test_a_survey_without_tags_shows_none(tree: Path) -> None:
    assert 'class="taglist"' not in page(tree, "papers/zhu2021survey.html")


def test_every_formula_of_the_methods_can_be_drawn() -> None:
    catalog = Catalog.load(REPOSITORY)
    for method in catalog.methods.values():
        for equation in method.equations:
            drawn = mathml(equation.latex)
            assert drawn.startswith("<math")


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"S_{ij} = |W_{ij}| \cdot \lVert X_j \rVert_2", "<msub><mi>S</mi>"),
        (r"\frac{1}{n}\sum_{i=1}^{n} x_i^2", "<mfrac>"),
        (r"\arg\min_M \left\lVert W X \right\rVert_F^2", "arg"),
        (r"\mathbb{E}_t[\cos(x_t, y_t)]", "𝔼"),
    ],
)
def test_formulas_become_mathml(latex: str, expected: str) -> None:
    drawn = mathml(latex)
    assert expected in unescape(drawn)
    assert "\\" not in re.sub(r'alttext="[^"]*"', "", drawn)


def test_bars_come_in_pairs_of_one_height() -> None:
    bars = re.findall(r"<mo([^>]*)>\|</mo>", mathml(r"|a| + |b|"))
    assert [("prefix" in bar, "postfix" in bar) for bar in bars] == [
        (True, False),
        (False, True),
    ] * 2


@pytest.mark.parametrize(
    "latex", [r"\undefinedcommand{x}", r"\frac{a", r"a}", r"\left[ a"], ids=str
)
def test_formulas_that_cannot_be_drawn_are_refused(latex: str) -> None:
    with pytest.raises(FormulaError):
        mathml(latex)


def test_a_formula_cannot_smuggle_markup_in() -> None:
    assert "<script" not in mathml(r"<script>alert(1)</script>")
    for inside in ("</math><script>alert(1)</script>", "<script>alert(1)</script>"):
        with pytest.raises(FormulaError):
            mathml(rf"\text{{{inside}}}")


def test_a_formula_that_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1], method=METHOD.replace(r"\cdot", r"\nonsense"))
    (flaw,) = write_tree(Catalog.load(made), tmp_path / "tree")
    assert flaw.startswith("impl/methods/wanda.py: the formula of 'Eq. 1 (§3)'")
    assert r"\nonsense" in flaw


@pytest.mark.parametrize(
    ("target", "origin", "expected"),
    [
        ("catalog.html", "index.html", "catalog.html"),
        ("catalog.html?type=n%3Am", "tags/type/n-m.html", "../../catalog.html?type=n%3Am"),
        ("papers/a2020b.html#cite", "papers/c2021d.html", "a2020b.html#cite"),
    ],
)
def test_links_are_relative(target: str, origin: str, expected: str) -> None:
    assert addresses.link(target, origin) == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(19.1234), "19.1"),
        (number(1234567), "1\u202f234\u202f567"),
        (number(0.0), "0.00"),
        (number(None), "not finite"),
        (number(3.2e12), "3.20e+12"),
        (percent(0.5), "50\u202f%"),
        (percent(0.33333), "33.33\u202f%"),
        (size(1288490189), "1.20\u202fGiB"),
        (size(None), "not measured"),
        (duration(80.1), "80.1\u202fs"),
        (duration(3725), "1\u202fh 2\u202fmin"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


# Colours ----------------------------------------------------------------------------------

DIMENSION_COLOURS = ["type", "criterion", "budget", "data", "retraining", "weight-update"]

# Machado, Oliveira and Fernandes 2009, severity 1; linear RGB.
VISION: dict[str, list[list[float]]] = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def scheme(name: str) -> dict[str, str]:
    css = (REPOSITORY / "site" / "assets" / "prunedex.css").read_text(encoding="utf-8")
    block = re.search(rf'\[data-md-color-scheme="{name}"\] {{(.*?)\n}}', css, re.DOTALL)
    assert block
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block[1]))


def linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def contrast(one: str, other: str) -> float:
    light = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(each), strict=True)))
        for each in (one, other)
    )
    return (light[1] + 0.05) / (light[0] + 0.05)


def oklab(rgb: list[float]) -> list[float]:
    rows = [
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ]
    clipped = [min(max(c, 0.0), 1.0) for c in rgb]
    lms = [sum(a * c for a, c in zip(row, clipped, strict=True)) ** (1 / 3) for row in rows]
    return [
        sum(a * c for a, c in zip(row, lms, strict=True))
        for row in (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        )
    ]


@pytest.mark.parametrize("name", ["default", "slate"])
def test_text_has_the_contrast_of_wcag_aa(name: str) -> None:
    colours = scheme(name)
    grounds = ["paper", "panel", "raised", "tint"]
    for ground in grounds:
        for text in ["ink", "quiet", "plum", "plum-strong", "leaf", "warn"]:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["line-strong"], colours[ground]) >= 3, ground
    for text in [*DIMENSION_COLOURS, "code-keyword", "code-string", "code-name", "code-number"]:
        for ground in ["paper", "panel", "raised"]:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-plum"], colours["plum"]) >= 4.5
    assert contrast(colours["leaf"], colours["leaf-tint"]) >= 4.5


@pytest.mark.parametrize("name", ["default", "slate"])
@pytest.mark.parametrize("vision", VISION)
def test_dimensions_stay_apart_for_every_colour_vision(name: str, vision: str) -> None:
    colours = scheme(name)
    seen = {}
    for each in DIMENSION_COLOURS:
        rgb = linear(colours[each])
        seen[each] = oklab(
            [sum(a * c for a, c in zip(row, rgb, strict=True)) for row in VISION[vision]]
        )
    for one in DIMENSION_COLOURS:
        for other in DIMENSION_COLOURS:
            if one < other:
                distance = (
                    sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
                )
                # A just noticeable difference is about 0.02.
                assert distance > 0.05, (one, other)


def test_colours_without_javascript_are_the_dark_ones() -> None:
    css = (REPOSITORY / "site" / "assets" / "prunedex.css").read_text(encoding="utf-8")
    block = re.search(r"\.no-js, \.no-js \[.*?\] {(.*?)\n  }", css, re.DOTALL)
    assert block
    assert dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block[1])) == scheme("slate")
