"""Name, mark, card and what other programs read in the head of a page."""

from __future__ import annotations

import json
import re
import shutil
import struct
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, expect
from small_catalog import ENTRIES, HOSTILE, REPOSITORY, entry, make_root

from catalog.site import build_site
from catalog.site.linked import in_script, linked_data
from catalog.store import Catalog

ASSETS = REPOSITORY / "site" / "assets"


class Head(HTMLParser):
    """Links, meta data and JSON-LD of a page, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.meta: list[dict[str, str]] = []
        self.links: list[dict[str, str]] = []
        self.scripts: list[str] = []
        self._reading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "meta":
            self.meta.append(given)
        elif tag == "link":
            self.links.append(given)
        elif tag == "script" and given.get("type") == "application/ld+json":
            self._reading = True
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._reading:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._reading = False

    def said(self, name: str) -> list[str]:
        """Contents of the meta elements of that name or property."""
        return [
            each["content"]
            for each in self.meta
            if name in (each.get("name"), each.get("property"))
        ]

    def to(self, relation: str) -> list[str]:
        """Where the links of a relation lead."""
        return [each["href"] for each in self.links if each.get("rel") == relation]


def head(site: Path, page: str) -> Head:
    found = Head()
    found.feed((site / page).read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that knows its address."""
    folder = tmp_path_factory.mktemp("published")
    root = make_root(folder / "root", ENTRIES[:2])
    shutil.copytree(REPOSITORY / "site", root / "site")
    settings = root / "site" / "mkdocs.yml"
    text = settings.read_text(encoding="utf-8")
    assert "# site_url: https://example.org/prunedex/" in text
    settings.write_text(text.replace("# site_url:", "site_url:"), encoding="utf-8")
    build_site(Catalog.load(root), folder / "out")
    return folder / "out"


# Meta data ----------------------------------------------------------------------------------


def test_every_page_has_one_description_and_card_text(site: Path) -> None:
    for file in site.rglob("*.html"):
        if file.name == "404.html":
            continue
        page = head(site, file.relative_to(site).as_posix())
        for name in ("description", "og:title", "og:description", "og:type", "twitter:card"):
            assert len(page.said(name)) == 1, (file.name, name)
            assert page.said(name)[0].strip(), (file.name, name)
        assert page.said("og:description") == page.said("description"), file.name


def test_a_paper_is_described_by_its_take_away(site: Path) -> None:
    page = head(site, "papers/sun2023simple.html")
    assert page.said("description") == ["What sun2023simple teaches."]
    assert page.said("og:title") == ["Wanda: A Simple and Effective Pruning Approach"]
    assert page.said("og:type") == ["article"]
    assert page.to("alternate feed") == ["../feed.xml"]
    assert [each.removeprefix("./") for each in page.to("describedby")] == ["sun2023simple.bib"]
    # The theme asks for the sitemap of every site in another language.
    assert page.to("alternate") == []


def test_hostile_text_stays_in_its_attribute(site: Path) -> None:
    page = head(site, "papers/mallory2022escape.html")
    assert page.said("og:description") == [" ".join(HOSTILE)]
    assert page.said("og:title") == [f"{HOSTILE[0]}: {' '.join(HOSTILE)}"] or page.said(
        "og:title"
    ) == [" ".join(HOSTILE)]


def test_without_an_address_nothing_claims_to_have_one(site: Path) -> None:
    page = head(site, "papers/sun2023simple.html")
    assert page.said("og:image") == page.said("og:url") == page.to("canonical") == []
    assert not (site / "assets" / "cards").exists()


def test_with_an_address_card_and_canonical_links_are_whole(published: Path) -> None:
    page = head(published, "papers/sun2023simple.html")
    base = "https://example.org/prunedex/"
    assert page.said("og:image") == [f"{base}assets/cards/sun2023simple.png"]
    assert (published / "assets" / "cards" / "sun2023simple.png").is_file()
    assert head(published, "catalog.html").said("og:image") == [f"{base}assets/card.png"]
    assert page.said("og:url") == page.to("canonical") == [f"{base}papers/sun2023simple.html"]
    assert (published / "assets" / "card.png").is_file()
    assert "https://example.org/prunedex/papers/" in (published / "feed.xml").read_text()
    assert "https://example.org/prunedex/papers/" in (published / "llms.txt").read_text()
    # Inside the site, links stay relative, also there.
    text = (published / "papers" / "sun2023simple.html").read_text(encoding="utf-8")
    assert 'href="https://example.org/prunedex/' not in text.partition("<body")[2]


# JSON-LD ------------------------------------------------------------------------------------


def test_a_paper_is_told_to_search_engines(site: Path) -> None:
    (script,) = head(site, "papers/sun2023simple.html").scripts
    data = json.loads(script)
    assert data["@context"] == "https://schema.org"
    paper = data["about"]
    assert paper["@type"] == "ScholarlyArticle"
    assert paper["headline"] == "A Simple and Effective Pruning Approach"
    assert paper["alternateName"] == "Wanda"
    assert [each["name"] for each in paper["author"]] == ["Mingjie Sun", "Zhuang Liu"]
    assert paper["sameAs"] == ["https://arxiv.org/abs/2306.11695"]
    assert paper["identifier"][0]["value"] == "2306.11695"
    # The take-away is ours and not the paper's abstract.
    assert data["description"] == "What sun2023simple teaches."
    assert "What sun2023simple teaches." not in json.dumps(paper)


