"""What was measured: reading it, what supersedes what, intervals, leaderboards, and the command."""

from __future__ import annotations

import base64
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import FILES, PROTOCOL, RESULT, merged, write_catalog

from catalog.boards import Board, boards, differing, key_of
from catalog.disagreements import orders
from catalog.errors import is_unsafe
from catalog.intervals import FEWEST, interval, paired
from catalog.overlap import overlap, profile, sample
from catalog.protocols import read_protocol
from catalog.results import ARGUMENTS, heads, read_failure, read_result, setting_names
from catalog.store import Catalog

ROOT = Path(__file__).resolve().parents[2]
SMALL = "impl/results/small"
WINDOWS = 12

# Reading ------------------------------------------------------------------------------------

SCHEMA_2: dict[str, Any] = {
    "schema": 2,
    "supersedes": None,
    "environment": {"threads": 2},
    "scores": {"dense": [2.951, 2.951], "pruned": [3.1, 3.1046]},
    "distance": {"kl": 0.25, "agreement": 0.75},
    "size": {
        "nonzeros": {"before": 100, "after": 50},
        "macs": {"before": 10, "after": 10},
        "checkpoint_bytes": {"before": 400, "after": 400},
    },
    "speed": {"prefill": 1.5, "repeats": 3},
    "cost": {"phases": {"prune": 1.0}, "memory_before_bytes": 10},
    "layers": {"model.layers.0.q": 0.5, "model.layers.1.q": 0.5},
    "sketch": {"positions": 8, "seed": 0, "bits": base64.b64encode(b"\xf0\x0f").decode()},
    "tasks": {"hellaswag": {"acc": 0.5, "acc_stderr": 0.1, "samples": 10, "version": "1.0"}},
    "harness": "lm_eval==0.4.9",
}


def test_a_result_of_schema_2(load: Any) -> None:
    catalog = load({f"{SMALL}/zero-out-0.5.json": SCHEMA_2})
    assert catalog.problems == []
    (result,) = catalog.results
    assert result.size.nonzeros.ratio == 0.5
    assert result.size.cache_bytes is None
    assert result.speed.decode is None
    assert sample(result) == {"model.layers.0.q": 0xF0, "model.layers.1.q": 0x0F}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 3}, "schema"),
        ({"method": "<script>"}, "method"),
        ({"method": 7}, "method"),
        ({"supersedes": "../../x.json"}, "supersedes"),
        ({"scores": {"dense": ["3.1"], "pruned": [1.0]}}, "scores.dense"),
        ({"scores": {"dense": [True], "pruned": [1.0]}}, "scores.dense"),
        ({"distance": {"agreement": 1.5}}, "distance.agreement"),
        ({"size": {"macs": {"before": -1, "after": 0}}}, "size.macs.before"),
        ({"speed": {"prefill": 0}}, "speed.prefill"),
        ({"layers": {"a": 1.01}}, "layers.a"),
        ({"sketch": {"positions": 0, "seed": 0, "bits": ""}}, "sketch.positions"),
        ({"environment": {"threads": "2"}}, "environment.threads"),
        ({"environment": {"hardware": "x" * 501}}, "environment.hardware"),
        ({"cost": {"seconds": "1"}}, "cost.seconds"),
        ({"budget": {"asked": "0.5"}}, "budget.asked"),
        ({"options": {"sparsity": [[[[[[[[1]]]]]]]]}}, "options"),
        ({"tasks": {"t": {"acc": {"deep": 1}}}}, "tasks.t.acc"),
    ],
)
def test_what_a_result_must_not_say(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(merged(RESULT, change), indent=1), encoding="utf-8")
    result, problems = read_result(tmp_path, file)
    assert result is None
    assert problems
    assert all(says in problem.message for problem in problems), [str(p) for p in problems]


