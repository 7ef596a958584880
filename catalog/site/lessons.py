"""What the numbers teach: sentences that stand on the page only as long as the results bear them.

The template states for every lesson which orders it rests on. An order holds if the 95 % interval
of the paired difference says so; where one of them does not hold any more, because a later run
superseded an earlier one, the lesson is left out and the build says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from catalog import amounts
from catalog.benchmarks import Samples
from catalog.boards import Board, difference
from catalog.results import Result, comparable
from catalog.site import addresses
from catalog.site.boards import BoardPages
from catalog.site.shelf import Shelf

PROTOCOL = "smollm2-lee-1"
"""The protocol that the lessons are about."""


class Lessons:
    """What the template asks for. A cell is written `wanda 0.5`, `wanda 2:4` or `shortgpt 6`.

    `flaws` collects orders that were claimed and do not hold; `shown` are the lessons that do.
    """

    def __init__(self, board: Board, calibrated: Samples | None = None) -> None:
        self.board = board
        self.flaws: list[str] = []
        self.shown: set[str] = set()
        self._cells = {
            f"{row.result.method} {group.key.value}".strip(): row
            for group in board.groups
            for row in group.rows
        }
        self._samples = {
            " ".join(name.rsplit("-", 1)): case.samples
            for name, case in (calibrated.cases if calibrated else {}).items()
        }

    def __getitem__(self, cell: str) -> Result:
        """The current result of a cell."""
        return self._cells[cell].result

    def hold(self, lesson: str, *claims: str) -> bool:
        """Whether all orders hold: `a < b` (a is better), `a ~ b` (not told apart), or `a` (is there).

        The first may be the `dense` model. With other calibration text: `a << b` (a is better with
        every sample) and `a >< b` (with some, but not with all). A cell that nobody has measured
        yet speaks against nothing, but there is no lesson in it.
        """
        found = [self._holds(claim) for claim in claims]
        if None not in found and False in found:
            wrong = ", ".join(c for c, held in zip(claims, found, strict=True) if held is False)
            self.flaws.append(
                f"the lesson '{lesson}' does not hold any more: {wrong}; write it anew"
            )
        held = all(found)
        if held:
            self.shown.add(lesson)
        return held

    def _holds(self, claim: str) -> bool | None:
        for sign, always in ((" << ", True), (" >< ", False)):
            one, found, other = claim.partition(sign)
            if found:
                ahead = self._ahead(one, other)
                return (all(ahead) if always else len(set(ahead)) == 2) if ahead else None
        for sign, told, told_of_other in ((" < ", "better", "worse"), (" ~ ", "open", "open")):
            one, found, other = claim.partition(sign)
            if not found:
                continue
            if other not in self._cells or (one != "dense" and one not in self._cells):
                return None
            if one == "dense":
                against, wanted = self._cells[other].against_dense, told_of_other
            else:
                against, wanted = difference(self[one], self[other]), told
            return against is not None and against.told == wanted
        return True if claim in self._cells else None

    def _ahead(self, one: str, other: str) -> list[bool]:
        """For every calibration sample that both had, whether `one` has the lower perplexity."""
        theirs = {sample.sha256: sample.perplexity for sample in self._samples.get(other, [])}
        return [
            sample.perplexity < theirs[sample.sha256]
            for sample in self._samples.get(one, [])
            if sample.sha256 in theirs
        ]

    def calibrated(self, budget: str) -> list[tuple[str, list[str]]]:
        """Methods that had as many calibration samples as any, best first: perplexity with each."""
        found = {
            cell.partition(" ")[0]: [sample.perplexity for sample in samples]
            for cell, samples in self._samples.items()
            if cell in self._cells and cell.partition(" ")[2] == budget
        }
        most = max(map(len, found.values()), default=0)
        return [
            (method, [amounts.number(value, 4) for value in values])
            for method, values in sorted(found.items(), key=lambda each: each[1])
            if len(values) == most
        ]

    def spread(self, cell: str) -> str:
        """By how much the highest perplexity over calibration samples exceeds the lowest."""
        values = [sample.perplexity for sample in self._samples[cell]]
        return amounts.percent(round(max(values) / min(values) - 1, 3))

    def quality(self, cell: str) -> str:
        """The perplexity of a cell, or of the `dense` model."""
        value = self.board.dense if cell == "dense" else self[cell].quality.after
        if value is not None and value >= 1e6:
            return f"{amounts.number(value / 1e6)} million"
        return amounts.number(value, 3 if value is None or value < 1000 else 4)

    def runs(self, cell: str) -> list[str]:
        """The perplexities that runs of a cell under the protocol gave, oldest first, each once."""
        row = self._cells[cell]
        alike = [
            each
            for each in [*reversed(row.history), row.result]
            if not comparable(each.protocol, row.result.protocol)
        ]
        return list(dict.fromkeys(amounts.number(each.quality.after, 4) for each in alike))

    def against(self, one: str, other: str) -> str:
        """The difference of two cells in nats per token with its interval."""
        return BoardPages.difference(difference(self[one], self[other]), self.board)

    def times(self, one: str, other: str) -> str:
        """How many times as high the first one's perplexity is."""
        return BoardPages.times(difference(self[one], self[other]), self.board).replace(
            "×\u202f", ""
        )

    def speed(self, cell: str, what: str) -> str:
        """How many times as fast as the dense model; `what` is prefill or decode."""
        speed = self[cell].speed
        return "" if speed is None else f"{getattr(speed, what):.2f}"

    def left(self, cell: str, what: str) -> str:
        """What is left of `parameters`, or of a field of `size`, as a share of the dense model's."""
        result = self[cell]
        change = result.parameters if what == "parameters" else getattr(result.size, what, None)
        return BoardPages.left(change)

    def seconds(self, cell: str) -> str:
        """What pruning took."""
        return amounts.duration(self[cell].cost.seconds)


def pages(shelf: Shelf, write: Callable[..., str], flaws: list[str]) -> Iterator[tuple[str, str]]:
    """Address and text of the page, if there is a lesson; `write` as for `catalog.site.see`."""
    board = next((each for each in shelf.boards if each.slug == PROTOCOL and each.declared), None)
    if board is None:
        return
    samples = shelf.catalog.benchmarks.samples
    lessons = Lessons(board, samples)
    compared = shelf.catalog.benchmarks.pruning
    twin = compared.cases.get("wanda-0.5") if compared else None
    address = addresses.LESSONS
    text = write(
        "lessons.html",
        address,
        "What the numbers teach",
        "What can be learnt from pruning one small language model by every method of this "
        "repository under one protocol, with the surprises.",
        meta={"style": "assets/see.css"},
        lessons=lessons,
        twin=twin,
        masks=twin.masks if twin else None,
        calibration_windows=samples.settings.calibration[1] if samples else None,
        board_words=BoardPages(shelf),
    )
    flaws += lessons.flaws
    if lessons.shown:
        yield address, text
