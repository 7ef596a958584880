"""Reported figures: what files may say, which figures are comparable, and which disagree."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sample import REPORT, write_catalog

from catalog import schema_export
from catalog.cli import main
from catalog.errors import UsageError
from catalog.figure_filter import FigureFilter, choose, differing
from catalog.figures import Figure, Figures, collect, differences, ranked
from catalog.reported import METRICS, SPECIAL, Budget, Report
from catalog.store import Catalog

ROOT = Path(__file__).resolve().parents[2]
FILE = "catalog/reported/first2023base.yaml"
OTHER = "catalog/reported/other.yaml"
SOURCE = {"name": "Other", "title": "Another Paper", "url": "https://example.org/other"}


def table(**fields: Any) -> dict[str, Any]:
    """A table of one perplexity, with what a test cares about put in; None takes a field out."""
    made: dict[str, Any] = {
        "url": "https://example.org/t",
        "where": "Table 1",
        "kind": "paper",
        "metric": "perplexity",
        "dataset": "Texts",
        "budget": {"weights": "50%"},
        "rows": [{"method": "Zero", "values": {"Small-1B": 12.5}}],
        **fields,
    }
    return {name: value for name, value in made.items() if value is not None}


def rows(*values: float, method: str = "Zero", **fields: Any) -> list[dict[str, Any]]:
    return [{"method": method, **fields, "values": {"Small-1B": value}} for value in values]


def report(*tables: dict[str, Any], source: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "source": source or {"key": "first2023base"},
        "methods": {"Zero": {"key": "first2023base"}},
        "tables": list(tables),
    }


def figures(**reports: dict[str, Any]) -> Figures:
    return collect({name: Report.model_validate(data) for name, data in reports.items()}, {})


def two_sources(one: dict[str, Any], two: dict[str, Any]) -> Figures:
    return figures(first2023base=report(one), other=report(two, source=SOURCE))


# reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "line", "says"),
    [
        ({"url": None}, "missing-field", "where: Table 1", "'url' is missing in tables, item 1"),
        ({"url": "ftp://example.org"}, "bad-value", "url: ftp", "http://"),
        ({"metric": "perplexty"}, "not-allowed", "metric:", "did you mean 'perplexity'"),
        ({"kind": "blog"}, "not-allowed", "kind:", "allowed: repository"),
        ({"budget": {"weights": "half"}}, "bad-value", "weights: half", "a share such as 50%"),
        ({"budget": {"weight": "50%"}}, "unknown-field", "weight:", "did you mean 'weights'"),
        (
            {"budget": {"weights": "50%", "pattern": "2:4"}},
            "bad-value",
            "weights: 50%",
            "exactly one of",
        ),
        ({"budget": {"pattern": "2-4"}}, "bad-value", "pattern:", "a pattern such as '2:4'"),
        ({"budget": None}, "bad-value", "url:", "row 1 has no budget"),
        ({"rows": []}, "bad-value", "rows: []", "at least 1"),
        ({"rows": [{"method": "Zero"}]}, "bad-value", "method: Zero", "either value or values"),
        (
            {"rows": [{"method": "Zero", "values": {"Small-1B": "12.5"}}]},
            "wrong-type",
            "Small-1B:",
            "a number without quotes",
        ),
        ({"model": "Small-1B"}, "bad-value", "url:", "model is stated twice"),
        (
            {"protocol": "llm-pruner", "sequence_length": 128},
            "bad-value",
            "url:",
            "fixes the sequence length",
        ),
        (
            {"rows": rows(1.5, method="dense", structure="depth")},
            "bad-value",
            "method: dense",
            "neither budget nor structure",
        ),
        ({"suite": {"name": "All"}}, "bad-value", "url:", "dataset or suite"),
    ],
)
def test_mistakes_are_found_where_they_are(
    load: Callable[..., Catalog], change: dict[str, Any], code: str, line: str, says: str
) -> None:
    catalog = load({FILE: {"methods": {"magnitude": None}, "tables": [table(**change)]}})
    found = [problem for problem in catalog.problems if problem.code == code]
    assert [problem.path for problem in found] == [FILE], catalog.problems
    written = (catalog.root / FILE).read_text(encoding="utf-8").splitlines()
    assert line in written[found[0].line - 1]
    assert says in found[0].message
    assert not catalog.reports


def test_a_file_is_called_as_its_source(load: Callable[..., Catalog]) -> None:
    from sample import to_yaml

    moved = load({FILE: None, OTHER: to_yaml(REPORT)})
    assert [(p.code, p.path) for p in moved.problems] == [("file-name", OTHER)]
    nameless = {**REPORT, "source": {"name": "Other"}}
    catalog = load({FILE: None, OTHER: to_yaml(nameless)})
    assert "give the key of an entry, or name, title and url" in catalog.problems[0].message


def test_an_unreadable_file_leaves_the_rest(load: Callable[..., Catalog]) -> None:
    catalog = load({OTHER: "source: [\n"})
    assert [problem.path for problem in catalog.problems] == [OTHER]
    assert list(catalog.reports) == ["first2023base"]
    assert len(catalog.figures.all) == 3


def test_figures_are_only_read_when_asked_for(
    load: Callable[..., Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = load()
    assert FILE not in catalog.located
    assert len(catalog.figures.all) == 3
    assert FILE in catalog.located


def test_budgets_keep_their_words_and_are_compared_by_amount() -> None:
    one, two = Budget(parameters="20%"), Budget(parameters="20.0 % of the parameters")
    assert one.identity == two.identity
    assert (two.unit, two.amount, two.words) == ("parameters", "20", "20.0 % of the parameters")
    assert Budget(weights="20%").identity != one.identity
    assert Budget(weights="50%", also="4-bit").identity != Budget(weights="50%").identity
    assert Budget(size="to 2.7B").amount == "2.7"
    assert Budget(layers="3 layers (or equal size)").amount == "3"
    assert Budget(experts="4 of 8 experts").label == "4 of 8 experts"
    assert Budget(pattern="2:4").label == "2:4"


# the project's own files -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Catalog:
    return Catalog.load(ROOT)


def test_the_projects_files_pass_and_fit_their_schema(real: Catalog) -> None:
    assert [str(p) for p in real.problems if p.path.startswith("catalog/reported")] == []
    schema = json.loads((ROOT / schema_export.FOLDER / "reported.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    found = jsonschema.Draft202012Validator(schema)
    reader = YAML(typ="safe", pure=True)
    files = sorted((ROOT / "catalog" / "reported").glob("*.yaml"))
    assert len(files) == len(real.reports) > 30
    for file in files:
        assert [error.message for error in found.iter_errors(reader.load(file))] == [], file.name
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        assert first == "# yaml-language-server: $schema=../schema/reported.schema.json"


def test_the_schema_refuses_what_the_catalog_refuses(tmp_path: Path) -> None:
    root = write_catalog(tmp_path)
    schema_export.write(root)
    schema = json.loads((root / schema_export.FOLDER / "reported.schema.json").read_text())
    found = jsonschema.Draft202012Validator(schema)
    assert list(found.iter_errors(REPORT)) == []
    for change in ({"url": None}, {"metric": "speed"}, {"structure": "dept"}, {"unknown": 1}):
        assert list(found.iter_errors(report(table(**change)))), change


def test_known_disagreements_are_found(real: Catalog) -> None:
    """Wanda at 2:4 on LLaMA-2-7B in windows of 4,096: 11.02 by its authors, 11.29 by MaskLLM's."""
    wanted = FigureFilter(
        method="sun2023simple", protocol="llama-2-7b-wikitext-2-perplexity-4096", conflicts=True
    )
    found = choose(real, wanted)
    assert {(each.value, each.origin.identifier) for each in found} == {
        (11.02, "sun2023simple"),
        (11.29, "maskllm"),
    }