def test_odd_budgets_are_read_and_ranked_all_the_same(load: Any) -> None:
    """Numbers beyond any use, lists and nothing at all."""
    for number, options in enumerate(
        [
            {"sparsity": 10**400},
            {"sparsity": [0.5, 0.6]},
            {"sparsity": True},
            {"pattern": {"n": 2}},
            {},
        ]
    ):
        text = json.dumps({**RESULT, "options": options})
        catalog = load({f"{SMALL}/zero-out-{number}.json": text})
        assert [board.rows for board in boards(catalog)]
        assert all(isinstance(group.key.title, str) for b in boards(catalog) for group in b.groups)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_failure_or_a_protocol(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, read in (("a.failed.json", read_failure), ("a.toml", read_protocol)):
        file = folder / name
        file.write_bytes(content)
        found, problems = read(folder, file)
        assert found is None
        assert problems
        assert not any(is_unsafe(each) for problem in problems for each in str(problem))


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("seed = 0", 'seed = "0"', "seed", "seed must be a whole number"),
        ("samples = 2\n", "samples = -2\n", "samples = -2", "evaluation.samples"),
        ('kind = "decoder"', 'kind = "decode"', "kind", "did you mean 'decoder'?"),
        ("[model]", "[modell]", "[modell]", "did you mean 'model'?"),
        ("[model]", "colour = 1\n[model]", "colour", "unknown field 'colour'"),
        ('requires = []', 'requires = ["gpus"]', "requires", "did you mean 'gpu'?"),
        ('name = "small"', 'name = "smaller"', "name", "the file is called 'small.toml'"),
        ("seed = 0", "seed =", "seed", "not TOML"),
        ("samples = 4\n", 'samples = 4\nsha256 = """\nsamples = x\n"""\nlength = 9\n', "length = 8", "TOML"),
    ],
)  # fmt: skip
def test_mistakes_in_a_protocol(old: str, new: str, line: str, says: str, tmp_path: Path) -> None:
    text = PROTOCOL.replace(old, new, 1)
    assert text != PROTOCOL
    file = tmp_path / "small.toml"
    file.write_text(text, encoding="utf-8")
    found, problems = read_protocol(tmp_path, file)
    assert found is None
    assert any(says in problem.message for problem in problems), [str(p) for p in problems]
    assert text.split("\n")[problems[0].line - 1].strip().startswith(line)


def test_units_have_the_arguments_that_methods_take() -> None:
    from impl.units import UNITS

    assert {name: unit.arguments for name, unit in UNITS.items()} == dict(ARGUMENTS)


def test_names_of_files() -> None:
    assert setting_names("weights", {"sparsity": 0.5, "pattern": "2:4"}) == ["2-4", "default"]
    assert setting_names("blocks", {"drop": 6, "sparsity": 0.5}) == ["6", "default"]
    shape = {"layers": 1, "hidden": 0.75, "heads": None}
    assert setting_names("shape", shape) == ["1-0.75", "1", "0.75", "default"]


# What supersedes what -----------------------------------------------------------------------


def runs(*chain: tuple[str, str | None]) -> dict[str, Any]:
    return {f"{SMALL}/zero-out-{name}.json": {"supersedes": past} for name, past in chain}


def test_heads_are_shown_and_the_others_stay(load: Any) -> None:
    catalog = load(
        runs(("0.5.2", "zero-out-0.5.json"), ("0.5.3", "zero-out-0.5.2.json"))
        | {f"{SMALL}/zero-out-0.7.json": {"options": {"sparsity": 0.7}}}
    )
    assert catalog.problems == []
    assert len(catalog.results) == 4
    assert [each.file for each in catalog.heads] == ["zero-out-0.5.3.json", "zero-out-0.7.json"]
    assert catalog.results_of("zero-out") == catalog.heads
    row = boards(catalog)[0].groups[0].rows[0]
    assert [each.file for each in row.history] == ["zero-out-0.5.2.json", "zero-out-0.5.json"]


def test_a_circle_shows_nothing_and_ends(load: Any) -> None:
    catalog = load(runs(("0.5.2", "zero-out-0.5.3.json"), ("0.5.3", "zero-out-0.5.2.json")))
    assert [each.file for each in heads(catalog.results)] == ["zero-out-0.5.json"]
    assert boards(catalog)


# Intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_scipy(seed: int) -> None:
    from scipy import stats

    values = [random.Random(f"{seed} {i}").gammavariate(2, 1) for i in range(16)]
    ours = interval(values)
    assert ours is not None
    wanted = stats.bootstrap((values,), lambda x, axis: x.mean(axis=axis), n_resamples=20_000, method="BCa", rng=seed)  # fmt: skip
    low, high = wanted.confidence_interval
    # Both are drawn at random; a tenth of the width is beyond what chance does.
    assert abs(ours.low - low) < 0.1 * (high - low)
    assert abs(ours.high - high) < 0.1 * (high - low)
    assert ours.value == pytest.approx(sum(values) / 16)


def test_a_paired_difference_tells_more_than_two_intervals() -> None:
    hard = [random.Random(i).gauss(3, 1) for i in range(16)]
    easier = [each - 0.1 + random.Random(each).gauss(0, 0.01) for each in hard]
    one, two, difference = interval(hard), interval(easier), paired(hard, easier)
    assert one
    assert two
    assert difference
    assert one.low < two.high
    assert difference.excludes_zero
    assert difference.low < 0.1 < difference.high
    opposite = paired(easier, hard)
    assert opposite
    assert opposite.value == pytest.approx(-difference.value)


@given(st.lists(st.floats(-50, 50), min_size=FEWEST, max_size=20), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_an_interval_holds_its_mean_and_moves_with_it(values: list[float], shift: float) -> None:
    found, moved = interval(values), interval([value + shift for value in values])
    assert found
    assert moved
    assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6
    assert moved.value == pytest.approx(found.value + shift, abs=1e-6)
    if max(values) - min(values) > 1e-3:
        assert moved.low == pytest.approx(found.low + shift, abs=1e-3)


def test_no_interval_where_none_can_be_made() -> None:
    assert interval([1.0] * (FEWEST - 1)) is None
    assert interval([1.0] * FEWEST + [math.nan]) is None
    assert interval([1.0] * FEWEST + [math.inf]) is None
    assert paired([1.0] * 8, [1.0] * 9) is None
    same = paired([1.5] * 8, [1.0] * 8)
    assert same
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)
    assert same.excludes_zero


# Leaderboards -------------------------------------------------------------------------------

METHODS = ("zero-out", "alpha", "beta", "gamma")


def method(name: str) -> str:
    text = str(FILES["impl/methods/zero_out.py"])
    return text.replace("zero-out", name).replace("zero_out", name.replace("-", "_"))


def measured(
    name: str, loss: float, options: dict[str, Any] | None = None, noise: float = 0.01, **more: Any
) -> dict[str, Any]:
    """A run of schema 2 whose loss is `loss` above the dense model's in every window, about."""
    drawn = random.Random(name)
    dense = [3 + math.sin(window) for window in range(WINDOWS)]
    pruned = [each + loss + drawn.gauss(0, noise) for each in dense]
    made = merged(
        RESULT,
        {
            "schema": 2,
            "method": name,
            "protocol": {"evaluation": {"samples": WINDOWS}},
            "scores": {"dense": dense, "pruned": pruned},
            "quality": {
                "perplexity_before": math.exp(sum(dense) / WINDOWS),
                "perplexity_after": math.exp(sum(pruned) / WINDOWS),
            },
        },
    )
    return {**made, "options": options or {"sparsity": 0.5}, **more}


def catalog_of(root: Path, files: dict[str, Any]) -> Catalog:
    """The sample with four methods, twelve windows, and the given results only."""
    base: dict[str, Any] = {
        f"impl/methods/{name.replace('-', '_')}.py": method(name) for name in METHODS
    }
    base["impl/protocols/small.toml"] = PROTOCOL.replace("samples = 2", f"samples = {WINDOWS}")
    base[f"{SMALL}/zero-out-0.5.json"] = None
    texts = {
        f"{SMALL}/{name}": json.dumps(content) if content is not None else None
        for name, content in files.items()
    }
    return Catalog.load(write_catalog(root, base | texts))


