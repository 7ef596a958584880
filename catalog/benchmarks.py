"""What the scripts in `scripts/benchmark` found, as their files in `results` state it.

Times and memory depend on the machine, so these are ratios within one run, or figures of one
machine; they never stand beside the results of methods, which follow a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from catalog.errors import Problem
from catalog.results import Count, Finite, Short, read_json

FOLDER = Path("scripts") / "benchmark" / "results"
"""Where the files are, below the root."""

Entries = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Size = Annotated[int, Field(ge=1)]
Positive = Annotated[Finite, Field(ge=0)]


AIM = 0.8
"""Our time on the clock over llm-compressor's, at most."""


class _Record(BaseModel):
    # The scripts write more than is shown, such as the single runs behind a median.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Circumstances(_Record):
    """When, with which code and on what something was measured."""

    date: Short
    commit: Short
    machine: Short
    memory_gb: Positive
    threads: Size
    system: Short
    python: Short


class Settings(_Record):
    """What was given: text is (source, windows, tokens a window, perhaps a hash)."""

    model: Short
    revision: Short
    calibration: Annotated[list[Short | int], Field(min_length=3, max_length=4)]
    evaluation: Annotated[list[Short | int], Field(min_length=3, max_length=4)]
    dtype: Short


class Comparison(Settings):
    """What two tools were given alike, and the other one as pip is asked for it."""

    rival: Short


class Side(_Record):
    """One tool: seconds and bytes of pruning, medians over runs, and what came of it."""

    wall_s: Positive
    cpu_s: Positive
    peak_bytes: Count | None = None
    perplexity: Positive
    removed: Positive | None = None
    runs: Annotated[list[Any], Field(max_length=1000)] = []


class Loss(_Record):
    """A difference of mean token losses, ours less theirs, with its 95 % interval."""

    value: Finite
    low: Finite
    high: Finite


class Masks(_Record):
    """The share of weights that one tool pruned and the other kept, and the first block with one."""

    share: Positive
    first_block: int | None


class Overhead(_Record):
    """Time beyond two forward passes through the blocks, as a share of these."""

    wall: Annotated[Finite, Field(gt=-1)]
    cpu: Finite


class Ours(Side):
    """Our side of a comparison."""

    overhead: Overhead | None = None


class PruningCase(Circumstances):
    """One method at one setting here and in llm-compressor; `ratios` are ours over theirs."""

    ours: Ours
    llmcompressor: Side
    ratios: dict[Short, Positive]
    loss_difference: Loss | None = None
    masks: Masks | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """What ran."""
        return self.ours, self.llmcompressor


class Pruning(_Record):
    """pruning.json, by method and sparsity or pattern: `wanda-0.5`, `wanda-2:4`."""

    settings: Comparison
    cases: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,40}-(0\.[0-9]{1,4}|[0-9]+:[0-9]+)$")],
        PruningCase,
    ]


class StructuredCase(Circumstances):
    """FLAP here and torch-pruning at one share of the blocks' parameters."""

    flap: Side
    torch_pruning: Side

    @property
    def sides(self) -> tuple[Side, ...]:
        """What ran."""
        return self.flap, self.torch_pruning


class Structured(_Record):
    """structured.json."""

    settings: Comparison
    cases: dict[Short, StructuredCase]


class Growth(_Record):
    """y grows as size to the power of `exponent`; `r2` says how well that fits."""

    exponent: Finite
    r2: Finite


class AxisRun(_Record):
    """One size: `samples` windows of `length` tokens through a llama of a `width` and a `depth`."""

    samples: Size
    length: Size
    width: Size
    depth: Size
    cpu_s: Positive


class Grown(_Record):
    """One axis that was doubled while the others stayed."""

    runs: Annotated[list[AxisRun], Field(min_length=2, max_length=100)]
    time: Growth
    memory: Growth | None = None


class ScalingCase(Circumstances):
    """How one method grows along each axis."""

    samples: Grown
    length: Grown
    width: Grown
    depth: Grown


class Scaling(_Record):
    """scaling.json."""

    cases: dict[Short, ScalingCase]


class CatalogCase(Circumstances):
    """Processor seconds of commands on a catalog of so many entries."""

    load_s: Positive
    check_s: Positive
    list_s: Positive
    search_s: Positive


class CatalogGrowth(_Record):
    """catalog.json, by the number of entries."""

    cases: dict[Entries, CatalogCase]


class SiteCase(Circumstances):
    """Building the site of so many entries, and what it weighs, compressed."""

    pages: Positive
    tree_s: Positive
    mkdocs_s: Positive
    clock_s: Positive
    kilobytes: dict[Short, Positive]


class SiteGrowth(_Record):
    """site.json, by the number of entries."""

    cases: dict[Entries, SiteCase]


class Sample(_Record):
    """One sample of calibration text, and the perplexity that it leads to."""

    sha256: Short
    perplexity: Positive


class SamplesCase(Circumstances):
    """A method at one setting, calibrated with samples that have no window in common."""

    samples: Annotated[list[Sample], Field(min_length=2, max_length=100)]


class Samples(_Record):
    """samples.json, by method and sparsity: `wanda-0.5`."""

    settings: Settings
    cases: dict[Short, SamplesCase]


class OffloadSide(_Record):
    """One run: the most memory that was ever resident, and seconds on the clock."""

    rss_peak_gb: Positive
    share: Positive
    seconds: Positive


class Offload(_Record):
    """offload.json: a checkpoint pruned from disk and in memory."""

    date: Short
    commit: Short
    machine: Short
    checkpoint_gb: Positive
    blocks: Size
    offload: OffloadSide
    in_memory: OffloadSide
    weights: Size
    masks_differ: Count
    perplexities_equal: bool


@dataclass(frozen=True)
class Benchmarks:
    """All that has been measured; None where a script has not been run yet."""

    pruning: Pruning | None = None
    structured: Structured | None = None
    scaling: Scaling | None = None
    catalog: CatalogGrowth | None = None
    site: SiteGrowth | None = None
    offload: Offload | None = None
    samples: Samples | None = None

    @property
    def costs(self) -> bool:
        """Whether any time or memory was measured."""
        return any(getattr(self, name) is not None for name in FILES if name != "samples")


FILES: dict[str, type[BaseModel]] = {
    "pruning": Pruning,
    "structured": Structured,
    "scaling": Scaling,
    "catalog": CatalogGrowth,
    "site": SiteGrowth,
    "offload": Offload,
    "samples": Samples,
}
"""What each file holds, by its name without ending."""


def read_benchmarks(root: Path) -> tuple[Benchmarks, list[Problem]]:
    """All files that are there, and what is wrong with the others."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, model in FILES.items():
        file = root / FOLDER / f"{name}.json"
        if file.is_file():
            found[name], wrong = read_json(model, root, file)
            problems += wrong
    return Benchmarks(**found), problems
