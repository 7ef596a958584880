"""One request to any server, which ends in an answer or in one reason, whatever the server does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from catalog.transport import REDIRECTS, Unreachable, explained, hung_up, origin, read_body

SECONDS = 15.0
"""How long a server may take to accept a connection, or to send the next bytes."""

TOTAL_SECONDS = 40.0
"""How long one answer may take, from the request to the last byte that is read."""

MAX_BYTES = 4 * 1024 * 1024
"""Size in bytes above which a body is refused."""

MAX_REDIRECTS = 8

USER_AGENT = "prunedex-upkeep/1 (looks after the links of a catalog of papers, once a week)"


@dataclass(frozen=True)
class Reply:
    """An answer. `body` is empty where none was asked for; header names are in lower case."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON; raises Unreachable if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Unreachable("sends something that is not JSON") from None

    @property
    def wait(self) -> float | None:
        """Seconds that the server asks to wait, by Retry-After or GitHub's own header."""
        after = self.headers.get("retry-after", "").strip()
        if after.isascii() and after.isdigit():
            return float(after[:9])
        reset = self.headers.get("x-ratelimit-reset", "").strip()
        if self.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
            return max(0.0, float(reset[:12]) - time.time())
        return None


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    data: Any = None,
    with_body: bool = False,
    within: bool = False,
) -> Reply:
    """The answer to one request, redirects followed; `data` is sent as JSON.

    With `within`, only redirects to the same scheme and host are followed, so that a token in
    the headers goes nowhere else. Raises Unreachable.
    """
    import requests

    began = time.monotonic()
    seen = {url}
    sent = {"User-Agent": USER_AGENT, "Accept": "*/*", **(headers or {})}
    with requests.Session() as session:
        session.trust_env = "Authorization" not in sent  # a .netrc must not replace the token
        for _ in range(MAX_REDIRECTS + 1):
            _refuse(url)
            try:
                response = session.request(
                    method,
                    url,
                    headers=sent,
                    json=data,
                    timeout=SECONDS,
                    allow_redirects=False,
                    stream=True,
                )
                with response:
                    location = response.headers.get("Location")
                    if response.status_code in REDIRECTS and location:
                        target = urljoin(url, location)
                        if within and origin(target) != origin(url):
                            raise Unreachable("redirects to another server")
                        if target in seen:
                            raise Unreachable("redirects in a circle")
                        seen.add(target)
                        url = target
                        continue
                    body = _body(response, began) if with_body else b""
                    lower = {name.lower(): value for name, value in response.headers.items()}
                    return Reply(response.status_code, url, lower, body)
            except (requests.exceptions.RequestException, ValueError) as error:
                failure = explained(error, SECONDS)
                raise (Unreachable("hangs up") if hung_up(error) else failure) from None
            if time.monotonic() > began + TOTAL_SECONDS:
                raise Unreachable(f"takes more than {TOTAL_SECONDS:.0f} s")
    raise Unreachable(f"redirects more than {MAX_REDIRECTS} times")


def patiently(
    request: Callable[[], Reply],
    sleep: Callable[[float], object] = time.sleep,
    longest: float = 60.0,
    tries: int = 3,
) -> Reply:
    """The answer, after the waits that a busy server asks for (429, 503, GitHub's 403).

    A server that asks for more than `longest` seconds, or once more after `tries`, is taken at
    its word: its refusal is returned. Raises Unreachable.
    """
    for attempt in range(1, tries + 1):
        reply = request()
        if reply.status not in (403, 429, 503):
            return reply
        wait = reply.wait
        if wait is None:
            if reply.status == 403:
                return reply
            wait = 2.0**attempt
        if attempt == tries or wait > longest:
            return reply
        sleep(wait)
    raise AssertionError("unreachable")


def _refuse(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise Unreachable("leads to something that is no http address")


def _body(response: Any, began: float) -> bytes:
    return read_body(response, most=MAX_BYTES, silence=SECONDS, total=TOTAL_SECONDS, began=began)
