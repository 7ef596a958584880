"""A checkpoint is written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from impl.errors import BadInput, PrunedexError
from impl.registry import prune
from impl.store import MANIFEST, check_target, save
from impl.toys import toy, toy_tokens


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_plain_transformers_loads_what_was_saved(tmp_path: Path) -> None:
    model = toy("llama-tied")
    prune(model, "magnitude", sparsity=0.5)
    save(model, None, tmp_path / "a" / "b", {"method": "magnitude"})
    assert json.loads((tmp_path / "a" / "b" / MANIFEST).read_text())["method"] == "magnitude"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "b")
    tokens = toy_tokens(1, 8)
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, loaded(tokens).logits)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert entries(tmp_path / "a") == {"b"}


def test_an_interrupted_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    save(toy("llama"), None, target, {"run": 1})
    model = toy("llama")

    def interrupted(folder: Path) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(model, None, target, {"run": 2}, overwrite=True)
    assert json.loads((target / MANIFEST).read_text()) == {"run": 1}
    assert entries(tmp_path) == {"model"}


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy("llama")

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(PrunedexError, match="No space left on device"):
        save(model, None, tmp_path / "model", {})
    assert entries(tmp_path) == set()


def test_only_our_own_checkpoints_are_replaced_and_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "model"
    save(toy("llama"), None, target, {"run": 1})
    with pytest.raises(BadInput, match="there is a checkpoint already"):
        save(toy("llama"), None, target, {"run": 2})
    save(toy("llama"), None, target, {"run": 3}, overwrite=True)
    assert json.loads((target / MANIFEST).read_text()) == {"run": 3}
    assert entries(tmp_path) == {"model"}
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(BadInput, match="not a checkpoint of ours"):
            save(toy("llama"), None, other, {}, overwrite=overwrite)
    assert entries(other) == {"chapter.tex"}


def test_a_file_or_link_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(BadInput, match="not a folder"):
            check_target(tmp_path / name)
    with pytest.raises(BadInput, match="cannot save to"):
        check_target(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_found_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="Permission denied"):
        check_target(tmp_path / "model")
    tmp_path.chmod(0o700)
