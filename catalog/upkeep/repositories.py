"""What GitHub says about the repositories that the catalog links: stars, licence, last push."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import PrunedexError
from catalog.schema import Repository
from catalog.store import Catalog
from catalog.transport import Unreachable
from catalog.upkeep.state import RepositorySeen, days
from catalog.upkeep.web import Reply, ask, patiently

API = "https://api.github.com"


class _Licence(BaseModel):
    spdx_id: str | None = None


class _Sent(BaseModel):
    """The part of GitHub's answer that is used; the rest is ignored."""

    model_config = ConfigDict(extra="ignore")

    full_name: Repository
    stargazers_count: Annotated[int, Field(ge=0, strict=True)]
    archived: Annotated[bool, Field(strict=True)]
    licence: _Licence | None = Field(default=None, alias="license")
    pushed_at: dt.datetime | None = None


class Stop(Exception):  # noqa: N818 (it ends a run, with what was seen so far)
    """GitHub answers no more questions for now, to any repository."""


def named(catalog: Catalog) -> list[str]:
    """Every GitHub repository that entries and methods link, as owner/name, sorted."""
    found: dict[str, str] = {}
    urls = [
        code.url
        for entry in catalog.entries.values()
        for code in (entry.links.code, *entry.links.code_unofficial)
        if code is not None
    ]
    urls += [code.url for method in catalog.methods.values() for code in method.official_code]
    for url in urls:
        name = on_github(url)
        if name is not None:
            found.setdefault(name.casefold(), name)
    return sorted(found.values(), key=str.casefold)


def on_github(url: str) -> str | None:
    """owner/name of an address on GitHub, of the repository or of a file in it."""
    parts = urlsplit(url)
    match = re.match(r"^/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+)", parts.path)
    if parts.netloc.lower() not in ("github.com", "www.github.com") or match is None:
        return None
    return f"{match[1]}/{match[2].removesuffix('.git')}"


def headers(token: str | None) -> dict[str, str]:
    """What every request to GitHub's API carries."""
    sent = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return {**sent, "Authorization": f"Bearer {token}"} if token else sent


def look(
    name: str,
    before: RepositorySeen | None,
    today: dt.date,
    *,
    api: str = API,
    token: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> RepositorySeen | None:
    """What GitHub says about one repository today; None if it says nothing that can be used.

    Raises Stop where it would answer no other question either.
    """

    def request() -> Reply:
        url = f"{api}/repos/{name}"
        return ask("GET", url, headers=headers(token), with_body=True, within=True)

    reply = patiently(request, sleep)
    if reply.status in (404, 410, 451):
        known = before or RepositorySeen(checked=today)
        changed: dict[str, Any] = {
            "checked": today,
            "failed": days(known.failed, today),
            "reason": f"GitHub answers with status {reply.status}",
        }
        return known.model_copy(update=changed)
    if reply.status == 401:
        raise Stop("GitHub refuses the token")
    if reply.status in (403, 429):
        wait = reply.wait
        when = f" before {wait / 60:.0f} minutes have passed" if wait else ""
        raise Stop(f"GitHub wants no more requests{when}")
    if reply.status != 200:
        raise Unreachable(f"answers with status {reply.status}")
    try:
        sent = _Sent.model_validate(reply.json())
    except ValidationError:
        raise Unreachable("sends something that is no repository") from None
    same = sent.full_name.casefold() == name.casefold()
    return RepositorySeen(
        checked=today,
        stars=sent.stargazers_count,
        archived=sent.archived,
        licence=_licence(sent.licence),
        pushed=sent.pushed_at.date() if sent.pushed_at else None,
        renamed=None if same else sent.full_name,
    )


def _licence(licence: _Licence | None) -> str | None:
    if licence is None or licence.spdx_id is None:
        return None
    # GitHub's word for a licence that it does not recognise.
    if licence.spdx_id == "NOASSERTION":
        return "other"
    known = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", licence.spdx_id)
    return licence.spdx_id if known else "other"


def look_at_all(
    names: Iterable[str],
    before: Mapping[str, RepositorySeen],
    today: dt.date,
    *,
    api: str = API,
    token: str | None = None,
    pause: float = 0.2,
    sleep: Callable[[float], object] = time.sleep,
    told: Callable[[str, str], None] = lambda name, text: None,
) -> tuple[dict[str, RepositorySeen], str | None]:
    """What is known after today, and why the run ended early if it did.

    A repository that could not be asked about keeps what was known; one that nobody links any
    more is forgotten. Raises PrunedexError if not one could be asked about.
    """
    after: dict[str, RepositorySeen] = {}
    stopped: str | None = None
    asked = failed = 0
    for name in names:
        old = before.get(name)
        if stopped is None:
            if asked:
                sleep(pause)
            asked += 1
            try:
                old = look(name, old, today, api=api, token=token, sleep=sleep)
                told(name, "seen")
            except Unreachable as error:
                failed += 1
                told(name, error.reason)
            except Stop as error:
                failed += 1
                stopped = str(error)
        if old is not None:
            after[name] = old
    if asked and failed == asked:
        raise PrunedexError(stopped or "GitHub could not be asked about any repository")
    return after, stopped
