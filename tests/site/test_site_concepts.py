"""Concept pages: what the head promises is built, and the worked numbers are right."""

from __future__ import annotations

import itertools
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from small_catalog import ENTRIES, HOSTILE, REPOSITORY, make_root

from catalog.concepts import CONCEPTS, Concept, read_concepts, split
from catalog.query import Filter, select
from catalog.schema import DIMENSIONS
from catalog.site import build_site, write_tree
from catalog.site.prose import formula, prepared
from catalog.site.shelf import first_sentence
from catalog.store import Catalog

PAGES, PROBLEMS = read_concepts(REPOSITORY)

HEAD = """---
title: Masks
description: What is kept.
order: 1
papers:
  - {label: Small weights, tags: {criterion: [magnitude]}}
---
"""


def concept(name: str) -> Concept:
    (found,) = (each for each in PAGES if each.name == name)
    return found


@pytest.fixture(scope="module")
def real() -> Catalog:
    return Catalog.load(REPOSITORY)


def site_with(root: Path, text: str | None) -> Path:
    """A small catalog with a site of its own, in which `masks.md` is the only concept."""
    made = make_root(root, ENTRIES)
    shutil.copytree(REPOSITORY / "site", made / "site")
    shutil.rmtree(made / CONCEPTS)
    (made / CONCEPTS).mkdir()
    if text is not None:
        (made / CONCEPTS / "masks.md").write_text(text, encoding="utf-8")
    return made


def built(tree: Path) -> str:
    return (tree / "docs" / "concepts" / "masks.md").read_text(encoding="utf-8")


# The pages that come along ------------------------------------------------------------------


