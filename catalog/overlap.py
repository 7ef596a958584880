"""What masks look like: how sparse each block is, and how much two masks have in common.

A run records the share of zeros of every weight matrix and a sample of where they are. Runs of
one model looked at the same places, so two samples tell how many zeros they share.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from catalog.results import Result

EVEN = 0.005
"""Spread of the shares over matrices up to which a mask counts as the same everywhere."""


def sample(result: Result) -> dict[str, int] | None:
    """The bits of each matrix as one number, or None where there are none or too few."""
    sketch = result.sketch
    if sketch is None or not result.layers:
        return None
    length = len(result.layers) * sketch.positions
    try:
        packed = base64.b64decode(sketch.bits, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(packed) != -(-length // 8):
        return None
    # Packed with the first bit highest, and filled up at the end.
    whole = int.from_bytes(packed, "big") >> (8 * len(packed) - length)
    mask = (1 << sketch.positions) - 1
    found = {}
    for name in reversed(result.layers):
        found[name] = whole & mask
        whole >>= sketch.positions
    return found


@dataclass(frozen=True)
class Overlap:
    """The Jaccard index of two masks: zeros in both over zeros in either, as sampled.

    `chance` is what two masks of the same shares of zeros would have, were the places of one
    independent of those of the other.
    """

    index: float
    chance: float


def overlap(one: Result, two: Result) -> Overlap | None:
    """How much two masks of one model have in common; None where that cannot be told."""
    first, second = sample(one), sample(two)
    if first is None or second is None or one.sketch is None or two.sketch is None:
        return None
    if (one.sketch.positions, one.sketch.seed) != (two.sketch.positions, two.sketch.seed):
        return None
    shared = [name for name in first if name in second]
    both = sum((first[name] & second[name]).bit_count() for name in shared)
    either = sum((first[name] | second[name]).bit_count() for name in shared)
    if not either:
        return None
    expected = sum(one.layers[name] * two.layers[name] for name in shared)
    joint = sum(
        one.layers[name] + two.layers[name] - one.layers[name] * two.layers[name] for name in shared
    )
    return Overlap(both / either, expected / joint if joint else 0.0)


@dataclass(frozen=True)
class Profile:
    """The mean share of zeros of the matrices of each block, and of each kind of matrix."""

    result: Result
    blocks: dict[int, float]
    kinds: dict[str, float]
    least: float
    most: float

    @property
    def is_even(self) -> bool:
        """Whether every matrix has practically the same share."""
        return self.most - self.least <= EVEN


def profile(result: Result) -> Profile | None:
    """How a run spread its budget; None where it recorded no matrices."""
    if not result.layers:
        return None
    blocks: dict[int, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for name, share in result.layers.items():
        number, kind = _place(name)
        if number is not None:
            blocks.setdefault(number, []).append(share)
        kinds.setdefault(kind, []).append(share)
    return Profile(
        result,
        {number: _mean(blocks[number]) for number in sorted(blocks)},
        {kind: _mean(shares) for kind, shares in kinds.items()},
        min(result.layers.values()),
        max(result.layers.values()),
    )


def _place(name: str) -> tuple[int | None, str]:
    """The block's number, and what the matrix is called inside it: the last words of its name."""
    found = re.search(r"\.([0-9]{1,5})\.(.+)", name)
    if found is None:
        return None, name
    # A number after that is an expert's, and all experts are of one kind.
    words = [word for word in found[2].split(".") if not word.isdecimal()]
    return int(found[1]), ".".join(words)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
