"""The catalog as files for other programs: each is read as its readers would read it."""

from __future__ import annotations

import copy
import csv
import datetime as dt
import functools
import http.server
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

import bibtexparser
import jsonschema
import pytest
from playwright.sync_api import Page
from pydantic import ValidationError
from small_catalog import ENTRIES, HOSTILE, REPOSITORY, entry, make_root

from catalog import schema_export
from catalog.site import exports
from catalog.site.data import SCHEMA, catalog_data
from catalog.site.exports import cell, entry_id, to_csv, to_feed, to_index, to_text
from catalog.site.published import PublishedCatalog, published_schema
from catalog.site.shelf import Shelf
from catalog.site.tree import write_tree
from catalog.store import Catalog

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module")
def documents(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("exports") / "tree"
    write_tree(catalog, tree)
    return tree / "docs"


@pytest.fixture(scope="module")
def real() -> Catalog:
    return Catalog.load(REPOSITORY)


@pytest.fixture(scope="module", params=["small", "real"])
def either(request: pytest.FixtureRequest, catalog: Catalog, real: Catalog) -> Catalog:
    return catalog if request.param == "small" else real


# catalog.json and its schema ---------------------------------------------------------------


def data_of(catalog: Catalog) -> dict[str, Any]:
    """The data as a reader gets it: after a journey through JSON."""
    made: dict[str, Any] = json.loads(json.dumps(catalog_data(Shelf(catalog))))
    return made


def test_the_data_has_the_described_fields_and_no_other(either: Catalog) -> None:
    PublishedCatalog.model_validate_json(json.dumps(data_of(either)))


def test_the_published_schema_accepts_the_data(documents: Path, either: Catalog) -> None:
    schema = json.loads((documents / "catalog.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data_of(either), schema)


def changed(data: dict[str, Any], change: str) -> dict[str, Any]:
    """The data after one careless change."""
    made = copy.deepcopy(data)
    first = made["entries"][0]
    match change:
        case "renamed":
            first["summary"] = first.pop("takeaway")
        case "removed":
            del first["bibtex"]
        case "other type":
            first["year"] = str(first["year"])
        case "inside":
            del first["venue"]["series"]
        case "value":
            del made["dimensions"][0]["values"][0]["count"]
        case "version":
            made["schema"] = SCHEMA + 1
    return made


@pytest.mark.parametrize(
    "change", ["renamed", "removed", "other type", "inside", "value", "version"]
)
def test_a_change_that_breaks_readers_is_found(catalog: Catalog, change: str) -> None:
    broken = changed(data_of(catalog), change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, published_schema())
    with pytest.raises(ValidationError):
        PublishedCatalog.model_validate_json(json.dumps(broken))


def test_a_new_field_must_be_described_and_does_no_harm_to_readers(catalog: Catalog) -> None:
    data = data_of(catalog)
    data["entries"][0]["new"] = 1
    data["entries"][0]["links"]["new"] = "https://example.org/"
    jsonschema.validate(data, published_schema())
    with pytest.raises(ValidationError):
        PublishedCatalog.model_validate_json(json.dumps(data))


def test_the_committed_schema_is_current() -> None:
    """A change of the published shape shows as a change of this file."""
    file = REPOSITORY / "catalog" / "schema" / "catalog.schema.json"
    assert file not in schema_export.stale(REPOSITORY), "run python -m catalog.schema_export"


def test_every_published_field_is_on_the_page() -> None:
    page = (REPOSITORY / "site" / "pages" / "data.md").read_text(encoding="utf-8")
    schema = published_schema()
    for name in ("PublishedEntry", "PublishedVenue", "PublishedDimension", "PublishedValue"):
        for field in schema["$defs"][name]["properties"]:
            assert f"`{field}`" in page, f"{field} of {name} is not described in data.md"
    for field in schema["properties"]:
        assert f"`{field}`" in page


# A table ------------------------------------------------------------------------------------


def test_the_table_reads_back(either: Catalog) -> None:
    text = to_csv(Shelf(either))
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [row["key"] for row in rows] == [each.key for each in Shelf(either).entries]
    for row in rows:
        assert row["take-away"] == cell(either.entries[row["key"]].takeaway)
        assert row["year"] == str(either.entries[row["key"]].year)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠x"]
)
def test_no_field_starts_a_formula(tmp_path: Path, text: str) -> None:
    assert cell(text) == f"'{text}"
    made = entry(
        "evil2024formula", title=text.strip() or text, name=text.strip(), authors=[text.strip()]
    )
    shelf = Shelf(Catalog.load(make_root(tmp_path / "root", [made], method="")))
    (row,) = csv.DictReader(io.StringIO(to_csv(shelf), newline=""))
    for field in row.values():
        assert not re.match(r"[=+\-@\t\r\n＝＋－＠]", field), field


@pytest.mark.parametrize("text", ["2:4 sparsity", "", "'quoted'", "a=b", " =1"])
def test_other_fields_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_the_page_exports_the_same_table(page: Page, documents: Path) -> None:
    """Two programs write it, one in Python and one in the browser."""
    page.goto("catalog.html")
    page.wait_for_selector("[data-ready]")
    page.locator("[data-export] summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    exported = Path(waiting.value.path()).read_bytes()
    assert exported == (documents / "catalog.csv").read_bytes()


# Citations ----------------------------------------------------------------------------------


def test_every_paper_has_a_file_with_its_citation(documents: Path, catalog: Catalog) -> None:
    whole = (documents / "catalog.bib").read_text(encoding="utf-8")
    for key in catalog.entries:
        text = (documents / "papers" / f"{key}.bib").read_text(encoding="utf-8")
        library = bibtexparser.parse_string(text)
        assert not library.failed_blocks
        assert [each.key for each in library.entries] == [key]
        assert text.strip() in whole


def test_a_citation_is_downloaded_from_its_page(page: Page, documents: Path) -> None:
    page.goto("papers/sun2023simple.html")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download .bib").click()
    assert waiting.value.suggested_filename == "sun2023simple.bib"
    expected = (documents / "papers" / "sun2023simple.bib").read_bytes()
    assert Path(waiting.value.path()).read_bytes() == expected


def test_the_whole_catalog_is_offered_beside_the_selection(page: Page) -> None:
    page.goto("catalog.html")
    page.wait_for_selector("[data-ready]")
    page.locator("[data-export] summary").click()
    for name, file in [("BibTeX", "catalog.bib"), ("CSV", "catalog.csv"), ("JSON", "catalog.json")]:
        with page.expect_download() as waiting:
            page.locator(".menu-all").get_by_role("link", name=name, exact=True).click()
        assert waiting.value.suggested_filename == file


# A feed -------------------------------------------------------------------------------------


def text_of(element: ElementTree.Element, name: str) -> str:
    """The text of the one child of that name, which RFC 4287 demands."""
    (found,) = element.findall(f"{ATOM}{name}")
    assert found.text
    return found.text


def check_atom(feed: ElementTree.Element, base: str) -> list[ElementTree.Element]:
    """What RFC 4287 demands of a feed and its entries (sections 4.1.1 and 4.1.2). Returns these."""
    assert feed.tag == f"{ATOM}feed"
    ids = [text_of(feed, "id")]
    text_of(feed, "title")
    moments = [text_of(feed, "updated")]
    assert [text_of(each, "name") for each in feed.findall(f"{ATOM}author")]
    links = {each.get("rel"): each for each in feed.findall(f"{ATOM}link")}
    assert urljoin(base, links["self"].get("href")) == f"{base}feed.xml"
    entries = feed.findall(f"{ATOM}entry")
    for each in entries:
        ids.append(text_of(each, "id"))
        text_of(each, "title")
        moments += [text_of(each, "updated"), text_of(each, "published")]
        assert text_of(each, "published") <= text_of(each, "updated") <= moments[0]
        (link,) = each.findall(f"{ATOM}link")
        assert (link.get("rel"), link.get("type")) == ("alternate", "text/html")
        (content,) = each.findall(f"{ATOM}content")
        assert content.get("type") == "html"
        assert content.text
        for category in each.findall(f"{ATOM}category"):
            assert category.get("term")
    assert len(ids) == len(set(ids))
    for identifier in ids:
        assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identifier)
    for moment in moments:
        assert dt.datetime.fromisoformat(moment).tzinfo is not None
    return entries


def test_the_feed_is_valid_and_leads_to_pages(documents: Path) -> None:
    feed = ElementTree.parse(documents / "feed.xml").getroot()
    base = "https://example.org/some/where/"
    entries = check_atom(feed, base)
    assert len(entries) == len(ENTRIES)
    for each in entries:
        page = urljoin(base, str(each.find(f"{ATOM}link").get("href")))  # type: ignore[union-attr]
        name = page.removeprefix(base).removesuffix(".html") + ".md"
        assert (documents / name).is_file()


def test_the_real_feed_is_valid_and_short(real: Catalog) -> None:
    text = to_feed(Shelf(real))
    entries = check_atom(ElementTree.fromstring(text.encode()), "https://example.org/")
    assert len(entries) == min(len(real.entries), exports.FEED_LENGTH)


def test_the_feed_is_dated_by_what_entries_say(tmp_path: Path) -> None:
    def source(day: str) -> dict[str, str]:
        return {"what": "bibliography", "url": "https://example.org/", "seen": day}

    made = [
        entry("old2020first", sources=[source("2026-01-02"), source("2026-03-04")]),
        entry("new2019second", sources=[source("2026-02-03")]),
        entry("none2021third"),
    ]
    root = make_root(tmp_path / "root", made, method="")
    for file in (root / "papers").iterdir():
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r'"(2026-\d\d-\d\d)"', r"\1", text), encoding="utf-8")
    feed = ElementTree.fromstring(to_feed(Shelf(Catalog.load(root))).encode())
    found = [
        (text_of(each, "title"), text_of(each, "published")[:10], text_of(each, "updated")[:10])
        for each in check_atom(feed, "https://example.org/")
    ]
    assert found == [
        ("Pruning by new2019second", "2026-02-03", "2026-02-03"),
        ("Pruning by old2020first", "2026-01-02", "2026-03-04"),
        ("Pruning by none2021third", "2021-01-01", "2021-01-01"),
    ]
    assert text_of(feed, "updated") == "2026-03-04T00:00:00Z"


