"""An attack in every field that holds free text, looked for in every page and every export.

The fields are found in the schema, so that a field which is added later is attacked too. Nothing
here relies on the browser's policy: an attack must not even become an element of a page.
"""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import bibtexparser
import pytest
from playwright.sync_api import Browser
from small_catalog import RESULT, VERIFIED, _report, _table, add_results, make_root, tags

from catalog.schema import Entry
from catalog.site import build_site
from catalog.store import Catalog

KEY = "mallory2022escape"

PRODUCT = 7919 * 7907
"""What a template engine would make of the product in the attack; no page has it otherwise."""

URL = "https://example.org/{{7919*7907}}/[x](javascript:alert(1))?a=1&lt;b&x=*_~|{%25raw%25}"
"""All that an address may hold."""

UNSEEN = {
    # Only a citation holds these.
    "venue.volume", "venue.number", "venue.pages", "venue.publisher", "venue.series",
}  # fmt: skip
"""Fields that no page of a paper shows."""


def attack(field: str) -> str:
    """Every trick in one text that names its field; the shortest form of each."""
    return (
        f'{field}: <x-evil onfocus="window.hacked=1" autofocus tabindex=0>'
        "</title></textarea></script></pre></div>--><script>window.hacked=2</script>"
        "<img src=x onerror=window.hacked=3>\" onmouseover=\"window.hacked=4\" ' onclick='1' "
        "[a](javascript:window.hacked=5) ![b](x) <javascript:1> {: onclick=x } "
        "{{7919*7907}} ${7919*7907} {% raw %}{% endif %}{# c #} --8<-- `d` ```e``` ~~~ **f** _g_ "
        "# h | i | &lt;j&gt; &#60;k&#62; \\ \u05e9\u05dc\u05d5\u05dd"
    )


def free_texts(schema: dict[str, Any]) -> set[str]:
    """The fields of free text and of addresses, as dotted paths."""
    found: set[str] = set()

    def walk(node: dict[str, Any], path: str) -> None:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        for other in (*node.get("anyOf", []), *node.get("allOf", [])):
            walk(other, path)
        if node.get("type") == "object":
            for name, part in node.get("properties", {}).items():
                walk(part, f"{path}.{name}".lstrip("."))
            if isinstance(node.get("additionalProperties"), dict):
                walk(node["additionalProperties"], path)
        elif node.get("type") == "array":
            walk(node["items"], path)
        elif node.get("type") == "string" and not {"pattern", "enum", "const", "format"} & {*node}:
            found.add(path)

    walk(schema, "")
    return found


def filled(value: object, path: str = "") -> Iterator[str]:
    """The dotted paths of an entry's attacks."""
    if isinstance(value, dict):
        for name, part in value.items():
            inner = path if path in ("tags.notes", "gaps") else f"{path}.{name}".lstrip(".")
            yield from filled(part, inner)
    elif isinstance(value, list):
        for part in value:
            yield from filled(part, path)
    elif isinstance(value, str) and ("<x-evil" in value or value == URL):
        yield path


HOSTILE: dict[str, Any] = {
    "key": KEY,
    "title": attack("title"),
    "name": attack("name"),
    "authors": [attack("authors"), "Mallory Second"],
    "year": 2022,
    "venue": {
        **{
            name: attack(f"venue.{name}")
            for name in ("short", "full", "volume", "number", "pages", "publisher", "series")
        },
        "year": 2022,
        "type": "conference",
    },
    "kind": "method",
    "links": {
        **dict.fromkeys(
            ("paper", "proceedings", "blog", "reviews", "models", "website", "summary"), URL
        ),
        "discussion": URL,
        "code": {"url": URL, "note": attack("links.code.note")},
        "code_unofficial": [{"url": URL, "note": attack("links.code_unofficial.note")}],
    },
    "takeaway": attack("takeaway"),
    "mechanism": f"{attack('mechanism')}\n\n```\nfenced\n```\n    indented\n- item\n# head\n1. one",
    "challenges": [attack("challenges")],
    "tags": {**tags(), "notes": {"type": attack("tags.notes")}},
    "builds_on": [
        {"key": "sun2023simple", "relation": "extends", "note": attack("builds_on.note")}
    ],
    "evaluated_on": {
        name: [attack(f"evaluated_on.{name}")]
        for name in ("models", "calibration", "finetuning", "evaluation", "tools")
    },
    "lifecycle": {"status": "published"},
    "lists": [{"name": attack("lists.name"), "url": URL}],
    "sources": [{"what": attack("sources.what"), "url": URL, "seen": "2026-11-20"}],
    "gaps": {"ids": attack("gaps")},
}

