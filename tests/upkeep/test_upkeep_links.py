"""Links: what counts as dead and what does not, whatever a server does."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Answer, Server, serving

from catalog.store import Catalog
from catalog.upkeep import links, web
from catalog.upkeep.links import Finding, archived_copy, look, look_at_all, recorded
from catalog.upkeep.state import LinkSeen, State
from scripts import links as script

DAY = dt.date(2026, 11, 1)
NEXT = dt.date(2026, 11, 8)


def no_sleep(seconds: float) -> None:
    pass


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([200], "answered"),
        ([404, 200], "answered"),  # HEAD is answered wrongly, GET is right
        ([405, 200], "answered"),
        ([403, 403], "refused"),
        ([999, 999], "refused"),
        ([404, 404], "failed"),
        ([410, 410], "failed"),
        ([500, 500], "failed"),
        ([429, 200], "answered"),
        ([Answer(429, headers={"Retry-After": "9999"})], "refused"),
        ([Answer(200, trouble="hangs")], "failed"),
        ([Answer(200, trouble="hangs up")], "failed"),
        ([Answer(302, headers={"Location": "/there"})], "answered"),
        ([Answer(302, headers={"Location": "/here"})], "failed"),  # a circle
        ([Answer(302, headers={"Location": "file:///etc/passwd"})], "failed"),
        ([Answer(302, headers={"Location": "http://["})], "failed"),
        ([Answer(302, headers={"Location": "/gone"})], "failed"),
    ],
)
def test_what_an_answer_means(server: Server, answers: list[Any], outcome: str) -> None:
    server.on("/there", 200)
    found = look(server.on("/here", *answers) + "#part", no_sleep)
    assert (found.outcome, found.network) == (outcome, False)
    assert (found.reason is None) == (outcome == "answered")


def test_a_body_is_not_waited_for(server: Server) -> None:
    assert look(server.on("/a", 404, Answer(200, "x", trouble="breaks off"))).outcome == "answered"


def test_a_circle_is_left_at_once(server: Server) -> None:
    url = server.on("/a", Answer(302, headers={"Location": "/a"}))
    assert look(url, no_sleep).reason == "redirects in a circle"
    assert server.asked("/a") == ["HEAD", "GET"]


def test_a_polite_wait_is_kept(server: Server) -> None:
    waits: list[float] = []
    url = server.on("/a", Answer(429, headers={"Retry-After": "7"}), 200)
    assert look(url, waits.append).outcome == "answered"
    assert waits == [7.0]


def test_a_server_that_nobody_finds() -> None:
    for url in ("http://127.0.0.1:9/", "http://nowhere.invalid/"):
        found = look(url)
        assert (found.outcome, found.network) == ("failed", True), url


def test_one_server_is_asked_one_at_a_time_and_not_in_haste(server: Server) -> None:
    urls = [server.on(f"/{number}", 200) for number in range(4)]
    begin = time.monotonic()
    assert len(look_at_all(urls, pause=0.1)) == 4
    assert time.monotonic() - begin >= 0.3


def test_servers_are_asked_side_by_side() -> None:
    with serving() as one, serving() as two:
        both = threading.Barrier(2, timeout=5)
        real = links.look

        def meet(url: str, sleep: Any) -> Finding:
            both.wait()  # passes only if two looks are under way at once
            return real(url, sleep)

        urls = [one.on("/", 200), two.on("/", 200)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(links, "look", meet)
            assert {each.outcome for each in look_at_all(urls).values()} == {"answered"}


def test_the_deadline_holds_and_the_rest_is_left(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SECONDS", 15)
    urls = [server.on("/quick", 200), server.on("/slow", Answer(200, trouble="hangs"))]
    begin = time.monotonic()
    assert set(look_at_all(urls, pause=0, deadline=0.3)) <= {urls[0]}
    assert time.monotonic() - begin < 10


def test_dead_after_two_days_not_two_looks() -> None:
    failed, url = Finding("failed", "answers with status 404"), "https://example.org/a"
    asked: list[str] = []

    def copy(url: str) -> str:
        asked.append(url)
        return "https://web.archive.org/web/2020/" + url

    first = recorded({}, {url: failed}, [url], DAY, copy)
    again = recorded(first, {url: failed}, [url], DAY, copy)
    assert not again[url].dead
    assert asked == []
    second = recorded(again, {url: failed}, [url], NEXT, copy)
    assert second[url].dead
    assert second[url].failed == [DAY, NEXT]
    assert second[url].archived == "https://web.archive.org/web/2020/" + url
    third = recorded(second, {url: Finding("answered")}, [url], NEXT, copy)
    assert third[url] == LinkSeen(checked=NEXT, answered=NEXT)


def test_a_success_between_two_failures_counts() -> None:
    url, seen = "https://example.org/a", {}
    for day, outcome in ((DAY, "failed"), (DAY, "answered"), (NEXT, "failed")):
        finding = Finding(outcome, "x" if outcome == "failed" else None)  # type: ignore[arg-type]
        seen = recorded(seen, {url: finding}, [url], day, lambda url: None)
    assert not seen[url].dead


def test_a_refusal_neither_kills_nor_revives() -> None:
    url = "https://example.org/a"
    before = {url: LinkSeen(checked=DAY, failed=[DAY])}
    refused = Finding("refused", "turns programs away with status 403")
    after = recorded(before, {url: refused}, [url], NEXT, lambda url: None)
    assert after[url].failed == [DAY]
    assert after[url].checked == NEXT


def test_what_nobody_names_is_forgotten_and_what_was_not_reached_kept() -> None:
    before = {name: LinkSeen(checked=DAY) for name in ("https://a.org", "https://b.org")}
    after = recorded(before, {}, ["https://b.org", "https://c.org"], NEXT, lambda url: None)
    assert after == {"https://b.org": before["https://b.org"]}


def test_days_of_failure_do_not_pile_up() -> None:
    url, seen = "https://example.org/a", {}
    for week in range(100):
        today = DAY + dt.timedelta(weeks=week)
        seen = recorded(seen, {url: Finding("failed", "x")}, [url], today, lambda url: None)
    assert len(seen[url].failed) <= 8
    assert seen[url].failed[0] == DAY


COPY = {"archived_snapshots": {"closest": {"available": True, "url": "", "status": "200"}}}


@pytest.mark.parametrize(
    ("answer", "copy"),
    [
        (
            Answer(body={"archived_snapshots": {"closest": {
                "available": True, "url": "http://web.archive.org/web/2024/https://a.org/"}}}),
            "https://web.archive.org/web/2024/https://a.org/",
        ),
        (Answer(body={"url": "https://a.org/", "archived_snapshots": {}}), None),
        (Answer(body={"archived_snapshots": {"closest": {
            "available": True, "url": "https://evil.org/web/1/"}}}), None),
        (Answer(body={"archived_snapshots": {"closest": {
            "available": True, "url": "https://web.archive.org/web/1/<script>"}}}), None),
        (Answer(body={"archived_snapshots": {"closest": {
            "available": False, "url": "https://web.archive.org/web/1/x"}}}), None),
        (Answer(body="<html>busy</html>"), None),
        (Answer(body=[1, 2]), None),
        (Answer(body={"archived_snapshots": [1]}), None),
        (Answer(500), None),
        (Answer(body="{", trouble="breaks off"), None),
        (Answer(trouble="hangs"), None),
        (Answer(302, headers={"Location": "file:///etc/passwd"}), None),
    ],
)  # fmt: skip
def test_archived_copies(server: Server, answer: Answer, copy: str | None) -> None:
    server.on("/wayback/available", answer)
    assert archived_copy("https://a.org/?x=1&y=2#z", server.url) == copy
    assert "url=https%3A%2F%2Fa.org%2F%3Fx%3D1%26y%3D2%23z" in server.requests[0].path


def test_every_address_is_found_with_its_places(root: Callable[..., Path]) -> None:
    changes = {"papers/first2023base.yaml": {"ids": {"doi": "10.1/x.yz"}}}
    changes["papers/first2023base.yaml"]["ids"]["doi"] = "10.1234/xyz"
    catalog = Catalog.load(root(changes))
    found = links.addresses(catalog)
    paper = "papers/first2023base.yaml"
    assert "https://doi.org/10.1234/xyz" in found
    for url in (
        "https://github.com/first/zero",
        "https://example.org/a",
        "https://example.org/survey",
    ):
        assert url in found
    lines = (catalog.root / paper).read_text("utf-8").splitlines()
    place = next(each for each in found["https://github.com/first/zero"] if each[0] == paper)
    assert "https://github.com/first/zero" in lines[place[1] - 1]
    assert {path for path, _, _ in found["https://github.com/first/zero"]} == {
        paper, "catalog/reported/first2023base.yaml",
    }  # fmt: skip


def only_these(server: Server, *paths: str) -> dict[str, Any]:
    """The sample with one paper that links the server, and nothing else on the network."""
    where = [server.url + path for path in paths]
    sources = [{"what": "bibliography", "url": url, "seen": "2026-11-22"} for url in where]
    return {"papers/first2023base.yaml": {"sources": sources}}


def test_the_script_from_catalog_to_file(
    server: Server, root: Callable[..., Path], state: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("/well", 200)
    gone = server.on("/gone", 404)
    snapshot = {"available": True, "url": "http://web.archive.org/web/2024/x"}
    server.on("/wayback/available", Answer(body={"archived_snapshots": {"closest": snapshot}}))
    where = root(only_these(server, "/well", "/gone"))
    given = ["--root", str(where), "--only", server.url, "--pause", "0", "--wayback", server.url]
    assert script.main([*given, "--today", "2026-11-01"]) == 0
    assert (
        "1 answered, 0 refused, 1 failed), 0 not reached in time, 0 dead" in capsys.readouterr().out
    )
    assert script.main([*given, "--today", "2026-11-08"]) == 0
    said = capsys.readouterr().out
    assert "1 dead" in said
    assert "it answers with status 404" in said
    seen = state(where, "links.json")["links"]
    assert seen[gone]["failed"] == ["2026-11-01", "2026-11-08"]
    assert seen[gone]["archived"] == "https://web.archive.org/web/2024/x"
    assert [*seen] == sorted(seen)
    catalog = Catalog.load(where)
    assert State.load(where).problems == []
    (notice,) = [each for each in catalog.problems if each.code == "dead-link"]
    assert notice.severity == "notice"
    assert "https://web.archive.org/web/2024/x" in notice.message
    before = (where / "catalog" / "state" / "links.json").read_bytes()
    server.on("/gone", 200)
    assert script.main([*given, "--today", "2026-11-15", "--dry-run"]) == 0
    assert (where / "catalog" / "state" / "links.json").read_bytes() == before


def test_without_a_network_nothing_is_recorded(
    root: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [
        {"what": "bibliography", "url": f"http://nowhere.invalid/{n}", "seen": "2026-11-22"}
        for n in range(3)
    ]
    where = root({"papers/first2023base.yaml": {"sources": sources}})
    assert script.main(["--root", str(where), "--only", "nowhere.invalid", "--pause", "0"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: most addresses could not be reached")
    assert said.count("\n") == 1
    assert not (where / "catalog" / "state").exists()


def test_a_broken_state_is_not_written_over(
    server: Server, root: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    where = root(
        {**only_these(server, "/a"), "catalog/state/links.json": '{"schema": 1, "links": ['}
    )
    assert script.main(["--root", str(where), "--only", server.url]) == 1
    assert "links.json cannot be read" in capsys.readouterr().err
    assert server.requests == []
    assert (where / "catalog/state/links.json").read_text("utf-8") == '{"schema": 1, "links": ['


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"schema": 2, "links": {}}, "schema"),
        ({"schema": 1, "linkz": {}}, "linkz"),
        ({"schema": 1, "links": {"javascript:alert(1)": {"checked": "2026-11-01"}}}, "javascript"),
        ({"schema": 1, "links": {"https://a.org": {"checked": "soon"}}}, "soon"),
        ({"schema": 1, "links": {"https://a.org": {"checked": "2026-11-01",
          "archived": "javascript:x"}}}, "archived"),
    ],
)  # fmt: skip
def test_the_state_is_checked(root: Callable[..., Path], content: Any, says: str) -> None:
    where = root({"catalog/state/links.json": json.dumps(content, indent=1)})
    (problem,) = Catalog.load(where).problems
    assert problem.path == "catalog/state/links.json"
    assert says in problem.message