def test_ids_in_the_feed_never_change() -> None:
    """Whoever follows the feed would see every paper a second time."""
    assert entry_id("") == "urn:uuid:f3bd69be-f0e5-5162-aca4-6d1fbedca04f"
    assert entry_id("adnan2024keyformer") == "urn:uuid:9f760c87-6b09-5185-86d7-7431ec6a9e11"


def test_an_empty_catalog_has_a_valid_feed(tmp_path: Path) -> None:
    shelf = Shelf(Catalog.load(make_root(tmp_path / "root", [], method="")))
    feed = ElementTree.fromstring(to_feed(shelf).encode())
    assert check_atom(feed, "https://example.org/") == []


def test_addresses_are_whole_where_the_site_s_is_known(catalog: Catalog) -> None:
    for site_url in ("https://example.org/some/where", "https://example.org/some/where/"):
        feed = ElementTree.fromstring(to_feed(Shelf(catalog), site_url).encode())
        links = {str(each.get("href")) for each in feed.iter(f"{ATOM}link")}
        assert "https://example.org/some/where/papers/sun2023simple.html" in links
        assert all(link.startswith("https://example.org/some/where/") for link in links)
        index = to_index(Shelf(catalog), [], site_url)
        assert "](https://example.org/some/where/papers/sun2023simple.html)" in index


