"""What was last seen of links and repositories, and on which day: the files of `catalog/state/`.

Both are written by scripts and read by the site and by checks. Without them everything works;
there is then nothing to say.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from catalog.errors import Problem
from catalog.reader import Located
from catalog.results import read_json
from catalog.schema import Entry, Repository, Text, Url
from catalog.writing import replace_text

FOLDER = Path("catalog") / "state"
LINKS = FOLDER / "links.json"
REPOSITORIES = FOLDER / "repositories.json"

DEAD_AFTER = 2
"""Days on which a link must have failed, with no success between them, to count as dead."""

KEPT_DAYS = 8
"""Days of failure that are remembered: the first one and the last ones."""

MAX_BYTES = 8 * 1024 * 1024


class _Record(BaseModel):
    # Not strict: a JSON file has dates only as text.
    model_config = ConfigDict(extra="forbid", frozen=True)


class LinkSeen(_Record):
    """What was seen of one address; `failed` holds the days of failure since it last answered."""

    checked: dt.date
    answered: dt.date | None = None
    failed: list[dt.date] = []
    reason: Text | None = Field(default=None, description="Why it last failed, or told nothing")
    archived: Url | None = Field(default=None, description="A copy of a dead page")

    @property
    def dead(self) -> bool:
        """Whether it failed on enough different days."""
        return len(set(self.failed)) >= DEAD_AFTER


class RepositorySeen(_Record):
    """What GitHub said about one repository; `failed` as for links."""

    checked: dt.date
    stars: Annotated[int, Field(ge=0)] | None = None
    archived: bool = False
    licence: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+ -]{0,63}$")] | None
    ) = None
    pushed: dt.date | None = None
    renamed: Repository | None = None
    failed: list[dt.date] = []
    reason: Text | None = None

    @property
    def gone(self) -> bool:
        """Whether it was not found on enough different days."""
        return len(set(self.failed)) >= DEAD_AFTER


class Links(_Record):
    """The content of `catalog/state/links.json`, by address."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    links: dict[Url, LinkSeen] = {}


class Repositories(_Record):
    """The content of `catalog/state/repositories.json`, by owner/name."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    repositories: dict[Repository, RepositorySeen] = {}


@dataclass
class State:
    """Both files; what is missing or unreadable is empty, with the reason in `problems`."""

    links: dict[str, LinkSeen] = field(default_factory=dict)
    repositories: dict[str, RepositorySeen] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def load(cls, root: Path) -> State:
        """Read the state of the catalog at `root`."""
        state = cls()
        links = state._read(Links, root, LINKS)
        repositories = state._read(Repositories, root, REPOSITORIES)
        state.links = {**links.links} if links else {}
        state.repositories = {**repositories.repositories} if repositories else {}
        return state

    def _read(self, model: type[Any], root: Path, file: Path) -> Any:
        if not (root / file).is_file():
            return None
        found, problems = read_json(model, root, root / file, MAX_BYTES)
        self.problems += problems
        return found

    def link(self, url: str) -> LinkSeen | None:
        """What was seen of an address, None if it was never looked at."""
        return self.links.get(url)

    def repository(self, name: str | None) -> RepositorySeen | None:
        """What GitHub said about owner/name, whose case means nothing there."""
        if name is None:
            return None
        folded = name.casefold()
        found = (seen for key, seen in self.repositories.items() if key.casefold() == folded)
        return self.repositories.get(name) or next(found, None)

    def of_entry(self, entry: Entry, located: Located | None) -> EntryState:
        """What there is to say on the page of one paper."""
        codes = [code for code in (entry.links.code, *entry.links.code_unofficial) if code]
        seen = [(code.repository, self.repository(code.repository)) for code in codes]
        addresses = sorted(set(_addresses(located.data))) if located is not None else []
        links = [(url, self.links[url]) for url in addresses if url in self.links]
        return EntryState(
            repositories=[(name, each) for name, each in seen if name and each],
            dead=[(url, each) for url, each in links if each.dead],
        )


@dataclass(frozen=True)
class EntryState:
    """Repositories of one paper that were asked about, and its links that are dead."""

    repositories: list[tuple[str, RepositorySeen]]
    dead: list[tuple[str, LinkSeen]]


def _addresses(data: object) -> list[str]:
    if isinstance(data, dict):
        return [url for value in data.values() for url in _addresses(value)]
    if isinstance(data, list):
        return [url for value in data for url in _addresses(value)]
    is_address = isinstance(data, str) and data.startswith(("https://", "http://"))
    return [str(data)] if is_address else []


def days(failed: list[dt.date], today: dt.date) -> list[dt.date]:
    """The days of failure with today among them, the middle ones forgotten where they are many."""
    known = sorted({*failed, today})
    return known if len(known) <= KEPT_DAYS else [known[0], *known[-KEPT_DAYS + 1 :]]


def write(root: Path, file: Path, content: Links | Repositories) -> bool:
    """Write one of the files, sorted, and tell whether that changed it. It is whole or untouched."""
    data = content.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = json.dumps({"schema": 1, **data}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    target = root / file
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_text(target, text)
    return True
