"""A Hugging Face hub on this machine: it answers what the real one would, from files in memory."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest


@dataclass
class Repository:
    """Files by path. `gated` files are refused to everybody, though their names can be seen."""

    files: dict[str, bytes]
    gated: bool = False
    broken: bool = False  # answers 500
    pinned: str = ""  # its commit, where the client asks for a certain one

    @property
    def commit(self) -> str:
        if self.pinned:
            return self.pinned
        digest = hashlib.sha1(usedforsecurity=False)
        for path in sorted(self.files):
            digest.update(path.encode() + b"\0" + self.files[path])
        return digest.hexdigest()


@dataclass
class Hub:
    """`repositories` is keyed by kind and name: `models/owner/name`, `datasets/owner/name`."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def add(self, key: str, files: dict[str, bytes], gated: bool = False) -> Repository:
        self.repositories[key] = Repository(files, gated)
        return self.repositories[key]


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.hub.requests.append(f"{self.command} {path}")
        if path.startswith("api/"):
            self._api(path.removeprefix("api/"))
        else:
            self._file(path)

    def _find(self, key: str) -> tuple[str, Repository] | None:
        for name, repository in self.hub.repositories.items():
            if key == name or key.startswith(name + "/"):
                if repository.broken:
                    self._answer(500, b"{}")
                    return None
                return key.removeprefix(name).strip("/"), repository
        # The real hub does not tell a stranger whether a repository is private or does not exist.
        self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        return None

    def _known(self, repository: Repository, revision: str) -> bool:
        if revision in ("main", repository.commit):
            return True
        self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return False

    def _api(self, key: str) -> None:
        found = self._find(key)
        if found is None:
            return
        rest, repository = found
        verb, _, revision = rest.partition("/")
        if verb == "tree":
            if self._known(repository, revision.partition("/")[0]):
                listing = [
                    {"type": "file", "path": p, "size": len(b), "oid": _etag(b)}
                    for p, b in sorted(repository.files.items())
                ]
                self._answer(200, json.dumps(listing).encode())
            return
        if verb == "revision" and not self._known(repository, revision):
            return
        info = {
            "id": key.partition("/")[2],
            "sha": repository.commit,
            "private": False,
            "gated": "auto" if repository.gated else False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(repository.files)],
        }
        self._answer(200, json.dumps(info).encode())

    def _file(self, path: str) -> None:
        found = self._find(path if path.startswith("datasets/") else f"models/{path}")
        if found is None:
            return
        rest, repository = found
        _, revision, name = rest.split("/", 2)
        if not self._known(repository, revision):
            return
        if repository.gated:
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif name not in repository.files:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            body = repository.files[name]
            headers = {"ETag": f'"{_etag(body)}"', "X-Repo-Commit": repository.commit}
            self._answer(200, body, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _etag(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A running hub without repositories, at a free port of the loopback address."""
    handler = type("Handler", (_Handler,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    handler.hub = hub
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def connected(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A running hub that the hub client of this process talks to, with a cache of its own."""
    with serve() as hub:
        point_client_at(monkeypatch, hub.url, cache)
        yield hub


def point_client_at(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    from huggingface_hub import constants

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