def only(found: list[Board]) -> Board:
    (board,) = found
    return board


def test_a_leaderboard_says_what_can_be_told(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        {
            "alpha-0.5.json": measured("alpha", 0.200),
            "beta-0.5.json": measured("beta", 0.203, noise=0.05),
            "gamma-0.5.json": measured("gamma", 0.5),
            "zero-out-0.7.json": measured("zero-out", 0.9, {"sparsity": 0.7}),
            "alpha-0.7.failed.json": {**RESULT, "schema": 2, "method": "alpha", "options": {"sparsity": 0.7}, "failed": "out of memory"},
        },
    )  # fmt: skip
    board = only(boards(catalog))
    assert (board.slug, board.better, board.title) == ("small", "lower", "A small one")
    half, more, pattern = board.groups
    verdicts = {row.result.method: row.verdict for row in half.rows}
    ranks = [row.rank for row in half.rows]
    assert ranks == [1, 2, 3]
    assert verdicts.pop(half.rows[0].result.method) == "best"
    assert verdicts.pop("gamma") == "worse"
    assert [*verdicts.values()] == ["open"]
    gamma = half.rows[2]
    assert gamma.against_dense
    assert gamma.against_dense.value == pytest.approx(0.5, abs=0.02)
    assert gamma.quality
    assert gamma.quality.low < (gamma.result.quality.after or 0) < gamma.quality.high
    assert half.missing == ["zero-out"]
    assert [row.verdict for row in more.rows] == ["alone"]
    assert [each.method for each in more.failures] == ["alpha"]
    assert more.missing == ["beta", "gamma"]
    assert (pattern.key.value, pattern.rows, len(pattern.missing)) == ("2:4", [], 4)


def test_what_has_no_scores_or_no_end_is_said_so(tmp_path: Path) -> None:
    old = {**RESULT, "method": "beta"}
    old = merged(
        old,
        {"protocol": {"evaluation": {"samples": WINDOWS}}, "quality": {"perplexity_after": 99.0}},
    )
    broken = measured("gamma", 0.3)
    broken["quality"]["perplexity_after"] = None
    broken["scores"]["pruned"][3] = None
    files = {
        "alpha-0.5.json": measured("alpha", 0.2),
        "beta-0.5.json": old,
        "gamma-0.5.json": broken,
    }
    rows = only(boards(catalog_of(tmp_path, files))).groups[0].rows
    assert [row.verdict for row in rows] == ["best", "unknown", "broken"]
    assert rows[1].against_best
    assert rows[1].against_best.low is None
    assert rows[2].quality is None


def test_accuracies_are_better_where_they_are_more(tmp_path: Path) -> None:
    def labelled(name: str, right: int) -> dict[str, Any]:
        scores = [1.0] * right + [0.0] * (40 - right)
        made = measured(name, 0.1)
        made["protocol"]["evaluation"] |= {"samples": 40, "length": None}
        made["scores"] = {"dense": [1.0] * 38 + [0.0] * 2, "pruned": scores}
        return {**made, "quality": {"accuracy_before": 0.95, "accuracy_after": right / 40}}

    files = {"alpha-0.5.json": labelled("alpha", 20), "beta-0.5.json": labelled("beta", 36)}
    board = only(boards(catalog_of(tmp_path, files)))
    assert (board.metric, board.better) == ("accuracy", "higher")
    first, second = board.groups[0].rows
    assert first.result.method == "beta"
    assert second.verdict == "worse"
    assert second.against_best
    assert second.against_best.value == pytest.approx(-0.4)


