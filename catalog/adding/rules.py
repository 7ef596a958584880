"""Proposals from words: tags with the words that hint at them, kinds of paper, short venues.

The rules are data, `rules.yaml` beside this file. A proposal is never a claim: it stands in a
draft with its evidence until a person has decided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from catalog.errors import PrunedexError
from catalog.reader import read_yaml
from catalog.schema import Kind, Slug, Strict, Text
from catalog.terms import Vocabulary
from catalog.validation import validate

FILE = Path(__file__).resolve().parent / "rules.yaml"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]


class TagRule(Strict):
    """Words that hint at one value of one dimension."""

    dimension: str
    tag: Slug
    words: list[Pattern]


class KindRule(Strict):
    """Words in a title that hint at a kind of paper; the first rule that fits counts."""

    kind: Kind
    words: list[Pattern]


class VenueRule(Strict):
    """Words in a venue's full name, with its short one; the first rule that fits counts."""

    short: Text
    words: list[Pattern]


class Rules(Strict):
    """The content of `rules.yaml`."""

    tags: list[TagRule]
    kinds: list[KindRule]
    venues: list[VenueRule]


@dataclass(frozen=True)
class Proposal:
    """One proposed tag, with the words that speak for it and where they stand."""

    dimension: str
    tag: str
    evidence: list[tuple[str, str]]
    """`title` or `abstract`, and the words as they stand there"""

    @property
    def words(self) -> str:
        """The evidence in one line: `title "2:4", abstract "one-shot"`."""
        return ", ".join(f'{where} "{words}"' for where, words in self.evidence)


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The rules of this installation. Raises PrunedexError where they cannot be read."""
    located, problems = read_yaml(FILE.parent, FILE)
    found, flaws = validate(Rules, located) if located is not None else (None, [])
    if found is None or problems or flaws:
        raise PrunedexError(str([*problems, *flaws][0]), "restore the file")
    return found


def _find(words: list[str], text: str) -> str | None:
    """The first place at which any of the patterns matches whole words."""
    hits = (re.search(rf"(?<![\w])(?:{each})(?![\w])", text, re.IGNORECASE) for each in words)
    found = [hit for hit in hits if hit is not None]
    return min(found, key=lambda hit: hit.start())[0] if found else None


def propose_tags(vocabulary: Vocabulary, title: str, abstract: str) -> list[Proposal]:
    """Tags that the words of a paper hint at, in the vocabulary's order; no parents of others."""
    found: dict[tuple[str, str], Proposal] = {}
    for rule in rules().tags:
        if not vocabulary.has(rule.dimension, rule.tag):
            continue
        evidence = [
            (where, hit[:60])
            for where, text in (("title", title), ("abstract", abstract))
            if (hit := _find(rule.words, text)) is not None
        ]
        if evidence:
            found[rule.dimension, rule.tag] = Proposal(rule.dimension, rule.tag, evidence)
    implied = {
        (dimension, above)
        for dimension, tag in found
        for above in vocabulary.ancestors(dimension, tag)
    }
    return [
        found[dimension, tag]
        for dimension in vocabulary
        for tag in vocabulary.ids(dimension)
        if (dimension, tag) in found and (dimension, tag) not in implied
    ]


def guess_kind(title: str) -> Kind:
    """What kind of paper a title sounds like; a method unless it says something else."""
    return next((rule.kind for rule in rules().kinds if _find(rule.words, title)), "method")


_ACL_SHORT = {
    "P": "ACL",
    "D": "EMNLP",
    "N": "NAACL",
    "E": "EACL",
    "C": "COLING",
    "Q": "TACL",
}


def short_venue(full: str, acl: str | None) -> str | None:
    """What people call a venue, without the year; None where no rule knows it."""
    found = next((rule.short for rule in rules().venues if _find(rule.words, full)), None)
    if found is None and acl is not None:
        match = re.match(r"[0-9]{4}\.(findings-)?([a-z]+)", acl)
        if match is not None:
            return ("Findings of " if match[1] else "") + match[2].upper()
        return _ACL_SHORT.get(acl[0])
    return found
