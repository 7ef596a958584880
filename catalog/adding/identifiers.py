"""What people write to name a paper, as an identifier: ids, DOIs and addresses of all kinds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from catalog.errors import UsageError, shown

FIELDS = ("arxiv", "doi", "openreview", "acl", "pmlr")
"""Fields of `ids` that an address can stand for."""

_ARXIV = r"([0-9]{4}\.[0-9]{4,5}|[a-z-]+(?:\.[A-Z]{2})?/[0-9]{7})"
_FORMS = (
    "an arXiv id (2306.11695), a DOI, an address on arxiv.org, doi.org, openreview.net or "
    "aclanthology.org, or a .bib file"
)


@dataclass(frozen=True)
class Identifier:
    """A field of `ids` and its value; `flaw` is set where the address leads nowhere."""

    field: str
    value: str
    flaw: str | None = None


def of_address(url: str) -> Identifier | None:
    """The paper that an address means; None if it is of no paper that can be told.

    An address of a known service whose id cannot exist is returned with its flaw.
    """
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower().removeprefix("www.")
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):
        return None
    path = unquote(parts.path)
    if host in ("arxiv.org", "export.arxiv.org", "ar5iv.org", "ar5iv.labs.arxiv.org"):
        match = re.fullmatch(r"/(?:abs|pdf|html|format|src|ps)/(.*?)/?", path)
        return arxiv(match[1]) if match is not None else None
    if host in ("alphaxiv.org", "huggingface.co"):
        match = re.fullmatch(rf"/(?:abs|overview|papers|pdf)/{_ARXIV}(?:v[0-9]+)?/?", path)
        return arxiv(match[1]) if match is not None else None
    if host in ("doi.org", "dx.doi.org"):
        return doi(path.strip("/"))
    if host == "openreview.net" and re.match(r"/(forum|pdf|attachment|references/pdf)", path):
        found = parse_qs(parts.query).get("id", [""])[0]
        ok = re.fullmatch(r"[A-Za-z0-9_-]{6,}", found)
        return Identifier("openreview", found, None if ok else "the address has no OpenReview id")
    if host in ("aclanthology.org", "aclweb.org", "aclanthology.info"):
        path = re.sub(r"^/(anthology|papers)/", "/", path).strip("/")
        name = re.sub(r"(\.pdf|\.bib|v[0-9]+\.pdf)$", "", path.rpartition("/")[2])
        return acl(name) if _ACL.fullmatch(name) else None
    if host == "proceedings.mlr.press":
        match = re.match(r"/(v[0-9]+)/([a-z0-9-]+?)(?:\.html|/|\.pdf|$)", path)
        return Identifier("pmlr", f"{match[1]}/{match[2]}") if match is not None else None
    return None


_ACL = re.compile(r"[0-9]{4}\.[a-z0-9_]+-[a-z0-9]+\.[0-9]+|[A-Z][0-9]{2}-[0-9]{4}")


def arxiv(text: str) -> Identifier:
    """An arXiv id as it stands in an address: with version, with .pdf, or broken."""
    value = re.sub(r"\.pdf$", "", text.strip(), flags=re.IGNORECASE)
    value = re.sub(r"v[0-9]+$", "", value)
    if not re.fullmatch(_ARXIV, value):
        return Identifier("arxiv", value, "this is no arXiv id")
    month = int(value[2:4]) if "/" not in value else int(value.rpartition("/")[2][2:4])
    if not 1 <= month <= 12:
        return Identifier("arxiv", value, f"an arXiv id cannot be of month {month:02d}")
    return Identifier("arxiv", value)


def doi(text: str) -> Identifier:
    """A DOI; those that arXiv and the ACL Anthology give stand for their own ids."""
    value = text.strip().rstrip(".,;")
    match = re.fullmatch(r"10\.48550/arxiv\.(.+)", value, re.IGNORECASE)
    if match is not None:
        return arxiv(match[1])
    match = re.fullmatch(r"10\.18653/v1/(.+)", value, re.IGNORECASE)
    if match is not None and _ACL.fullmatch(match[1]):
        return acl(match[1])
    ok = re.fullmatch(r"10\.[0-9]{4,9}/[^\s\"<>{}\\]+", value)
    return Identifier("doi", value, None if ok else "this is no DOI")


def acl(name: str) -> Identifier:
    """An ACL Anthology id."""
    return Identifier("acl", name)


def of_source(text: str) -> Identifier:
    """What a person names on the command line. Raises UsageError if it names no paper."""
    wanted = text.strip()
    found: Identifier | None = None
    if re.match(r"https?://", wanted):
        found = of_address(wanted)
    elif match := re.fullmatch(rf"(?:arxiv:\s*)?{_ARXIV}(?:v[0-9]+)?", wanted, re.IGNORECASE):
        found = arxiv(match[1])
    elif re.match(r"(doi:\s*)?10\.[0-9]{4,9}/", wanted, re.IGNORECASE):
        found = doi(re.sub(r"^doi:\s*", "", wanted, flags=re.IGNORECASE))
    elif re.match(r"(arxiv\.org|doi\.org|openreview\.net|aclanthology\.org)/", wanted):
        found = of_address(f"https://{wanted}")
    elif _ACL.fullmatch(wanted):
        found = acl(wanted)
    if found is None or found.flaw or found.field == "pmlr":
        why = f": {found.flaw}" if found is not None and found.flaw else ""
        raise UsageError(f"{shown(wanted, 80)} names no paper{why}", f"give {_FORMS}")
    return found


def address(identifier: Identifier) -> str:
    """Where a person can look at the paper."""
    value = identifier.value
    return {
        "arxiv": f"https://arxiv.org/abs/{value}",
        "doi": f"https://doi.org/{value}",
        "openreview": f"https://openreview.net/forum?id={value}",
        "acl": f"https://aclanthology.org/{value}/",
        "pmlr": f"https://proceedings.mlr.press/{value}.html",
    }[identifier.field]
