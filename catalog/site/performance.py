"""What pruning costs in time and memory, and beside other tools: one page from the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from catalog import amounts
from catalog.benchmarks import (
    AIM,
    AxisRun,
    Circumstances,
    Comparison,
    Grown,
    PruningCase,
    ScalingCase,
    StructuredCase,
)
from catalog.site import addresses
from catalog.site.charts import Axis, Point, Series, line_chart
from catalog.site.shelf import Shelf

AXES = {
    "samples": "windows",
    "length": "tokens a window",
    "width": "width of the model",
    "depth": "blocks",
}
"""What is doubled, by its field in scaling.json."""

_NAMES = {
    "wanda": "Wanda",
    "sparsegpt": "SparseGPT",
    "llmcompressor": "llm-compressor",
    "lee": "the Lee corpus",
}


@dataclass(frozen=True)
class Scaled:
    """One method with a chart of its time, and per axis its title, sizes and exponents."""

    name: str
    case: ScalingCase
    chart: Markup
    axes: list[tuple[str, list[int], Grown]]


class Words:
    """What the page writes of figures."""

    signed = staticmethod(amounts.signed)
    percent = staticmethod(amounts.percent)

    AIM = AIM

    @staticmethod
    def above_two_passes(case: PruningCase) -> float:
        """The other tool's time beyond two of our forward passes, as a share of these."""
        assert case.ours.overhead is not None
        passes = case.ours.wall_s / (1 + case.ours.overhead.wall)
        return case.llmcompressor.wall_s / passes - 1

    @staticmethod
    def runs(cases: Iterable[PruningCase | StructuredCase]) -> str:
        """How many runs are behind each figure, if that is known."""
        counts = {len(side.runs) for case in cases for side in case.sides}
        fewest, most = min(counts, default=0), max(counts, default=0)
        if not fewest:
            return ""
        if most == 1:
            return "Each ran once."
        return f"Each is the median of {fewest if fewest == most else f'{fewest} to {most}'} runs."

    @staticmethod
    def case(name: str) -> str:
        """`wanda-2:4` as a method and a setting in words."""
        method, _, setting = name.rpartition("-")
        shown = setting if ":" in setting else amounts.percent(float(setting))
        return f"{_NAMES.get(method, method)}, {shown}"

    @staticmethod
    def ratio(value: float | None) -> str:
        """Ours over theirs."""
        return "" if value is None else f"{value:.2f}"

    @staticmethod
    def text(used: Sequence[str | int]) -> str:
        """The windows that a tool was given."""
        source = str(used[0])
        return f"{used[1]} windows of {used[2]} tokens of {_NAMES.get(source, source)}"

    @staticmethod
    def where(made: Circumstances) -> str:
        """Machine and versions in one line."""
        threads = f"{made.threads} thread{'s' if made.threads != 1 else ''}"
        return f"{made.machine}, {threads}, {made.system}, Python {made.python}"

    @staticmethod
    def rival(settings: Comparison) -> str:
        """The other tool with its version."""
        name, _, version = settings.rival.partition("==")
        return f"{_NAMES.get(name, name)} {version.removesuffix('.*')}"


def pages(shelf: Shelf, write: Callable[..., str]) -> Iterator[tuple[str, str]]:
    """Address and text of the page, if anything was measured; `write` as for `catalog.site.see`."""
    found = shelf.catalog.benchmarks
    if not found.costs:
        return
    address = addresses.PERFORMANCE
    yield (
        address,
        write(
            "performance.html",
            address,
            "What pruning costs",
            "Time and memory of pruning with the code of this repository: beside other tools, as "
            "text and models grow, for models larger than the memory, and of the site itself.",
            meta={"style": "assets/see.css"},
            found=found,
            figures=Words(),
            scaled=[_scaled(name, case) for name, case in found.scaling.cases.items()]
            if found.scaling
            else [],
        ),
    )


def _scaled(method: str, case: ScalingCase) -> Scaled:
    name = _NAMES.get(method, method)
    grown = {axis: getattr(case, axis) for axis in AXES}
    series = [
        Series(
            title,
            style,
            [_point(title, axis, run, grown[axis].runs[0]) for run in grown[axis].runs],
        )
        for style, (axis, title) in enumerate(AXES.items())
    ]
    chart = line_chart(
        f"{name}: processor time as one size grows",
        series,
        Axis("times the smallest size", lambda x: f"{2**x:g}"),
        Axis("processor seconds"),
    )
    sizes = [
        (AXES[axis], [getattr(run, axis) for run in grown[axis].runs], grown[axis]) for axis in AXES
    ]
    return Scaled(name, case, chart, sizes)


def _point(title: str, axis: str, run: AxisRun, first: AxisRun) -> Point:
    size, smallest = getattr(run, axis), getattr(first, axis)
    return Point(math.log2(size / smallest), run.cpu_s, f"{size} {title}: {run.cpu_s:.3g} s")
