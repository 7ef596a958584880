"""What the files of impl/methods say about themselves, read without importing them.

A method's docstring is its documentation: a summary line, paragraphs, and sections headed
by a name from `SECTIONS` over a line of dashes whose items start with "- ". Its decorator
and signature give the budget's unit, what it needs and its options.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from catalog.errors import Problem, closest, details, listed, shown
from catalog.reader import read_text, relative_name

FOLDER = Path("impl") / "methods"
"""Where the methods are, below the root."""

SECTIONS = {
    "Equations": "equations",
    "Hyperparameters": "hyperparameters",
    "Official code": "official_code",
    "Deviations": "deviations",
    "Unsupported": "unsupported",
    "Not run here": "not_run",
}
"""Headings of a method's docstring, with the field that each of them fills."""

GIVEN = ("model", "calibration")
"""Parameters that every method is handed, as opposed to options that a person sets."""

_HELP = {
    "method-syntax": "Run the file with Python to see the mistake.",
    "method-docstring": "Start the file with a docstring: one line that says what the method does.",
    "method-section": "Use one of the known headings, over a line of dashes.",
    "method-item": "Write the item in the form that the message names.",
    "method-decorator": 'Decorate one function with @method("name", budget="…", needs="…").',
    "method-name": "Give the method the name of its file, with hyphens for underscores.",
}

MAX_BYTES = 512 * 1024

Report = Callable[[str, int, str], None]
"""Takes a problem: code, line of the file, message."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class Equation(_Plain):
    """One formula: where the paper has it, its LaTeX without dollars, and what it means."""

    label: str
    latex: str
    text: str


class Named(_Plain):
    """A name and what is said about it."""

    name: str
    text: str


class OfficialCode(_Plain):
    """The authors' repository at the commit that the implementation was compared with."""

    url: str
    commit: str | None
    text: str = ""


class NotRun(_Plain):
    """A tag of the entry that the implementation does not show, and why."""

    dimension: str
    value: str
    text: str


class Parameter(_Plain):
    """An option of the method; `default` is Python source, None where one must be given."""

    name: str
    default: str | None
    annotation: str | None


class MethodDoc(_Plain):
    """One file of impl/methods."""

    name: str
    path: str
    line: int
    budget: str | None
    needs: str | None
    on: list[str] = ["decoder"]
    summary: str
    description: str
    equations: list[Equation] = []
    hyperparameters: list[Named] = []
    official_code: list[OfficialCode] = []
    deviations: list[str] = []
    unsupported: list[Named] = []
    not_run: list[NotRun] = []
    parameters: list[Parameter] = []
    source: str
    code: str


@dataclass(frozen=True)
class _Item:
    """One item of a section; `line` counts from 0 at the docstring's first line."""

    line: int
    text: str


def method_files(root: Path) -> list[Path]:
    """The files that hold a method, sorted by name; those with a leading _ hold none."""
    folder = root / FOLDER
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))


def read_method(root: Path, file: Path) -> tuple[MethodDoc | None, list[Problem]]:
    """One method file as documentation, with what is wrong with it.

    The document is None only where the file cannot be read as Python.
    """
    text, problems = read_text(root, file, MAX_BYTES)
    if text is None:
        return None, problems
    return parse_method(relative_name(root, file), text)


def parse_method(path: str, text: str) -> tuple[MethodDoc | None, list[Problem]]:
    """Like `read_method`, for source that is already in memory."""
    name = Path(path).stem.replace("_", "-")
    problems: list[Problem] = []

    def report(code: str, line: int, message: str) -> None:
        problems.append(Problem(path, max(line, 1), 1, code, message, help=_HELP[code]))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of an invalid escape in a docstring
            tree = ast.parse(text)
        function = _decorated(tree)
        if function is None:
            candidates = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
            function = next((node for node in candidates if node.name == Path(path).stem), None)
            line = function.lineno if function else 1
            report("method-decorator", line, "no function at the top level is marked with @method")
        call = _method_call(function) if function else None
        parameters = _parameters(function) if function else []
    except SyntaxError as error:
        report("method-syntax", error.lineno or 1, f"this is not Python ({error.msg})")
        return None, problems
    except (ValueError, RecursionError, MemoryError) as error:
        report("method-syntax", 1, f"this cannot be read as Python ({type(error).__name__})")
        return None, problems
    declared = _constant(call.args[0]) if call and call.args else None
    if call is not None and declared != name:
        message = f"the method is called {shown(declared)}{details(f'the file asks for {name!r}')}"
        report("method-name", call.lineno, message)

    docstring, first, code = _docstring(tree, text)
    if not docstring.strip():
        report("method-docstring", 1, "the file has no docstring")
    summary, description, sections = _sections(docstring, first, report)
    document = MethodDoc(
        name=name,
        path=path,
        line=function.lineno if function else 1,
        budget=_keyword(call, "budget"),
        needs=_keyword(call, "needs"),
        on=_on(call),
        summary=summary,
        description=description,
        parameters=parameters,
        source=text,
        code=code,
        equations=_equations(sections.get("equations", []), first, report),
        hyperparameters=_named(sections.get("hyperparameters", []), first, report),
        official_code=_official(sections.get("official_code", []), first, report),
        deviations=[item.text for item in sections.get("deviations", [])],
        unsupported=_named(sections.get("unsupported", []), first, report),
        not_run=_not_run(sections.get("not_run", []), first, report),
    )
    return document, problems


def _method_call(function: ast.FunctionDef) -> ast.Call | None:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call):
            called = decorator.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", None)
            if name == "method":
                return decorator
    return None


def _decorated(tree: ast.Module) -> ast.FunctionDef | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _method_call(node):
            return node
    return None