def test_a_rivals_method_is_never_the_rivals_word(real: Catalog) -> None:
    others = [f for f in real.figures.all if f.about is not None and f.about != f.origin.key]
    assert len(others) > 300
    for figure in others:
        assert not figure.is_own
        assert figure.origin.name in figure.said
        assert figure.said.startswith(("as reported by ", "measured again by ", "quoted by "))


def test_every_name_of_metric_and_protocol_is_described() -> None:
    from typing import get_args

    from catalog.reported import MetricName, Special

    assert set(get_args(MetricName)) == set(METRICS)
    assert set(get_args(Special)) == set(SPECIAL)


# protocols -------------------------------------------------------------------------------------


def same_protocol(one: dict[str, Any], two: dict[str, Any]) -> bool:
    found = two_sources(one, two)
    pruned = [figure.protocol for figure in found.all if not figure.is_dense]
    assert len(pruned) == 2
    assert (pruned[0] == pruned[1]) == (not differences(*pruned))
    return pruned[0] == pruned[1]


def test_an_unknown_length_is_never_a_known_one() -> None:
    dense = rows(5.47, method="dense")
    known = table(sequence_length=2048, rows=[*dense, *rows(7.0)])
    unknown = table(rows=[*dense, *rows(7.0)])
    assert same_protocol(known, known)
    assert not same_protocol(known, unknown)
    assert not same_protocol(known, table(sequence_length=4096))


