"""What a file of reported figures may say: `catalog/reported/<source>.yaml`.

A file holds the figures that the authors of one paper or repository report, in tables shaped
like theirs. What all figures of a table share stands once at the table; a row is one method at
one budget, and `values` holds one figure for each model or data set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from catalog.schema import ArxivId, Key, Slug, Strict, Text, Url

DENSE = "dense"
"""The method of rows that measure the model before pruning; it needs no declaration."""

Kind = Literal["repository", "image", "model-card", "paper", "abstract", "reproduction", "quoted"]
"""What the figures were read from; `quoted` are another paper's values beside a reproduction."""

Special = Literal["llm-pruner"]
"""Ways of measuring that are known by a name; `SPECIAL` says what each of them is."""

MetricName = Literal[
    "perplexity",
    "perplexity increase",
    "perplexity ratio",
    "accuracy",
    "mean accuracy",
    "mean zero-shot accuracy",
    "mean zero-shot accuracy (fraction)",
    "speed-up",
    "throughput",
]


@dataclass(frozen=True)
class Metric:
    """How values of a metric are read: which are better, and which are possible.

    `windows`: it depends on how many tokens the model sees at once. `own_setup`: it depends on
    a setup that no other source shares, such as the machine.
    """

    meaning: str
    better: Literal["lower", "higher"]
    least: float | None = None
    most: float | None = None
    windows: bool = False
    own_setup: bool = False


METRICS: dict[str, Metric] = {
    "perplexity": Metric("perplexity", "lower", least=1, windows=True),
    "perplexity increase": Metric(
        "perplexity minus that of the dense model", "lower", windows=True
    ),
    "perplexity ratio": Metric(
        "perplexity of the best earlier method over that of this one",
        "higher",
        least=0,
        windows=True,
        own_setup=True,
    ),
    "accuracy": Metric("accuracy in per cent", "higher", 0, 100),
    "mean accuracy": Metric("mean accuracy over the tasks in per cent", "higher", 0, 100),
    "mean zero-shot accuracy": Metric(
        "mean zero-shot accuracy over the tasks in per cent", "higher", 0, 100
    ),
    "mean zero-shot accuracy (fraction)": Metric(
        "mean zero-shot accuracy over the tasks, from 0 to 1", "higher", 0, 1
    ),
    "speed-up": Metric("times as fast as the dense model", "higher", least=0, own_setup=True),
    "throughput": Metric("examples per second", "higher", least=0, own_setup=True),
}
"""Every metric; a value of `MetricName` each."""


@dataclass(frozen=True)
class SpecialProtocol:
    """A named way of measuring: the length of its windows in tokens, and what sets it apart."""

    name: str
    length: int
    text: str


SPECIAL: dict[str, SpecialProtocol] = {
    "llm-pruner": SpecialProtocol(
        "LLM-Pruner's perplexity",
        128,
        "windows of 128 tokens, as LLM-Pruner's released code measures: the dense LLaMA-7B has "
        "12.62 there and 5.68 in windows of 2,048",
    ),
}
"""Every special protocol; a value of `Special` each."""


class ReportSource(Strict):
    """The paper or repository whose authors report the figures."""

    key: Key | None = Field(default=None, description="Key of its entry, if it has one")
    name: Text | None = Field(default=None, description="What people call it")
    title: Text | None = None
    url: Url | None = None
    arxiv: ArxivId | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ReportSource:
        about = (self.name, self.title, self.url, self.arxiv)
        if self.key is not None and any(about):
            raise ValueError("with key nothing else is needed; the entry says the rest")
        if self.key is None and not (self.name and self.title and self.url):
            raise ValueError("give the key of an entry, or name, title and url")
        return self


class Measured(Strict):
    """What a method's name in the rows stands for; nothing at all for a plain baseline."""

    key: Key | None = Field(default=None, description="Key of the method's paper")
    arxiv: ArxivId | None = Field(default=None, description="Of a paper without an entry")
    url: Url | None = Field(default=None, description="Where neither of the two exists")
    variant: Text | None = Field(
        default=None, description="Which form of the method, where the paper has several"
    )

    @model_validator(mode="after")
    def _one_identity(self) -> Measured:
        if sum(each is not None for each in (self.key, self.arxiv, self.url)) > 1:
            raise ValueError("give one of key, arxiv and url")
        return self


class Suite(Strict):
    """Several tasks whose mean is reported; `tasks` stays empty where the source names none."""

    name: Text
    tasks: list[Text] = Field(default_factory=list)


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_FORMS: dict[str, tuple[str, str]] = {
    "weights": (rf"{_NUMBER} ?%.*", "a share such as 50%"),
    "pattern": (r"([0-9]+:[0-9]+)", "a pattern such as '2:4'"),
    "parameters": (rf"{_NUMBER} ?%.*", "a share such as 20%"),
    "ratio": (rf"{_NUMBER} ?%.*", "a share such as 25%"),
    "layers": (r"([0-9]+) layers?\b.*", "a number such as 3 layers"),
    "heads": (rf"{_NUMBER} ?%.*", "a share such as 50%"),
    "experts": (r"([0-9]+) of [0-9]+\b.*", "a number such as 4 of 8"),
    "size": (rf".*?{_NUMBER} ?B\b.*", "a size such as to 2.7B"),
}


