"""The quick way through a file gives what the parser gives, or leaves the file to the parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import PIECES, changed_entries, texts
from ruamel.yaml import YAML, events

from catalog.errors import is_unsafe
from catalog.plain_yaml import plain_events

HERE = Path(__file__).resolve().parents[2]
TEXTS = texts()

_ENDS = (events.SequenceEndEvent, events.MappingEndEvent)
_FRAME = (events.StreamStartEvent, events.StreamEndEvent, events.DocumentEndEvent)


def described(event: events.Event) -> tuple[object, ...]:
    """All of an event that reading makes use of."""
    mark = event.start_mark
    place = None if isinstance(event, _ENDS) else (mark.line, mark.column)
    implicit = tuple(event.implicit) if isinstance(event, events.ScalarEvent) else None
    names = ("value", "anchor", "tag", "style", "version", "tags")
    # The parser gives an absent list of tags in two ways.
    values = [
        getattr(event, name, None) or None if name == "tags" else getattr(event, name, None)
        for name in names
    ]
    return (type(event), place, implicit, *values)


def parsed(text: str) -> list[events.Event]:
    stream = YAML(typ="safe", pure=True).parse(text)
    return [event for event in stream if not isinstance(event, _FRAME)]


def agrees(text: str) -> bool:
    """Whether the text was read; if so, the parser reads it, too, and in the same way."""
    quick = plain_events(text)
    if quick is None:
        return False
    assert [*map(described, quick)] == [*map(described, parsed(text))]
    return True


def test_nearly_all_entries_are_read_quickly_and_alike() -> None:
    assert sum(map(agrees, TEXTS)) > 0.9 * len(TEXTS)


def test_every_other_file_is_read_alike() -> None:
    files = sorted((HERE / "catalog").rglob("*.yaml"))
    assert sum(agrees(file.read_text(encoding="utf-8")) for file in files) > 5


@pytest.mark.parametrize(
    "text",
    [
        "a: b\n", "a:\n  b: c\n", "a:\n  - b\n  - c: d\n    e: f\n", "- a\n- b\n", "a: []\n", "a: [b,  c , 'd''e']\n",
        "a: it's\n", "a: 'it''s'\n", 'a: "b"\n', "a: 2:4\n", "a: x#y\n", "a: http://b.c/d#e\n", "a: >-\n  b\n  # c\n",
        "# c\n\na: 1\n", "a: b c  d\n", "null: 1\n", "a: n\n", "a: é ß\n", "a: x(y)\n", "a: >-\n  - b: c\n",
        "a:   b\n",
    ],
)  # fmt: skip
def test_plain_forms(text: str) -> None:
    assert agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "# c\n", "a: b", "a:\n", "a: \n", "a:\n- b\n", "a: b\n  c\n", "a: b\n\nc: d\n", "a: b # c\n",
        "a: b: c\n", "a: b:\n", "a: |\n  b\n", "a: >\n  b\n", "a: >-\n  b\n\n  c\n", "a: >-\n  b\n   c\n", "a: >-\n",
        "a: >-\n  b \n", "a: &x b\n", "a: *x\n", "a: !!int 5\n", "<<: {}\n", "a: {b: c}\n", "a: [b\n", "a: [b,\n  c]\n",
        "a: [b, ]\n", "a: [[b]]\n", "a: [b: c]\n", "a: 'b\n", "a: 'b' c\n", 'a: "\\x41"\n', "---\na: b\n", "%YAML 1.1\n---\na: b\n",
        "? a\n: b\n", "a\n", " a: b\n", "a: b\n c: d\n", "- - a\n", "-\n", "a:\tb\n", "a: -1\n", "a: @b\n", "a: `b\n", "a: b \n",
        f"{'a' * 2000}: b\n", "".join(f"{2 * n * ' '}a:\n" for n in range(3000)),
    ],
)  # fmt: skip
def test_what_is_left_to_the_parser(text: str) -> None:
    assert plain_events(text) is None


LIMITS = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)  # fmt: skip


def has_no_unsafe_character(text: str) -> bool:
    # Those are refused before anything is parsed.
    return not any(is_unsafe(character) and character != "\n" for character in text)


@LIMITS
@given(changed_entries(TEXTS).filter(has_no_unsafe_character))
def test_a_changed_entry_is_read_alike(text: str) -> None:
    agrees(text)


WORDS = st.sampled_from(
    ["a", "b: ", "c:", "- ", "\n", "\n  ", "\n    ", ">-", "'d'", "[e, f]", "#", " ", ": "]
)


@LIMITS
@given(st.lists(st.one_of(WORDS, PIECES), max_size=25).map("".join).filter(has_no_unsafe_character))
@example("a: >-\n  b\nc: d\n")
def test_pieces_are_read_alike(text: str) -> None:
    agrees(text + "\n")