def test_unknown_lengths_are_one_only_where_the_dense_models_agree() -> None:
    def one(dense: float | None) -> dict[str, Any]:
        first = rows(dense, method="dense") if dense is not None else []
        return table(rows=[*first, *rows(7.0)])

    assert same_protocol(one(5.47), one(5.47))
    assert not same_protocol(one(5.47), one(5.12))
    assert not same_protocol(one(None), one(None))
    assert not same_protocol(one(5.47), one(None))


def test_a_sources_own_dense_value_counts_in_its_other_tables() -> None:
    apart = figures(
        first2023base=report(table(rows=rows(5.47, method="dense")), table(where="Table 2"))
    )
    assert {each.protocol.dense for each in apart.all} == {5.47}
    torn = figures(
        first2023base=report(
            table(rows=rows(5.47, method="dense")),
            table(rows=rows(5.12, method="dense"), where="Table 3"),
            table(where="Table 2"),
        )
    )
    assert [each.protocol.only for each in torn.all] == [None, None, "first2023base"]


def test_a_special_protocol_is_its_own_and_fixes_the_length() -> None:
    special = table(protocol="llm-pruner")
    assert same_protocol(special, special)
    assert not same_protocol(special, table(sequence_length=128))
    (figure,) = figures(first2023base=report(special)).all
    assert figure.protocol.length == SPECIAL["llm-pruner"].length


def test_suites_are_their_tasks_and_unnamed_ones_belong_to_their_source() -> None:
    def mean(*tasks: str, name: str = "All") -> dict[str, Any]:
        suite = {"name": name, "tasks": list(tasks)}
        return table(metric="mean accuracy", dataset=None, suite=suite)

    assert same_protocol(mean("A", "B"), mean("B", "A", name="Other"))
    assert not same_protocol(mean("A", "B"), mean("A"))
    assert not same_protocol(mean(), mean())


def test_what_depends_on_the_machine_or_is_not_named_is_never_shared() -> None:
    for change in ({"metric": "speed-up"}, {"metric": "throughput"}, {"dataset": None}):
        assert not same_protocol(table(**change), table(**change))
    no_model = table(metric="accuracy", rows=[{"method": "Zero", "value": 50.0}])
    assert not same_protocol(no_model, no_model)
    accuracy = table(metric="accuracy")
    assert same_protocol(accuracy, accuracy)
    assert not same_protocol(accuracy, table(metric="mean accuracy"))


_LENGTHS = st.sampled_from([None, 128, 2048, 4096])
_TABLES = st.builds(
    lambda metric, length, special, data, model, dense: table(
        metric=metric,
        sequence_length=None if special else length,
        protocol=special,
        dataset=data if isinstance(data, str) else None,
        suite={"name": "All", "tasks": data} if isinstance(data, list) else None,
        rows=[
            *([{"method": "dense", "values": {model: dense}}] if dense and model else []),
            {"method": "Zero", **({"values": {model: 7.0}} if model else {"value": 7.0})},
        ],
    ),
    st.sampled_from(sorted(METRICS)),
    _LENGTHS,
    st.sampled_from([None, None, "llm-pruner"]),
    st.sampled_from([None, "Texts", "Quiz", ["A"], ["A", "B"], []]),
    st.sampled_from([None, "Small", "Small-1B"]),
    st.sampled_from([None, 5.12, 5.47]),
)
_REPORTS = st.lists(st.lists(_TABLES, min_size=1, max_size=4), min_size=1, max_size=4)


def _comparable(one: Figure, two: Figure) -> bool:
    """Whether two figures may stand together, told anew from what the files say."""
    first, second = one.table, two.table
    same_source = one.origin.identifier == two.origin.identifier
    if (one.model, one.dataset, first.metric) != (two.model, two.dataset, second.metric):
        return False
    if first.protocol != second.protocol:
        return False
    tasks = [sorted(each.suite.tasks) if each.suite else None for each in (first, second)]
    if tasks[0] != tasks[1]:
        return False
    metric = METRICS[first.metric]
    if metric.windows and first.sequence_length != second.sequence_length:
        return False
    unstated = metric.windows and first.protocol is None and first.sequence_length is None
    if unstated and not same_source and one.protocol.dense is None:
        return False
    unnamed = one.model is None or (one.dataset is None and not tasks[0])
    return same_source or not (metric.own_setup or unnamed)


