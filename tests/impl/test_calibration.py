"""Windows of tokens: which ones, from where, and what is said when there are none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from hub import connected, point_client_at
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from impl import artefacts, calibration, language
from impl.calibration import Calibration, check_length, load_calibration
from impl.errors import BadInput, PrunedexError


@pytest.fixture(scope="module")
def characters() -> PreTrainedTokenizerFast:
    """One token a byte, so that a test can tell which tokens a text must have."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: token for token, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # A tokenizer that would add a token of its own at the start, as many do.
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="a")


def words_of(windows: Calibration, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    return [tokenizer.decode(row) for row in windows.tokens]


# --- lee ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lee() -> list[str]:
    try:
        return artefacts.fetch(artefacts.LEE).read_text("utf-8").splitlines()
    except PrunedexError as error:
        pytest.skip(f"the Lee corpus is not here: {error.message}")


def test_lee_is_documents_0_to_199_and_200_to_299(
    lee: list[str], characters: PreTrainedTokenizerFast
) -> None:
    text = "\n\n".join(lee[:200])
    windows = load_calibration("lee", characters, samples=400, length=512)
    assert "".join(words_of(windows, characters)) == text.encode()[: 400 * 512].decode()
    assert windows.revision == "gensim==4.4.0 sha256:5d78d6dafd953bbf"
    text = "\n\n".join(lee[200:300])
    windows = load_calibration("lee", characters, samples=3, length=100, split="evaluation")
    assert words_of(windows, characters) == [text[:100], text[100:200], text[200:300]]


# --- synthetic ----------------------------------------------------------------------------------


def test_synthetic_windows_start_documents_and_differ_between_splits_and_seeds() -> None:
    tokenizer = language.tokenizer()
    first = load_calibration("synthetic", tokenizer, samples=6, length=40)
    assert first.tokens.shape == (6, 40)
    assert first.tokens.dtype == torch.int64
    assert words_of(first, tokenizer) == language.windows(0, 6, 40, "calibration")
    again = load_calibration("synthetic", tokenizer, samples=6, length=40)
    assert first.sha256 == again.sha256
    seeded = load_calibration("synthetic", tokenizer, samples=6, length=40, seed=1)
    evaluation = load_calibration("synthetic", tokenizer, samples=6, length=40, split="evaluation")
    rows = {tuple(row) for w in (first, seeded, evaluation) for row in w.tokens.tolist()}
    assert len(rows) == 18


def test_synthetic_text_works_with_any_tokenizer(characters: PreTrainedTokenizerFast) -> None:
    windows = load_calibration("synthetic", characters, samples=2, length=60)
    text = language.windows(0, 2, 60, "calibration")
    assert words_of(windows, characters) == [each[:60] for each in text]


def test_the_hash_is_over_little_endian_64_bit_integers() -> None:
    windows = Calibration(torch.tensor([[1, 2], [258, -1]]), "x", "y", 0)
    octets = b"".join(n.to_bytes(8, "little", signed=True) for n in (1, 2, 258, -1))
    assert windows.sha256 == hashlib.sha256(octets).hexdigest()


# --- files --------------------------------------------------------------------------------------


def test_a_file_is_cut_in_order_and_its_last_fifth_is_for_evaluation(
    tmp_path: Path, characters: PreTrainedTokenizerFast
) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(1000))
    file = tmp_path / "some.txt"
    file.write_text(text, "utf-8")
    windows = load_calibration(str(file), characters, samples=8, length=100)
    assert "".join(words_of(windows, characters)) == text[:800]
    held = load_calibration(str(file), characters, samples=2, length=100, split="evaluation")
    assert "".join(words_of(held, characters)) == text[800:]
    assert windows.source == "some.txt"
    assert windows.revision == f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    with pytest.raises(BadInput, match=r"has 800 tokens, and 9 windows of 100 need 900"):
        load_calibration(str(file), characters, samples=9, length=100)
    with pytest.raises(BadInput, match="at most 2 samples"):
        load_calibration(str(file), characters, samples=3, length=100, split="evaluation")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no text"),
        (b" \n\t\n", "no text"),
        (b"a\xff\xfeb", "not UTF-8 text: byte 0xff at offset 1"),
        (b"PK\x00\x01 text", "binary"),
        (b"short", "too short: it has 4 tokens, and 2 windows of 8 need 16"),
        ("\ufefflong enough".encode() + b" or not" * 9, None),
    ],
)
def test_files_that_are_not_text_are_refused(
    tmp_path: Path, characters: PreTrainedTokenizerFast, content: bytes, said: str | None
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    if said is None:
        windows = load_calibration(str(file), characters, samples=1, length=8)
        assert words_of(windows, characters) == ["long eno"]  # without the byte order mark
    else:
        with pytest.raises(BadInput, match=said):
            load_calibration(str(file), characters, samples=2, length=8)


def test_a_misspelt_source_is_told_the_closest(characters: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BadInput, match="Did you mean wikitext2"):
        load_calibration("wikitext", characters)
    with pytest.raises(BadInput, match="lee, synthetic, wikitext2, c4, or the path"):
        load_calibration("no/such/file.txt", characters)


def test_a_folder_is_not_a_text(tmp_path: Path, characters: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        load_calibration(str(tmp_path), characters)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"length": 1}, "length is 1"),
        ({"split": "train"}, "unknown split 'train'"),
    ],
)
def test_impossible_requests_are_refused(
    characters: PreTrainedTokenizerFast, wrong: dict[str, int], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        load_calibration("synthetic", characters, **wrong)  # type: ignore[arg-type]


def test_a_language_that_the_tokenizer_does_not_know_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "english.txt"
    file.write_text("the cat sat on the mat who knows why . " * 40, "utf-8")
    with pytest.raises(BadInput, match=r"does not know 80% of the words of english.txt"):
        load_calibration(str(file), language.tokenizer(), samples=2, length=50)


@pytest.mark.parametrize("config", [LlamaConfig(max_position_embeddings=64), GPT2Config(n_ctx=64)])
def test_windows_must_fit_into_the_context(config: LlamaConfig | GPT2Config) -> None:
    limit = config.max_position_embeddings
    check_length(config, limit)
    with pytest.raises(BadInput, match=f"at most {limit} tokens"):
        check_length(config, limit + 1)


# --- the hub's texts ----------------------------------------------------------------------------


def parquet(texts: list[str]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), buffer)
    return buffer.getvalue()