def test_unlike_protocols_are_never_ranked_together(tmp_path: Path) -> None:
    other = measured("beta", 0.1)
    other["protocol"]["evaluation"] = {**other["protocol"]["evaluation"], "length": 16}
    found = boards(
        catalog_of(tmp_path, {"alpha-0.5.json": measured("alpha", 0.2), "beta-0.5.json": other})
    )
    assert [len(board.rows) for board in found] == [1, 1]
    assert len({board.slug for board in found}) == 2
    assert [fields for _, fields in differing(found[0], found)] == [["evaluation.length"]]
    # Gaps are counted once, on the board that has the protocol's name.
    assert [bool(board.missing) for board in found].count(True) == 1


def test_tasks_are_compared_within_one_version(tmp_path: Path) -> None:
    def with_task(name: str, harness: str, version: str, value: float) -> dict[str, Any]:
        task = {"acc": value, "acc_stderr": 0.02, "samples": 100, "version": version}
        return measured(name, 0.2, tasks={"hellaswag": task}, harness=harness)

    files = {
        "alpha-0.5.json": with_task("alpha", "lm_eval==0.4.9", "1.0", 0.3),
        "beta-0.5.json": with_task("beta", "lm_eval==0.4.9", "1.0", 0.4),
        "gamma-0.5.json": with_task("gamma", "lm_eval==0.4.8", "2.0", 0.5),
    }
    tasks = only(boards(catalog_of(tmp_path, files))).groups[0].tasks
    assert sorted(len(task.values) for task in tasks) == [1, 2]
    assert {task.harness for task in tasks} == {"lm_eval==0.4.9", "lm_eval==0.4.8"}
    assert {other for task in tasks for other in task.others} == {"harness, hellaswag.version"}
    assert {error for task in tasks for _, _, error in task.values} == {0.02}


# Masks --------------------------------------------------------------------------------------