@settings(max_examples=150, deadline=None)
@given(_REPORTS)
def test_no_group_holds_figures_of_two_protocols(reports: list[list[dict[str, Any]]]) -> None:
    made = figures(
        **{
            f"source{number}": report(*tables, source={**SOURCE, "name": f"Source {number}"})
            for number, tables in enumerate(reports)
        }
    )
    assert sum(map(len, made.protocols.values())) == len(made.all)
    for protocol, group in made.protocols.items():
        assert {figure.protocol for figure in group} == {protocol}
        assert [each.figure for each in ranked(group)]
        for one, two in itertools.combinations(group, 2):
            assert _comparable(one, two), (one, two)
            both = (one.table.sequence_length, two.table.sequence_length)
            assert (both[0] is None) == (both[1] is None) or not protocol.kind.windows
    slugs = made.slugs.values()
    assert len(set(slugs)) == len(slugs)
    for one, two in itertools.combinations(made.protocols, 2):
        assert differences(one, two)
        assert differing([one, two])
    for group in made.conflicts:
        assert len({figure.protocol for figure in group}) == 1
        assert len({figure.value for figure in group}) > 1


# conflicts and ranks ---------------------------------------------------------------------------


def conflicting(one: dict[str, Any], two: dict[str, Any]) -> list[list[float]]:
    found = two_sources(one, two).conflicts
    return [[figure.value for figure in group] for group in found]


def test_values_that_differ_beyond_rounding_are_conflicts() -> None:
    def one(*values: float, **fields: Any) -> dict[str, Any]:
        return table(sequence_length=128, rows=rows(*values[:1], **fields))

    assert conflicting(one(12.52), one(12.5)) == []
    assert conflicting(one(12.56), one(12.5)) == [[12.56, 12.5]]
    assert conflicting(one(12.5), one(12.5)) == []
    assert conflicting(one(582.41), one(582.0)) == []
    assert conflicting(one(582.41), one(457.0)) == [[582.41, 457.0]]
    # Another recovery, structure or budget is another thing.
    assert conflicting(one(12.5), one(14.0, recovery="LoRA")) == []
    assert conflicting(one(12.5), one(14.0, structure="depth")) == []
    assert conflicting(one(12.5), one(14.0, budget={"weights": "60%"})) == []


def test_a_table_of_two_decimals_means_them_everywhere() -> None:
    """YAML drops closing zeros: 12.5 beside 9.25 was 12.50."""
    two_decimals = table(
        sequence_length=128,
        rows=[*rows(12.5), *rows(9.25, budget={"weights": "10%"})],
    )
    assert conflicting(two_decimals, table(sequence_length=128, rows=rows(12.54))) == [
        [12.5, 12.54]
    ]


def test_one_source_can_contradict_itself() -> None:
    again = table(sequence_length=128, where="Table 2", kind="reproduction", rows=rows(13.25))
    made = figures(first2023base=report(table(sequence_length=128), again))
    assert [[each.value for each in group] for group in made.conflicts] == [[12.5, 13.25]]
    first = made.all[0]
    assert [each.value for each in made.against(first)] == [13.25]
    assert first.said == "as its own authors report"
    assert made.all[1].said == "measured again by first2023base"


def test_ranks_are_within_one_budget_and_follow_the_metric() -> None:
    def order(metric: str) -> list[tuple[int | None, float]]:
        made = figures(
            first2023base=report(
                table(
                    metric=metric,
                    sequence_length=128,
                    rows=[
                        *rows(30.0, 20.0, 20.0, 25.0),
                        *rows(15.0, budget={"weights": "25%"}),
                        *rows(10.0, method="dense"),
                    ],
                )
            )
        )
        return [(each.rank, each.figure.value) for each in ranked(made.all)]

    assert order("perplexity") == [
        (None, 10.0), (1, 15.0), (1, 20.0), (1, 20.0), (3, 25.0), (4, 30.0),
    ]  # fmt: skip
    assert order("accuracy") == [
        (None, 10.0), (1, 15.0), (1, 30.0), (2, 25.0), (3, 20.0), (3, 20.0),
    ]  # fmt: skip
    mixed = two_sources(table(sequence_length=128), table(sequence_length=2048))
    with pytest.raises(ValueError, match="several protocols"):
        ranked(mixed.all)