class Budget(Strict):
    """How much was removed: exactly one unit, with the amount in the source's own words."""

    weights: Text | None = Field(default=None, description="Share of the weights set to zero")
    pattern: Text | None = Field(default=None, description="N of every M weights kept, '2:4'")
    parameters: Text | None = Field(default=None, description="Share of the parameters removed")
    ratio: Text | None = Field(
        default=None, description="A share of what the source leaves open, or the method defines"
    )
    layers: Text | None = Field(default=None, description="Layers removed")
    heads: Text | None = Field(default=None, description="Share of the attention heads removed")
    experts: Text | None = Field(default=None, description="Experts kept of those in each layer")
    size: Text | None = Field(default=None, description="Parameters left, in billions")
    also: Text | None = Field(default=None, description="What else was done: 4-bit weights")

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(_FORMS)}")
        pattern, form = _FORMS[given[0]]
        if re.fullmatch(pattern, self.words) is None:
            raise ValueError(f"{given[0]} must be {form}")
        return self

    @property
    def unit(self) -> str:
        """Which of the units is given."""
        return next(name for name in _FORMS if getattr(self, name) is not None)

    @property
    def words(self) -> str:
        """The amount as the source states it."""
        return str(getattr(self, self.unit))

    @property
    def amount(self) -> str:
        """The number in the words; equal budgets have equal unit, amount and `also`."""
        match = re.fullmatch(_FORMS[self.unit][0], self.words)
        found = match[1] if match else self.words
        return found if self.unit == "pattern" else f"{float(found):g}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What two budgets must share to be the same."""
        return self.unit, self.amount, self.also or ""

    @property
    def label(self) -> str:
        """The budget for readers."""
        amount = self.amount
        text = {
            "weights": f"{amount}\u202f% of the weights",
            "pattern": amount,
            "parameters": f"{amount}\u202f% of the parameters",
            "ratio": f"{amount}\u202f% as the source counts",
            "layers": self.words,
            "heads": f"{amount}\u202f% of the heads",
            "experts": f"{self.words}" if "expert" in self.words else f"{self.words} experts",
            "size": f"{amount}B parameters left",
        }[self.unit]
        return f"{text}, {self.also}" if self.also else text

    @property
    def order(self) -> tuple[int, float, str]:
        """Small budgets first, one unit after the other."""
        number = 0.0 if self.unit == "pattern" else float(self.amount)
        if self.unit in ("size", "experts"):
            number = -number
        return [*_FORMS].index(self.unit), number, self.label


Value = Annotated[float, Field(allow_inf_nan=False)]


class Row(Strict):
    """One method at one budget; what it leaves out is as the table says."""

    method: Text = Field(description="A name declared under methods, or dense")
    structure: Slug | None = Field(default=None, description="A tag of the dimension type")
    budget: Budget | None = None
    recovery: Text | None = None
    note: Text | None = None
    value: Value | None = None
    values: dict[Text, Value] | None = Field(
        default=None, description="One figure for each model or data set, as `columns` says"
    )

    @model_validator(mode="after")
    def _has_figures(self) -> Row:
        if (self.value is None) == (not self.values):
            raise ValueError("give either value or values")
        if self.method == DENSE and (self.budget or self.structure):
            raise ValueError("a dense model has neither budget nor structure")
        return self


class Table(Strict):
    """Figures from one place that share a metric and the way it was measured."""

    url: Url
    where: Text = Field(description="Table, image or section at that address")
    kind: Kind
    metric: MetricName
    model: Text | None = Field(default=None, description="Where all rows are of one model")
    dataset: Text | None = Field(default=None, description="Left out where the source names none")
    suite: Suite | None = None
    sequence_length: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Tokens in a window, only where the source states it"
    )
    protocol: Special | None = Field(
        default=None, description="A special way of measuring, which also fixes the length"
    )
    columns: Literal["model", "dataset"] = Field(
        default="model", description="What the names in `values` are"
    )
    structure: Slug | None = Field(default=None, description="A tag of the dimension type")
    budget: Budget | None = None
    recovery: Text | None = Field(
        default=None, description="Training after pruning; none if left out"
    )
    note: Text | None = None
    rows: Annotated[list[Row], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Table:
        if self.dataset is not None and self.suite is not None:
            raise ValueError("give dataset or suite, not both")
        if self.protocol is not None and self.sequence_length is not None:
            raise ValueError("the protocol fixes the sequence length; leave that out")
        several = any(row.values is not None for row in self.rows)
        if several and self.columns == "model" and self.model is not None:
            raise ValueError("model is stated twice: at the table and as names of values")
        if several and self.columns == "dataset" and (self.dataset or self.suite):
            raise ValueError("the data set is stated twice: at the table and as names of values")
        for number, row in enumerate(self.rows, start=1):
            if row.method != DENSE and row.budget is None and self.budget is None:
                raise ValueError(f"row {number} has no budget")
        return self


class Report(Strict):
    """The figures that one source reports: the content of `catalog/reported/<source>.yaml`."""

    source: ReportSource
    methods: dict[Text, Measured] = Field(
        default_factory=dict, description="What the names in the rows stand for"
    )
    tables: Annotated[list[Table], Field(min_length=1)]

    @model_validator(mode="after")
    def _dense_is_known(self) -> Report:
        if DENSE in self.methods:
            raise ValueError("dense stands for the model itself and is not declared")
        return self
