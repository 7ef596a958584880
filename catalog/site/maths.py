"""Formulas: LaTeX turned into MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# All that latex2mathml writes for formulas; anything else in its output would be a surprise.
_ELEMENTS = _words(
    "math mrow mi mn mo mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mroot "
    "mtable mtr mtd mstyle mpadded mphantom mmultiscripts mprescripts none menclose"
)
_ATTRIBUTES = _words(
    "display stretchy fence form separator lspace rspace width height depth columnalign rowalign "
    "columnspacing rowspacing columnlines rowlines linethickness displaystyle scriptlevel "
    "mathvariant minsize maxsize accent accentunder movablelimits largeop notation voffset"
)

# After these a minus sign belongs to what follows.
_OPENING = _words("= ( [ , ; < > \u2264 \u2265 \u2192 \u2190 \u223c \u2208")

# Commands that latex2mathml does not know, in words that it does.
_REWRITTEN = [
    (re.compile(r"\\(arg)\\(min|max)(?![a-zA-Z])"), r"\\operatorname{\1\\,\2}"),
    (re.compile(r"\\arg(?![a-zA-Z])"), r"\\operatorname{arg}"),
]


class FormulaError(ValueError):
    """A formula that cannot be drawn; the message says which part."""


def mathml(latex: str, *, block: bool = True) -> Markup:
    """A formula as one `<math>` element, safe to put into a page.

    Raises FormulaError where a command is unknown or the formula is not well formed.
    """
    text = latex
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    _check_braces(text)
    try:
        root = ElementTree.fromstring(convert(text, display="block" if block else "inline"))
    except Exception as error:  # the converter has many exceptions, with no common class
        raise FormulaError(f"cannot be read ({error or type(error).__name__})") from error
    for element in root.iter():
        name = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        if name not in _ELEMENTS:
            raise FormulaError(f"cannot be drawn: {name} is not MathML")
        element.tag = name
        content = element.text or ""
        if name != "mtext" and re.search(r"\\[a-zA-Z]", content):
            raise FormulaError(f"{content.strip()} is not a known command")
        for attribute in [*element.attrib]:
            if attribute not in _ATTRIBUTES:
                del element.attrib[attribute]
    _pair_bars(root)
    _space(root)
    root.set("alttext", latex)
    # Without a namespace prefix: in HTML, <math> brings its own namespace.
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _pair_bars(root: ElementTree.Element) -> None:
    """Make every other bar of |x| and ‖x‖ a closing one, all of the same height.

    LaTeX's bars do not say which they are; left alone, they get the space of an operator.
    """
    for bar in ("|", "\u2016"):
        found = [
            element
            for element in root.iter("mo")
            if (element.text or "").strip() == bar and element.get("stretchy") != "true"
        ]
        if len(found) % 2:
            continue
        for number, element in enumerate(found):
            element.attrib |= {
                "form": "postfix" if number % 2 else "prefix",
                "stretchy": "false",
                "fence": "true",
                "lspace": "0",
                "rspace": "0",
            }


def _space(root: ElementTree.Element) -> None:
    """Spaces that TeX sets by itself: after a named function, none after the sign of a number.

    MathML takes any minus sign that is not first in its row for a subtraction.
    """
    for row in root.iter():
        before: ElementTree.Element | None = None
        for element in [*row]:
            if (
                before is not None
                and before.tag == "mi"
                and len(before.text or "") > 1
                and (before.text or "").isalpha()
                and element.tag not in ("mo", "mspace")
            ):
                row.insert([*row].index(element), ElementTree.Element("mspace", width="0.167em"))
            if (
                element.tag == "mo"
                and (element.text or "").strip() in ("-", "\u2212")
                and before is not None
                and before.tag == "mo"
                and (before.text or "").strip() in _OPENING
            ):
                element.attrib |= {"form": "prefix", "lspace": "0", "rspace": "0"}
            if element.tag != "mspace":
                before = element


def _check_braces(latex: str) -> None:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            break
    if depth:
        raise FormulaError("has an unbalanced brace")
