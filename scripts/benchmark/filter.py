"""How fast the catalog page is with many entries: until it can be used, and for each click.

    prunedex site build --out /tmp/site
    python scripts/benchmark/filter.py --site /tmp/site --entries 10000

The built page is kept as it is, but for the part and the data that depend on the entries: those
are made anew on the way, for a catalog in which the entries of this one stand again and again under
new keys. A click's scripting is the time of the handler of its change event, without the layout and
painting that follow; rows that must be fetched first are drawn later. Beside the time on the clock,
which other work on the machine stretches, stands the processor time of the page's process.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gzip
import http.server
import json
import shutil
import statistics
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from playwright.sync_api import CDPSession, sync_playwright

HERE = Path(__file__).resolve().parents[2]
# Of its own folder, the script catalog.py would be taken for the package.
sys.path[:] = [
    str(HERE),
    *(each for each in sys.path if Path(each).resolve() != HERE / "scripts/benchmark"),
]

CLICKS = """async () => {
  const boxes = [...document.querySelectorAll("[data-filters] input[type=checkbox]")];
  const times = [];
  // A person's clicks find the page painted; without that, each would pay for the one before.
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  // Each click is taken back by the next, so that filters of every size are tried.
  for (const box of boxes.filter((each, place) => place % 4 === 0 && !each.disabled)) {
    for (const state of [true, false]) {
      if (box.disabled) continue;
      await painted();
      box.checked = state;
      const begin = performance.now();
      box.dispatchEvent(new Event("change", { bubbles: true }));
      times.push(performance.now() - begin);
    }
  }
  return times;
}"""


def overlay(site: Path, count: int) -> dict[str, bytes]:
    """The files of the site that differ with `count` entries, by their path."""
    from catalog.site import addresses, columns
    from catalog.site.pages import Pages
    from catalog.site.shelf import Shelf
    from catalog.site.tree import repository, settings_of
    from catalog.store import Catalog

    real = Catalog.load(HERE)
    originals = [*real.entries.values()]
    entries = {}
    for number in range(count):
        original = originals[number % len(originals)]
        key = f"{original.key}n{number}"
        entries[key] = original.model_copy(update={"key": key})
    known = repository(settings_of(HERE / "site" / "mkdocs.yml"))

    def body(shelf: Shelf) -> str:
        return Pages(shelf, known).catalog().split("---\n", 2)[2].strip()

    many = Shelf(dataclasses.replace(real, entries=entries))
    page = (site / addresses.CATALOG).read_text(encoding="utf-8")
    before = body(Shelf(real))
    assert page.count(before) == 1, "the site is not of this catalog: build it anew"
    files = {
        f"/{addresses.COLUMNS}{name}": json.dumps(
            content, ensure_ascii=False, separators=(",", ":")
        ).encode()
        for name, content in columns.files(many)
    }
    return {**files, f"/{addresses.CATALOG}": page.replace(before, body(many)).encode()}


class _Overlaid(http.server.SimpleHTTPRequestHandler):
    """A plain file server with some other files."""

    others: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        content = self.others.get(self.path)
        if content is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclasses.dataclass
class Measured:
    """Seconds until the page can be used, on the clock and of the processor; milliseconds of each
    click's handler, and of the processor for all that a click brings about, in the mean."""

    ready: float
    processor: float
    clicks: list[float]
    click_processor: float


def _metric(session: CDPSession, name: str) -> float:
    """A figure of the page's process, in seconds."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == name))


def measure(site: Path, count: int) -> Measured:
    """Open the page and click."""
    _Overlaid.others = overlay(site, count)
    handler = functools.partial(_Overlaid, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/catalog.html")
        page.wait_for_selector("[data-ready]", timeout=120_000)
        ready: float = page.evaluate("performance.now()") / 1000
        processor = _metric(session, "ProcessTime")
        found = page.locator("[data-status]").inner_text()
        assert found.startswith(f"{count:,} "), found
        before = _metric(session, "ThreadTime")
        times: list[float] = page.evaluate(CLICKS)
        whole = 1000 * (_metric(session, "ThreadTime") - before) / len(times)
        browser.close()
    server.shutdown()
    return Measured(ready, processor, times, whole)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--site", type=Path, required=True, help="a site that has been built")
    parser.add_argument("--entries", type=int, default=10_000)
    given = parser.parse_args()
    found = measure(given.site, given.entries)
    slow = statistics.quantiles(found.clicks, n=20)[-1]
    print(
        f"{given.entries:,} entries: usable after {found.ready:.2f} s, "
        f"{found.processor:.2f} s of the processor"
    )
    print(
        f"{len(found.clicks)} clicks: median {statistics.median(found.clicks):.1f} ms, "
        f"95 % below {slow:.1f} ms; with style, layout and rows that come {found.click_processor:.1f} ms "
        "of the processor in the mean"
    )
    for name in ("/catalog.html", "/assets/data/filters.json", "/assets/data/words.json"):
        content = _Overlaid.others[name]
        print(f"{name}: {len(content) / 1e6:.2f} MB, {len(gzip.compress(content, 6)) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
