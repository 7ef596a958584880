"""Make the web fonts of the site from PyPI packages.

Run it in a throw-away environment, only when a font or the set of characters changes:

    python -m venv venv
    venv/bin/pip install fonttools==4.68.* brotli \\
        fontpkg-newsreader==1.3 fontpkg-inter==4.1.post1 fontpkg-jetbrains-mono==2.211 ziamath==0.13
    venv/bin/python site/fonts/make.py

Each font is cut down to the characters below and to the weights that the
style sheet uses, which makes a tenth of its size. The fonts are under the SIL
Open Font License 1.1 without reserved names; the licences lie beside them.
"""

from __future__ import annotations

import importlib
import io
import shutil
from pathlib import Path

from fontTools import subset, ttLib
from fontTools.varLib import instancer

HERE = Path(__file__).parent

# Latin with every European diacritic and Vietnamese (authors' names), Greek (symbols in the
# text), and the punctuation, arrows and operators that descriptions of methods use.
CHARACTERS = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x250),
    *range(0x2B0, 0x2FF),
    *range(0x300, 0x330),
    *range(0x370, 0x400),
    *range(0x1E00, 0x1F00),
    *range(0x2000, 0x2070),
    *range(0x2070, 0x20A0),
    *range(0x20A0, 0x20C0),
    *range(0x2100, 0x2150),
    *range(0x2150, 0x2200),
    *range(0x2200, 0x2300),
]

# What nearly every page needs, in files of its own; the others come only where one of theirs is
# shown. The style sheet repeats these ranges, which a test compares.
BASIC = [
    (0x20, 0x17F),
    (0x2010, 0x2027),
    (0x202F, 0x203A),
    (0x20AC, 0x20AC),
    (0x2190, 0x2193),
    (0x2212, 0x2212),
    (0x2248, 0x2248),
    (0x2260, 0x2265),
]

# Formulas: letters of every mathematical style, and what stands between them. Subscripts and
# stretched brackets take a font with a MATH table, which not every system has.
MATHS = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x100),
    *range(0x300, 0x340),
    *range(0x370, 0x400),
    *range(0x2010, 0x2070),
    *range(0x2100, 0x2150),
    *range(0x2190, 0x2300),
    *range(0x2308, 0x230C),
    *range(0x23B0, 0x23E2),
    *range(0x27E6, 0x27F0),
    *range(0x27F5, 0x2800),
    *range(0x2A00, 0x2A10),
    *range(0x2A7D, 0x2A7F),
    *range(0x2AAF, 0x2AB1),
    *range(0x1D400, 0x1D504),
    *range(0x1D538, 0x1D56C),
    *range(0x1D6A4, 0x1D71C),
    *range(0x1D7CE, 0x1D7E2),
]

FONTS = [
    (
        "newsreader",
        "Newsreader[opsz,wght].ttf",
        "newsreader",
        {"opsz": (14, 40), "wght": (400, 650)},
    ),
    (
        "newsreader",
        "Newsreader-Italic[opsz,wght].ttf",
        "newsreader-italic",
        {"opsz": 18, "wght": 400},
    ),
    ("inter", "Inter[opsz,wght].ttf", "inter", {"opsz": 14, "wght": (400, 700)}),
    ("jetbrains_mono", "JetBrainsMono[wght].ttf", "jetbrains-mono", {"wght": (400, 600)}),
]


def make(package: str, source: str, name: str, axes: dict[str, object]) -> None:
    """Write `<name>.woff2`, `<name>-more.woff2` and the licence of one font beside this file."""
    folder = Path(importlib.import_module(f"fontpkg_{package}").__file__ or "").parent
    cut_axes = io.BytesIO()
    instancer.instantiateVariableFont(ttLib.TTFont(folder / "files" / source), axes).save(cut_axes)
    options = subset.Options()
    options.layout_features = [
        "kern",
        "mark",
        "mkmk",
        "ccmp",
        "locl",
        "liga",
        "calt",
        "tnum",
        "case",
    ]
    if name == "jetbrains-mono":
        # Ligatures would show code that differs from the file.
        options.layout_features = ["mark", "mkmk", "ccmp", "locl"]
    options.flavor = "woff2"
    basic = {each for first, last in BASIC for each in range(first, last + 1)}
    for ending, characters in (("", basic), ("-more", set(CHARACTERS) - basic)):
        # Read it anew: the subsetter trips over glyph names that the step before left behind.
        cut_axes.seek(0)
        font = ttLib.TTFont(cut_axes)
        cut = subset.Subsetter(options)
        cut.populate(unicodes=sorted(characters))
        cut.subset(font)
        font.flavor = "woff2"
        font.save(HERE / f"{name}{ending}.woff2")
    shutil.copyfile(folder / "LICENSE", HERE / f"{package.replace('_', '-')}.LICENSE.txt")


def make_maths() -> None:
    """Write `stix-two-math.woff2` and its licence, whose text is the same as the others'."""
    folder = Path(importlib.import_module("ziamath").__file__ or "").parent
    font = ttLib.TTFont(folder / "fonts" / "STIXTwoMath-Regular.ttf")
    options = subset.Options()
    options.layout_features = ["mark", "mkmk", "ccmp", "ssty", "dtls"]
    options.hinting = False
    options.flavor = "woff2"
    cut = subset.Subsetter(options)
    cut.populate(unicodes=MATHS)
    cut.subset(font)
    font.flavor = "woff2"
    font.save(HERE / "stix-two-math.woff2")
    notice = font["name"].getDebugName(0)
    common = (HERE / "newsreader.LICENSE.txt").read_text(encoding="utf-8").split("\n", 1)[1]
    (HERE / "stix-two-math.LICENSE.txt").write_text(f"{notice}\n{common}", encoding="utf-8")


if __name__ == "__main__":
    for arguments in FONTS:
        make(*arguments)
    make_maths()
