"""The first version of a method: a file that runs, its test, and the entry that names it.

The template is plain magnitude within each output row, and says so: it passes the contract, and
`check-method` tells which tags of the entry it does not show yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import PrunedexError, UsageError, shown
from catalog.methods import FOLDER, parse_method
from catalog.reader import parse_yaml, read_text, relative_name
from catalog.schema import Entry
from catalog.store import Catalog
from catalog.writing import replace_text, write_new

TESTS = Path("tests") / "impl"
"""Where the tests of the methods are, below the root."""

_METHOD = '''r"""{title}: REPLACE by one line that says what goes, and how it is judged.

REPLACE by a paragraph: what the method does with which data, and what it does to the survivors.
So far this file is the template of a new method, plain magnitude within each output row.

Equations
---------
- REPLACE: $$S_{{ij}} = |W_{{ij}}|$$ The paper's equations, with their numbers; W is (out, in).

Hyperparameters
---------------
- sparsity: the share of weights removed from every linear layer.
- pattern: N:M instead of a free choice within the row.
{code}
Deviations
----------
- Nothing of the paper ({key}) is implemented yet: the score below is plain magnitude.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from impl.allocation import Allocation, share
from impl.masks import NM, n_m, per_output
from impl.registry import method
from impl.walk import walk


# REPLACE what it needs: "calibration" for text (then take `calibration: Calibration` as the second
# argument and give it to walk), "labels" for labelled samples; and what its budget counts.
@method("{name}", budget="weights", needs="nothing")
def {function}(
    model: PreTrainedModel, sparsity: float | Allocation = 0.5, pattern: NM | None = None
) -> None:
    for block in walk(model):
        for view in block.views:
            # REPLACE the score: a number for each weight, in float32; the lowest go.
            score = view.W.float().abs()
            pruned = n_m(score, pattern) if pattern else per_output(score, share(sparsity, view))
            # REPLACE what happens to the survivors, if the paper changes them.
            view.W = view.W.masked_fill(pruned, 0)
'''

_CODE = """
Official code
-------------
- {url}
"""

_TEST = '''"""{title}: REPLACE by what the tests below show."""

from __future__ import annotations

import torch

from impl.model import all_views
from impl.registry import prune
from impl.toys import toy


def test_in_every_row_the_highest_scores_stay() -> None:
    """REPLACE the score by the paper's, computed here in the plainest way."""
    model, dense = toy("llama"), toy("llama")
    prune(model, "{name}", sparsity=0.5)
    for view, old in zip(all_views(model), all_views(dense), strict=True):
        score = old.W.abs()
        kept = view.W != 0
        lowest_kept = score.masked_fill(~kept, torch.inf).amin(1)
        highest_gone = score.masked_fill(kept, 0).amax(1)
        assert (highest_gone <= lowest_kept).all(), view.name
        assert torch.equal(view.W[kept], old.W[kept]), view.name
'''


@dataclass(frozen=True)
class Plan:
    """Everything that a new method writes: its file, its test, and the changed entry."""

    name: str
    key: str
    method: tuple[Path, str]
    test: tuple[Path, str]
    entry: tuple[Path, str]

    def summary(self, root: Path) -> list[tuple[str, str, bool]]:
        """Each file below the root, what it is, and whether it is new."""
        return [
            (relative_name(root, self.method[0]), "the method, which runs as it is", True),
            (relative_name(root, self.test[0]), "its test", True),
            (relative_name(root, self.entry[0]), f"implementation: {self.name}", False),
        ]


def plan(catalog: Catalog, name: str, entry: Entry) -> Plan:
    """The files of a new method. Raises UsageError if its name or its paper is taken."""
    root = catalog.root
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"{shown(name)} is no name for a method", "such as my-method")
    file = root / FOLDER / f"{name.replace('-', '_')}.py"
    test = root / TESTS / f"test_{name.replace('-', '_')}.py"
    for path in (file, test):
        if path.exists():
            raise UsageError(f"{relative_name(root, path)} exists already", "choose another name")
        if not path.parent.is_dir():
            raise PrunedexError(f"there is no folder {path.parent}", "run this in a checkout")
    if entry.implementation is not None:
        raise UsageError(
            f"{entry.key} is implemented already, by {entry.implementation}",
            "name another paper, or change that method",
        )
    title = entry.name if entry.name and re.fullmatch(r"[\w .+-]+", entry.name) else name
    url = entry.links.code.url if entry.links.code is not None else None
    source = _METHOD.format(
        title=title,
        key=entry.key,
        name=name,
        function=name.replace("-", "_"),
        code=_CODE.format(url=url) if url is not None and "\\" not in url else "",
    )
    _, problems = parse_method(f"{FOLDER.as_posix()}/{file.name}", source)
    if problems:
        raise PrunedexError(f"the template does not fit: {problems[0].message}", "report this")
    path = root / catalog.path_of(entry.key)
    return Plan(
        name=name,
        key=entry.key,
        method=(file, source),
        test=(test, _TEST.format(title=title, name=name)),
        entry=(path, with_implementation(root, path, name)),
    )


def with_implementation(root: Path, file: Path, name: str) -> str:
    """The text of an entry with its implementation named, everything else as it was."""
    text, problems = read_text(root, file)
    located, more = parse_yaml(file.name, text or "")
    if text is None or located is None or problems or more:
        raise PrunedexError(f"{file} cannot be read", "run `prunedex check` to see why")
    lines = text.split("\n")
    number = located.at_key("lifecycle")[0] - 1
    while number and lines[number - 1].lstrip().startswith("#"):
        number -= 1  # a comment belongs to the field below it
    lines.insert(number, f"implementation: {name}")
    changed = "\n".join(lines)
    other, _ = parse_yaml(file.name, changed)
    before = dict(located.data) if isinstance(located.data, dict) else {}
    if other is None or other.data != {**before, "implementation": name}:
        raise PrunedexError(
            f"{file} has a form in which no line can be added", f"add implementation: {name}"
        )
    return changed


def write_all(planned: Plan) -> None:
    """Write everything, or nothing: what was written is taken back if a later file fails."""
    written: list[Path] = []
    try:
        for file, content in (planned.method, planned.test):
            write_new(file, content)
            written.append(file)
        replace_text(*planned.entry)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise
