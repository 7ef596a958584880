r"""Citations: one BibTeX entry a paper, made from the entry's fields.

What is written is parsed back by bibtexparser to the same fields, and both `bibtex` (with
plain.bst) and `biber` take it without a warning. That is why some fields are left out of
some types, accents are written as `{\'e}`, and text is encoded here field by field: running
a LaTeX encoder over whole entries would corrupt addresses and strip protecting braces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote

from bibtexparser.entrypoint import write_string
from bibtexparser.library import Library
from bibtexparser.middlewares import default_unparse_stack
from bibtexparser.middlewares.names import InvalidNameError, parse_single_name_into_parts
from bibtexparser.model import Entry as BibtexEntry
from bibtexparser.model import Field
from bibtexparser.writer import BibtexFormat
from pylatexenc.latexencode import UnicodeToLatexEncoder

from catalog.schema import Entry

_ESCAPES = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    # An escaped brace would still count as one: BibTeX knows no backslash when it counts.
    "{": r"{\textbraceleft}",
    "}": r"{\textbraceright}",
    "~": r"{\textasciitilde}",
    "^": r"{\textasciicircum}",
    "\\": r"{\textbackslash}",
    "<": r"{\textless}",
    ">": r"{\textgreater}",
    "|": r"{\textbar}",
    "“": "``",
    "”": "''",
    "„": r"{\quotedblbase}",
    "‘": "`",
    "’": "'",
    "‐": "-",
    "‑": "-",
    "–": "--",
    "—": "---",
    "…": r"{\ldots}",
    "\u00ad": "",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
}

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0326": "textcommabelow",
    "\u0327": "c",
    "\u0328": "k",
    "\u0331": "b",
}
"""Combining characters and the LaTeX command that puts the same accent on a letter."""

_PROPER_WORDS = """
Bayes Bayesian Bernoulli Bregman Cholesky Euclidean Fisher Fourier Frobenius Gauss Gaussian Gumbel
Hadamard Hebbian Hessian Jacobian Kronecker Lagrange Lagrangian Laplace Lipschitz Mahalanobis Markov
Monte Carlo Moreau Newton Pareto Riemannian Shapley Sinkhorn Taylor Wasserstein
English Chinese German Japanese European American
"""
_PROPER = frozenset(_PROPER_WORDS.split())
"""Words that keep their capital in the middle of a sentence."""


def to_bibtex(entries: Iterable[Entry]) -> str:
    """The entries as a BibTeX file, in the order given; empty for no entry.

    Raises ValueError if two entries have the same key.
    """
    library = Library()
    library.add([_converted(entry) for entry in entries])
    if library.failed_blocks:
        keys = sorted(str(getattr(block, "key", "?")) for block in library.failed_blocks)
        raise ValueError(f"the same key twice: {', '.join(keys)}")
    if not library.entries:
        return ""
    layout = BibtexFormat()  # type: ignore[no-untyped-call]
    layout.indent = "  "
    layout.block_separator = "\n"
    layout.trailing_comma = True
    # The library is gone afterwards: no need to copy every block first.
    stack = default_unparse_stack(allow_inplace_modification=True)
    return write_string(library, unparse_stack=stack, bibtex_format=layout)


def bibtex_fields(entry: Entry) -> tuple[str, dict[str, str]]:
    """The BibTeX type of an entry, and its fields in the order in which they are written."""
    venue, ids = entry.venue, entry.ids
    kind = _TYPES[venue.type]
    if not entry.authors and kind != "phdthesis":
        # The other types demand an author, and none is known: nobody is made up.
        kind = "misc"
    fields: dict[str, str | None] = {
        "title": title(entry),
        "author": " and ".join(author(name) for name in entry.authors) or None,
        # What classic BibTeX sorts by where there is no author.
        "key": None if entry.authors else latex(entry.title),
    }
    text = {
        name: latex(value) if value else None
        for name, value in (
            ("full", venue.full),
            ("series", venue.series),
            ("volume", venue.volume),
            ("number", venue.number),
            ("publisher", venue.publisher),
        )
    }
    pages = re.sub(r"(?<=\w)\s*[-–—]+\s*(?=\w)", "--", venue.pages) if venue.pages else None
    note: list[str] = []
    if kind == "inproceedings":
        fields |= {"booktitle": text["full"], "series": text["series"], "volume": text["volume"]}
        # plain.bst takes a number only in a series, and never beside a volume.
        if text["number"] and text["series"] and not text["volume"]:
            fields["number"] = text["number"]
        elif text["number"]:
            note.append(f"Number {text['number']}")
        fields |= {"pages": pages and latex(pages), "publisher": text["publisher"]}
    elif kind == "article":
        fields |= {"journal": text["full"], "volume": text["volume"]}
        if text["volume"]:
            fields["number"] = text["number"]
        elif text["number"]:
            note.append(f"Number {text['number']}")
        fields["pages"] = pages and latex(pages)
    elif kind == "phdthesis":
        fields["school"] = text["full"]
    elif ids.arxiv is None or venue.type != "preprint":
        fields["howpublished"] = text["full"]
    fields["year"] = str(venue.year)
    fields["doi"] = ids.doi
    if ids.arxiv is not None:
        fields |= {"eprint": ids.arxiv, "archivePrefix": "arXiv", "primaryClass": ids.arxiv_class}
    fields["url"] = _url(entry)
    fields["note"] = ". ".join(note) or None
    return kind, {name: value for name, value in fields.items() if value}


_TYPES = {
    "conference": "inproceedings",
    "workshop": "inproceedings",
    "journal": "article",
    "preprint": "misc",
    "thesis": "phdthesis",
    "other": "misc",
}


def _converted(entry: Entry) -> BibtexEntry:
    kind, fields = bibtex_fields(entry)
    return BibtexEntry(kind, entry.key, [Field(name, value) for name, value in fields.items()])


def _url(entry: Entry) -> str | None:
    """Where the cited version is: the proceedings, or else the paper."""
    links, ids = entry.links, entry.ids
    url = links.proceedings
    if url is None and ids.openreview and entry.venue.type in ("conference", "journal"):
        # ICLR and TMLR publish there; links.paper is the preprint.
        url = f"https://openreview.net/forum?id={ids.openreview}"
    url = url or links.paper
    if url is None and ids.openreview:
        url = f"https://openreview.net/forum?id={ids.openreview}"
    if url is None and ids.arxiv:
        url = f"https://arxiv.org/abs/{ids.arxiv}"
    # Braces would end the field early, and classic BibTeX takes bytes for letters.
    return quote(url, safe="!#$%&'()*+,/:;=?@[]~^|") if url else None


def author(name: str) -> str:
    """A name as `von Family, Jr, Given` in LaTeX; a name in braces is kept in one piece.

    Words in lower case before the family name belong to it, as in BibTeX itself.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split())
    if text.startswith("{") and text.endswith("}"):
        return "{" + latex(text[1:-1]) + "}"
    try:
        parts = parse_single_name_into_parts(text)
    except InvalidNameError:
        return "{" + latex(text) + "}"
    groups = ([*parts.von, *parts.last], parts.jr, parts.first)
    return ", ".join(" ".join(map(_name_word, group)) for group in groups if group)


