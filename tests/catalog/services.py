"""arXiv, Crossref, OpenReview and the ACL Anthology on this machine, well-behaved or not."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

ARXIV = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <title type="html">ArXiv Query: id_list={id}</title>
  <opensearch:totalResults xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">1</opensearch:totalResults>
  <entry>
    <id>http://arxiv.org/abs/{id}v2</id>
    <updated>2025-03-04T10:00:00Z</updated>
    <published>2024-02-09T17:59:46Z</published>
    <title>{title}</title>
    <summary>{abstract}</summary>
    {authors}
    <arxiv:comment xmlns:arxiv="http://arxiv.org/schemas/atom">{comment}</arxiv:comment>
    <link href="http://arxiv.org/abs/{id}v2" rel="alternate" type="text/html"/>
    <arxiv:primary_category xmlns:arxiv="http://arxiv.org/schemas/atom" term="cs.LG"/>
    <category term="cs.LG" scheme="http://arxiv.org/schemas/atom"/>
  </entry>
</feed>
"""

TITLE = "SparseToy: One-Shot 2:4 Pruning\n  of Toy Models"
ABSTRACT = (
    "Large toys are costly. We propose SparseToy, which removes weights without retraining. "
    "It needs 128 calibration samples and solves a layer-wise reconstruction problem. "
    "Code is at https://github.com/toys/sparse-toy."
)


def arxiv_feed(
    identifier: str = "2402.12345",
    title: str = TITLE,
    authors: tuple[str, ...] = ("Zoë van der Berg", "Bo Second"),
    abstract: str = ABSTRACT,
    comment: str = "Accepted at ICML 2024. 12 pages",
) -> bytes:
    """An answer of arXiv's API; the texts are put in as they are."""
    people = "\n    ".join(f"<author><name>{name}</name></author>" for name in authors)
    return ARXIV.format(
        id=identifier, title=title, abstract=abstract, comment=comment, authors=people
    ).encode()


EMPTY_FEED = b"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>ArXiv Query</title></feed>"""


@dataclass
class Answer:
    """What the server does with a request: an ordinary answer, unless `act` does it."""

    body: bytes = b""
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    act: Callable[[Any], None] | None = None


@dataclass
class Services:
    """`answers` by path without query; a list is used up answer by answer, the last one stays."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def on(self, path: str, *answers: Answer) -> None:
        self.answers[path] = list(answers)


class _Handler(http.server.BaseHTTPRequestHandler):
    services: Services

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.services.requests.append(self.path)
        waiting = self.services.answers.get(self.path.partition("?")[0], [Answer(b"", 404)])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if answer.act is not None:
                answer.act(self)
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)


def hang(handler: Any) -> None:
    """Accept, and say nothing for longer than anybody waits in a test."""
    time.sleep(1.5)


def drip(handler: Any) -> None:
    """Send a byte now and then, always soon enough not to seem silent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def break_off(handler: Any) -> None:
    """Promise more than what comes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/atom+xml")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(arxiv_feed()[:400])
    handler.wfile.flush()
    handler.close_connection = True


def break_off_chunked(handler: Any) -> None:
    """End in the middle of a chunk."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Content-Type", "application/atom+xml")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1000\r\n" + arxiv_feed()[:400])
    handler.wfile.flush()
    handler.close_connection = True


def hang_up(handler: Any) -> None:
    """Close without an answer."""
    handler.close_connection = True


@contextlib.contextmanager
def serve() -> Iterator[Services]:
    """Running services at a free port of the loopback address."""
    handler = type("Handler", (_Handler,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    services = Services(f"http://127.0.0.1:{server.server_address[1]}")
    handler.services = services
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield services
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
