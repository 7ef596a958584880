"""The picture that a link to a paper shows elsewhere: title, name, year, and the tags in colour.

Drawn with Pillow in sixteen colours, the site's own typefaces and no browser, a few milliseconds
each. A card of an earlier build is taken over where it would come out the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.schema import Entry
from catalog.site import addresses
from catalog.site.markup import plain
from catalog.site.shelf import Shelf

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 1200, 630
"""Pixels; what those who show such pictures ask for."""

_VERSION = 1
"""Goes up when cards are drawn differently, so that no earlier one is taken over."""

_MARK = "prunedex"
"""The name under which a file says what it was drawn from."""

_PAPER, _INK, _QUIET, _PLUM = (
    (0xFB, 0xF9, 0xF7),
    (0x21, 0x1A, 0x20),
    (0x5B, 0x50, 0x58),
    (0x7A, 0x1F, 0x4F),
)
_DIMENSIONS = {
    "type": (0x3C, 0x67, 0xCA),
    "criterion": (0xC2, 0x3C, 0x23),
    "budget": (0x4F, 0x74, 0x43),
    "data": (0x65, 0x04, 0x96),
    "retraining": (0x05, 0x5E, 0x79),
    "weight_update": (0x64, 0x44, 0x02),
}
"""The light scheme of site/assets/prunedex.css, to which a test holds them."""

_STEPS = 3
"""Shades in which the edge of a letter fades into the ground."""

_LEFT, _RIGHT = 84, WIDTH - 84

_SHADES = [
    [
        step and len(_DIMENSIONS) + ink * _STEPS + step
        for step in (round(each * _STEPS / 255) for each in range(256))
    ]
    for ink in range(3)
]
"""For every ink and strength of a letter's edge the index of the colour; 0 is the ground."""


