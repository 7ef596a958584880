"""The pictures that links to papers show elsewhere: what is on them, and that none is drawn twice."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from small_catalog import REPOSITORY

from catalog.site import addresses, cards
from catalog.site.shelf import Shelf
from catalog.store import Catalog


@pytest.fixture(scope="module")
def shelf(catalog: Catalog) -> Shelf:
    return Shelf(catalog)


@pytest.fixture(scope="module")
def painter() -> cards.Painter:
    return cards.Painter(REPOSITORY / "site" / "fonts")


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def test_a_card_tells_name_year_venue_and_the_six_tags(shelf: Shelf) -> None:
    card = cards.card_of(shelf, shelf.catalog.entries["sun2023simple"])
    assert card.title == "A Simple and Effective Pruning Approach"
    assert card.kicker == "Wanda · 2023 · ICLR 2024"
    assert card.tags == (
        "Unstructured +1",
        "Wanda score",
        "Sparsity per layer",
        "Calibration sample",
        "Retraining: Without",
        "Weight update: Frozen",
    )
    survey = cards.card_of(shelf, shelf.catalog.entries["zhu2021survey"])
    assert survey.tags == ("",) * 6
    # A title that begins with the method's name does not need it a second time.
    assert cards.card_of(shelf, shelf.catalog.entries["men2024shortgpt"]).kicker.startswith("2024")


def test_every_card_is_small_and_shows_ink_and_colours(
    shelf: Shelf, painter: cards.Painter
) -> None:
    """Also that of the hostile entry, whose title is longer than any card."""
    ground, *six = [cards._PAPER, *cards._DIMENSIONS.values()]
    for entry in shelf.entries:
        png = painter.png(cards.card_of(shelf, entry))
        assert len(png) < 50_000, entry.key
        image = opened(png)
        assert image.size == (1200, 630)
        counts = {colour: count for count, colour in image.convert("RGB").getcolors(16) or []}
        assert counts[ground] > 400_000, entry.key
        assert counts[cards._INK] > 1_000, entry.key  # the title is there
        assert all(counts[colour] > 1_000 for colour in six), entry.key
        # Nothing runs over the margins; the band of colours below is the only thing that may.
        inner = image.convert("RGB").crop((0, 0, 1200, 600))
        for side in (inner.crop((0, 0, 60, 600)), inner.crop((1140, 0, 1200, 600))):
            assert side.getcolors(1) == [(60 * 600, ground)], entry.key


def test_a_longer_title_is_smaller_and_never_reaches_the_tags(painter: cards.Painter) -> None:
    bottoms = []
    for words in (3, 12, 20, 200):
        png = painter.png(cards.Card("Pruning " * words, "2024", ("",) * 6))
        rows = opened(png).convert("RGB").crop((0, 140, 1200, 600)).convert("L")
        box = rows.point([255 if level < 200 else 0 for level in range(256)]).getbbox()
        assert box is not None
        bottoms.append(box[3] + 140)
    assert bottoms == sorted(bottoms)
    assert bottoms[0] < bottoms[-1] < 455


def test_equal_cards_are_taken_from_the_build_before(
    shelf: Shelf, painter: cards.Painter, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert cards.write_cards(shelf, painter, first) == len(shelf.entries)
    changed = first / addresses.card("sun2023simple")
    other = cards.Card("Another title", "2023", ("",) * 6)
    changed.write_bytes(painter.png(other))
    (first / addresses.card("zhu2021survey")).write_bytes(b"no picture at all")
    (first / addresses.card("han2015learning")).unlink()
    assert cards.write_cards(shelf, painter, second, first) == 3
    for entry in shelf.entries:
        made = (second / addresses.card(entry.key)).read_bytes()
        assert made == painter.png(cards.card_of(shelf, entry)), entry.key


def test_colours_are_those_of_the_light_scheme() -> None:
    css = (REPOSITORY / "site" / "assets" / "prunedex.css").read_text(encoding="utf-8")
    light = css.partition('[data-md-color-scheme="slate"]')[0]
    named = {
        "paper": cards._PAPER,
        "ink": cards._INK,
        "quiet": cards._QUIET,
        "plum": cards._PLUM,
        **{name.replace("_", "-"): colour for name, colour in cards._DIMENSIONS.items()},
    }
    for name, colour in named.items():
        found = re.search(rf"--{name}: #([0-9a-f]{{6}});", light)
        assert found is not None, name
        assert tuple(bytes.fromhex(found[1])) == colour, name


def test_typefaces_that_cannot_be_read_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="resource"):
        cards.Painter(tmp_path)
