"""The one issue: opened once, updated in place, closed when there is nothing left to say."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Answer, Server

from catalog.ageing import Stale
from catalog.store import Catalog
from catalog.upkeep.issue import LABEL, MARKER, Report, Tracker, body, report
from catalog.upkeep.state import State
from scripts import upkeep_issue as script

ISSUES = "/repos/o/r/issues"
EMPTY = Report([], [], [])
FOUND = Report(
    [
        Stale(
            "first2023base", "papers/first2023base.yaml", 3, 5, dt.date(2024, 1, 2), "https://a.org"
        )
    ],
    [("https://dead.org/x", "https://web.archive.org/web/1/x", "answers with status 404", ["p:1"])],
    [("a/b", "is now called c/d")],
)


@pytest.fixture
def tracker(server: Server) -> Tracker:
    return Tracker("o/r", "t", server.url)


def issue(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"number": number, "title": "Renamed by a person", "body": text, **more}


def test_it_is_opened_where_there_is_none(server: Server, tracker: Tracker) -> None:
    others = [
        issue(1, "a question"),
        issue(2, f"I quote {MARKER}"),
        issue(3, MARKER, pull_request={}),
    ]
    server.on(ISSUES, Answer(body=others), Answer(201, body={"number": 9}))
    assert tracker.settle(FOUND) == ("opened", 9)
    get, post = server.requests
    assert (get.method, post.method) == ("GET", "POST")
    assert f"labels={LABEL}" in get.path
    assert "state=open" in get.path
    assert post.data["labels"] == [LABEL]
    assert post.data["body"].startswith(MARKER)


def test_it_is_updated_in_place(server: Server, tracker: Tracker) -> None:
    server.on(ISSUES, Answer(body=[issue(7, f"{MARKER}\r\nold"), issue(8, MARKER)]))
    server.on(f"{ISSUES}/7", Answer(body={}))
    assert tracker.settle(FOUND) == ("updated", 7)
    assert [each.method for each in server.requests] == ["GET", "PATCH"]
    assert server.requests[1].data == {"body": body(FOUND)}


def test_it_is_left_alone_where_nothing_changed(server: Server, tracker: Tracker) -> None:
    server.on(ISSUES, Answer(body=[issue(7, body(FOUND).replace("\n", "\r\n"))]))
    assert tracker.settle(FOUND) == ("unchanged", 7)
    assert [each.method for each in server.requests] == ["GET"]


def test_it_is_closed_when_nothing_is_left(server: Server, tracker: Tracker) -> None:
    server.on(ISSUES, Answer(body=[issue(7, body(FOUND))]))
    server.on(f"{ISSUES}/7", Answer(body={}))
    assert tracker.settle(EMPTY) == ("closed", 7)
    assert server.requests[1].data == {"state": "closed"}


def test_it_says_nothing_where_there_is_nothing(server: Server, tracker: Tracker) -> None:
    server.on(ISSUES, Answer(body=[]))
    assert tracker.settle(EMPTY) == ("nothing to say", None)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(401, body={}), "token is not accepted"),
        (Answer(403, body={}), "issues: write"),
        (Answer(404, body={}), "name right"),
        (Answer(410, body={}), "switched off"),
        (Answer(500, body="<html>"), "status 500"),
        (Answer(body="<html>"), "not JSON"),
        (Answer(body={"message": "?"}), "no list of issues"),
        (Answer(trouble="hangs"), "does not answer"),
        (Answer(body="[", trouble="breaks off"), "breaks off"),
        (Answer(302, headers={"Location": "https://example.org/"}), "another server"),
        (Answer(429, headers={"Retry-After": "4000"}), "status 429"),
    ],
)
def test_a_failure_is_one_line(
    server: Server,
    root: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    says: str,
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret-word")
    server.on(ISSUES, answer)
    given = ["--root", str(root()), "--api", server.url, "--repository", "o/r"]
    assert script.main(given) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert "secret-word" not in said


def test_nothing_from_a_file_is_markup() -> None:
    bad = "x`@everyone`|</td><script>\n# [a](https://evil.org) \x1b[31m\u202e"
    text = body(Report(
        [Stale("k", "papers/k.yaml", 1, 1, None, f"https://a.org/{bad}")],
        [(f"https://a.org/{bad}", f"https://web.archive.org/{bad}", bad, [bad])],
        [("a/b", bad)],
    ))  # fmt: skip
    for line in text.splitlines():
        outside = "".join(line.split("`")[0::2])
        assert not any(each in outside for each in ("@", "<script", "](", "\x1b", "\u202e")), line
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {3, 4, 5}


def test_it_fits_into_an_issue() -> None:
    many = [
        (f"https://a.org/{n}/" + "x" * 3000, None, "y" * 3000, ["p" * 300] * 9) for n in range(999)
    ]
    entries = [Stale("k", "p" * 999, 1, 1, None, "u" * 999)] * 999
    text = body(Report(entries, many, [("a/b", "z" * 999)] * 999))
    assert len(text) < 65_536
    assert text.count("and 974 more") == 3
    assert " more\n" not in body(FOUND)


def test_the_report_of_a_catalog(root: Callable[..., Path]) -> None:
    dead = {"checked": "2026-11-08", "failed": ["2026-11-01", "2026-11-08"], "reason": "gone"}
    links = {"https://example.org/a": dead, "https://nobody.example": dead,
             "https://example.org/survey": {**dead, "failed": ["2026-11-01"]}}  # fmt: skip
    repositories = {"first/zero": {"checked": "2026-11-08", "renamed": "second/one"},
                    "who/knows": {"checked": "2026-11-08", "renamed": "x/y"}}  # fmt: skip
    where = root({
        "catalog/state/links.json": json.dumps({"schema": 1, "links": links}),
        "catalog/state/repositories.json": json.dumps({"schema": 1, "repositories": repositories}),
    })  # fmt: skip
    found = report(Catalog.load(where), State.load(where), dt.date(2026, 11, 23))
    assert [each.key for each in found.entries] == ["first2023base", "second2024next"]
    assert [each[0] for each in found.links] == ["https://example.org/a"]
    assert found.links[0][3][0].startswith("papers/first2023base.yaml:")
    assert found.repositories == [("first/zero", "is now called second/one")]
    assert report(Catalog.load(where), State(), dt.date(2026, 11, 22)).is_empty


def test_looking_needs_no_token(
    root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    where = str(root({"papers/first2023base.yaml": {"sources": []}}))
    assert script.main(["--root", where, "--dry-run"]) == 0
    assert "`papers/first2023base.yaml:" in capsys.readouterr().out
    assert script.main(["--root", where, "--repository", "o/r"]) == 1
    assert "GITHUB_TOKEN" in capsys.readouterr().err
    assert script.main(["--root", where, "--repository", "o/r/../x"]) == 1
    assert script.main(["--root", where, "--older-than", "soon"]) == 2
