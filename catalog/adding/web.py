"""Fetching a record from one of four known services, and nothing else from anywhere.

Whatever a server does (hangs, drips, breaks off, redirects in circles or elsewhere, sends
gigabytes), `get` returns a whole body or raises one PrunedexError of one line.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

from catalog.errors import PrunedexError, shown
from catalog.transport import REDIRECTS, Unreachable, explained, origin, read_body

SERVICES: dict[str, str] = {
    "arXiv": "https://export.arxiv.org",
    "Crossref": "https://api.crossref.org",
    "OpenReview": "https://api2.openreview.net",
    "OpenReview's first API": "https://api.openreview.net",
    "the ACL Anthology": "https://aclanthology.org",
}
"""Where each service answers: scheme and host, which every redirect must keep to."""

MAX_BYTES = 2 * 1024 * 1024
"""Size in bytes above which a record is refused; the largest known have some 100 KiB."""

CONNECT_SECONDS = 10.0
"""How long a server may take to accept a connection, or to send the next bytes."""

TOTAL_SECONDS = 45.0
"""How long one answer may take from request to last byte."""

MAX_WAIT_SECONDS = 30.0
"""The longest wait that a server may ask for; above it, the wait is left to the person."""

MAX_REDIRECTS = 4
MAX_TRIES = 3

USER_AGENT = "prunedex (a catalog of papers; one record a request)"

_OFFLINE = "try again later, or give a .bib file, which needs no network"


@dataclass(frozen=True)
class Answer:
    """What a service sent; `status_code` and `content` are named as `requests` names them."""

    url: str
    status_code: int
    content: bytes
    media_type: str

    @property
    def text(self) -> str:
        """The body as UTF-8, which all services send."""
        return self.content.decode("utf-8", errors="replace")


def get(service: str, path: str, sleep: Any = time.sleep) -> Answer:
    """The answer of a service (a key of `SERVICES`) to a path: status 200 or 404 only.

    Waits and asks again where the service asks for patience (429, 503) or stumbles (5xx), at
    most `MAX_TRIES` times in all. Raises PrunedexError otherwise.
    """
    base = SERVICES[service]
    for attempt in range(1, MAX_TRIES + 1):
        answer, retry_after = _once(service, base + path)
        if answer.status_code in (200, 404):
            return answer
        if answer.status_code not in (429, 500, 502, 503, 504):
            raise _failure(service, f"answers with status {answer.status_code}", _why(answer))
        wait = float(2 ** (attempt - 1)) if retry_after is None else retry_after
        if answer.status_code == 429 or retry_after is not None:
            said = f"asks to wait {wait:.0f} s before the next request"
        else:
            said = f"answers with status {answer.status_code}"
        if attempt == MAX_TRIES or wait > MAX_WAIT_SECONDS:
            times = f" ({attempt} requests)" if attempt > 1 else ""
            raise _failure(service, said + times)
        sleep(wait)
    raise AssertionError("unreachable")


def _why(answer: Answer) -> str:
    if answer.status_code in (401, 403):
        return "it refuses programs; open the page, copy its BibTeX into a .bib file and give that"
    return _OFFLINE


def _failure(service: str, what: str, hint: str = _OFFLINE) -> PrunedexError:
    return PrunedexError(f"{service} {what}", hint)


def _once(service: str, url: str) -> tuple[Answer, float | None]:
    """One answer, redirects within the service followed, with the wait that it asks for."""
    import requests

    began = time.monotonic()
    home = origin(url)
    with requests.Session() as session:
        # Else requests looks one redirect ahead, for which it reads the whole body.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = session.get(
                    url,
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"},
                    timeout=CONNECT_SECONDS,
                    allow_redirects=False,
                    stream=True,
                )
                with response:
                    location = response.headers.get("Location")
                    if response.status_code in REDIRECTS and location:
                        url = _joined(url, location)
                        if origin(url) != home:
                            said = f"redirects elsewhere, to {shown(location)}: not followed"
                            raise _failure(service, said)
                        continue
                    body = read_body(
                        response,
                        most=MAX_BYTES,
                        silence=CONNECT_SECONDS,
                        total=TOTAL_SECONDS,
                        began=began,
                        of=" for one record",
                    )
            except Unreachable as unread:
                raise _failure(service, unread.reason) from None
            except requests.exceptions.RequestException as error:
                raise _failure(service, explained(error, CONNECT_SECONDS).reason) from None
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            wait = _seconds(response.headers.get("Retry-After"))
            return Answer(url, response.status_code, body, kind), wait
    raise _failure(service, f"redirects more than {MAX_REDIRECTS} times")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _seconds(value: str | None) -> float | None:
    """What Retry-After asks for: a number of seconds or a date; None if it is neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
