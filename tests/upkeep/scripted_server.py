"""A server on this machine that answers as a test has written it down, in order."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Answer:
    """One answer. `body` that is no text is sent as JSON; `trouble` is what goes wrong."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    trouble: Literal["", "hangs", "breaks off", "hangs up"] = ""


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    data: Any


class Server:
    """`answers` holds, by path without query, what comes next; the last one is repeated."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.ended = threading.Event()
        self.url = ""

    def on(self, path: str, *answers: Answer | int) -> str:
        """Write answers down; a number is a status. Returns the address."""
        self.answers[path] = [Answer(each) if isinstance(each, int) else each for each in answers]
        return self.url + path

    def asked(self, path: str) -> list[str]:
        """The methods by which a path was asked for."""
        return [each.method for each in self.requests if each.path.partition("?")[0] == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    server_: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        request = Request(
            self.command, self.path, dict(self.headers), json.loads(sent) if sent else None
        )
        self.server_.requests.append(request)
        waiting = self.server_.answers.get(self.path.partition("?")[0], [Answer(404)])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self.close_connection = True
        if answer.trouble == "hangs":
            self.server_.ended.wait(20)
            return
        if answer.trouble == "hangs up":
            return
        is_text = isinstance(answer.body, str)
        body = (answer.body if is_text else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        extra = 100 if answer.trouble == "breaks off" else 0
        self.send_header("Content-Length", str(len(body) + extra))
        self.send_header("Connection", "close")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PATCH = _any  # noqa: N815 (the base class asks for them)


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is part of the tests


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the end of the block."""
    server = Server()
    handler = type("Handler", (_Handler,), {"server_": server})
    real = _Quiet(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{real.server_address[1]}"
    thread = threading.Thread(
        target=real.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        real.shutdown()
        real.server_close()
