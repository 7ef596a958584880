"""Pages as text: templates that escape everything, put where Markdown leaves them alone.

The body of a generated page is one HTML element on one line. Python-Markdown passes such a
block on untouched, whereas fences, lists or attribute lists all need a line of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from catalog.amounts import duration, number, percent, signed, size
from catalog.site import addresses

# Markdown marks what it has set aside with the first two; none of them is text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def one_line(html: str) -> str:
    """The same HTML without a line feed: a reference in `<pre>`, a space elsewhere."""
    parts = re.split(r"(<pre\b.*?</pre>)", _CONTROL.sub("", html), flags=re.DOTALL)
    return "".join(
        part.replace("\n", "&#10;") if number % 2 else re.sub(r"\s*\n\s*", " ", part)
        for number, part in enumerate(parts)
    ).strip()


def front_matter(values: Mapping[str, object]) -> str:
    """The head of a Markdown file. JSON is YAML, and quotes whatever a title holds."""
    lines = [f"{name}: {json.dumps(value, ensure_ascii=True)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def document(title: str, description: str, body: str, **meta: object) -> str:
    """A Markdown file whose whole body is the given HTML.

    The theme writes title and description into the page as they are, so they are escaped here.
    """
    head = {
        "title": str(escape(plain(title))),
        "description": str(escape(plain(description))),
        "generated": True,
        **meta,
    }
    return f"{front_matter(head)}\n{one_line(body)}\n"


def plain(text: str) -> str:
    """A text on one line, without control characters."""
    return " ".join(_CONTROL.sub("", text).split())


@cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True)


def code(text: str, language: str) -> Markup:
    """Highlighted code, without the element around it."""
    lexer = get_lexer_by_name(language, stripnl=True)
    return Markup(highlight(text, lexer, _formatter()).rstrip("\n"))


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, parted by empty lines."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def marked(text: str) -> Markup:
    """Text of a method's docstring, in which `…` marks code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@pass_context
def _link(context: Context, target: str) -> str:
    return addresses.link(target, context["page"])


def _only_http(url: str) -> str:
    """A link out of the site. The schema admits only http(s); a template must not trust it."""
    return url if re.match(r"https?://", url) else "#"


@cache
def environment() -> Environment:
    """The templates, with everything that they may call."""
    made = Environment(
        loader=PackageLoader("catalog.site", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(link=_link, to=addresses)
    made.filters.update(
        external=_only_http,
        paragraphs=paragraphs,
        marked=marked,
        number=number,
        percent=percent,
        size=size,
        duration=duration,
        signed=signed,
        slug=addresses.slug,
        python=lambda text: code(text, "python"),
    )
    return made


def render(template: str, page: str, **values: Any) -> str:
    """A template for the page at a given address, from which its links go out."""
    return environment().get_template(template).render(page=page, **values)
