"""What was last seen of repositories and links, on the page of a paper."""

from __future__ import annotations

import json
from pathlib import Path

from small_catalog import ENTRIES, HOSTILE, make_root

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
