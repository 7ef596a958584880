"""The commands that read the catalog, as somebody at a terminal or in a pipe meets them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bibtexparser.entrypoint import parse_string
from sample import ENTRY, merged, write_catalog

FIRST, SECOND = "first2023base", "second2024next"
COMMANDS = ["check", "list", "show", "cite", "tags", "methods", "results"]
HERE = Path(__file__).resolve().parents[2]

Run = Callable[..., tuple[int, str, str]]


# check ------------------------------------------------------------------------------------

BROKEN: dict[str, Any] = {
    f"papers/{FIRST}.yaml": {"kind": "metod"},
    f"papers/{SECOND}.yaml": {"authors": [], "builds_on": [{"key": "x2020y", "relation": "extends"}]},
}  # fmt: skip


def test_check_of_a_catalog_without_fault(run: Run) -> None:
    status, out, err = run("check", "--strict")
    assert (status, out) == (0, "")
    assert err == "2 papers, 6 dimensions, 1 method, 1 result: 0 errors, 0 warnings\n"


def test_check_names_every_problem_on_a_line_of_its_own(run: Run) -> None:
    status, out, err = run("check", changes=BROKEN)
    assert status == 1
    lines = out.splitlines()
    assert [re.match(r"papers/\w+\.yaml:\d+:\d+: ([\w-]+): ", line)[1] for line in lines] == [
        "not-allowed",
        "undeclared-gap",
        "unknown-base",
    ]
    assert "unknown-base: builds_on names other entries" in err
    assert "3 errors, 0 warnings\n" in err


def test_check_of_some_paths(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "papers")
    status, out, _ = run("check", f"{SECOND}.yaml", changes=BROKEN)
    assert status == 1
    assert {line.split(":")[0] for line in out.splitlines()} == {f"papers/{SECOND}.yaml"}
    assert len(run("check", ".")[1].splitlines()) == 3
    assert len(run("check", str(root))[1].splitlines()) == 3
    status, out, err = run("check", "../catalog")
    assert (status, out) == (0, "")
    assert "3 errors in other files; `prunedex check` alone says where" in err
    assert "in other files" not in run("check", ".")[2]


def test_check_refuses_paths_that_are_not_in_the_catalog(run: Run, tmp_path: Path) -> None:
    assert run("check", str(tmp_path / "nothing.yaml"))[0] == 2
    status, _, err = run("check", str(tmp_path))
    assert status == 2
    assert "outside the catalog" in err


def test_warnings_fail_only_on_request(run: Run) -> None:
    changes = {
        f"papers/{SECOND}.yaml": {
            "title": "Zeroing Weights: A Base Lime",
            "tags": {"data": [], "notes": {"data": "Not stated."}},
        }
    }
    status, out, _ = run("check", changes=changes)
    assert (status, len(out.splitlines())) == (0, 2)
    status, out, _ = run("check", "--strict")
    assert status == 1
    assert "unused-value: data has values that no entry uses: calibration" in out


def test_check_as_json(run: Run) -> None:
    status, out, _ = run("check", "--json", changes=BROKEN)
    assert status == 1
    problems = json.loads(out)
    assert problems[0]["path"] == f"papers/{FIRST}.yaml"
    assert problems[0]["code"] == "not-allowed"
    assert problems[0]["severity"] == "error"
    assert {"line", "column", "message", "help"} < set(problems[0])
    assert run("check", "--format", "json")[1] == out
    assert run("check", "--json", "--format", "github")[0] == 2


def test_check_as_annotations(run: Run) -> None:
    _, out, _ = run("check", "--format", "github", changes=BROKEN)
    first, second, _ = out.splitlines()
    match = re.fullmatch(
        r"::error file=papers/first2023base\.yaml,line=(\d+),col=7,title=not-allowed::(.+)", first
    )
    assert match is not None
    assert "metod" in match[2]
    assert "%0A" in match[2]
    assert second.startswith("::error file=")
    similar = {
        f"papers/{FIRST}.yaml": {},
        f"papers/{SECOND}.yaml": {"title": "Zeroing Weights: A Base Lime"},
    }
    status, out, _ = run("check", "--format", "github", changes=similar)
    assert (status, out[:15]) == (0, "::warning file=")


def test_annotations_cannot_be_forged(run: Run) -> None:
    evil = "x\n::error file=a,line=1::%0A, pwned"
    out = run("check", "--format", "github", changes={f"papers/{FIRST}.yaml": {evil: 1}})[1]
    assert all(line.startswith("::error file=papers/") for line in out.splitlines())
    assert "%250A" in out


# list and cite ----------------------------------------------------------------------------


def test_list_through_a_pipe(run: Run) -> None:
    title = "Zeroing Weights: " + " ".join(["A Rather Long Title"] * 12)
    status, out, err = run("list", changes={f"papers/{FIRST}.yaml": {"title": title}})
    assert status == 0
    header, _, first, second = out.splitlines()
    assert header.split() == [
        "Key", "Year", "Name", "Title", "Type", "Criterion", "Budget", "Data", "Retraining",
        "Weight", "update", "Venue", "Code", "Here",
    ]  # fmt: skip
    assert FIRST in first
    assert title in first
    assert SECOND in second
    assert "\x1b" not in out
    assert err == "2 of 2 papers\n"


def test_list_filters(run: Run) -> None:
    def keys(*arguments: str) -> list[str]:
        status, out, _ = run("list", "--json", *arguments)
        assert status == 0
        return [entry["key"] for entry in json.loads(out)]

    assert keys() == [FIRST, SECOND]
    assert keys("--sort", "year") == [SECOND, FIRST]
    assert keys("--sort", "title") == [SECOND, FIRST]
    assert keys("--type", "structured") == [SECOND]
    assert keys("--type", "depth", "--type", "unstructured") == [FIRST, SECOND]
    assert keys("--type", "depth,unstructured", "--weight-update", "frozen") == [FIRST]
    assert keys("--criterion", "taylor", "--budget", "sparsity", "--data", "calibration") == [
        SECOND
    ]
    assert keys("--retraining", "without", "--kind", "method") == [FIRST, SECOND]
    assert keys("--year", "2024-") == [SECOND]
    assert keys("--year", "-2023") == [FIRST]
    assert keys("--has-code") == [FIRST]
    assert keys("--without-code") == [SECOND]
    assert keys("--runs-here") == [FIRST]
    assert keys("--not-here", "--text", "layers") == [SECOND]
    status, out, err = run("list", "--text", "nobody wrote this")
    assert (status, out) == (0, "")
    assert "no paper passes" in err
    assert keys("--text", "nobody wrote this") == []


def test_list_json_is_the_entry(run: Run) -> None:
    entry = json.loads(run("list", "--format", "json", "--runs-here")[1])[0]
    assert entry["runs_here"] is True
    assert entry["venue"] == {**dict.fromkeys(entry["venue"]), **ENTRY["venue"]}
    assert entry["tags"]["type"] == ["unstructured"]


def test_csv_holds_no_formula(run: Run) -> None:
    changes = {
        f"papers/{FIRST}.yaml": {"title": "=cmd|' /C calc'!A0", "authors": ["@SUM(1)", 'A "B", C']},
        f"papers/{SECOND}.yaml": {"takeaway": "-1\nand, more"},
    }
    status, out, _ = run("list", "--format", "csv", changes=changes)
    assert status == 0
    first, second = csv.DictReader(io.StringIO(out))
    assert first["title"] == "'=cmd|' /C calc'!A0"
    assert first["authors"] == '\'@SUM(1); A "B", C'
    assert (first["key"], first["runs_here"], first["type"]) == (FIRST, "yes", "unstructured")
    assert second["takeaway"] == "'-1 and, more"


def test_cite(run: Run) -> None:
    def keys(*arguments: str) -> list[str]:
        status, out, _ = run("cite", *arguments)
        assert status == 0
        library = parse_string(out)
        assert not library.failed_blocks
        return [entry.key for entry in library.entries]

    assert keys() == [FIRST, SECOND]
    assert keys(SECOND, FIRST, SECOND) == [SECOND, FIRST]
    assert keys("zero", "2401.00020") == [FIRST, SECOND]
    assert keys("--type", "depth") == [SECOND]
    assert run("list", "--format", "bib")[1] == run("cite")[1]
    status, out, err = run("cite", FIRST, "--type", "depth")
    assert (status, out) == (2, "")
    assert "keys and filters" in err


# show, tags, methods ----------------------------------------------------------------------


def test_show(run: Run) -> None:
    status, out, _ = run("show", FIRST)
    assert status == 0
    flat = " ".join(out.replace("│", " ").split())
    for part in (
        ENTRY["title"], "Ada First, Jan C. van der Berg", ENTRY["takeaway"], ENTRY["mechanism"],
        "Type Unstructured observed", "https://github.com/first/zero", f"{SECOND} extends it",
        "prunedex run zero-out", "sparsity=0.5, pattern=None", "19.12 → 22.25",
        "@inproceedings{first2023base,",
    ):  # fmt: skip
        assert part in flat
    assert "\x1b" not in out
    flat = " ".join(run("show", SECOND)[1].replace("│", " ").split())
    assert "Structured › Depth" in flat
    assert f"extends {FIRST} (Zero)" in flat


def test_show_as_json(run: Run) -> None:
    data = json.loads(run("show", "zero", "--json")[1])
    assert data["key"] == FIRST
    assert data["built_on_by"] == [{"key": SECOND, "relation": "extends", "note": None}]
    assert data["method"]["equations"][0]["latex"] == "S_{ij} = |W_{ij}|"
    assert data["results"][0]["quality"]["perplexity_after"] == 22.25
    assert data["results"][0]["schema"] == 1
    assert data["verified"]["tags"]["type"]["unstructured"]["holds"] is True
    assert data["bibtex"].startswith("@inproceedings{first2023base,")


def test_tags(run: Run) -> None:
    status, out, _ = run("tags", "type")
    assert status == 0
    assert "What depth means." in out
    assert re.search(r"structured +1", out)
    (data,) = json.loads(run("tags", "weight-update", "--json")[1])
    assert data["id"] == "weight_update"
    (data,) = json.loads(run("tags", "type", "--json")[1])
    counts = {value["id"]: (value["papers"], value["papers_directly"]) for value in data["values"]}
    assert counts == {"unstructured": (1, 1), "structured": (1, 0), "depth": (1, 1)}
    assert len(json.loads(run("tags", "--json")[1])) == 6


def test_methods(run: Run) -> None:
    status, out, _ = run("methods")
    assert status == 0
    assert out.splitlines()[2].split()[:4] == ["zero-out", "nothing", "weights", FIRST]
    (data,) = json.loads(run("methods", "--json")[1])
    assert (data["name"], data["papers"], data["needs"]) == ("zero-out", [FIRST], "nothing")
    assert "source" not in data


# What people get wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "fist2023base"], f"did you mean '{FIRST}'?"),
        (["cite", "fist2023base"], f"did you mean '{FIRST}'?"),
        (["tags", "criteria"], "did you mean 'criterion'?"),
        (["list", "--type", "structred"], "did you mean 'structured'?"),
        (["cite", "--kind", "metod"], "did you mean 'method'?"),
        (["list", "--year", "soon"], "2022-2024"),
        (["list", "--sort", "length"], "'key'"),
        (["list", "--tpye", "depth"], "--tpye"),
        (["shwo", FIRST], "shwo"),
        (["show"], "KEY"),
        (["check", "--format", "xml"], "'github'"),
    ],
)
def test_mistakes_are_answered_in_a_line_or_two(run: Run, arguments: list[str], says: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("Error: ")
    assert len(err.splitlines()) <= 2
    assert "Value error" not in err


def test_there_is_no_catalog(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run("list", "--root", str(tmp_path))
    assert status == 1
    assert "holds no catalog (--root)" in err
    monkeypatch.setenv("PRUNEDEX_ROOT", str(tmp_path / "none"))
    status, _, err = run("list")
    assert status == 1
    assert "$PRUNEDEX_ROOT" in err


def test_the_catalog_is_found_from_below(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRUNEDEX_ROOT")
    monkeypatch.chdir(root / "papers")
    assert [entry["key"] for entry in json.loads(run("list", "--json")[1])] == [FIRST, SECOND]


def test_an_unreadable_entry_is_left_out_and_said_so(run: Run) -> None:
    status, out, err = run("list", "--json", changes={f"papers/{FIRST}.yaml": "key: ["})
    assert status == 0
    assert [entry["key"] for entry in json.loads(out)] == [SECOND]
    assert "1 entry is left out" in err


def test_a_mistake_of_our_own_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("odd \x1b[31m")

    monkeypatch.setattr("catalog.store.Catalog.load", fail)
    status, _, err = run("list")
    assert status == 1
    assert err.startswith("Error: RuntimeError: odd \\x1b[31m\n")
    assert "PRUNEDEX_DEBUG" in err
    monkeypatch.setattr(
        "catalog.store.Catalog.load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    status, _, err = run("list")
    assert (status, err) == (130, "Error: Interrupted\n")


# Hostile text -----------------------------------------------------------------------------

MARKUP = "[bold red]x[/] [link=https://evil.example]y[/link] :smile: {{z}} [/]"


@pytest.mark.parametrize("command", [["list"], ["show", FIRST], ["tags"], ["methods"], ["check"]])
def test_text_is_neither_markup_nor_escape_sequence(run: Run, command: list[str]) -> None:
    method = f'"""Zero {MARKUP}.\n\nA \\x1b[31m and \\x9b1m and \\u202e."""\n'
    value = {"id": "data-free", "name": MARKUP, "definition": MARKUP,
             "source": {"title": "t", "url": "https://example.org"}}  # fmt: skip
    changes = {
        f"papers/{FIRST}.yaml": {
            "title": MARKUP, "name": MARKUP, "authors": [MARKUP], "takeaway": MARKUP,
            "mechanism": MARKUP, "challenges": [MARKUP], "tags": {"notes": {"type": MARKUP}},
            "venue": {"short": MARKUP},
        },
        "impl/methods/zero_out.py": f"{method}@method('zero-out')\ndef f(a='\\x1b[31m'): ...\n",
        "catalog/vocabulary/data.yaml": {"values": [value, {**value, "id": "calibration"}]},
        "impl/results/tags/zero-out.json": {
            "tags": {"type": {"unstructured": {"holds": False, "observed": "\x1b[31m"}}}
        },
        "impl/results/small/zero-out-0.5.json": {"options": {"\x1b[31m": "\x9b"}},
    }  # fmt: skip
    _, out, err = run(*command, changes=changes)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    if command != ["check"]:
        assert "[bold red]x[/]" in " ".join(out.replace("│", " ").split())


# The process itself -----------------------------------------------------------------------


def python(root: Path, code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PRUNEDEX_ROOT": str(root)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60,
        cwd=HERE, check=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["check"], ["list"], ["list", "--format", "bib"], ["show", FIRST],
     ["cite"], ["tags"], ["methods"], ["results"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_heavy_is_imported(root: Path, arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from catalog.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: status = stop.code\n"
        "heavy = {'torch', 'transformers', 'mkdocs', 'numpy', 'impl', 'jinja2'} & set(sys.modules)\n"
        "print('status', status, 'heavy', sorted(heavy), file=sys.stderr)\n"
    )
    run = python(root, code)
    assert run.stderr.splitlines()[-1] == "status 0 heavy []"
    assert run.stdout or arguments == ["check"]


@pytest.mark.parametrize(
    "arguments", [["list", "--json"], ["list"], ["show", FIRST], ["tags"], ["cite"]]
)
def test_a_closed_pipe_is_quiet(root: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "catalog", *arguments], stdout=writer, stderr=subprocess.PIPE,
        env={**os.environ, "PRUNEDEX_ROOT": str(root)}, cwd=HERE, check=False,
    )  # fmt: skip
    os.close(writer)
    errors = run.stderr.decode().replace("2 of 2 papers\n", "")
    assert (run.returncode, errors) == (1, "")


def test_ctrl_c_is_answered(root: Path) -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & turns it off
        "import catalog.store\n"
        "def load(*_):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "catalog.store.Catalog.load = load\n"
        "from catalog.cli import main\n"
        "main(['list'])\n"
    )
    run = python(root, code)
    assert run.returncode == 128 + signal.SIGINT
    assert run.stderr == "Error: Interrupted\n"


def test_a_terminal_without_unicode_gets_codes_rather_than_a_failure(root: Path) -> None:
    write_catalog(root, {f"papers/{FIRST}.yaml": {"authors": ["Ömer Žižka"]}})
    for arguments in (["show", FIRST], ["list", "--json"], ["list", "--format", "csv"]):
        code = f"from catalog.cli import main; main({arguments!r})"
        environment = {**os.environ, "PRUNEDEX_ROOT": str(root), "PYTHONIOENCODING": "ascii"}
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            env=environment,
            cwd=HERE,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        output = run.stdout.decode("ascii")
        if "--json" in arguments:
            assert json.loads(output)[0]["authors"] == ["Ömer Žižka"]


def test_a_terminal_gets_colours_and_its_width(root: Path) -> None:
    """Run under a pseudo-terminal of 80 columns."""
    parent, child = pty.openpty()
    environment = {**os.environ, "PRUNEDEX_ROOT": str(root), "COLUMNS": "80", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "catalog", "list"],
        stdout=child, stderr=child, env=environment, cwd=HERE,
    )  # fmt: skip
    os.close(child)
    output = b""
    try:
        while piece := os.read(parent, 65536):
            output += piece
    except OSError:
        pass  # how the end of a pseudo-terminal reads on Linux
    assert process.wait() == 0
    os.close(parent)
    text = output.decode()
    assert "\x1b[36m" in text
    plain = re.sub(r"\x1b\][^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", text)
    assert FIRST in plain
    assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_an_example(command: str) -> None:
    import typer

    from catalog.cli import app

    found = typer.main.get_command(app).commands[command]
    assert found.help
    for parameter in found.params:
        if parameter.name == "help":
            continue
        help_text = parameter.help or ""
        # An example follows a colon; it repeats the option, or shows a value.
        assert ": " in help_text, f"{command} {parameter.name}"
        options = [option for option in parameter.opts if option.startswith("--")]
        assert not options or options[0] in help_text or f"{command} " in help_text


def test_the_sample_is_not_the_repository(run: Run) -> None:
    assert json.loads(run("list", "--json")[1])[0]["title"] == merged(ENTRY, {})["title"]