def test_other_pages_have_none(site: Path) -> None:
    for name in ("index.html", "catalog.html", "tags/type.html", "about.html"):
        assert head(site, name).scripts == []


def test_hostile_text_does_not_leave_the_script(site: Path) -> None:
    """An HTML reader sees one script, and in it the text as it was."""
    page = head(site, "papers/mallory2022escape.html")
    (script,) = page.scripts
    assert json.loads(script)["about"]["headline"] == " ".join(HOSTILE)
    assert not re.search(r"[<>&]", script)


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "&amp;", "\u2028\u2029", '"\\'])
def test_json_in_a_script_reads_back(text: str) -> None:
    made = in_script({"text": text})
    assert json.loads(made) == {"text": text}
    assert not re.search("[<>&\u2028\u2029]", made)


def test_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    made = entry("nobody2020nothing", authors=[])
    catalog = Catalog.load(make_root(tmp_path / "root", [made], method=""))
    (read,) = catalog.entries.values()
    paper = json.loads(linked_data(read))["about"]
    assert not {"author", "identifier", "sameAs", "alternateName"} & set(paper)


# Icons --------------------------------------------------------------------------------------


def png_size(file: Path) -> tuple[int, int]:
    """Width and height as the file's head states them."""
    content = file.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return int(width), int(height)


@pytest.mark.parametrize(
    ("name", "size", "bytes_at_most"),
    [
        ("icon-48.png", (48, 48), 4_000),
        ("icon-180.png", (180, 180), 8_000),
        ("icon-192.png", (192, 192), 10_000),
        ("icon-512.png", (512, 512), 30_000),
        ("icon-maskable-512.png", (512, 512), 30_000),
        ("card.png", (1200, 630), 100_000),
    ],
)
def test_pictures_have_their_size(name: str, size: tuple[int, int], bytes_at_most: int) -> None:
    assert png_size(ASSETS / name) == size
    assert (ASSETS / name).stat().st_size <= bytes_at_most


def test_icons_and_manifest_are_where_pages_look(site: Path) -> None:
    for name in ("index.html", "papers/sun2023simple.html", "tags/type/n-m.html"):
        page = head(site, name)
        folder = (site / name).parent
        targets = [*page.to("icon"), *page.to("apple-touch-icon"), *page.to("manifest")]
        assert len(targets) == 4
        for target in targets:
            assert (folder / unquote(target)).is_file(), target
        # Of two icons that a browser can show, the last one wins.
        assert page.to("icon")[-1].endswith("mark.svg")
    manifest = json.loads((site / "site.webmanifest").read_text(encoding="utf-8"))
    for icon in manifest["icons"]:
        assert (site / icon["src"]).is_file()
        if icon["src"].endswith(".png"):
            width, height = png_size(site / icon["src"])
            assert icon["sizes"] == f"{width}x{height}"
    assert (site / manifest["start_url"]).is_file()


def theme_colours(page: Page) -> set[str]:
    found: list[str] = page.eval_on_selector_all(
        "meta[name='theme-color']", "all => all.map((each) => each.content)"
    )
    return set(found)


def test_the_browser_s_frame_follows_the_scheme(browser: Browser, base: str) -> None:
    context = browser.new_context(base_url=base, color_scheme="dark")
    page = context.new_page()
    page.goto("index.html")
    assert theme_colours(page) == {"#17131a"}
    page.locator("label[title='Switch to light colours']").click()
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "default")
    assert theme_colours(page) == {"#fbf9f7"}
    context.close()


def test_without_javascript_the_frame_has_both_colours(site: Path) -> None:
    found = {
        each["media"]: each["content"]
        for each in head(site, "index.html").meta
        if each.get("name") == "theme-color"
    }
    css = (ASSETS / "prunedex.css").read_text(encoding="utf-8")
    for scheme, name in (("light", "default"), ("dark", "slate")):
        block = re.search(rf'\[data-md-color-scheme="{name}"\] {{(.*?)\n}}', css, re.DOTALL)
        assert block
        assert f"--paper: {found[f'(prefers-color-scheme: {scheme})']};" in block[1]


def test_the_theme_keeps_to_what_every_template_engine_knows() -> None:
    """Zensical's has filters and slices, but no methods of Python's strings and dictionaries."""
    method = re.compile(
        r"\.(split|strip|startswith|endswith|lower|upper|replace|format|items|get)\("
    )
    assert method.search("{% if a.split('/') %}")
    for file in sorted((REPOSITORY / "site" / "theme").rglob("*.html")):
        tags = re.findall(r"{[{%].*?[%}]}", file.read_text(encoding="utf-8"), re.DOTALL)
        assert [tag for tag in tags if method.search(tag)] == [], file.name
