"""Repositories: what GitHub says is taken down, and what it does not say is not made up."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Answer, Server

from catalog.store import Catalog
from catalog.transport import Unreachable
from catalog.upkeep.repositories import Stop, look, look_at_all, named, on_github
from catalog.upkeep.state import RepositorySeen, State
from scripts import repositories as script

DAY = dt.date(2026, 11, 1)
NEXT = dt.date(2026, 11, 8)

SENT: dict[str, Any] = {
    "full_name": "first/zero",
    "stargazers_count": 12,
    "archived": False,
    "license": {"key": "mit", "spdx_id": "MIT"},
    "pushed_at": "2024-08-01T10:20:30Z",
    "description": "<script>alert(1)</script>",
    "private": False,
}


def ask(server: Server, answer: Answer | int, before: RepositorySeen | None = None) -> Any:
    server.on("/repos/first/zero", answer)
    return look("first/zero", before, NEXT, api=server.url, token="t", sleep=lambda seconds: None)


def test_an_answer(server: Server) -> None:
    assert ask(server, Answer(body=SENT)) == RepositorySeen(
        checked=NEXT, stars=12, licence="MIT", pushed=dt.date(2024, 8, 1)
    )
    (request,) = server.requests
    assert request.headers["Authorization"] == "Bearer t"
    assert request.headers["Accept"] == "application/vnd.github+json"


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"archived": True}, "archived", True),
        ({"license": None}, "licence", None),
        ({"license": {"spdx_id": "NOASSERTION"}}, "licence", "other"),
        ({"license": {"spdx_id": "<b>"}}, "licence", "other"),
        ({"full_name": "First/Zero"}, "renamed", None),
        ({"full_name": "second/one"}, "renamed", "second/one"),
        ({"pushed_at": None}, "pushed", None),
    ],
)
def test_its_parts(server: Server, changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(ask(server, Answer(body={**SENT, **changes})), field) == value


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body="<html>not now</html>"),
        Answer(body=[]),
        Answer(body={}),
        Answer(body={**SENT, "stargazers_count": "many"}),
        Answer(body={**SENT, "stargazers_count": -1}),
        Answer(body={**SENT, "full_name": "../../etc"}),
        Answer(body={**SENT, "archived": "false"}),
        Answer(body="{" * 100_000),
        Answer(body='{"full_name": "', trouble="breaks off"),
        Answer(trouble="hangs"),
        Answer(trouble="hangs up"),
        Answer(500),
        Answer(301, headers={"Location": "http://localhost:1/elsewhere"}),
    ],
)
def test_nothing_usable(server: Server, answer: Answer) -> None:
    with pytest.raises(Unreachable) as error:
        ask(server, answer)
    assert "\n" not in error.value.reason


def test_a_renamed_repository_is_followed_on_the_same_server(server: Server) -> None:
    server.on("/repositories/7", Answer(body={**SENT, "full_name": "second/one"}))
    found = ask(server, Answer(301, headers={"Location": "/repositories/7"}))
    assert found.renamed == "second/one"


def test_the_token_goes_nowhere_else(server: Server) -> None:
    server.on("/stolen", Answer(body=SENT))
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/stolen"
    with pytest.raises(Unreachable, match="redirects to another server"):
        ask(server, Answer(301, headers={"Location": elsewhere}))
    assert server.asked("/stolen") == []


def test_gone_after_two_days(server: Server) -> None:
    known = RepositorySeen(checked=DAY, stars=3, failed=[DAY])
    after = ask(server, 404, known)
    assert after.gone
    assert after.stars == 3
    assert not ask(server, 404, after.model_copy(update={"failed": [NEXT]})).gone
    assert ask(server, Answer(body=SENT), after).failed == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(401, body={"message": "Bad credentials"}), "refuses the token"),
        (Answer(403, body={"message": "no"}), "wants no more requests"),
        (Answer(429, headers={"Retry-After": "7200"}), "before 120 minutes have passed"),
        (
            Answer(403, headers={
                "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 36_000)}),
            r"before (5\d\d|600) minutes have passed",  # collecting the tests takes time, too
        ),
    ],
)  # fmt: skip
def test_when_github_has_had_enough(server: Server, answer: Answer, says: str) -> None:
    with pytest.raises(Stop, match=says):
        ask(server, answer)


def test_a_short_wait_is_kept(server: Server) -> None:
    waits: list[float] = []
    server.on("/repos/first/zero", Answer(429, headers={"Retry-After": "3"}), Answer(body=SENT))
    found = look("first/zero", None, DAY, api=server.url, sleep=waits.append)
    assert found is not None
    assert found.stars == 12
    assert waits == [3.0]


def test_a_run_that_ends_early_keeps_what_was_known(server: Server) -> None:
    server.on("/repos/a/a", Answer(body={**SENT, "full_name": "a/a"}))
    server.on("/repos/b/b", 403)
    old = {"c/c": RepositorySeen(checked=DAY, stars=5), "d/d": RepositorySeen(checked=DAY)}
    after, stopped = look_at_all(["a/a", "b/b", "c/c"], old, NEXT, api=server.url, pause=0)
    assert stopped == "GitHub wants no more requests"
    assert {name: each.stars for name, each in after.items()} == {"a/a": 12, "c/c": 5}
    assert server.asked("/repos/c/c") == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/a/b", "a/b"),
        ("https://github.com/a/b.git", "a/b"),
        ("https://www.github.com/a/b.c/tree/main/x#y", "a/b.c"),
        ("https://github.com/a", None),
        ("https://gitlab.com/a/b", None),
        ("https://github.com.evil.org/a/b", None),
        ("https://github.com/../../x", None),
    ],
)
def test_names(url: str, name: str | None) -> None:
    assert on_github(url) == name


def test_the_script_from_catalog_to_file(
    server: Server,
    root: Callable[..., Path],
    state: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret-word")
    where = root()
    assert named(Catalog.load(where)) == ["first/zero"]
    server.on("/repos/first/zero", Answer(body=SENT))
    given = ["--root", str(where), "--api", server.url]
    assert script.main([*given, "--today", "2026-11-01"]) == 0
    assert state(where, "repositories.json") == {
        "schema": 1,
        "repositories": {
            "first/zero": {
                "checked": "2026-11-01", "stars": 12, "licence": "MIT", "pushed": "2024-08-01",
            }
        },
    }  # fmt: skip
    loaded = State.load(where)
    assert loaded.problems == []
    seen = loaded.repository("FIRST/Zero")
    assert seen is not None
    assert seen.stars == 12
    assert "wrote" in capsys.readouterr().out
    server.on("/repos/first/zero", Answer(body="<html>"))
    assert script.main([*given, "--today", "2026-11-08"]) == 1
    said = capsys.readouterr()
    assert said.err == "Error: GitHub could not be asked about any repository\n"
    assert "first/zero: GitHub sends something that is not JSON" in said.out
    assert "secret-word" not in said.out + said.err
    assert State.load(where).repositories == loaded.repositories
