"""Make the three web fonts of the site from their PyPI packages.

Run it in a throw-away environment, only when a font or the set of characters changes:

    python -m venv venv
    venv/bin/pip install fonttools==4.68.* brotli \\
        fontpkg-newsreader==1.3 fontpkg-inter==4.1.post1 fontpkg-jetbrains-mono==2.211
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

FONTS = [
    ("newsreader", "Newsreader[opsz,wght].ttf", "newsreader", {"opsz": (14, 40), "wght": (400, 650)}),
    ("newsreader", "Newsreader-Italic[opsz,wght].ttf", "newsreader-italic", {"opsz": 18, "wght": 400}),
    ("inter", "Inter[opsz,wght].ttf", "inter", {"opsz": 14, "wght": (400, 700)}),
    ("jetbrains_mono", "JetBrainsMono[wght].ttf", "jetbrains-mono", {"wght": (400, 600)}),
]


def make(package: str, source: str, name: str, axes: dict[str, object]) -> None:
    """Write `<name>.woff2` and the licence of one font beside this file."""
    folder = Path(importlib.import_module(f"fontpkg_{package}").__file__ or "").parent
    cut_axes = io.BytesIO()
    instancer.instantiateVariableFont(ttLib.TTFont(folder / "files" / source), axes).save(cut_axes)
    # Read it anew: the subsetter trips over glyph names that the step before left behind.
    font = ttLib.TTFont(cut_axes)
    options = subset.Options()
    options.layout_features = ["kern", "mark", "mkmk", "ccmp", "locl", "liga", "calt", "tnum", "case"]
    if name == "jetbrains-mono":
        # Ligatures would show code that differs from the file.
        options.layout_features = ["mark", "mkmk", "ccmp", "locl"]
    options.flavor = "woff2"
    cut = subset.Subsetter(options)
    cut.populate(unicodes=CHARACTERS)
    cut.subset(font)
    font.flavor = "woff2"
    font.save(HERE / f"{name}.woff2")
    shutil.copyfile(folder / "LICENSE", HERE / f"{package.replace('_', '-')}.LICENSE.txt")


if __name__ == "__main__":
    for arguments in FONTS:
        make(*arguments)
