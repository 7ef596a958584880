"""How fast the catalog page is with many entries: until it can be used, and for each click.

    prunedex site build --out /tmp/site
    python scripts/benchmark/filter.py --site /tmp/site --entries 10000

The built page is kept as it is; its catalog.json is replaced on the way by one of the wanted size,
in which the entries of the real one stand again and again under new keys. A click's scripting is the
time of the handler of its change event, without the layout and painting that follow.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import statistics
import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

CLICKS = """() => {
  const boxes = [...document.querySelectorAll("[data-filters] input[type=checkbox]")];
  const times = [];
  // Each click is taken back by the next, so that filters of every size are tried.
  for (const box of boxes.filter((each, place) => place % 4 === 0 && !each.disabled)) {
    for (const state of [true, false]) {
      if (box.disabled) continue;
      box.checked = state;
      const begin = performance.now();
      box.dispatchEvent(new Event("change", { bubbles: true }));
      times.push(performance.now() - begin);
    }
  }
  return times;
}"""


def enlarged(data: dict[str, Any], count: int) -> dict[str, Any]:
    """The same catalog with `count` entries, each under a key of its own."""
    entries = data["entries"]
    return {
        **data,
        "entries": [
            {**entries[i % len(entries)], "key": f"{entries[i % len(entries)]['key']}{i}"}
            for i in range(count)
        ],
    }


class _Enlarged(http.server.SimpleHTTPRequestHandler):
    """A plain file server with another catalog.json."""

    body = b""

    def do_GET(self) -> None:
        if self.path != "/catalog.json":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def measure(site: Path, count: int) -> tuple[float, list[float]]:
    """Seconds until the page can be used, and the milliseconds of each click."""
    data = json.loads((site / "catalog.json").read_text(encoding="utf-8"))
    _Enlarged.body = json.dumps(enlarged(data, count), ensure_ascii=False).encode()
    handler = functools.partial(_Enlarged, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/catalog.html")
        page.wait_for_selector("[data-ready]", timeout=120_000)
        ready: float = page.evaluate("performance.now()") / 1000
        found = page.locator("[data-status]").inner_text()
        assert found.startswith(f"{count:,} "), found
        times: list[float] = page.evaluate(CLICKS)
        browser.close()
    server.shutdown()
    return ready, times


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, required=True, help="a site that has been built")
    parser.add_argument("--entries", type=int, default=10_000)
    given = parser.parse_args()
    ready, times = measure(given.site, given.entries)
    slow = statistics.quantiles(times, n=20)[-1]
    print(f"{given.entries:,} entries: usable after {ready:.2f} s")
    print(
        f"{len(times)} clicks: median {statistics.median(times):.1f} ms, 95 % below {slow:.1f} ms"
    )


if __name__ == "__main__":
    main()