def _name_word(word: str) -> str:
    # A bare "and" would start the next author.
    return f"{{{word}}}" if word.casefold() in ("and", "others") else latex(word)


def title(entry: Entry) -> str:
    """The title in LaTeX, with braces around what keeps its capitals."""
    text = " ".join(unicodedata.normalize("NFC", entry.title).split())
    text = re.sub(r'"([^"]*)"', "“\\1”", text)
    pieces: list[str] = []
    end = 0
    for start, stop in _merged(_protected(text, entry.name)):
        pieces += [*map(_latex_character, text[end:start]), "{"]
        pieces += [*map(_latex_character, text[start:stop]), "}"]
        end = stop
    return "".join([*pieces, *map(_latex_character, text[end:])])


def _protected(text: str, name: str | None) -> Iterator[tuple[int, int]]:
    """Spans of the title that a style must not turn into lower case."""
    for alternative in re.split(r"\s+/\s+", name or ""):
        if alternative and any(map(str.isupper, alternative)):
            for match in re.finditer(rf"(?<!\w){re.escape(alternative)}(?!\w)", text):
                yield match.span()
    for match in re.finditer(r"\w(?:[^\s/—]*\w)?", text):
        if _keeps_capitals(match[0]):
            yield match.span()


def _keeps_capitals(token: str) -> bool:
    if token in ("A", "I"):
        return False
    for word in re.findall(r"[^\W_]+", token):
        if any(map(str.isupper, word[1:])) or word in _PROPER:
            return True
        # A single capital that is not the word "A" is a symbol: N:M, E-Sparse.
        if len(word) == 1 and word.isupper():
            return True
    return False


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def latex(text: str) -> str:
    """Plain text as LaTeX in ASCII, as far as LaTeX has a command for a character.

    The rest (Chinese, say) stays as it is. Every command stands in its own braces, which is
    what BibTeX counts as one letter.
    """
    return "".join(map(_latex_character, unicodedata.normalize("NFC", " ".join(text.split()))))


@lru_cache(maxsize=4096)
def _latex_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFD", character)
    base, marks = decomposed[0], decomposed[1:]
    if len(marks) == 1 and base.isascii() and marks in _ACCENTS:
        command = _ACCENTS[marks]
        braced = len(command) > 1 or command.isalpha()
        return f"{{\\{command}{{{base}}}}}" if braced else f"{{\\{command}{base}}}"
    if len(marks) > 1 and base.isascii() and marks[-1] in _ACCENTS:
        # biber misreads a command within a command, so the inner letter stays as it is.
        inner = unicodedata.normalize("NFC", base + marks[:-1])
        if len(inner) == 1:
            return f"{{\\{_ACCENTS[marks[-1]]}{{{inner}}}}}"
    if marks:
        return character
    return str(_encoder().unicode_to_latex(character))


@lru_cache(maxsize=1)
def _encoder() -> UnicodeToLatexEncoder:
    return UnicodeToLatexEncoder(
        replacement_latex_protection="braces-all",
        unknown_char_policy="keep",
        unknown_char_warning=False,
    )