def _constant(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _keyword(call: ast.Call | None, name: str) -> str | None:
    if call is None:
        return None
    return next((_constant(item.value) for item in call.keywords if item.arg == name), None)


def _on(call: ast.Call | None) -> list[str]:
    """The kinds of model that a method declares, language models if it says nothing."""
    given = call.keywords if call else []
    value = next((item.value for item in given if item.arg == "on"), None)
    names = value.elts if isinstance(value, ast.Tuple | ast.List) else []
    return [text for text in map(_constant, names) if text] or ["decoder"]


def _parameters(function: ast.FunctionDef) -> list[Parameter]:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = [
        *zip(positional, [*defaults, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    return [
        Parameter(
            name=argument.arg,
            default=ast.unparse(default) if default is not None else None,
            annotation=ast.unparse(argument.annotation) if argument.annotation else None,
        )
        for argument, default in pairs
        if argument.arg not in GIVEN
    ]


def _docstring(tree: ast.Module, text: str) -> tuple[str, int, str]:
    """The docstring, the file's line that its first line stands in, and the rest of the file."""
    if ast.get_docstring(tree, clean=False) is None:
        return "", 1, text
    node = tree.body[0]
    value = ast.get_docstring(tree, clean=True) or ""
    raw = ast.get_docstring(tree, clean=False) or ""
    skipped = len(raw) - len(raw.lstrip())
    first = node.lineno + raw[:skipped].count("\n")
    lines = text.split("\n")
    rest = "\n".join([*lines[: node.lineno - 1], *lines[node.end_lineno or node.lineno :]])
    return value, first, rest.strip("\n") + "\n"


def _sections(
    docstring: str, first: int, report: Report
) -> tuple[str, str, dict[str, list[_Item]]]:
    lines = docstring.split("\n")
    headings = [
        number
        for number in range(len(lines) - 1)
        if re.fullmatch(r"-{3,}\s*", lines[number + 1]) and lines[number].strip()
    ]
    head = "\n".join(lines[: headings[0]] if headings else lines).strip()
    summary, _, description = head.partition("\n\n")
    sections: dict[str, list[_Item]] = {}
    by_folded = {heading.casefold(): field for heading, field in SECTIONS.items()}
    for number, end in zip(headings, [*headings, len(lines)][1:], strict=True):
        title = lines[number].strip()
        if title.casefold() not in by_folded:
            near = closest(title, SECTIONS)
            hint = f"did you mean '{near}'?" if near else ""
            known = f"known: {listed(SECTIONS)}"
            message = f"unknown section {shown(title)}{details(hint, known)}"
            report("method-section", first + number, message)
            continue
        field = by_folded[title.casefold()]
        sections.setdefault(field, []).extend(_items(lines, number + 2, end))
    return " ".join(summary.split()), description.strip(), sections


def _items(lines: list[str], start: int, end: int) -> Iterator[_Item]:
    """Items that begin with "- "; text before the first of them is an item of its own."""
    current: list[str] = []
    begun = start
    for number in range(start, end):
        line = lines[number]
        if re.match(r"-\s+\S", line):
            if any(map(str.strip, current)):
                yield _Item(begun, _joined(current))
            current, begun = [line[1:].strip()], number
        else:
            if not any(map(str.strip, current)):
                begun = number
            current.append(line)
    if any(map(str.strip, current)):
        yield _Item(begun, _joined(current))


def _joined(lines: list[str]) -> str:
    """Continued lines as one paragraph each; an empty line parts paragraphs."""
    text = "\n".join([lines[0], textwrap.dedent("\n".join(lines[1:]))])
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _equations(items: list[_Item], first: int, report: Report) -> list[Equation]:
    found = []
    for item in items:
        match = re.search(r"\$\$(.+?)\$\$", item.text, re.DOTALL)
        if match is None:
            report("method-item", first + item.line, "an equation needs LaTeX between $$ and $$")
            continue
        label = item.text[: match.start()].strip().rstrip(":").strip()
        latex = " ".join(match[1].split())
        found.append(Equation(label=label, latex=latex, text=item.text[match.end() :].strip()))
    return found


def _named(items: list[_Item], first: int, report: Report) -> list[Named]:
    found = []
    for item in items:
        name, colon, text = item.text.partition(":")
        if not colon or not name.strip() or not text.strip():
            message = f"an item has the form '- name: text'{details(f'found {shown(item.text)}')}"
            report("method-item", first + item.line, message)
            continue
        found.append(Named(name=name.strip().strip("`"), text=text.strip()))
    return found


def _official(items: list[_Item], first: int, report: Report) -> list[OfficialCode]:
    found = []
    for item in items:
        match = re.fullmatch(
            r"(https?://[^\s<>\"'`\\]+)(?:\s+at\s+([0-9a-fA-F]{7,64}))?[\s:.,;]*(.*)",
            item.text,
            re.DOTALL,
        )
        if match is None:
            message = (
                f"an item has the form '- URL at COMMIT'{details(f'found {shown(item.text)}')}"
            )
            report("method-item", first + item.line, message)
            continue
        found.append(
            OfficialCode(url=match[1].rstrip(".,;:"), commit=match[2], text=match[3].strip())
        )
    return found


def _not_run(items: list[_Item], first: int, report: Report) -> list[NotRun]:
    found = []
    for item in items:
        match = re.fullmatch(r"`?(\w+)\s+([a-z0-9:-]+?)`?:\s+(.+)", item.text, re.DOTALL)
        if match is None:
            message = (
                f"an item has the form '- dimension value: reason'"
                f"{details(f'found {shown(item.text)}')}"
            )
            report("method-item", first + item.line, message)
            continue
        found.append(NotRun(dimension=match[1], value=match[2], text=match[3]))
    return found
