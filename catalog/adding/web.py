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
from urllib.parse import urljoin, urlsplit

from catalog.errors import PrunedexError, shown

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

    deadline = time.monotonic() + TOTAL_SECONDS
    origin = _origin(url)
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
                    if response.status_code in (301, 302, 303, 307, 308) and location:
                        url = _joined(url, location)
                        if _origin(url) != origin:
                            said = f"redirects elsewhere, to {shown(location)}: not followed"
                            raise _failure(service, said)
                        continue
                    body = _body(service, response, deadline)
            except requests.exceptions.RequestException as error:
                raise _failure(service, _plain(error)) from None
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            wait = _seconds(response.headers.get("Retry-After"))
            return Answer(url, response.status_code, body, kind), wait
    raise _failure(service, f"redirects more than {MAX_REDIRECTS} times")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.netloc.lower()
    except ValueError:
        return "", ""


def _body(service: str, response: Any, deadline: float) -> bytes:
    """The body as far as it is allowed to be long, however slowly it comes."""
    import urllib3

    pieces: list[bytes] = []
    size = 0
    try:
        while True:
            # read1 returns what has arrived, so that a dripping server meets the deadline.
            piece = response.raw.read1(65536, decode_content=True)
            if not piece:
                break
            size += len(piece)
            if size > MAX_BYTES:
                raise _failure(service, f"sends more than {MAX_BYTES // 1024} KiB for one record")
            if time.monotonic() > deadline:
                raise _failure(service, f"takes more than {TOTAL_SECONDS:.0f} s for one record")
            pieces.append(piece)
    except urllib3.exceptions.ReadTimeoutError:
        raise _failure(service, f"sends nothing for {CONNECT_SECONDS:.0f} s") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise _failure(service, "breaks off in the middle of its answer") from None
    expected = response.headers.get("Content-Length", "")
    received = response.raw.tell()
    if expected.isascii() and expected.isdigit() and received < int(expected):
        raise _failure(service, "breaks off in the middle of its answer")
    return b"".join(pieces)


def _plain(error: Exception) -> str:
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return f"does not answer within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "has no valid certificate"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "cannot be reached"
    return f"cannot be asked ({type(error).__name__})"


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