OTHER: dict[str, Any] = {
    **{name: HOSTILE[name] for name in ("kind", "tags", "lifecycle")},
    "key": "sun2023simple",
    "title": "A Simple and Effective Pruning Approach",
    "name": "Wanda",
    "authors": ["Mingjie Sun"],
    "year": 2023,
    "venue": {"short": "ICLR", "full": "ICLR", "year": 2024, "type": "conference"},
    "takeaway": "A take-away.",
    "mechanism": "Weights are removed.",
    "implementation": "wanda",
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a catalog whose entry, figures and results attack wherever they can."""
    root = make_root(tmp_path_factory.mktemp("hostile") / "root", [HOSTILE, OTHER])
    report = _report(
        {"name": attack("source.name"), "title": attack("source.title"), "url": URL},
        _table(
            attack("table.model"),
            None,
            {attack("row.1"): 1.0, attack("row.2"): 2.0, "Wanda": 3.0, "dense": 0.5},
            url=URL,
            where=attack("table.where"),
            dataset=attack("table.dataset"),
            note=attack("table.note"),
        ),
    )
    (root / "catalog" / "reported").mkdir(parents=True)
    (root / "catalog" / "reported" / "evil.yaml").write_text(json.dumps(report), encoding="utf-8")
    short = "<x-evil onfocus=1> {{7919*7907}} [a](javascript:1)"
    add_results(
        root,
        {
            **RESULT,
            "protocol": {
                **RESULT["protocol"],
                "model": {**RESULT["protocol"]["model"], "name": short, "revision": short},
            },
            "environment": {**RESULT["environment"], "hardware": short, "device": short},
        },
    )
    seen = {"unstructured": {"holds": True, "observed": attack("observed")}}
    tags = root / "impl" / "results" / "tags" / "wanda.json"
    tags.write_text(json.dumps({**VERIFIED, "tags": {"type": seen}}), encoding="utf-8")
    catalog = Catalog.load(root)
    assert {*catalog.entries} == {KEY, "sun2023simple"}, catalog.reading_problems
    assert catalog.reports, catalog.problems
    assert catalog.results, catalog.problems
    assert catalog.verified, catalog.problems
    out = tmp_path_factory.mktemp("attacked") / "site"
    build_site(catalog, out)
    return out


class Elements(HTMLParser):
    """What a page is made of: names of elements, attributes, addresses, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.pictures: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action", "formaction", "data", "srcset", "xlink:href"):
                self.addresses.add(value or "")
            if name == "src" and tag == "img":
                self.pictures.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(file: Path) -> Elements:
    found = Elements()
    found.feed(file.read_text(encoding="utf-8"))
    found.close()
    return found


def test_every_field_of_free_text_is_attacked() -> None:
    assert {*filled(HOSTILE)} == free_texts(Entry.model_json_schema())


def test_no_page_has_an_element_handler_or_address_of_the_attack(attacked: Path) -> None:
    clean = parsed(attacked / "about.html")
    pages = [*attacked.rglob("*.html")]
    assert len(pages) > 80
    carrying = 0
    for file in pages:
        name = file.relative_to(attacked).as_posix()
        found = parsed(file)
        carrying += "x-evil" in "".join(found.text)
        assert "x-evil" not in found.names, name
        handlers = {each for each in found.attributes if each.startswith("on")}
        assert handlers == set(), name
        assert "autofocus" not in found.attributes - clean.attributes, name
        assert found.pictures == [], name
        for address in found.addresses:
            scheme = re.match(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):", address)
            assert scheme is None or scheme[1] in ("http", "https", "data"), (name, address)
            assert not address.startswith("data:text"), name
        text = file.read_text(encoding="utf-8")
        assert str(PRODUCT) not in text, f"a template was evaluated in {name}"
    assert carrying > 10  # the attack is shown, as text, on all kinds of pages


def test_a_papers_page_shows_every_attack_as_text(attacked: Path) -> None:
    """What is not there was not tested."""
    text = " ".join("".join(parsed(attacked / "papers" / f"{KEY}.html").text).split())
    shown = {path for path in filled(HOSTILE) if " ".join(attack(path).split()) in text}
    addresses = {path for path in filled(HOSTILE) if path.startswith("links.") or "url" in path}
    expected = {*filled(HOSTILE)} - addresses - UNSEEN
    expected |= {"links.code.note", "links.code_unofficial.note"}
    assert expected - shown == set()


def test_exports_hold_the_attack_and_are_still_well_formed(attacked: Path) -> None:
    whole = attack("title")
    checked = set()
    for file in sorted(attacked.rglob("*")):
        name = file.relative_to(attacked).as_posix()
        if file.suffix not in (".json", ".csv", ".xml", ".bib", ".txt", ".webmanifest"):
            continue
        text = file.read_text(encoding="utf-8")
        assert str(PRODUCT) not in text, name
        if "x-evil" not in text:
            continue
        checked.add(name)
        if file.suffix == ".json":
            json.loads(text)
        elif file.suffix == ".csv":
            rows = [*csv.reader(io.StringIO(text, newline=""))]
            assert len({len(row) for row in rows}) == 1, name
            assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
        elif file.suffix == ".xml":
            names = {each.tag.rpartition("}")[2] for each in ElementTree.fromstring(text).iter()}
            assert names.isdisjoint({"x-evil", "script", "img"}), name
        elif file.suffix == ".bib":
            library = bibtexparser.parse_string(text)
            assert library.failed_blocks == [], name
            assert KEY in {each.key for each in library.entries}, name
        else:
            # One line a paper: nothing in an entry may begin another.
            assert all(line.count("](") <= 2 or "x-evil" in line for line in text.splitlines())
    assert {
        "catalog.json",
        "catalog.csv",
        "catalog.bib",
        f"papers/{KEY}.bib",
        "compare.json",
        "feed.xml",
        "llms.txt",
        "llms-full.txt",
        "results.json",
        "results.csv",
        "search/search_index.json",
    } <= checked
    data = json.loads((attacked / "catalog.json").read_text(encoding="utf-8"))
    assert whole in {each["title"] for each in data["entries"]}


def test_direction_overrides_and_zero_widths_never_get_in(tmp_path: Path) -> None:
    """They would show an address or a name other than the one that is there."""
    for number, character in enumerate("\u202e\u202d\u2066\u2067\u200b\ufeff\x07"):
        root = make_root(tmp_path / str(number), [OTHER])
        file = root / "papers" / "sun2023simple.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("A take-away.", f"A {character}take-away."), encoding="utf-8")
        catalog = Catalog.load(root)
        assert catalog.entries == {}, hex(ord(character))
        assert "control-character" in {each.code for each in catalog.reading_problems}


PAGES = [
    "index.html",
    "catalog.html?text=x-evil",
    f"papers/{KEY}.html",
    "lineage.html",
    "timeline.html",
    "plots.html",
    f"compare.html?papers={KEY},sun2023simple",
    "guide.html",
    "reported/index.html",
    "methods.html",
]
"""Pages where scripts of ours put an entry's text together."""


def test_nothing_of_it_runs(attacked: Path, browser: Browser, serve: Any) -> None:
    """Without the policy, so that only the escaping stands between the attack and the page."""
    base = serve(attacked)
    context = browser.new_context(base_url=base, bypass_csp=True)
    context.set_default_timeout(10_000)
    page = context.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for name in PAGES:
        page.goto(name)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.hacked") is None, name
        made = "x-evil, [onfocus], [onclick], [onerror], [onmouseover], a[href^='javascript']"
        assert page.locator(made).count() == 0, name
        assert page.locator("#content img, #content script:not([type])").count() == 0, name
    assert dialogs == []
    context.close()
