"""One issue that lists what in the catalog wants looking at again; updated in place, not repeated."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from catalog.ageing import Stale, stale_entries
from catalog.errors import PrunedexError, visible
from catalog.store import Catalog
from catalog.transport import Unreachable
from catalog.upkeep.links import addresses
from catalog.upkeep.repositories import headers, on_github
from catalog.upkeep.state import State
from catalog.upkeep.web import Reply, ask, patiently

TITLE = "Entries to look at again"
LABEL = "upkeep"
MARKER = "<!-- prunedex upkeep: this text is written by scripts/upkeep_issue.py -->"
"""By which the issue is known; its title may be changed by people."""

MAX_CHARACTERS = 60_000
"""Length of the text; GitHub takes 65,536."""

ROWS = (100, 50, 25, 10, 5)
"""Lines in one list: as many of these as fit."""

MAX_CELL = 160

Done = Literal["nothing to say", "opened", "updated", "unchanged", "closed"]


@dataclass(frozen=True)
class Report:
    """What is stale: entries by age, dead links with a copy and their places, repositories."""

    entries: list[Stale]
    links: list[tuple[str, str | None, str, list[str]]]
    repositories: list[tuple[str, str]]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        return not (self.entries or self.links or self.repositories)


def report(catalog: Catalog, state: State, limit: dt.date) -> Report:
    """Entries last seen before a day, dead links, and repositories that moved or are gone."""
    places = addresses(catalog)
    links = []
    for url, seen in sorted(state.links.items()):
        if seen.dead and url in places:
            where = [f"{path}:{line}" for path, line, _ in places[url]]
            links.append((url, seen.archived, f"{seen.reason or 'fails'}", where))
    named = {(on_github(url) or "").casefold() for url in places}
    repositories = []
    for name, each in sorted(state.repositories.items()):
        if name.casefold() not in named:
            continue
        if each.gone:
            repositories.append((name, f"not found since {each.failed[0].isoformat()}"))
        elif each.renamed:
            repositories.append((name, f"is now called {each.renamed}"))
    return Report(stale_entries(catalog, limit), links, repositories)


def body(found: Report) -> str:
    """The issue's text. Everything from files stands in code spans, where it means nothing."""
    texts = (_text(found, rows) for rows in ROWS)
    return next((text for text in texts if len(text) <= MAX_CHARACTERS), _text(found, 0))


def _text(found: Report, rows: int) -> str:
    parts = [MARKER, "", "Whoever looks at one of these corrects the entry, or its date under"]
    parts[-1] += " `sources`; the line then disappears with the next run."
    parts += _table(
        rows,
        "Links that are dead",
        "Failed on two different days or more.",
        ("Address", "Named in", "Last seen", "Copy"),
        [(_code(url), _places(where), _plain(reason), _link(copy))
         for url, copy, reason, where in found.links],
    )  # fmt: skip
    parts += _table(
        rows,
        "Repositories",
        "Not at the address that the entry gives.",
        ("Repository", "What was seen"),
        [(_code(name), _plain(text)) for name, text in found.repositories],
    )
    parts += _table(
        rows,
        "Entries",
        "Their bibliography was not looked at for long. Has the preprint been published?",
        ("Entry", "Last seen", "Look at"),
        [(_code(f"{each.path}:{each.line}"), each.seen.isoformat() if each.seen else "never",
          _code(each.url or "no address is known")) for each in found.entries],
    )  # fmt: skip
    return "\n".join(parts) + "\n"


def _table(
    limit: int, title: str, about: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
    if not rows:
        return []
    lines = ["", f"### {title} ({len(rows)})", "", about, ""]
    lines += ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows[:limit]]
    if len(rows) > limit:
        lines += ["", f"and {len(rows) - limit} more"]
    return lines


def _plain(text: str) -> str:
    """Our own words, which may quote somebody else's: no line breaks, cells, mentions or markup."""
    shown = " ".join(visible(text).split())[:MAX_CELL]
    return "".join(f"&#{ord(c)};" if c in "|<>@#`*_[]\\" else c for c in shown)


def _code(text: str) -> str:
    shown = " ".join(visible(text).split()).replace("`", "'").replace("|", "%7C")
    return f"`{shown if len(shown) <= MAX_CELL else shown[: MAX_CELL - 1] + '…'}`"


def _places(where: Sequence[str]) -> str:
    more = f" and {len(where) - 3} more" if len(where) > 3 else ""
    return ", ".join(_code(place) for place in where[:3]) + more


def _link(url: str | None) -> str:
    # Only addresses of the archive come here, without spaces or brackets of Markdown.
    return f"<{url}>" if url and not any(c in url for c in "<>| ") and len(url) < 500 else ""


class Tracker:
    """The issues of one repository, through GitHub's API."""

    def __init__(self, repository: str, token: str, api: str) -> None:
        self.url = f"{api}/repos/{repository}/issues"
        self.token = token

    def find(self) -> dict[str, Any] | None:
        """The open issue that this script wrote; the oldest one if there are several."""
        asked = f"{self.url}?state=open&labels={LABEL}&sort=created&direction=asc&per_page=100"
        issues = self._ask("GET", asked)
        if not isinstance(issues, list):
            raise PrunedexError("GitHub sends something that is no list of issues")
        for issue in issues:
            if not isinstance(issue, dict) or "pull_request" in issue:
                continue
            if str(issue.get("body") or "").startswith(MARKER) and _number(issue):
                return issue
        return None

    def settle(self, found: Report) -> tuple[Done, int | None]:
        """Open, update or close the issue, as the report asks; do nothing where it says that."""
        issue = self.find()
        number = _number(issue) if issue is not None else None
        if found.is_empty:
            if number is None:
                return "nothing to say", None
            self._ask("PATCH", f"{self.url}/{number}", {"state": "closed"})
            return "closed", number
        text = body(found)
        if issue is None:
            new = {"title": TITLE, "body": text, "labels": [LABEL]}
            return "opened", _number(self._ask("POST", self.url, new))
        # GitHub gives line ends back as it stored them.
        if str(issue.get("body")).replace("\r\n", "\n").strip() == text.strip():
            return "unchanged", number
        self._ask("PATCH", f"{self.url}/{number}", {"body": text})
        return "updated", number

    def _ask(self, method: str, url: str, data: object = None) -> Any:
        def request() -> Reply:
            sent = headers(self.token)
            return ask(method, url, headers=sent, data=data, with_body=True, within=True)

        try:
            reply = patiently(request)
            if reply.status not in (200, 201):
                hint = {
                    401: "the token is not accepted",
                    403: "the token needs the permission issues: write",
                    404: "is the repository's name right, and may the token see it?",
                    410: "issues are switched off in the repository",
                }
                said = f"GitHub answers with status {reply.status}"
                raise PrunedexError(said, hint.get(reply.status, "try again later"))
            return reply.json()
        except Unreachable as error:
            raise PrunedexError(f"GitHub {error.reason}", "try again later") from None


def _number(issue: Mapping[str, Any] | None) -> int | None:
    number = issue.get("number") if isinstance(issue, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
