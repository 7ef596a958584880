"""Hand-written Markdown made ready for MkDocs: formulas drawn, links to entries resolved.

A formula is LaTeX between dollar signs: `$W_{ij}$` in a sentence, `$$ … $$` on lines of its
own. A dollar sign itself is `\\$`; code is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markupsafe import Markup

from catalog.errors import shown
from catalog.site.maths import FormulaError, mathml

_PARTS = re.compile(
    r"^(?P<fence>```|~~~).*?(?:^(?P=fence)|\Z)"
    r"|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<dollar>\\\$)"
    r"|^\$\$(?P<block>.+?)\$\$[ \t]*$"
    r"|\$(?!\s)(?P<inline>(?:[^$\n]|\n(?!\s*\n))+?)(?<!\s)\$(?![0-9])"
    r"|\[(?P<text>[^\]\[]*)\]\(paper:(?P<key>[^)\s]*)\)",
    re.DOTALL | re.MULTILINE,
)

# Whatever Python-Markdown could take for markup inside a formula, as what HTML reads the same.
_MARKUP = {ord(character): f"&#{ord(character)};" for character in "\\`*_{}[]!|~^"}


def formula(latex: str, *, block: bool) -> str:
    """A formula as HTML on one line that Markdown passes on untouched.

    Raises FormulaError where it cannot be drawn.
    """
    drawn = str(mathml(" ".join(latex.split()), block=block)).translate(_MARKUP)
    drawn = drawn.replace("\n", " ")
    if not block:
        # Markdown takes <math> at the start of a line for a block, but not <span>.
        return f'<span class="math">{drawn}</span>'
    label = 'tabindex="0" role="group" aria-label="Formula" data-search-exclude'
    return f'<div class="formula" {label}>{drawn}</div>'


def prepared(
    body: str, path: str, start: int, page_of: Callable[[str], str | None]
) -> tuple[str, list[str]]:
    """The text with its formulas drawn, and a sentence for each that cannot be.

    `start` is the line of the file `path` on which the text begins; `page_of` gives the link
    to an entry's page, or None where there is no such entry, whose name is then plain text.
    """
    flaws: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "&#36;"
        if match["key"] is not None:
            page = page_of(match["key"])
            return f"[{match['text']}]({page})" if page else match["text"]
        latex = match["block"] or match["inline"]
        if latex is None:
            return match[0]
        try:
            return formula(latex, block=match["block"] is not None)
        except FormulaError as error:
            line = start + body.count("\n", 0, match.start())
            flaws.append(f"{path}:{line}: the formula {shown(' '.join(latex.split()))} {error}")
            return f"<code>{Markup.escape(latex.strip())}</code>".translate(_MARKUP)

    return _PARTS.sub(replace, body), flaws
