"""Numbers in words: what the pages and the terminal say of shares, sizes, times and budgets."""

from __future__ import annotations

from catalog.results import COUNTED, KEPT


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for people: up to `digits` significant digits, no exponent in sight."""
    if value is None:
        return "not finite"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if value and (abs(value) >= 1e7 or abs(value) < 1e-4):
        return f"{value:.{digits - 1}e}"
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(digits - whole, 0)}f}"
    return text.replace(",", "\u202f")


def percent(share: float) -> str:
    """A share as per cent, to a hundredth where it is not whole."""
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return f"{text}\u202f%"


def signed(value: float, places: int = 3) -> str:
    """A difference with its sign, and a minus rather than a hyphen."""
    text = f"{abs(value):.{places}f}"
    if not float(text):
        return text
    return f"{'+' if value > 0 else '−'}{text}"


def size(count: float | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "not measured"
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{number(amount)}\u202f{unit}"
        amount /= 1024
    return f"{number(amount)}\u202fGiB"


def duration(seconds: float | None) -> str:
    """Seconds as people say them; a dash where nobody measured them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{number(seconds)}\u202fs"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u202fmin {rest}\u202fs"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u202fh {minutes}\u202fmin"


def budget(value: float, unit: str) -> str:
    """A budget with its unit: a share of what goes or stays, or a count of things that go."""
    if unit in COUNTED:
        each = " of each block" if unit == "experts" else ""
        return f"{number(value if value != int(value) else int(value))} {unit}{each}"
    what = {"shape": "parameters", "hidden": "hidden channels", "rank": "the full rank"}
    stays = " kept" if unit in KEPT else ""
    return f"{percent(value)} of {what.get(unit, unit)}{stays}"
