"""Protocols with a name: what must be the same in every run whose numbers are compared.

Each is a file in impl/protocols/: the model with its revision, the data with their lengths,
counts and content hashes, the seed, the precision, and which budgets are measured under it.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impl.errors import BadInput

_HINT = "Write it like those in impl/protocols/."
FOLDER = Path(__file__).parent / "protocols"


@dataclass(frozen=True)
class Part:
    """Data of a protocol: `samples` windows of `length` tokens, or labelled samples (None).

    `sha256` is of what a model is given (see `Calibration`); None where nobody has stated it.
    """

    source: str
    revision: str
    samples: int
    length: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Standard:
    """One protocol. `budgets` has, for each unit, the values of each argument to be measured."""

    name: str
    title: str
    description: str
    kind: str
    model: str
    revision: str
    seed: int
    dtype: str
    requires: tuple[str, ...]
    calibration: Part
    evaluation: Part
    budgets: Mapping[str, Mapping[str, tuple[Any, ...]]]

    @property
    def loads(self) -> str:
        """What to ask `impl.load` for, so that this revision and no other is loaded."""
        return f"{self.model}@{self.revision}" if "/" in self.model else self.model

    def differs(self, record: Mapping[str, Any]) -> list[str]:
        """The fields in which the protocol of a run, as it is recorded, departs from this one.

        A run without calibration departs in none of its fields: its method was given none.
        """
        found = []
        model = record["model"]
        for field, wanted in (
            ("name", self.model),
            ("revision", self.revision),
            ("dtype", self.dtype),
        ):
            if model[field] != wanted:
                found.append(f"model.{field}")
        for name, part in (("calibration", self.calibration), ("evaluation", self.evaluation)):
            given = record[name]
            if given is None:
                continue
            for field in ("source", "revision", "samples", "length", "sha256"):
                wanted = getattr(part, field)
                if given[field] != wanted and not (field == "sha256" and wanted is None):
                    found.append(f"{name}.{field}")
        return found + (["seed"] if record["seed"] != self.seed else [])


@functools.cache
def standards() -> dict[str, Standard]:
    """All protocols by name. Raises `BadInput` for a file that is none."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.toml"))}


def find_standard(name: str) -> Standard:
    """The protocol called `name`, or in the file `name` if that ends with .toml.

    Raises `BadInput`, with the closest name, if there is none.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    known = standards()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise BadInput(
            f"there is no protocol '{name}'" + (f"; closest: {near[0]}" if near else ""),
            f"Protocols: {', '.join(known)}.",
        )
    return known[name]


def _read(path: Path) -> Standard:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        model = data.pop("model")
        return Standard(
            **{
                **data,
                "model": model["name"],
                "revision": model["revision"],
                "requires": tuple(data["requires"]),
                "calibration": Part(**data["calibration"]),
                "evaluation": Part(**data["evaluation"]),
                "budgets": {
                    unit: {argument: tuple(values) for argument, values in arguments.items()}
                    for unit, arguments in data["budgets"].items()
                },
            }
        )
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except KeyError as error:
        raise BadInput(f"{path} is no protocol: it has no {error}", _HINT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        reason = str(error).replace("Standard.__init__() ", "").replace("Part.__init__() ", "")
        raise BadInput(f"{path} is no protocol: {reason}", _HINT) from error