def test_there_are_concepts_in_a_reading_order_without_gaps() -> None:
    assert PROBLEMS == []
    assert [each.head.order for each in PAGES] == list(range(1, len(PAGES) + 1))
    assert {name for each in PAGES for name in each.head.dimensions} == set(DIMENSIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_concept_has_sources_papers_and_formulas_that_can_be_drawn(
    page: Concept, real: Catalog
) -> None:
    assert page.sources()
    assert f"\n# {page.head.title}\n" in page.body
    for group in page.head.papers:
        assert select(real, Filter(**group.tags.model_dump(), kind=group.kind)), group.label
    _, flaws = prepared(page.body, page.path, page.start, lambda key: "x.md")
    assert flaws == []
    assert "$$" in page.body


def test_a_tag_page_links_to_the_concept_that_explains_it(tmp_path: Path) -> None:
    write_tree(Catalog.load(make_root(tmp_path / "root", ENTRIES)), tmp_path / "tree")
    docs = tmp_path / "tree" / "docs"
    for name in ("tags/criterion/wanda.md", "tags/criterion.md", "tags/type/n-m.md"):
        assert "concepts/" in (docs / name).read_text(encoding="utf-8"), name
    # Hessian has none of its own: it is explained with what it is a kind of.
    assert "concepts/criteria.html" in (docs / "tags/criterion/hessian.md").read_text()


# What is generated --------------------------------------------------------------------------


def test_papers_are_listed_from_tags_with_their_first_sentence(tmp_path: Path) -> None:
    text = HEAD + "\n# Masks\n\nSee [Wanda](paper:sun2023simple) and [it](paper:no2000body).\n"
    made = site_with(tmp_path / "root", text)
    assert write_tree(Catalog.load(made), tmp_path / "tree") == []
    page = built(tmp_path / "tree")
    assert "[Wanda](../papers/sun2023simple.md) and it." in page
    assert 'href="../papers/han2015learning.html"' in page
    assert "What han2015learning teaches." in page
    assert "men2024shortgpt" not in page
    assert "../catalog.html?criterion=magnitude" in page


def test_methods_that_run_come_first_and_are_marked(tmp_path: Path) -> None:
    text = HEAD.replace("criterion: [magnitude]", "type: [unstructured]")
    write_tree(Catalog.load(site_with(tmp_path / "root", text)), tmp_path / "tree")
    names = re.findall(r'<li><a href="../papers/(\w+)\.html">', built(tmp_path / "tree"))
    assert names[0] == "sun2023simple"
    assert built(tmp_path / "tree").count("runs here") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("magnitude", "magnitud"), "masks.md:6:47: criterion has no value 'magnitud'"),
        (("order: 1", "order: first"), "masks.md:4:8: wrong-type"),
        (("title: Masks\n", ""), "missing-field"),
        (("title:", "titel:"), "masks.md:2:1: unknown-field"),
        (("papers:", "papers: []\nmore:"), "masks.md:5:9: bad-value"),
        (("{criterion: [magnitude]}", "{}"), "name at least one tag"),
        (("---\n", ""), "no-head"),
    ],
)
def test_a_mistake_in_the_head_is_located_by_check_and_build(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    made = site_with(tmp_path / "root", HEAD.replace(*change) + "\n# Masks\n")
    catalog = Catalog.load(made)
    assert any(said.rpartition(": ")[2] in str(problem) for problem in catalog.problems)
    flaws = write_tree(catalog, tmp_path / "tree")
    assert any(said in flaw for flaw in flaws), flaws
    with pytest.raises(Exception, match=r"masks\.md:\d+:\d+"):
        build_site(catalog, tmp_path / "out")


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_head_does_not_break_out(tmp_path: Path, hostile: str) -> None:
    quoted = "'" + hostile.replace("'", "''") + "'"
    text = HEAD.replace("title: Masks", f"title: {quoted}").replace("What is kept.", quoted)
    text = text.replace("Small weights", quoted)
    made = site_with(tmp_path / "root", text + "\n# Masks\n")
    assert write_tree(Catalog.load(made), tmp_path / "tree") == []
    docs = tmp_path / "tree" / "docs" / "concepts"
    for file in (docs / "masks.md", docs / "index.md"):
        page = file.read_text(encoding="utf-8")
        for piece in ("<script>window", "<img src=x", "</title>", "<b>bold", '" onmouseover'):
            assert piece not in page
        assert 'href="javascript' not in page
        assert " ".join(hostile.split()) in " ".join(unescape(page).split())
    head, body, _ = split(built(tmp_path / "tree"))
    assert "<" not in head
    assert not any(line.startswith("```") for line in body.splitlines())


def test_a_page_without_a_readable_head_is_left_out(tmp_path: Path) -> None:
    made = site_with(tmp_path / "root", "<script>window.hacked = 1</script>\n")
    assert write_tree(Catalog.load(made), tmp_path / "tree")
    assert not (tmp_path / "tree" / "docs" / "concepts" / "masks.md").exists()


# Formulas in prose --------------------------------------------------------------------------


def drawn(body: str) -> str:
    text, flaws = prepared(body, "p.md", 1, lambda key: None)
    assert flaws == []
    return text


def test_formulas_are_drawn_in_a_sentence_and_on_their_own() -> None:
    text = drawn("With $W_{ij}$ and $\n\n$$ \\sum_i x_i $$\n\nend.")
    assert text.startswith('With <span class="math"><math')
    assert '\n\n<div class="formula"' in text
    assert "and $\n" in text


@pytest.mark.parametrize("latex", [r"a * b * c", r"x_1 + x_2", r"|a|", r"\{ a \}", r"[a](b)"])
def test_markdown_sees_no_markup_in_a_formula(latex: str) -> None:
    made = formula(latex, block=False)
    assert not set(made) & set("\\`*_{}[]|")
    assert "\n" not in made


@pytest.mark.parametrize(
    "text", ["`$x$`", "``a ` $x$``", "```sh\n$ echo $HOME $x\n```", "between $5 and $6 each"]
)
def test_code_and_prices_are_no_formulas(text: str) -> None:
    assert drawn(text) == text


def test_spaces_in_a_formula_s_words_are_kept() -> None:
    assert "\u00a0among\u00a0" in formula(r"x \text{ among } y", block=False)


def test_a_formula_that_cannot_be_drawn_is_named_with_its_line() -> None:
    text, (flaw,) = prepared("a\n\n$\\nonsense{<b>}$\n", "site/pages/p.md", 5, lambda key: None)
    assert flaw.startswith("site/pages/p.md:7: the formula")
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Cheap, e.g. Wanda at 7.26. Then more.", "Cheap, e.g. Wanda at 7.26."),
        ("See Sun et al. Here it ends! Two", "See Sun et al. Here it ends!"),
        ("No stop", "No stop"),
    ],
)
def test_the_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