# commands --------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    from sample import to_yaml

    second = copy.deepcopy(REPORT)
    second["source"] = SOURCE
    second["tables"][0]["rows"][1]["values"] = {"Small-1B": 14.75}
    longer = copy.deepcopy(second["tables"][0])
    longer |= {"sequence_length": 4096, "where": "Table 2"}
    second["tables"].append(longer)
    root = write_catalog(tmp_path / "root", {OTHER: to_yaml(second)})
    monkeypatch.setenv("PRUNEDEX_ROOT", str(root))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


def test_figures_lists_the_protocols(run: Any) -> None:
    status, out, err = run("figures")
    assert status == 0
    assert "small-1b-texts-perplexity-2048" in out
    assert "windows of 4,096 tokens" in out
    assert "9 figures from 2 sources under 2 protocols" in err


def test_figures_ranks_inside_a_protocol_and_says_what_differs(run: Any) -> None:
    status, out, err = run("figures", "--method", "Zero")
    assert status == 0
    first, second = out.split("Small-1B, Texts: perplexity")[1:]
    assert "1 of 4" in first
    assert "as its own authors report, README table" in first
    assert "conflict: 14.75 as reported by Other" in first
    assert "differs from the first above in: sequence length" in second
    assert "1 of 2" in second
    assert "magnitude" not in out
    assert "2 protocols, which differ in sequence length" in err


def test_figures_as_json(run: Any) -> None:
    status, out, _ = run("figures", "--model", "small", "--protocol",
                         "small-1b-texts-perplexity-2048", "--json")  # fmt: skip
    assert status == 0
    (protocol,) = json.loads(out)
    assert protocol["protocol"] == "small-1b-texts-perplexity-2048"
    assert protocol["sequence length"] == 2048
    zero = protocol["figures"][2]
    assert (zero["method"], zero["value"], zero["rank"], zero["of"]) == ("Zero", 12.5, 1, 4)
    assert zero["budget"] == {"unit": "weights", "amount": "50", "words": "50%", "also": None}
    assert zero["conflicts_with"] == [
        {"value": 14.75, "reported_by": "other", "reported_as": "repository"}
    ]
    assert zero["own_method"] is True


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "Smal"], "did you mean 'Small-1B'"),
        (["--metric", "perplexty"], "did you mean 'perplexity'"),
        (["--method", "Zeroo"], "there is no entry"),
        (["--protocol", "x"], "no figure has the protocol"),
        (["--source", "nobody"], "there is no entry"),
    ],
)
def test_unknown_names_are_refused(run: Any, arguments: list[str], says: str) -> None:
    status, _, err = run("figures", *arguments)
    assert status == 2
    assert says in err


def test_nothing_found_is_said(run: Any) -> None:
    status, out, err = run("figures", "--dataset", "Quiz")
    assert (status, out) == (0, "")
    assert "no reported figure" in err


def test_figures_can_be_chosen_by_source_and_by_conflict(run: Any) -> None:
    _, out, _ = run("figures", "--source", "Other", "--json")
    assert sum(len(each["figures"]) for each in json.loads(out)) == 6
    _, out, _ = run("figures", "--conflicts", "--json")
    (protocol,) = json.loads(out)
    assert [each["value"] for each in protocol["figures"]] == [12.5, 14.75]


def test_show_gives_figures_by_and_about_the_paper(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")  # so that no cell of a table is wrapped
    _, out, _ = run("show", "first2023base")
    by, about = out.split("Reported by this paper")[1].split("Reported by others about its method")
    assert "as its own authors report" in by
    assert "as reported by Other" in about
    assert "conflict: 14.75" in by
    _, out, _ = run("show", "first2023base", "--json")
    reported = json.loads(out)["reported"]
    assert [each["value"] for each in reported["by_this_paper"]] == [10.25, 12.5, 20.0]
    assert [each["value"] for each in reported["by_others"]] == [14.75, 14.75]
    _, out, _ = run("show", "second2024next")
    assert "Reported by" not in out


def test_choose_refuses_a_model_that_has_no_figure(load: Callable[..., Catalog]) -> None:
    with pytest.raises(UsageError, match="no figure has the model"):
        choose(load(), FigureFilter(model="Nothing"))