@dataclass(frozen=True)
class Card:
    """All that a card shows. `tags` has a text for each dimension, empty where there is no tag."""

    title: str
    kicker: str
    tags: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Equal for equal cards, whatever built them."""
        told = json.dumps([_VERSION, self.title, self.kicker, self.tags])
        return hashlib.sha256(told.encode()).hexdigest()


def card_of(shelf: Shelf, entry: Entry) -> Card:
    """What the card of a paper shows."""
    tags = []
    for dimension in shelf.dimensions:
        found = shelf.tags(entry, dimension.id) if entry.tags else []
        text = found[0].value.name if found else ""
        # "Without" alone says nothing; the other names stand for themselves.
        context = f"{dimension.name}: " if found and found[0].needs_context else ""
        tags.append(context + text + (f" +{len(found) - 1}" if len(found) > 1 else ""))
    named = entry.name if entry.name and entry.name.casefold() not in entry.title.casefold() else ""
    kicker = " · ".join(filter(None, (named, str(entry.year), entry.venue.short)))
    return Card(plain(entry.title), plain(kicker), tuple(map(plain, tags)))


class Painter:
    """Draws cards with the typefaces of a folder."""

    def __init__(self, fonts: Path) -> None:
        """Raises OSError where Pillow is missing or cannot read the typefaces."""
        self.fonts = fonts
        try:
            self._fonts = {
                "title": [self._font("newsreader", size, [560, 40]) for size in (62, 52, 44)],
                "small": [self._font("inter", 24, [500])],
                "kicker": [self._font("inter", 31, [600])],
                "brand": [self._font("newsreader", 38, [600, 40])],
            }
        except ImportError as error:
            raise OSError(str(error)) from error

    def _font(self, name: str, size: int, axes: list[float]) -> FreeTypeFont:
        from PIL import ImageFont

        font = ImageFont.truetype(str(self.fonts / f"{name}.woff2"), size)
        font.set_variation_by_axes(axes)
        return font

    @cached_property
    def _palette(self) -> list[int]:
        colours: list[tuple[int, ...]] = [_PAPER, *_DIMENSIONS.values()]
        for ink in (_INK, _QUIET, _PLUM):
            for step in range(1, _STEPS + 1):
                share = step / _STEPS
                colours.append(
                    tuple(
                        round(ground + (full - ground) * share)
                        for ground, full in zip(_PAPER, ink, strict=True)
                    )
                )
        return [part for colour in colours for part in colour]

    def png(self, card: Card) -> bytes:
        """The card as a PNG of sixteen colours."""
        from PIL import Image, ImageChops, ImageDraw, PngImagePlugin

        flat = Image.new("L", (WIDTH, HEIGHT), 0)
        # Each ink has a layer of its own, no higher than what is written with it.
        bands = [(50, 450), (450, 600), (50, 130)]
        inks = [Image.new("L", (WIDTH, bottom - top), 0) for top, bottom in bands]
        ink, quiet, plum = (ImageDraw.Draw(layer) for layer in inks)
        shapes = ImageDraw.Draw(flat)

        brand, kicker, small = (self._fonts[name][0] for name in ("brand", "kicker", "small"))
        ink.text((_RIGHT, 46), "Prunedex", 255, brand, anchor="rs")
        room = _RIGHT - _LEFT - brand.getlength("Prunedex") - 40
        plum.text((_LEFT, 44), _cut(card.kicker, kicker.getlength, room), 255, kicker, anchor="ls")

        for font in self._fonts["title"]:
            lines = _wrapped(card.title, font.getlength, _RIGHT - _LEFT)
            if len(lines) <= 4 and len(lines) * font.size * 1.18 <= 270:
                break
        most = int(270 / (font.size * 1.18))
        if len(lines) > most:
            lines = [
                *lines[: most - 1],
                _cut(" ".join(lines[most - 1 :]), font.getlength, _RIGHT - _LEFT),
            ]
        for number, line in enumerate(lines):
            ink.text((_LEFT, 140 + number * font.size * 1.18), line, 255, font, anchor="ls")

        column = (_RIGHT - _LEFT) / 3
        for number, text in enumerate(card.tags):
            x, y = _LEFT + (number % 3) * column, 488 + (number // 3) * 56
            if text:
                shapes.rounded_rectangle((x, y - 18, x + 18, y), 5, number + 1)
                fitting = _cut(text, small.getlength, column - 31 - 15)
                quiet.text((x + 31, y - 450), fitting, 255, small, anchor="ls")
        step = WIDTH / len(card.tags)
        for number in range(len(card.tags)):
            shapes.rectangle((number * step, HEIGHT - 16, (number + 1) * step, HEIGHT), number + 1)

        for number, (layer, (top, bottom)) in enumerate(zip(inks, bands, strict=True)):
            shade = layer.point(_SHADES[number])
            band = (0, top, WIDTH, bottom)
            flat.paste(ImageChops.add(flat.crop(band), shade), band)
        image = Image.frombytes("P", flat.size, flat.tobytes())
        image.putpalette(self._palette)
        told = PngImagePlugin.PngInfo()
        told.add_text(_MARK, card.digest)
        made = io.BytesIO()
        image.save(made, "PNG", bits=4, compress_level=6, pnginfo=told)
        return made.getvalue()


def _cut(text: str, length: Callable[[str], float], room: float) -> str:
    """As much of a text as fits."""
    if length(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if length(text[:middle].rstrip() + "…") <= room else (low, middle - 1)
        )
    return text[:low].rstrip() + "…"


def _wrapped(text: str, length: Callable[[str], float], room: float) -> list[str]:
    """The text in lines that fit; a word that is longer than a line is cut there."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and length(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(_cut(word, length, room))
    return lines


def _digest_of(file: Path) -> str | None:
    """What an earlier card was drawn from; None where it does not say."""
    try:
        with file.open("rb") as opened:
            head = opened.read(400)
    except OSError:
        return None
    mark = f"tEXt{_MARK}\0".encode()
    place = head.find(mark)
    return head[place + len(mark) :][:64].decode("ascii", "replace") if place >= 0 else None


def write_cards(
    shelf: Shelf, painter: Painter, documents: Path, earlier: Path | None = None
) -> int:
    """Write the card of every paper; returns how many had to be drawn.

    `earlier` is a folder of an earlier build, from which equal cards are taken.
    """
    drawn = 0
    for entry in shelf.entries:
        card = card_of(shelf, entry)
        name = addresses.card(entry.key)
        before = earlier / name if earlier is not None else None
        goal = documents / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if before is not None and _digest_of(before) == card.digest:
            goal.write_bytes(before.read_bytes())
        else:
            goal.write_bytes(painter.png(card))
            drawn += 1
    return drawn
