"""Method files read without importing them, and result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample import METHOD, RESULT, VERIFICATION, merged, write_catalog

from catalog.errors import is_unsafe
from catalog.methods import method_files, parse_method, read_method
from catalog.results import comparable, read_result, read_verification
from catalog.store import Catalog

ROOT = Path(__file__).resolve().parents[2]
PATH = "impl/methods/zero_out.py"


def test_a_method_file() -> None:
    method, problems = parse_method(PATH, METHOD)
    assert problems == []
    assert method is not None
    assert (method.name, method.path) == ("zero-out", PATH)
    assert METHOD.split("\n")[method.line - 1].startswith("def zero_out")
    assert (method.budget, method.needs) == ("weights", "nothing")
    assert method.summary == "Zeroing: the smallest weights of every layer go."
    assert method.description == "Nothing is trained."
    (equation,) = method.equations
    assert equation.label == "Eq. 1 (§2)"
    assert equation.latex == "S_{ij} = |W_{ij}|"
    assert equation.text == "The score of a weight is its magnitude."
    assert [(h.name, h.text) for h in method.hyperparameters] == [
        ("sparsity", "the share of weights removed.")
    ]
    (code,) = method.official_code
    assert code.url == "https://github.com/first/zero"
    assert code.commit == "0123456789abcdef0123456789abcdef01234567"
    assert method.deviations == ["None that matters."]
    assert [(p.name, p.default, p.annotation) for p in method.parameters] == [
        ("sparsity", "0.5", "float"),
        ("pattern", "None", None),
    ]
    assert method.source == METHOD
    assert method.code.startswith("from impl.registry import method\n")
    assert "Nothing is trained" not in method.code


def doc(sections: str, code: str = "@method('zero-out')\ndef f(model): ...\n") -> str:
    return f"r'''Zero.\n\n{sections}'''\n{code}"


def test_sections_with_several_lines_and_paragraphs() -> None:
    text = doc(
        "Not run here\n------------\n- data small: the paper trains,\n  we do not.\n\n  Ever.\n\n"
        "Unsupported\n-----------\n- `gpt2`: no gate: none\n\n"
        "Official code\n-------------\n- https://example.org/x at abcdef1, where it differs\n"
        "- https://example.org/y\n"
    )
    method, problems = parse_method(PATH, text)
    assert problems == []
    assert method is not None
    (skipped,) = method.not_run
    assert (skipped.dimension, skipped.value) == ("data", "small")
    assert skipped.text == "the paper trains, we do not.\n\nEver."
    assert [(item.name, item.text) for item in method.unsupported] == [("gpt2", "no gate: none")]
    assert [(code.url, code.commit) for code in method.official_code] == [
        ("https://example.org/x", "abcdef1"),
        ("https://example.org/y", None),
    ]


@pytest.mark.parametrize(
    ("text", "code", "line", "says"),
    [
        (doc("Equation\n--------\n- x: $$a$$\n"), "method-section", 3, "did you mean 'Equations'?"),
        (doc("Equations\n---------\n- x: $a$\n"), "method-item", 5, "$$"),
        (doc("Hyperparameters\n---------------\n- a: b\n- share\n"), "method-item", 6, "'share'"),
        (doc("Official code\n-------------\n- in the appendix\n"), "method-item", 5, "URL at"),
        (doc("Not run here\n------------\n- small data\n"), "method-item", 5, "dimension value"),
        (doc("", "def f(model): ...\n"), "method-decorator", 1, "@method"),
        (doc("", "@method('zero-in')\ndef f(model): ...\n"), "method-name", 4, "'zero-out'"),
        ("@method('zero-out')\ndef f(model): ...\n", "method-docstring", 1, "no docstring"),
        ("def f(:\n", "method-syntax", 1, "not Python"),
        ("x = 1\n\0", "method-syntax", 1, "Python"),
        ("(" * 5000, "method-syntax", 1, "Python"),
    ],
)
def test_mistakes_in_a_method_file(text: str, code: str, line: int, says: str) -> None:
    _, problems = parse_method(PATH, text)
    assert [(problem.code, problem.line) for problem in problems] == [(code, line)]
    assert says in problems[0].message


def test_the_methods_of_the_repository_are_documented() -> None:
    for file in method_files(ROOT):
        method, problems = read_method(ROOT, file)
        assert [str(problem) for problem in problems] == []
        assert method is not None
        assert method.summary
        assert method.description
        assert method.equations
        assert method.budget
        assert method.needs in ("nothing", "calibration", "labels")


def test_nothing_is_imported(tmp_path: Path) -> None:
    root = write_catalog(tmp_path, {PATH: f"{METHOD}\nraise SystemExit('imported')\n"})
    assert list(Catalog.load(root).methods) == ["zero-out"]


PIECES = st.sampled_from(
    [
        "\n",
        "  ",
        "- ",
        "a",
        ":",
        "$$",
        "---",
        "Equations",
        "Not run here",
        "'''",
        '"',
        "\\",
        "@",
        "(",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=100), st.lists(PIECES, max_size=30).map("".join)), st.booleans())
@example("Equations\n---", True)
@example("\x0c\n---\n- $$ $$", True)
def test_any_source(text: str, inside: bool) -> None:
    source = doc(text) if inside else text
    source = source.encode("utf-8", "replace").decode("utf-8")
    method, problems = parse_method(PATH, source)
    assert method is not None or problems
    for problem in problems:
        assert problem.line >= 1
        assert not any(map(is_unsafe, str(problem)))


# Results ------------------------------------------------------------------------------------


def test_results_and_observed_tags(load: Any) -> None:
    catalog = load()
    (result,) = catalog.results
    assert result.path == "impl/results/small/zero-out-0.5.json"
    assert (result.method, result.options["sparsity"]) == ("zero-out", 0.5)
    assert result.protocol.calibration is None
    assert result.quality.perplexity_after == 22.25
    assert result.environment.date.year == 2026
    assert catalog.results_of("zero-out") == [result]
    assert catalog.results_of("other") == []
    assert catalog.verified["zero-out"].tags["type"]["unstructured"].holds


@pytest.mark.parametrize(
    ("content", "at", "says"),
    [
        ("{", "{", "not JSON"),
        ('{\n  "a": 1,\n}', "}", "not JSON"),
        ("[1]", "[", "must hold fields"),
        ('{"a": NaN}', "{", "NaN"),
        ("[" * 100_000, "[", "too deeply"),
        (json.dumps(merged(RESULT, {"cost": {"seconds": "fast"}}), indent=2), "\"seconds\"", "cost.seconds"),
        (json.dumps(merged(RESULT, {"budget": {"asked": None}}), indent=2), '"budget"', "'asked' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_a_result(content: str, at: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(content)
    result, problems = read_result(tmp_path, file)
    assert result is None
    (problem,) = problems
    assert content.split("\n")[problem.line - 1].strip().startswith(at)
    assert says in problem.message


def test_more_fields_than_are_known_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps({**RESULT, "more": 1}))
    assert read_result(tmp_path, file)[1] == []
    file.write_text(json.dumps({**VERIFICATION, "more": 1}))
    assert read_verification(tmp_path, file)[1] == []


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_result(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "any.json"
    file.write_bytes(content)
    result, problems = read_result(folder, file)
    assert result is None
    assert problems


def test_runs_compare_only_within_one_protocol(load: Any) -> None:
    text = {"source": "lee", "revision": "r", "samples": 1, "length": 8, "sha256": "c"}
    changes = [
        {},
        {"calibration": text},
        {"calibration": {**text, "samples": 2}},
        {"seed": 1, "model": {"dtype": "bfloat16"}},
    ]
    catalog = load(
        {
            f"impl/results/small/run-{number}.json": merged(RESULT, {"protocol": change})
            for number, change in enumerate(changes)
        }
    )
    runs = [r.protocol for r in catalog.results if "run-" in r.path]
    assert comparable(runs[0], runs[1]) == []
    assert comparable(runs[1], runs[2]) == ["calibration.samples"]
    assert comparable(runs[0], runs[3]) == ["model.dtype", "seed"]