def test_hostile_text_in_the_feed_is_text(documents: Path) -> None:
    feed = ElementTree.parse(documents / "feed.xml").getroot()
    (hostile,) = [
        each
        for each in feed.findall(f"{ATOM}entry")
        if "mallory" in str(each.find(f"{ATOM}link").get("href"))  # type: ignore[union-attr]
    ]
    assert HOSTILE[0] in text_of(hostile, "title")
    shown = ElementTree.fromstring(f"<div>{text_of(hostile, 'content')}</div>")
    assert {each.tag for each in shown.iter()} == {"div", "p"}
    assert " ".join(HOSTILE) in [each.text for each in shown]


# Plain text ---------------------------------------------------------------------------------


def test_the_index_has_the_form_of_llmstxt(documents: Path, catalog: Catalog) -> None:
    """A title, a summary, and sections that hold nothing but lists of links."""
    blocks = (documents / "llms.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert blocks[0] == "# Prunedex"
    assert blocks[1].startswith("> ")
    assert "\n" not in blocks[1]
    sections = blocks[3:]
    assert [each for each in sections if each.startswith("#")] == sections[::2]
    linked = []
    for block in sections[1::2]:
        for line in block.splitlines():
            match = re.fullmatch(r"- \[((?:\\.|[^\\\[\]])+)\]\(([^()\s]+)\): (.+)", line)
            assert match, line
            linked.append(match[2])
            name = re.sub(r"\.html$", ".md", match[2])
            assert (documents / name).is_file(), f"llms.txt links to {match[2]}"
    assert {f"papers/{key}.html" for key in catalog.entries} <= set(linked)


def test_the_text_holds_every_entry_and_its_headings_alone(either: Catalog) -> None:
    text = to_text(Shelf(either))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    papers = [line for line in headings if line.startswith("## ")]
    assert len(papers) == len(either.entries)
    assert {line for line in headings if not line.startswith("## ")} <= {
        "# Prunedex",
        "### Take-away",
        "### What it computes",
        "### What it leaves open",
    }
    for key in either.entries:
        assert f"- Key: {key}\n" in text
    assert not re.search(r"(?<!\\)<", text)  # nothing that Markdown takes for HTML


def test_verified_tags_and_lineage_are_in_the_text(catalog: Catalog) -> None:
    text = to_text(Shelf(catalog))
    wanda = text[text.index("- Key: sun2023simple") :]
    assert "- Type: Unstructured (verified by running), N:M" in wanda
    assert "- Simplifies: SparseGPT: Massive Language Models" in wanda
    assert "- Runs here with: prunedex run wanda" in wanda


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# head", "\\# head"),
        ("1. one", "1\\. one"),
        ("- item", "\\- item"),
        ("[a](javascript:b)", "\\[a\\](javascript:b)"),
        ("a <b> \\ `c` *d*", "a \\<b\\> \\\\ \\`c\\` \\*d\\*"),
        ("2:4 and 50 %", "2:4 and 50 %"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_escaped_for_markdown(text: str, shown: str) -> None:
    assert exports._escaped(text) == shown


# The examples of the page ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(documents: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(documents))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def example(language: str) -> str:
    """The one example of the page in a language."""
    page = (REPOSITORY / "site" / "pages" / "data.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_python_example_works(address: str, documents: Path, tmp_path: Path) -> None:
    code = f"SITE = {address!r}\n{example('python')}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    made = (tmp_path / "pruning.bib").read_text(encoding="utf-8")
    assert made.strip() == (documents / "catalog.bib").read_text(encoding="utf-8").strip()


def test_the_example_for_the_command_line_asks_for_fields_that_exist() -> None:
    """jq is not on every machine; the fields that the example names are in the schema."""
    properties = published_schema()["$defs"]["PublishedEntry"]["properties"]
    named = set(re.findall(r"(?<![\w/\"])\.([a-z_]+)", example("sh")))
    assert named - {"entries", "json", "retraining", "weight_update"} <= set(properties)
    assert {"tags", "key", "name", "paper"} <= named
