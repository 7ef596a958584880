"""Whether the addresses that the catalog names still answer.

A server that does not answer today may do so tomorrow: a link counts as dead only after failures
on two different days without a success between them. A server that refuses programs (401, 403,
429) tells nothing about a page, so that changes nothing. For dead links, a copy is looked up in
the Internet Archive.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urldefrag, urlsplit

from catalog.reader import Location
from catalog.store import Catalog
from catalog.transport import Unreachable
from catalog.upkeep.state import LinkSeen, days
from catalog.upkeep.web import Reply, ask, patiently

WAYBACK = "https://archive.org"
"""Where the Wayback Machine's availability API answers."""

WORKERS = 8
"""Servers that are asked at once; of one server, one address at a time."""

PAUSE_SECONDS = 1.0
"""Between two requests to one server."""

DEADLINE_SECONDS = 40 * 60.0
"""After which whatever was not reached is left for next time."""

REFUSALS = (401, 402, 403, 405, 406, 407, 412, 418, 425, 426, 429, 451, 503, 999)
"""Answers by which servers turn programs away, whether or not the page exists."""

Outcome = Literal["answered", "failed", "refused"]


@dataclass(frozen=True)
class Finding:
    """What one look at an address showed; `network` if no server was reached at all."""

    outcome: Outcome
    reason: str | None = None
    network: bool = False


def addresses(catalog: Catalog) -> dict[str, list[tuple[str, int, int]]]:
    """Every address in the catalog's files, with the places that name it (path, line, column)."""
    _ = catalog.reports  # these files are read on first use
    found: dict[str, list[tuple[str, int, int]]] = {}
    for path, located in sorted(catalog.located.items()):
        for location, url in _named(located.data, ()):
            found.setdefault(url, []).append((path, *located.at(*location)))
    for entry in catalog.entries.values():
        if entry.ids.doi:
            path = catalog.path_of(entry.key)
            place = catalog.located[path].at("ids", "doi")
            found.setdefault(f"https://doi.org/{entry.ids.doi}", []).append((path, *place))
    return found


def _named(data: object, location: Location) -> Iterable[tuple[Location, str]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _named(value, (*location, name))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _named(value, (*location, number))
    elif isinstance(data, str) and data.startswith(("https://", "http://")) and " " not in data:
        yield location, data


def look(url: str, sleep: Callable[[float], object] = time.sleep) -> Finding:
    """One look at an address: HEAD first, and GET where HEAD does not succeed."""
    target = urldefrag(url).url
    finding = _try("HEAD", target, sleep)
    # Many servers answer HEAD wrongly; none that cannot be reached will answer GET.
    if finding.outcome == "answered" or finding.network:
        return finding
    return _try("GET", target, sleep)


def _try(method: str, url: str, sleep: Callable[[float], object]) -> Finding:
    try:
        reply: Reply = patiently(lambda: ask(method, url), sleep, longest=30.0, tries=2)
    except Unreachable as error:
        return Finding("failed", error.reason, error.network)
    if reply.status < 400:
        return Finding("answered")
    if reply.status in REFUSALS:
        return Finding("refused", f"turns programs away with status {reply.status}")
    return Finding("failed", f"answers with status {reply.status}")


def look_at_all(
    urls: Iterable[str],
    *,
    workers: int = WORKERS,
    pause: float = PAUSE_SECONDS,
    deadline: float = DEADLINE_SECONDS,
    told: Callable[[str, Finding], None] = lambda url, finding: None,
) -> dict[str, Finding]:
    """A look at every address, servers side by side, each at its own pace.

    What is not reached before the deadline is missing from the answer.
    """
    by_server: dict[str, list[str]] = {}
    for url in urls:
        by_server.setdefault(urlsplit(url).netloc.lower(), []).append(url)
    waiting: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    # The servers with most addresses first: they take longest.
    for group in sorted(by_server.values(), key=len, reverse=True):
        waiting.put(group)
    done: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                group = waiting.get_nowait()
            except queue.Empty:
                return
            for number, url in enumerate(group):
                if number and stop.wait(pause):
                    return
                try:
                    finding = look(url, stop.wait)
                except Exception as error:
                    # One address that nobody foresaw must not lose the others.
                    finding = Finding("refused", f"cannot be looked at ({type(error).__name__})")
                done.put((url, finding))

    for _ in range(max(1, workers)):
        # Daemons: a server that drips for hours cannot keep the program from ending.
        threading.Thread(target=work, daemon=True).start()
    found: dict[str, Finding] = {}
    total = sum(map(len, by_server.values()))
    end = time.monotonic() + deadline
    while len(found) < total:
        try:
            url, finding = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[url] = finding
        told(url, finding)
    stop.set()
    return found


def is_offline(findings: Mapping[str, Finding]) -> bool:
    """Whether so many addresses could not be reached that the fault must be on this side."""
    unreached = sum(finding.network for finding in findings.values())
    return unreached > 1 and unreached * 2 > len(findings)


def recorded(
    before: Mapping[str, LinkSeen],
    findings: Mapping[str, Finding],
    named: Iterable[str],
    today: dt.date,
    archived: Callable[[str], str | None],
) -> dict[str, LinkSeen]:
    """What is known after today; addresses that nobody names any more are forgotten."""
    after: dict[str, LinkSeen] = {}
    for url in sorted(set(named)):
        old, finding = before.get(url), findings.get(url)
        if finding is None:
            if old is not None:
                after[url] = old
            continue
        known = old or LinkSeen(checked=today)
        if finding.outcome == "answered":
            after[url] = LinkSeen(checked=today, answered=today)
        elif finding.outcome == "refused":
            after[url] = known.model_copy(update={"checked": today, "reason": finding.reason})
        else:
            now = known.model_copy(
                update={
                    "checked": today,
                    "failed": days(known.failed, today),
                    "reason": finding.reason,
                }
            )
            if now.dead and now.archived is None:
                now = now.model_copy(update={"archived": archived(url)})
            after[url] = now
    return after


def archived_copy(url: str, base: str = WAYBACK) -> str | None:
    """The address of a copy in the Internet Archive; None if there is none or it does not say."""
    asked = f"{base}/wayback/available?url={quote(url, safe='')}"
    try:
        reply = patiently(lambda: ask("GET", asked, with_body=True))
        found = reply.json() if reply.status == 200 else None
    except Unreachable:
        return None
    for name in ("archived_snapshots", "closest"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict) or found.get("available") is not True:
        return None
    copy = found.get("url")
    # The API answers with http; the archive itself has https.
    prefix, _, rest = str(copy).partition("://web.archive.org/web/")
    if prefix not in ("http", "https") or not rest or any(c in rest for c in " \"'<>`\\\n"):
        return None
    return f"https://web.archive.org/web/{rest}"
