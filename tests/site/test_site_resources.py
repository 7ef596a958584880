"""Pages of models, data sets and tools, and what papers' pages say of experiments and gaps."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from small_catalog import ENTRIES, HOSTILE, REPOSITORY, RESOURCES, entry, make_root

from catalog.schema import RESOURCES as LISTS
from catalog.site import addresses, write_tree
from catalog.site.resources import Resources
from catalog.site.shelf import Shelf
from catalog.store import Catalog

EXPERIMENTS = [
    entry("one2023exact", evaluated_on={"models": ["LLaMA-7B"], "calibration": ["WikiText-2"]}),
    entry("two2023family", evaluated_on={"models": ["LLaMA"], "finetuning": ["WikiText"]}),
    entry("three2024both", evaluated_on={"models": ["LLaMA", "LLaMA-7B"]}),
    entry("four2024none", authors=[], gaps={"authors": "No page that could be read names them."}),
]


@pytest.fixture(scope="module")
def tree(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "tree"
    assert write_tree(catalog, folder) == []
    return folder


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, Path]:
    """A catalog of four papers that name a model, its family, both, or nothing."""
    made = Catalog.load(make_root(tmp_path_factory.mktemp("some") / "root", EXPERIMENTS))
    assert len(made.entries) == len(EXPERIMENTS), made.reading_problems
    folder = tmp_path_factory.mktemp("tree") / "tree"
    assert write_tree(made, folder) == []
    return made, folder


def page(tree: Path, name: str) -> str:
    return (tree / "docs" / addresses.source(name)).read_text(encoding="utf-8")


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def section(html: str, title: str) -> str:
    """What a reader sees of the section whose heading starts so."""
    for part in re.findall(r"<section[^>]*>.*?</section>", html):
        heading = re.search(r"<h2[^>]*>(.*?)</h2>", part)
        if heading and plain(heading[1]).startswith(title):
            return plain(part)
    return ""


def test_everything_in_a_list_has_a_page_and_each_list_an_index(tree: Path) -> None:
    for group, items in RESOURCES.items():
        index = page(tree, addresses.resources(group))
        for item in items:
            assert (tree / "docs" / group / f"{item['id']}.md").is_file()
            assert f'href="{item["id"]}.html"' in index
            assert " ".join(item["name"].split()) in plain(index)


def test_hostile_names_are_text_wherever_they_stand(tree: Path) -> None:
    pages = [addresses.resources(group) for group in LISTS]
    pages += [addresses.resource(group, "evil") for group in LISTS]
    for name in [*pages, "papers/mallory2022escape.html"]:
        text = page(tree, name)
        head, body = text.split("\n---\n")
        assert body.strip().count("\n") == 0, name
        for piece in ("<script>window", "<img src=x", "</title>", "<b>bold", 'href="javascript:'):
            assert piece not in body, name
        meta = YAML(typ="safe", pure=True).load(head.removeprefix("---\n"))
        assert "<" not in meta["title"] + meta["description"]
    seen = plain(page(tree, addresses.resource("models", "evil")))
    for piece in HOSTILE[:9]:
        assert " ".join(piece.split()) in seen


def test_mass_pages_stay_out_of_the_navigation_and_indexes_are_reached(tree: Path) -> None:
    settings = YAML(typ="safe", pure=True).load((REPOSITORY / "site" / "mkdocs.yml").read_text())
    targets = [target for item in settings["nav"] for target in item.values()]
    assert "models/index.md" in targets
    first = page(tree, "models/index.html")
    for group in LISTS:
        assert group == "models" or f'href="../{group}/index.html"' in first
        assert f"/{group}/*.md" in settings["not_in_nav"].splitlines()
    assert not any("llama" in str(target) for target in targets)


def test_papers_link_every_name_they_know_and_keep_the_others(tree: Path) -> None:
    text = page(tree, "papers/sun2023simple.html")
    assert '<a href="../models/llama.html">LLaMA</a>' in text
    assert text.count('<a href="../datasets/wikitext-2.html">WikiText-2</a>') >= 2
    hostile = page(tree, "papers/mallory2022escape.html")
    assert 'href="../models/evil.html"' in hostile
    assert 'href="../tools/evil.html"' in hostile
    assert "W" * 300 in plain(hostile)  # in no list, so without a link


def test_who_names_a_size_the_family_or_both(experiments: tuple[Catalog, Path]) -> None:
    catalog, tree = experiments
    resources = Resources(Shelf(catalog))
    (family,) = resources.roles(resources.item("models", "llama"))
    assert [each.entry.key for each in family.direct] == ["two2023family"]
    assert [each.entry.key for each in family.members] == ["three2024both", "one2023exact"]
    assert family.family == []
    (size,) = resources.roles(resources.item("models", "llama-7b"))
    assert [each.entry.key for each in size.direct] == ["three2024both", "one2023exact"]
    assert [each.entry.key for each in size.family] == ["two2023family"]

    text = page(tree, addresses.resource("models", "llama"))
    assert "3 papers evaluate it" in plain(text)
    assert "1 names LLaMA without a size" in plain(text)
    assert 'href="llama-7b.html"' in text
    text = page(tree, addresses.resource("models", "llama-7b"))
    assert "two2023family" not in section(text, "2 papers evaluate it")
    assert "Pruning by two2023family" in section(text, "1 more paper evaluates LLaMA")
    assert "decoder · 7B parameters" in plain(text)  # the kind is the family's


def test_data_sets_tell_their_roles_apart(experiments: tuple[Catalog, Path]) -> None:
    _, tree = experiments
    text = page(tree, addresses.resource("datasets", "wikitext-2"))
    assert "Pruning by one2023exact" in section(text, "1 paper calibrates on it")
    assert "fine-tunes on it" not in plain(text)
    assert "two2023family" in section(text, "1 more paper fine-tunes on WikiText")
    whole = page(tree, addresses.resource("datasets", "wikitext"))
    assert "1 paper fine-tunes on it" in plain(whole)
    assert "names WikiText-2" in section(whole, "1 paper calibrates on it")


def test_counts_are_of_papers_and_families_count_their_members(
    experiments: tuple[Catalog, Path],
) -> None:
    resources = Resources(Shelf(experiments[0]))
    counts = {
        (group, item.resource.id): item.count for group in LISTS for item in resources.items(group)
    }
    assert counts["models", "llama"] == 3
    assert counts["models", "llama-7b"] == 2
    assert counts["datasets", "wikitext"] == 2
    assert counts["models", "mixtral-8x7b"] == 0
    assert "No paper in the catalog names it so far." in plain(
        page(experiments[1], addresses.resource("models", "mixtral-8x7b"))
    )


def test_indexes_are_parted_by_kind_and_task(experiments: tuple[Catalog, Path]) -> None:
    seen = plain(page(experiments[1], addresses.resources("models")))
    assert seen.index("Decoders LLaMA 3 papers LLaMA-7B 2") < seen.index("Mixtures of experts")
    assert "Language modelling WikiText 2 papers" in plain(
        page(experiments[1], addresses.resources("datasets"))
    )


def test_an_official_page_is_linked_and_aliases_are_named(tree: Path) -> None:
    text = page(tree, addresses.resource("datasets", "wikitext-2"))
    assert 'href="https://example.org/?a=1&amp;b=%22%3E"' in text
    assert "Also written LLaMA-1." in plain(page(tree, addresses.resource("models", "llama")))


def test_gaps_are_shown_and_only_where_there_are_any(
    tree: Path, experiments: tuple[Catalog, Path]
) -> None:
    assert "Not confirmed" not in page(tree, "papers/sun2023simple.html")
    shown = section(page(tree, "papers/mallory2022escape.html"), "Not confirmed")
    assert "Code No copy was found." in shown
    assert " ".join(HOSTILE[7].split()) in shown
    text = page(experiments[1], "papers/four2024none.html")
    assert "Authors No page that could be read names them." in section(text, "Not confirmed")
    assert "Authors unknown" in plain(text)
    assert "Authors unknown" in plain(page(experiments[1], "catalog.html"))
    assert "author =" not in plain(text)


def test_circles_and_missing_lists_do_not_stop_the_site(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1])
    (made / "catalog" / "resources" / "datasets.yaml").unlink()
    models: list[dict[str, Any]] = [
        {"id": "a", "name": "LLaMA", "parent": "b"},
        {"id": "b", "name": "B", "parent": "a"},
        {"id": "c", "name": "C", "parent": "c"},
    ]
    text = f"id: models\nitems: {models}\n".replace("'", '"')
    (made / "catalog" / "resources" / "models.yaml").write_text(text, encoding="utf-8")
    assert write_tree(Catalog.load(made), tmp_path / "tree") == []
    for name in ("a", "b", "c"):
        assert (tmp_path / "tree" / "docs" / "models" / f"{name}.md").is_file()
    assert "The list is empty." in plain(page(tmp_path / "tree", addresses.resources("datasets")))
    assert "WikiText-2" in plain(page(tmp_path / "tree", "papers/sun2023simple.html"))


def test_every_link_between_the_repository_s_pages_leads_somewhere(tmp_path: Path) -> None:
    write_tree(Catalog.load(REPOSITORY), tmp_path / "tree")
    documents = tmp_path / "tree" / "docs"
    for group in LISTS:
        for file in (documents / group).glob("*.md"):
            for target in re.findall(r'href="([^"#?]+)', file.read_text(encoding="utf-8")):
                if not target.startswith("http"):
                    source = addresses.source(target)
                    assert (file.parent / source).resolve().is_file(), (file.name, target)
