"""What was last seen of repositories and links, on the page of a paper."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from small_catalog import ENTRIES, HOSTILE, REPOSITORY, make_root

from catalog.site.pages import Repository
from catalog.site.tree import write_tree
from catalog.store import Catalog


def page(root: Path, tree: Path) -> str:
    assert write_tree(Catalog.load(root), tree) == []
    return (tree / "docs" / "papers" / "sun2023simple.md").read_text("utf-8")


def test_nothing_is_said_where_nothing_was_seen(tmp_path: Path) -> None:
    shown = page(make_root(tmp_path / "root", ENTRIES[:1]), tmp_path / "tree")
    assert "do not answer" not in shown
    assert "<dt>Repository</dt>" not in shown


def test_repositories_and_dead_links(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", ENTRIES[:1])
    (root / "catalog" / "state").mkdir()
    repository = {"checked": "2026-11-08", "stars": 1234, "licence": "MIT", "pushed": "2024-08-01",
                  "archived": True}  # fmt: skip
    arxiv = "https://arxiv.org/abs/2306.11695"
    dead = {"checked": "2026-11-08", "failed": ["2026-11-01", "2026-11-08"],
            "reason": HOSTILE[0], "archived": f"https://web.archive.org/web/2024/{arxiv}"}  # fmt: skip
    once = {**dead, "failed": ["2026-11-08"]}
    for name, seen in (
        ("repositories", {"Locuslab/wanda": repository}),
        ("links", {arxiv: dead, "https://github.com/locuslab/wanda": once}),
    ):
        file = root / "catalog" / "state" / f"{name}.json"
        file.write_text(json.dumps({"schema": 1, name: seen}), "utf-8")
    shown = page(root, tmp_path / "tree")
    assert "locuslab/wanda, 1\u202f234 stars, licence MIT, last change 2024-08-01" in shown
    assert "<strong>archived</strong>" in shown
    assert shown.count('href="https://web.archive.org/web/2024/') == 1
    section = shown.partition("Links that do not answer")[2].partition("</section>")[0]
    assert arxiv in section
    assert "github.com" not in section
    assert "<script>window" not in shown


def test_a_mistake_is_reported_with_the_form_filled_in(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", ENTRIES[:1])
    assert "report a mistake" not in page(root, tmp_path / "first")
    shutil.copytree(REPOSITORY / "site", root / "site")
    with (root / "site" / "mkdocs.yml").open("a", encoding="utf-8") as settings:
        settings.write("\nrepo_url: https://github.com/o/r/\n")
    shown = page(root, tmp_path / "second")
    address = "https://github.com/o/r/issues/new?template=correction.yml&amp;key=sun2023simple"
    assert f'href="{address}"' in shown
    form = REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "correction.yml"
    assert "id: key" in form.read_text("utf-8")
    filled = Repository("https://github.com/o/r").report_url(
        "correction.yml", key="a b&c", field="x"
    )
    assert filled == "https://github.com/o/r/issues/new?template=correction.yml&key=a+b%26c&field=x"