def test_wikitext2_joins_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: PreTrainedTokenizerFast
) -> None:
    train, test = [f"training {i}" for i in range(99)], [f"test {i}" for i in range(99)]
    with connected(monkeypatch, tmp_path) as hub:
        files = {
            "wikitext-2-raw-v1/train-00000-of-00001.parquet": parquet(train),
            "wikitext-2-raw-v1/test-00000-of-00001.parquet": parquet(test),
        }
        hub.add("datasets/Salesforce/wikitext", files).pinned = calibration.WIKITEXT2.commit
        held = load_calibration("wikitext2", characters, samples=4, length=50, split="evaluation")
        windows = load_calibration("wikitext2", characters, samples=9, length=50)
        seeded = load_calibration("wikitext2", characters, samples=9, length=50, seed=1)
    assert "".join(words_of(held, characters)) == "\n\n".join(test)[:200]
    assert held.revision == f"Salesforce/wikitext@{calibration.WIKITEXT2.commit}"
    found = words_of(windows, characters)
    assert all(window in "\n\n".join(train) for window in found)
    assert len(set(found)) > 5
    assert seeded.sha256 != windows.sha256
    # Once fetched, no network is needed.
    assert load_calibration("wikitext2", characters, 9, 50).sha256 == windows.sha256


def test_c4_takes_one_window_of_each_long_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: PreTrainedTokenizerFast
) -> None:
    texts = [f"{i:03d}" + "é" * (i % 80) for i in range(200)]
    shard = gzip.compress("\n".join(json.dumps({"text": t}) for t in texts).encode())
    with connected(monkeypatch, tmp_path) as hub:
        files = {
            "en/c4-train.00000-of-01024.json.gz": shard,
            "en/c4-validation.00000-of-00008.json.gz": shard,
        }
        hub.add("datasets/allenai/c4", files).pinned = calibration.C4.commit
        windows = load_calibration("c4", characters, samples=20, length=100)
        held = load_calibration("c4", characters, samples=2, length=60, split="evaluation")
        with pytest.raises(BadInput, match="of 200 documents are longer than 160 tokens"):
            load_calibration("c4", characters, samples=20, length=160)
    tokens = [characters(text)["input_ids"] for text in texts]
    for row in windows.tokens.tolist():
        assert any(
            row == ids[i : i + 100] for ids in tokens for i in range(max(0, len(ids) - 100 + 1))
        )
    joined = characters(" ".join(texts))["input_ids"]
    assert held.tokens.flatten().tolist() == joined[:120]


def test_without_network_it_says_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: PreTrainedTokenizerFast
) -> None:
    point_client_at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(PrunedexError) as caught:
        load_calibration("c4", characters)
    assert caught.value.message == (
        "no connection to the Hugging Face hub, which c4 (allenai/c4) needs"
    )
    assert caught.value.hint is not None
    assert "synthetic" in caught.value.hint
