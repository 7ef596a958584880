#!/usr/bin/env bash
# Builds the site's tree with Zensical too, and reports; it never fails the pipeline it runs in.
#
# Material for MkDocs is maintained until 2027-05-05, and Zensical, by the same people, is to read
# the same mkdocs.yml. What is known to differ (Zensical 0.0.73), none of it on a page's text:
#   - the index of the search is search.json instead of search/search_index.json;
#   - there is no sitemap.xml.gz;
#   - templates are those of MiniJinja: no methods of Python's strings (split, strip), so the theme
#     uses filters and slices.
# With --strict it refuses dead links as MkDocs does.
set -uo pipefail
cd "$(dirname "$0")/.."
version=${ZENSICAL:-0.0.73}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
report() { printf 'zensical %s: %s\n' "$version" "$1"; [ -z "${GITHUB_STEP_SUMMARY:-}" ] || printf 'Zensical %s: %s\n' "$version" "$1" >> "$GITHUB_STEP_SUMMARY"; }

python=${PYTHON:-.venv/bin/python}
"$python" -c '
import sys
from pathlib import Path
from catalog.site.tree import write_tree
from catalog.store import Catalog
write_tree(Catalog.load(Path(".")), Path(sys.argv[1]))' "$work/tree" || { report "the tree could not be written"; exit 0; }
{ python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -qq "zensical==$version"; } || { report "could not be installed"; exit 0; }
if ! (cd "$work/tree" && "$work/venv/bin/zensical" build --clean --strict) > "$work/log" 2>&1; then
  report "the build failed: $(tail -n 1 "$work/log")"
  exit 0
fi
"$python" -m mkdocs build --quiet --config-file "$work/tree/mkdocs.yml" --site-dir "$work/mkdocs" 2> /dev/null || { report "MkDocs failed"; exit 0; }
pages() { (cd "$1" && find . -name '*.html' | sort); }
missing=$(comm -23 <(pages "$work/mkdocs") <(pages "$work/tree/site") | wc -l)
files() { (cd "$1" && find . -type f -not -path './assets/javascripts/*' -not -path './assets/stylesheets/*' | sort); }
differ=$(comm -3 <(files "$work/mkdocs") <(files "$work/tree/site") | tr -s '\t\n' ' ')
report "built $(pages "$work/tree/site" | wc -l) pages, $missing missing; files that only one of the two writes: ${differ:-none}"
exit 0
