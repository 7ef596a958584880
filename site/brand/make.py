"""Make the site's icons and its card from `site/assets/mark.svg` and the site's fonts.

Run it only when the mark, the name or the description changes. It takes the system's Chromium:

    .venv/bin/python site/brand/make.py

This is the card of the site; those of the papers are drawn in the build (catalog/site/cards.py).
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).resolve().parent
ASSETS = HERE.parent / "assets"
FONTS = HERE.parent / "fonts"

PAPER, INK, QUIET, PLUM = "#fbf9f7", "#211a20", "#5b5058", "#7a1f4f"


def mark() -> str:
    """The mark as an element of a page, in the colours of the light scheme."""
    return re.sub(r"@media.*?\}\}", "", (ASSETS / "mark.svg").read_text(encoding="utf-8"))


def icon(margin: float, ground: str) -> str:
    """A page that shows the mark with a margin, a share of the side, on a ground."""
    side = 100 - 200 * margin
    return f"""<!doctype html><style>
      html, body {{ margin: 0; height: 100%; background: {ground}; }}
      body {{ display: grid; place-items: center; }}
      svg {{ width: {side}vmin; height: {side}vmin; }}
    </style>{mark()}"""


def card() -> str:
    """A page that is the card: mark, name, and what it is."""
    serif, sans = ((FONTS / f"{name}.woff2").resolve().as_uri() for name in ("newsreader", "inter"))
    return f"""<!doctype html><meta charset="utf-8"><style>
      @font-face {{ font-family: serif-own; src: url({serif}); font-weight: 400 650; }}
      @font-face {{ font-family: sans-own; src: url({sans}); font-weight: 400 700; }}
      html, body {{ margin: 0; height: 100%; }}
      body {{ display: grid; grid-template-columns: 340px 1fr; gap: 76px; align-items: center;
        box-sizing: border-box; padding: 0 84px; background: {PAPER}; color: {INK};
        border-bottom: 14px solid {PLUM}; }}
      svg {{ width: 340px; height: 340px; }}
      h1 {{ margin: 0 0 22px; font: 560 104px/1 serif-own; letter-spacing: -.02em; }}
      p {{ margin: 0; font: 400 37px/1.38 sans-own; color: {QUIET}; text-wrap: balance; }}
    </style>{mark()}<div><h1>Prunedex</h1>
    <p>The literature on pruning language models, which you can filter, cite and run.</p></div>"""


def shot(browser: Browser, page: str, width: int, height: int, *, clear: bool = False) -> bytes:
    """A page as a PNG of this many pixels, its colours in a palette."""
    tab = browser.new_page(viewport={"width": width, "height": height})
    source = HERE / ".page.html"  # a file may load the fonts beside it, a string may not
    source.write_text(page, encoding="utf-8")
    try:
        tab.goto(source.as_uri())
        tab.evaluate("document.fonts.ready")
        taken = tab.screenshot(omit_background=clear)
    finally:
        source.unlink()
        tab.close()
    image: Image.Image = Image.open(io.BytesIO(taken))
    if not clear:
        image = image.convert("RGB").quantize(colors=128, dither=Image.Dither.NONE)
    made = io.BytesIO()
    image.save(made, "PNG", optimize=True)
    return made.getvalue()


def main() -> int:
    """Write all of them; 1 if there is no browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        print("no chromium on PATH", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        files = {
            "icon-48.png": shot(browser, icon(0.02, "transparent"), 48, 48, clear=True),
            "icon-180.png": shot(browser, icon(0.14, PAPER), 180, 180),
            "icon-192.png": shot(browser, icon(0.04, "transparent"), 192, 192, clear=True),
            "icon-512.png": shot(browser, icon(0.04, "transparent"), 512, 512, clear=True),
            "icon-maskable-512.png": shot(browser, icon(0.22, PAPER), 512, 512),
            "card.png": shot(browser, card(), 1200, 630),
        }
        browser.close()
    for name, content in files.items():
        (ASSETS / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