def masked(name: str, shares: list[float], pattern: str, tmp_path: Path) -> Any:
    """A run whose mask is given as bits, eight for each matrix."""
    layers = {f"model.layers.{i}.q": share for i, share in enumerate(shares)}
    packed = int(pattern, 2).to_bytes(-(-len(pattern) // 8), "big")
    content = measured(name, 0.2, layers=layers, sketch={"positions": 8, "seed": 0, "bits": base64.b64encode(packed).decode()})  # fmt: skip
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    result, problems = read_result(tmp_path, file)
    assert problems == []
    return result


def test_overlap_counts_zeros_in_both_over_zeros_in_either(tmp_path: Path) -> None:
    one = masked("one", [0.5, 0.5], "1111000011110000", tmp_path)
    two = masked("two", [0.5, 0.25], "1100110011000000", tmp_path)
    found = overlap(one, two)
    assert found
    assert found.index == 4 / 10
    # 0.25 + 0.125 expected in both, 0.75 + 0.625 in either.
    assert found.chance == pytest.approx(0.375 / 1.375)
    assert overlap(one, one).index == 1  # type: ignore[union-attr]
    other = one.model_copy(update={"sketch": one.sketch.model_copy(update={"seed": 1})})
    assert overlap(one, other) is None
    short = one.model_copy(update={"sketch": one.sketch.model_copy(update={"bits": "AA=="})})
    assert overlap(one, short) is None


def test_a_profile_says_whether_blocks_differ(tmp_path: Path) -> None:
    even = profile(masked("even", [0.5, 0.502], "0" * 16, tmp_path))
    uneven = profile(masked("uneven", [0.4, 0.6], "0" * 16, tmp_path))
    assert even
    assert even.is_even
    assert uneven
    assert not uneven.is_even
    assert uneven.blocks == {0: 0.4, 1: 0.6}


# Papers and us ------------------------------------------------------------------------------


def reporting(root: Path, zero: float, magnitude: float) -> Catalog:
    """Papers report zero-out and magnitude at half of the weights; both are measured here."""
    report = merged(
        FILES["catalog/reported/first2023base.yaml"],
        {"tables": [
            {**FILES["catalog/reported/first2023base.yaml"]["tables"][0], "rows": [
                {"method": "Zero", "values": {"Small-1B": zero}},
                {"method": "magnitude", "values": {"Small-1B": magnitude}},
            ]},
        ]},
    )  # fmt: skip
    files = {
        "catalog/reported/first2023base.yaml": report,
        "impl/methods/magnitude.py": method("magnitude"),
        "impl/protocols/small.toml": PROTOCOL.replace("samples = 2", f"samples = {WINDOWS}"),
        f"{SMALL}/zero-out-0.5.json": json.dumps(measured("zero-out", 0.2)),
        f"{SMALL}/magnitude-0.5.json": json.dumps(measured("magnitude", 0.5)),
        f"{SMALL}/zero-out-0.7.json": json.dumps(measured("zero-out", 0.7, {"sparsity": 0.7})),
    }
    return Catalog.load(write_catalog(root, files))


@pytest.mark.parametrize(
    ("zero", "magnitude", "answer"), [(12.5, 20.0, "agrees"), (20.0, 12.5, "differs")]
)
def test_the_order_of_papers_and_ours(
    zero: float, magnitude: float, answer: str, tmp_path: Path
) -> None:
    catalog = reporting(tmp_path, zero, magnitude)
    (order,) = orders(catalog, boards(catalog))
    assert order.answer == answer
    assert order.key == key_of("weights", {"sparsity": 0.5})
    (claim,) = order.claims
    assert (claim.better.value, claim.worse.value) == (12.5, 20.0)
    assert {name for name, _, _ in claim.differing} == {"model", "data", "window"}


def test_equal_reports_and_unclear_orders_claim_nothing(tmp_path: Path) -> None:
    catalog = reporting(tmp_path / "equal", 12.5, 12.5)
    assert orders(catalog, boards(catalog)) == []
    catalog = reporting(tmp_path / "open", 12.5, 20.0)
    noisy = measured("magnitude", 0.2001, noise=0.2)
    file = catalog.root / SMALL / "magnitude-0.5.json"
    file.write_text(json.dumps(noisy), encoding="utf-8")
    catalog = Catalog.load(catalog.root)
    assert [order.answer for order in orders(catalog, boards(catalog))] == ["open"]


# The command --------------------------------------------------------------------------------


def test_the_command_prints_the_tables(run: Any) -> None:
    changes = {
        f"{SMALL}/zero-out-0.7.json": {
            "options": {"sparsity": 0.7},
            "quality": {"perplexity_after": None},
        }
    }
    status, out, err = run("results", changes=changes)
    assert (status, err) == (0, "")
    assert "A small one" in out
    assert "50\u202f% of weights" in out
    assert "the only one measured" in out
    assert "not finite" in out
    _, out, _ = run("results", "--budget", "50%")
    assert "50\u202f% of weights" in out
    assert "70\u202f% of weights" not in out
    _, out, _ = run("results", "--budget", "2:4")
    assert "not measured yet: zero-out" in out


def test_the_command_as_json(run: Any) -> None:
    status, out, _ = run("results", "--protocol", "small", "--method", "Zero", "--json")
    assert status == 0
    (board,) = json.loads(out)
    assert (board["protocol"], board["metric"], board["better"]) == ("small", "perplexity", "lower")
    found = {(each["unit"], each["value"]): each for each in board["budgets"]}
    (result,) = found["weights", "0.5"]["results"]
    assert result["value"] == 22.25
    assert result["verdict"] == "alone"
    assert result["file"] == f"{SMALL}/zero-out-0.5.json"
    assert found["weights", "2:4"]["not_measured"] == ["zero-out"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--protocol", "smal"], 2, "did you mean 'small'?"),
        (["--method", "zero-ou"], 2, "did you mean 'zero-out'?"),
        (["--budget", "99%"], 0, "no measured result"),
    ],
)
def test_the_command_answers_mistakes(
    run: Any, arguments: list[str], status: int, says: str
) -> None:
    found, _, err = run("results", *arguments)
    assert (found, says in err) == (status, True), err


def test_the_committed_results_keep_to_the_rules() -> None:
    catalog = Catalog.load(ROOT)
    problems = [str(each) for each in catalog.problems if each.path.startswith("impl/")]
    assert problems == []
    assert len(boards(catalog)) >= 4
