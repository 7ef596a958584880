"""Which entries somebody should look at again, since venues and links change."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass

from catalog.errors import UsageError
from catalog.schema import Entry
from catalog.store import Catalog


@dataclass(frozen=True)
class Stale:
    """An entry whose bibliography was last seen on a day; None if no source says when.

    The place is that of the source's date, or of the sources as a whole.
    """

    key: str
    path: str
    line: int
    column: int
    seen: dt.date | None
    url: str | None

    def to_dict(self) -> dict[str, str | int | None]:
        """The same as plain data, for JSON."""
        seen = self.seen.isoformat() if self.seen is not None else None
        return {
            "key": self.key,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "seen": seen,
            "url": self.url,
        }


def before(duration: str, today: dt.date | None = None) -> dt.date:
    """The day that lies a duration such as `30d`, `6m` or `1y` before today.

    A day that the month does not have becomes its last one. Raises UsageError for anything that
    is no such duration.
    """
    day = today or dt.date.today()
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*([dmy])\s*", duration, re.ASCII | re.IGNORECASE)
    if match is None:
        raise UsageError(
            f"'{duration}' is no duration", "write days, months or years: 30d, 6m or 1y"
        )
    count, unit = int(match[1]), match[2].lower()
    try:
        if unit == "d":
            return day - dt.timedelta(days=count)
        months = day.year * 12 + day.month - 1 - count * (12 if unit == "y" else 1)
        year, month = months // 12, months % 12 + 1
        last = calendar.monthrange(year, month)[1]
        return dt.date(year, month, min(day.day, last))
    except (OverflowError, ValueError, calendar.IllegalMonthError):
        raise UsageError(f"'{duration}' goes back too far", "write a shorter one") from None


def stale_entries(catalog: Catalog, limit: dt.date) -> list[Stale]:
    """The entries whose bibliography was last seen before a day, oldest first.

    Those without a dated source of it come before all others.
    """
    found = (_last_seen(catalog, entry) for entry in catalog.entries.values())
    stale = [each for each in found if each.seen is None or each.seen < limit]
    return sorted(stale, key=lambda each: (each.seen or dt.date.min, each.key))


def _last_seen(catalog: Catalog, entry: Entry) -> Stale:
    path = catalog.path_of(entry.key)
    located = catalog.located.get(path)
    dated = [
        (source.seen, number)
        for number, source in enumerate(entry.sources)
        if "bibliography" in re.findall(r"\w+", source.what)
    ]
    if not dated:
        line, column = located.at("sources") if located is not None else (1, 1)
        return Stale(entry.key, path, line, column, None, _address(entry))
    seen, number = max(dated)
    line, column = located.at("sources", number, "seen") if located is not None else (1, 1)
    return Stale(entry.key, path, line, column, seen, entry.sources[number].url)


def _address(entry: Entry) -> str | None:
    links, ids = entry.links, entry.ids
    if links.paper or links.proceedings:
        return links.paper or links.proceedings
    if ids.doi:
        return f"https://doi.org/{ids.doi}"
    return f"https://arxiv.org/abs/{ids.arxiv}" if ids.arxiv else None
