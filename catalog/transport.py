"""What every request to a server outside needs, so that it ends whatever the server does.

`catalog.adding.web` asks a few known services and `catalog.upkeep.web` any address; each has its
own rules about redirects, waits and messages, and both read answers as written here.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

REDIRECTS = (301, 302, 303, 307, 308)
"""Answers that name another address in their header Location."""


class Unreachable(Exception):  # noqa: N818 (it is an outcome, not always a fault of ours)
    """No answer; `reason` says why in a few words, `network` that no server was reached at all."""

    def __init__(self, reason: str, network: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.network = network


def origin(url: str) -> tuple[str, str]:
    """Scheme and host with port, in lower case; empty for what is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.netloc.lower()
    except ValueError:
        return "", ""


def read_body(
    response: Any, *, most: int, silence: float, total: float, began: float, of: str = ""
) -> bytes:
    """The body of a `requests` response that was asked for with `stream=True`.

    Takes at most `most` bytes after decompression, `silence` seconds between two pieces (which
    the request itself has to set as its timeout) and `total` seconds since `began`, a moment of
    `time.monotonic`. Raises Unreachable, whose reason ends with `of` where a limit was met.
    """
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
            if size > most:
                raise Unreachable(f"sends more than {most // 1024} KiB{of}")
            if time.monotonic() > began + total:
                raise Unreachable(f"takes more than {total:.0f} s{of}")
            pieces.append(piece)
    except urllib3.exceptions.ReadTimeoutError:
        raise Unreachable(f"sends nothing for {silence:.0f} s") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise Unreachable("breaks off in the middle of its answer") from None
    expected = response.headers.get("Content-Length", "")
    if expected.isascii() and expected.isdigit() and response.raw.tell() < int(expected):
        raise Unreachable("breaks off in the middle of its answer")
    return b"".join(pieces)


def explained(error: Exception, seconds: float) -> Unreachable:
    """What went wrong in a request whose timeout was `seconds`, without names of classes."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        nowhere = isinstance(error, requests.exceptions.ConnectTimeout)
        return Unreachable(f"does not answer within {seconds:.0f} s", network=nowhere)
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable("has no valid certificate")
    if isinstance(error, requests.exceptions.ConnectionError):
        # A name that nobody knows and a network that is down look alike from here.
        return Unreachable("cannot be reached", network=not hung_up(error))
    return Unreachable(f"cannot be asked ({type(error).__name__})")


def hung_up(error: Exception) -> bool:
    """Whether a server was there, but ended the connection without an answer."""
    import requests

    others = (requests.exceptions.Timeout, requests.exceptions.SSLError)
    if not isinstance(error, requests.exceptions.ConnectionError) or isinstance(error, others):
        return False
    return "RemoteDisconnected" in str(error) or "Connection reset" in str(error)
