"""`prunedex list` finds every paper of this repository by what a reader knows of it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.bibtex import author
from catalog.cli import main
from catalog.query import Filter, select
from catalog.schema import DIMENSIONS
from catalog.store import Catalog

HERE = Path(__file__).resolve().parents[2]
KEYS = sorted(file.stem for file in (HERE / "papers").glob("*.yaml"))

Found = Callable[..., list[str]]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(HERE)


@pytest.fixture
def found(
    catalog: Catalog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Found:
    """Runs `prunedex list` on the catalog, read once for all tests: the keys that it prints."""
    monkeypatch.setattr(Catalog, "load", classmethod(lambda cls, root=None: catalog))

    def call(*arguments: str) -> list[str]:
        with pytest.raises(SystemExit) as caught:
            main(["list", "--json", *arguments])
        assert caught.value.code == 0
        return [entry["key"] for entry in json.loads(capsys.readouterr().out)]

    return call


def without_accents(text: str) -> str:
    """As somebody types it who has no such keys; Unicode does not take all letters apart."""
    text = text.translate(str.maketrans({"ø": "o", "ł": "l", "đ": "d", "Ø": "O", "Ł": "L"}))
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def family(name: str) -> str:
    """The family name in plain letters, split as for citations but taken from the entry."""
    words = len(author(name).partition(",")[0].split())
    return name.partition(",")[0] if "," in name else " ".join(name.split()[-words:])


def test_every_entry_can_be_read(catalog: Catalog) -> None:
    assert list(catalog.entries) == KEYS
    assert len(KEYS) > 100


@pytest.mark.parametrize("key", KEYS)
def test_by_title_name_identifier_and_author(key: str, catalog: Catalog, found: Found) -> None:
    entry = catalog.entries[key]
    assert key in found(entry.title)

    def searched(text: str) -> list[str]:
        # What the command does with its words, without building the command line each time.
        return [hit.key for hit in select(catalog, Filter(text=text))]

    assert key in searched(entry.title.upper())
    assert searched(key) == [key]
    if entry.name is not None:
        assert key in searched(entry.name)
        assert key in searched(entry.name.swapcase())
    if entry.ids.arxiv is not None:
        assert searched(entry.ids.arxiv) == [key]
        assert searched(f"arXiv:{entry.ids.arxiv}v2") == [key]
        assert searched(f"https://arxiv.org/abs/{entry.ids.arxiv}") == [key]
    if entry.ids.doi is not None:
        assert searched(entry.ids.doi.upper()) == [key]
    for name in entry.authors:
        assert key in searched(family(name)), name
        assert key in searched(without_accents(name).upper()), name


@pytest.mark.parametrize(
    "words", [["boza"], ["Vladimír", "BOŽA"], ["2401.02938"], ["ADMM pruning"]]
)
def test_by_words_of_the_command_line(words: list[str], found: Found) -> None:
    assert "boza2024fast" in found(*words)
    assert "boza2024fast" in found("--text", " ".join(words))


def test_family_names_as_they_are_spoken_of() -> None:
    assert family("Tycho F. A. van der Ouderaa") == "van der Ouderaa"
    assert family("Vladimír Boža") == "Boža"
    assert without_accents("Vladimír Boža") == "Vladimir Boza"


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_by_every_value_of_a_dimension(dimension: str, catalog: Catalog, found: Found) -> None:
    """A value finds the papers that carry it or any value below it, and no others."""
    option = "--" + dimension.replace("_", "-")
    below: dict[str, set[str]] = {}
    for value in catalog.vocabulary.dimensions[dimension].values:
        below.setdefault(value.id, set()).add(value.id)
    for value in catalog.vocabulary.dimensions[dimension].values:
        # Up the tree by the files' own `parent`, not by the code under test.
        current, seen = value, set()
        while current.parent is not None and current.id not in seen:
            seen.add(current.id)
            below[current.parent].add(value.id)
            current = next(
                v for v in catalog.vocabulary.dimensions[dimension].values if v.id == current.parent
            )
    used = 0
    for identifier, ids in below.items():
        expected = [
            key for key, entry in catalog.entries.items()
            if entry.tags is not None and not ids.isdisjoint(entry.tags.of(dimension))
        ]  # fmt: skip
        assert found(option, identifier) == expected, identifier
        used += bool(expected)
    assert used > 2


def test_values_of_two_dimensions_must_both_hold(catalog: Catalog, found: Found) -> None:
    both = found("--type", "structured", "--retraining", "without")
    assert both
    assert set(both) == set(found("--type", "structured")) & set(found("--retraining", "without"))
    either = found("--criterion", "wanda", "--criterion", "magnitude")
    assert set(either) == set(found("--criterion", "wanda")) | set(
        found("--criterion", "magnitude")
    )
