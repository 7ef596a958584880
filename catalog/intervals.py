"""Intervals of means by the bootstrap: what the numbers of one run can tell, and what not.

The mean over evaluation windows is one number of many that other windows would have given. The
windows are drawn again with replacement, as often as `RESAMPLES` says, always with the same
seed, and the spread of the means gives the interval: bias-corrected and accelerated (BCa; Efron
1987, "Better bootstrap confidence intervals"). Two methods were measured on the same windows, so
their difference is taken window by window before it is averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95
"""How often an interval holds the mean of all such windows, were its assumptions exact."""

RESAMPLES = 2000
SEED = 0

FEWEST = 5
"""Windows below which no interval is made: drawing them again tells next to nothing."""

_LARGE = 4096
"""Windows above which the draws are not kept, since they would fill the memory."""


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the mean can be told."""
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float]) -> Interval | None:
    """The mean of windows with its interval; None for too few, or one that is not finite."""
    import numpy as np

    count = len(values)
    if count < FEWEST:
        return None
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        return None
    mean = float(data.mean())
    spread = data - mean
    squares = float((spread**2).sum())
    if squares <= (1e-12 * max(abs(mean), 1e-12)) ** 2 * count:
        return Interval(mean, mean, mean)
    means = _means(spread)
    # The place of the observed mean among the drawn ones: half of them below, if unbiased. Of
    # few distinct values many draws have that very mean, up to rounding.
    near = 1e-9 * math.sqrt(squares / count)
    below = float((means < -near).mean() + (np.abs(means) <= near).mean() / 2)
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below, 0.5 / RESAMPLES), 1 - 0.5 / RESAMPLES))
    # For a mean, the jackknife's skewness is that of the values themselves.
    bend = float((spread**3).sum()) / (6 * squares**1.5)
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        wanted = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + wanted / (1 - bend * wanted)))
    low, high = (mean + float(each) for each in np.quantile(means, ends))
    return Interval(mean, low, high)


def paired(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """The mean of `values` minus `others`, window by window; None where they are not the same."""
    if len(values) != len(others):
        return None
    return interval([one - two for one, two in zip(values, others, strict=True)])


def _means(data: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    count = len(data)
    if count <= _LARGE:
        means: NDArray[np.float64] = _draws(count) @ data / count
        return means
    generator = np.random.default_rng(SEED)
    drawn = [data[generator.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    return np.asarray(drawn)


@lru_cache(maxsize=4)
def _draws(count: int) -> NDArray[np.float64]:
    """How often each window is drawn, a row a resample: all intervals see the same draws."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    return generator.multinomial(count, [1 / count] * count, size=RESAMPLES).astype(np.float64)


def exponential(found: Interval | None) -> Interval | None:
    """An interval of a mean loss as one of the perplexity."""
    if found is None or found.high > 700:  # beyond what a float holds
        return None
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high))
