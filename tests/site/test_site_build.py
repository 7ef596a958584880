"""Building: all or nothing, with plain words where it cannot be done; and the links of the result."""

from __future__ import annotations

import http.client
import socket
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from small_catalog import ENTRIES, METHOD, make_root

from catalog.cli import main
from catalog.errors import PrunedexError
from catalog.site import build_site
from catalog.site.build import MARKER
from catalog.site.serve import open_server
from catalog.store import Catalog


class Links(HTMLParser):
    """The addresses and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "action", "data-catalog") and value and tag != "label":
                self.targets.append(value)
            if name == "id" and value:
                assert value not in self.anchors, f"two elements have the id {value}"
                self.anchors.add(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = {}
    for file in site.rglob("*.html"):
        if file.name == "404.html":
            continue
        links = Links()
        links.feed(file.read_text(encoding="utf-8"))
        found[file] = links
    return found


def test_every_link_inside_the_site_leads_somewhere(site: Path, pages: dict[Path, Links]) -> None:
    for file, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https"):
                continue
            assert not parts.scheme, f"{file.name} links to {target}"
            assert not target.startswith("/"), f"{target} leaves the path the site is under"
            goal = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert goal.is_file(), f"{file.relative_to(site)} links to {target}"
            if parts.fragment and goal in pages:
                known = pages[goal].anchors
                assert parts.fragment in known or parts.fragment == "__search", (
                    f"{file.name}: {target}"
                )


def test_every_page_is_reached_from_the_front_page(site: Path, pages: dict[Path, Links]) -> None:
    reached: set[Path] = set()
    waiting = [site / "index.html"]
    while waiting:
        file = waiting.pop()
        if file in reached or file not in pages:
            continue
        reached.add(file)
        for target in pages[file].targets:
            parts = urlsplit(target)
            if not parts.scheme and parts.path:
                waiting.append((file.parent / unquote(parts.path)).resolve())
    assert reached == set(pages)


def test_papers_stay_out_of_the_navigation(site: Path) -> None:
    """In it, they would make every page grow with the catalog."""
    text = (site / "about.html").read_text(encoding="utf-8")
    assert "papers/" not in text


def test_nothing_of_this_machine_is_in_the_site(site: Path) -> None:
    for file in site.rglob("*"):
        if file.suffix in (".html", ".json", ".xml", ".bib"):
            text = file.read_text(encoding="utf-8")
            assert str(site.parent) not in text
            assert tempfile.gettempdir() not in text


def folder_contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small(tmp_path: Path) -> Catalog:
    return Catalog.load(make_root(tmp_path / "root", ENTRIES[:1]))


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """What looks like an earlier build."""
    out = tmp_path / "public" / "site"
    out.mkdir(parents=True)
    (out / MARKER).touch()
    (out / "old.html").write_text("old", encoding="utf-8")
    return out


def test_a_build_replaces_the_one_before(small: Catalog, earlier: Path) -> None:
    report = build_site(small, earlier)
    assert report.warnings == []
    assert not (earlier / "old.html").exists()
    assert (earlier / "index.html").is_file()
    assert (earlier / MARKER).is_file()
    assert folder_contents(earlier.parent) == ["site"]
    assert earlier.stat().st_mode & 0o555 == 0o555  # a web server of another user reads it


def test_other_peoples_files_are_not_replaced(small: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.jpg").touch()
    with pytest.raises(PrunedexError, match="not an earlier build"):
        build_site(small, out)
    assert folder_contents(out) == ["holiday.jpg"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
@pytest.mark.parametrize("place", ["Writing pages", "Building the site", "Putting it in place"])
def test_an_interrupted_build_changes_nothing(
    small: Catalog,
    earlier: Path,
    error: type[BaseException],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake(tree: Path, out: Path, *, strict: bool) -> list[str]:
        out.mkdir()
        return []

    monkeypatch.setattr("catalog.site.build._mkdocs", fake)

    def step(words: str) -> None:
        if words == place:
            raise error

    with pytest.raises((error, PrunedexError)):
        build_site(small, earlier, step=step)
    assert folder_contents(earlier) == [MARKER, "old.html"]
    assert folder_contents(earlier.parent) == ["site"]


def test_a_failed_renaming_brings_the_old_site_back(
    small: Catalog, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(tree: Path, out: Path, *, strict: bool) -> list[str]:
        out.mkdir()
        return []

    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if (
            self.name == "site"
            and Path(target) == earlier
            and (self / MARKER).exists()
            and not (self / "old.html").exists()
        ):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr("catalog.site.build._mkdocs", fake)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PrunedexError, match="Input/output error"):
        build_site(small, earlier)
    assert folder_contents(earlier) == [MARKER, "old.html"]


def test_a_file_in_the_way_is_named(small: Catalog, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrunedexError, match="not a folder"):
        build_site(small, tmp_path / "file")
    with pytest.raises(PrunedexError, match="cannot write"):
        build_site(small, tmp_path / "file" / "below")


def test_a_warning_fails_a_strict_build_and_only_that(tmp_path: Path) -> None:
    """A page with a dead link, as a contributor might write one."""
    import shutil

    from small_catalog import REPOSITORY

    made = make_root(tmp_path / "root", ENTRIES[:1])
    shutil.copytree(REPOSITORY / "site", made / "site")
    about = made / "site" / "pages" / "about.md"
    about.write_text(about.read_text(encoding="utf-8") + "\n[gone](gone.md)\n", encoding="utf-8")
    catalog = Catalog.load(made)
    with pytest.raises(PrunedexError, match=r"gone\.md"):
        build_site(catalog, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = build_site(catalog, tmp_path / "out", strict=False)
    assert any("gone.md" in warning for warning in report.warnings)


def test_a_formula_that_cannot_be_drawn_fails_a_strict_build(tmp_path: Path) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1], method=METHOD.replace(r"\cdot", r"\nonsense"))
    with pytest.raises(PrunedexError, match=r"wanda\.py.*nonsense"):
        build_site(Catalog.load(made), tmp_path / "out")


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_the_command_builds_and_says_how_to_look_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:2])
    out = tmp_path / "public"
    status, said, complaints = run(
        ["site", "build", "--root", str(made), "--out", str(out)], capsys
    )
    assert (status, complaints) == (0, "")
    assert (out / "index.html").is_file()
    assert "2 papers" in said
    assert f"http.server --directory {out}" in "".join(said.splitlines())


def test_a_taken_port_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_root(tmp_path / "root", ENTRIES[:1])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said, complaints = run(
            ["site", "serve", "--root", str(made), "--port", str(port)], capsys
        )
    assert (status, said) == (1, "")
    assert complaints.splitlines()[0] == f"Error: port {port} is in use"
    assert "Traceback" not in complaints


def test_the_server_shows_pages_and_its_own_not_found(site: Path) -> None:
    with open_server(site, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]

        def get(path: str) -> tuple[int, str, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type") or "", answer.read()

        assert get("/")[0] == 200
        assert get("/assets/catalog.js")[:2] == (200, "text/javascript")
        status, kind, body = get("/papers/nobody1999nothing.html")
        assert status == 404
        assert kind.startswith("text/html")
        assert b"pruned" in body
        assert get("/papers/")[0] == 404  # no listing of the folder
        assert get("/../../etc/passwd")[0] == 404
        server.shutdown()
