"""The errors that impl raises for people: one message, and where there is one, what to do."""

from __future__ import annotations


class PrunedexError(Exception):
    """Something that the person who asked can understand and act on.

    `message` says what was wrong and where; `hint`, when there is one, says what to do about it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[PrunedexError], tuple[str, str | None]]:
        # Exceptions rebuild themselves from `args`, which holds the message alone.
        return type(self), (self.message, self.hint)


class Unsupported(PrunedexError):  # noqa: N818 -- it reads as what it says
    """A method, model or machine cannot do what was asked, and the message says why."""


class BadInput(PrunedexError, ValueError):  # noqa: N818
    """A value that was given is wrong: a budget, a pattern, a name, a text, a file."""
