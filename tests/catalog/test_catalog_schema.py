"""The schemas for editors: current, and of one mind with the catalog."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from sample import ENTRY, merged, write_catalog

from catalog import schema_export
from catalog.store import Catalog

ROOT = Path(__file__).resolve().parents[2]


def plain(data: Any) -> Any:
    """YAML data as JSON has it."""
    if isinstance(data, dict):
        return {name: plain(value) for name, value in data.items()}
    if isinstance(data, list):
        return [plain(item) for item in data]
    return data.isoformat() if isinstance(data, dt.date) else data


def validator(root: Path, name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((root / schema_export.FOLDER / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schemas_are_current() -> None:
    stale = [file.name for file in schema_export.stale(ROOT)]
    assert stale == [], "run `python -m catalog.schema_export`"


def test_all_files_of_the_repository_pass_and_name_their_schema() -> None:
    catalog = Catalog.load(ROOT)
    assert [str(p) for p in catalog.problems if p.severity == "error"] == []
    reader = YAML(typ="safe", pure=True)
    kinds = [("papers", "*", "entry"), ("catalog/vocabulary", "*", "vocabulary")]
    kinds += [("catalog/resources", name, name) for name in ("models", "datasets", "tools")]
    for folder, files, name in kinds:
        found = validator(ROOT, f"{name}.schema.json")
        for file in sorted((ROOT / folder).glob(f"{files}.yaml")):
            errors = [error.message for error in found.iter_errors(plain(reader.load(file)))]
            assert errors == [], file.name
            first, _, _ = file.read_text(encoding="utf-8").partition("\n")
            prefix = "# yaml-language-server: $schema="
            assert first.startswith(prefix), file.name
            assert (file.parent / first.removeprefix(prefix)).resolve() == (
                ROOT / schema_export.FOLDER / f"{name}.schema.json"
            )


@pytest.mark.parametrize(
    "change",
    [
        {"tags": {"type": ["unstructurd"]}},
        {"kind": "metod"},
        {"unknown": 1},
        {"year": "2023"},
        {"ids": {"arxiv": 2310.1}},
    ],
)
def test_the_schema_refuses_what_the_catalog_refuses(
    change: dict[str, Any], tmp_path: Path
) -> None:
    root = write_catalog(tmp_path)
    schema_export.write(root)
    found = validator(root, "entry.schema.json")
    assert list(found.iter_errors(ENTRY)) == []
    assert list(found.iter_errors(merged(ENTRY, change)))
    write_catalog(root, {"papers/first2023base.yaml": change})
    assert any(problem.severity == "error" for problem in Catalog.load(root).problems)


def test_export_writes_only_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_catalog(tmp_path)
    monkeypatch.setenv("PRUNEDEX_ROOT", str(root))
    assert schema_export.main(["--check"]) == 1
    assert "stale: catalog/schema/entry.schema.json" in capsys.readouterr().out
    assert schema_export.main([]) == 0
    assert schema_export.main(["--check"]) == 0
    (root / "catalog/schema/entry.schema.json").write_text("{}")
    assert [file.name for file in schema_export.write(root)] == ["entry.schema.json"]
    present = sorted((root / "catalog/schema").iterdir())
    assert present == sorted(schema_export.exported(root))
    assert {"entry.schema.json", "vocabulary.schema.json", "models.schema.json"} < {
        file.name for file in present
    }
    assert schema_export.main(["--force"]) == 2


def fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every field of an entry and of the groups in it, by name."""
    groups = {"Entry": schema, **schema["$defs"]}
    return [
        (f"{group}.{name}", field)
        for group, described in groups.items()
        for name, field in described.get("properties", {}).items()
    ]


def refers(field: dict[str, Any]) -> bool:
    """Whether a field holds a group of fields, or a list of groups."""
    options = [field, field.get("items", {}), *field.get("anyOf", ())]
    return any("$ref" in option for option in options)


def test_editors_can_explain_every_field_and_show_an_example() -> None:
    schema = json.loads((ROOT / schema_export.FOLDER / "entry.schema.json").read_text("utf-8"))
    found = fields(schema)
    assert len(found) > 50
    for name, field in found:
        assert field.get("description"), f"{name} has no description"
        assert field.get("examples") or refers(field), f"{name} has no example"


def test_the_examples_are_of_the_form_that_they_show() -> None:
    schema = json.loads((ROOT / schema_export.FOLDER / "entry.schema.json").read_text("utf-8"))
    for name, field in fields(schema):
        checker = jsonschema.Draft202012Validator({**field, "$defs": schema["$defs"]})
        for example in field.get("examples", ()):
            assert [error.message for error in checker.iter_errors(example)] == [], name
