"""Whether an entry can be cited."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from bibtexparser.entrypoint import parse_string

from catalog.bibtex import author, bibtex_fields, title, to_bibtex
from catalog.checks.base import Check
from catalog.errors import Problem, listed, shown
from catalog.schema import Code, Entry


class UnparsableBibtex(Check):
    code = "bibtex"
    help = "BibTeX cannot keep a name or title of this form; write it more plainly."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            kind, fields = bibtex_fields(entry)
            # Invisible characters are left out, and with them a field that has nothing else.
            if not title(entry) or not all(map(author, entry.authors)):
                yield self.in_entry(
                    entry, "the citation would lack its title or an author", "title"
                )
                continue
            library = parse_string(to_bibtex([entry]))
            found = library.entries[0] if library.entries else None
            if library.failed_blocks or len(library.blocks) != 1 or found is None:
                yield self.in_entry(entry, "the citation cannot be parsed back", "title")
                continue
            read = {field.key: str(field.value) for field in found.fields}
            changed = [name for name in fields if read.get(name) != fields[name]]
            if (found.entry_type, found.key, list(read)) != (kind, entry.key, list(fields)):
                changed = changed or ["its type or fields"]
            if changed:
                message = f"the citation changes when it is parsed back: {listed(changed)}"
                yield self.in_entry(entry, message, "title")


class AuthorForm(Check):
    code = "author-form"
    help = 'One person an item, as "Given Family" or "Family, Given".'

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for number, name in enumerate(entry.authors):
                wrong = _wrong_name(name)
                if wrong:
                    message = f"{shown(name)} {wrong}"
                    yield self.in_entry(entry, message, "authors", number)


def _wrong_name(name: str) -> str | None:
    if name.startswith("{") and name.endswith("}"):
        return None  # an organisation, kept as it is
    if re.search(r"\bet\.? al\b|\bothers\b", name, re.IGNORECASE):
        return "stands for several people (list all of them)"
    if re.search(r"\s(and|&)\s|;", name):
        return "seems to be several people (one item each)"
    if name.count(",") > 2 or name.rstrip().endswith(","):
        return "has a comma too many"
    if re.search(r"[\\{}$]|<[^>]*>", name):
        return "holds markup (write letters such as é as they are)"
    return None


class RepositoryMismatch(Check):
    code = "repository-mismatch"
    help = "url and repository must name the same place."

    def run(self) -> Iterator[Problem]:
        for entry in self.catalog.entries.values():
            for location, problem in _mismatches(entry):
                yield self.in_entry(entry, problem, *location)


def _mismatches(entry: Entry) -> Iterator[tuple[tuple[str | int, ...], str]]:
    codes: list[tuple[tuple[str | int, ...], Code | None]] = [(("links", "code"), entry.links.code)]
    for number, unofficial in enumerate(entry.links.code_unofficial):
        codes.append((("links", "code_unofficial", number), unofficial))
    for place, code in codes:
        if code is None or code.repository is None:
            continue
        parts = urlsplit(code.url)
        if parts.hostname not in ("github.com", "www.github.com", "gitlab.com", "huggingface.co"):
            continue
        path = parts.path.strip("/").removesuffix(".git").casefold() + "/"
        if not path.startswith(code.repository.casefold() + "/"):
            message = (
                f"repository is {shown(code.repository)}, but the url is {shown(code.url, 90)}"
            )
            yield (*place, "repository"), message