# Worked numbers -----------------------------------------------------------------------------


X = np.array([[1, 1, 0, 0, 0], [0, 0, 4, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 1, 0]], dtype=float)
ROW = np.array([0.5, 0.2, -0.4, 0.6])


def errors(removed: tuple[int, ...]) -> tuple[float, float]:
    """Squared output error of a mask, with values as they were and refitted."""
    kept = [i for i in range(4) if i not in removed]
    refit = np.linalg.lstsq(X[kept].T, X.T @ ROW, rcond=None)[0]
    frozen = ROW[list(removed)] @ X[list(removed)]
    return float(np.sum(frozen**2)), float(np.sum((ROW @ X - refit @ X[kept]) ** 2))


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("magnitude", np.abs(ROW)),
        ("Wanda", np.abs(ROW) * np.linalg.norm(X, axis=1)),
        ("OBS", ROW**2 / np.diag(np.linalg.inv(X @ X.T))),
    ],
)
def test_the_example_of_the_criteria(name: str, score: np.ndarray) -> None:
    (line,) = re.findall(rf"^\| {name}.*\|$", concept("criteria").body, re.MULTILINE)
    cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
    removed = tuple(sorted(np.argsort(score)[:2]))
    frozen, refitted = errors(removed)
    assert cells[1:5] == [f"{value:.2f}" for value in score]
    assert cells[5] == ", ".join(str(i + 1) for i in removed)
    assert cells[6:8] == [f"{frozen:.2f}", f"{refitted:.2f}"]


def test_no_pair_beats_the_one_that_obs_finds() -> None:
    best = min(itertools.combinations(range(4), 2), key=lambda pair: errors(pair)[1])
    assert best == (0, 2)


def test_the_example_of_the_weight_update() -> None:
    body = concept("weight-update").body
    frozen, refitted = errors((2, 3))
    assert rf"{frozen:.2f} \to {refitted:.2f}" in body
    upper = np.linalg.cholesky(np.linalg.inv(X @ X.T)).T
    scores = ROW**2 / np.diag(upper) ** 2
    assert f"scores $w_3$ as {scores[2]:.2f}" in body
    assert sorted(np.argsort(scores)[:2]) == [0, 3]
    assert f"{errors((0, 3))[1]:.2f} after its update" in body
    assert f"{0.6**2 * 5 * X[3].var():.3f}" in body


def test_the_example_of_the_granularity() -> None:
    body = concept("granularity").body
    W = np.array(
        [[0.9, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3, 0.1], [0.2, 0.5, 0.1, 0.3, 0.8, 0.4, 0.2, 0.6]]
    )
    free = np.sort(W.ravel())[:8]
    groups = np.sort(W.reshape(-1, 4), axis=1)[:, :2]
    columns = np.sort((W**2).sum(axis=0))[:4]
    for lost in (np.sum(free**2), np.sum(groups**2), columns.sum()):
        assert f"{lost:.2f}" in body


def test_the_shares_of_the_budgets() -> None:
    body = concept("budgets").body
    small = {"d": 576, "f": 1536, "blocks": 30, "kv": 192, "total": 134_515_008}
    large = {"d": 4096, "f": 11_008, "blocks": 32, "kv": 4096, "total": 6_738_415_616}
    shares = []
    for m in (small, large):
        attention = m["blocks"] * (2 * m["d"] ** 2 + 2 * m["d"] * m["kv"])
        feed = m["blocks"] * 3 * m["d"] * m["f"]
        assert f"{attention + feed:,}" in body
        shares.append([50 * part / m["total"] for part in (attention + feed, feed, attention)])
    for ours, theirs in zip(*shares, strict=True):
        assert re.search(rf"\| {ours:.1f} %.*\| {theirs:.1f} % \|", body)


def test_the_worth_of_sparse_weights() -> None:
    a, b, c, d = 1.30485411, 0.82101251, 2.07506343, 0.39222675
    for sparsity in (0.5, 0.75, 0.875, 1.0):
        worth = ((a + c) / (a * (1 - sparsity) ** b + c)) ** (1 / d)
        assert f"${worth:.2f}\\,N$" in concept("scaling-laws").body
