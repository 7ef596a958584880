"""The labelled tasks: the same bits everywhere, fair labels, and models that have learnt them."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from impl import language, tasks
from impl.errors import BadInput
from impl.tasks import TASKS, load_task

ASSETS = Path(tasks.__file__).parent / "assets"


def words(row: Tensor) -> list[str]:
    return [language.WORDS[token] for token in row]


# --- the data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "revision", "hashes"),
    [
        (
            "agreement",
            "agreement-1 language-1",
            {
                "train": "28a056393d2eb161",
                "calibration": "2a5349ca5bc03fa4",
                "evaluation": "66e5afdebe698901",
            },
        ),
        (
            "shapes",
            "shapes-1",
            {
                "train": "e3e026c4458e3032",
                "calibration": "b5b49ea9d8c4c81b",
                "evaluation": "bc6e8a713acb8876",
            },
        ),
    ],
)
def test_samples_are_the_same_on_every_machine(
    task: str, revision: str, hashes: dict[str, str]
) -> None:
    # If this fails on purpose, count up the task's revision and train its model anew.
    found = {split: load_task(task, 20, 0, split).sha256[:16] for split in hashes}
    assert found == hashes
    assert load_task(task, 1).revision == revision


@pytest.mark.parametrize("task", TASKS)
def test_a_longer_request_begins_with_the_shorter_one(task: str) -> None:
    short, long = load_task(task, 7, 3), load_task(task, 23, 3)
    assert (len(short), len(long)) == (7, 23)
    assert torch.equal(short.labels, long.labels[:7])
    for name, values in short.inputs.items():
        assert torch.equal(values, long.inputs[name][:7])
    assert short.sha256 != long.sha256


@pytest.mark.parametrize("task", TASKS)
def test_splits_and_seeds_share_no_sample(task: str) -> None:
    seen: set[bytes] = set()
    for split in tasks.SPLITS:
        for seed in (0, 1):
            data = load_task(task, 60, seed, split)
            (values,) = data.inputs.values()
            seen |= {row.numpy().tobytes() for row in values}
    assert len(seen) == 60 * 2 * len(tasks.SPLITS)


@pytest.mark.parametrize("task", TASKS)
def test_labels_are_balanced_and_in_no_order(task: str) -> None:
    data = load_task(task, 200)
    kinds = len(TASKS[task].names)
    assert data.names == TASKS[task].names
    assert TASKS[task].chance == 1 / kinds
    assert torch.equal(torch.bincount(data.labels), torch.full((kinds,), 200 // kinds))
    assert len({tuple(group.tolist()) for group in data.labels.view(-1, kinds)}) > 15
    batches = data.batches(64)
    assert [len(labels) for _, labels in batches] == [64, 64, 64, 8]
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels)


def test_a_sample_is_told_by_its_label_and_its_bits() -> None:
    one, other = load_task("agreement", 5), load_task("agreement", 5)
    assert one.sha256 == other.sha256
    changed = tasks.LabelledData(one.inputs, one.labels.roll(1), "agreement", "", 0)
    assert changed.sha256 != one.sha256


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shape", 3), "Did you mean shapes"),
        (("imagenet", 3), "agreement or shapes"),
        (("shapes", 0), "at least one"),
        (("shapes", 3, 0, "test"), "train, calibration, evaluation"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        load_task(*arguments)


def test_one_word_of_a_text_is_exchanged_and_the_grammar_refuses_just_that_word() -> None:
    names = TASKS["agreement"].names
    keys = [f"0.{number}" for number in range(12)]
    intact = tasks.agreement(keys, [0] * len(keys), "evaluation")
    places: Counter[str] = Counter()
    for label, name in enumerate(names):
        exchanged = tasks.agreement(keys, [label] * len(keys), "evaluation")
        for one, other in zip(intact, exchanged, strict=True):
            differs = (one != other).nonzero().flatten().tolist()
            assert len(differs) == (label > 0)
            reader = language.Reader()
            for i, word in enumerate(words(other)):
                if i in differs:
                    places[name] += i
                    with pytest.raises(BadInput):
                        reader.read(word)
                    break
                reader.read(word)
    assert len(places) == 3


def test_every_text_could_have_had_every_exchange() -> None:
    # Otherwise a text in which no name comes back, say, would tell something about its label.
    for row in load_task("agreement", 40).inputs["input_ids"]:
        assert len(row) == tasks.WORDS
        assert words(row)[0] == language.START
        assert all(tasks.exchangeable(words(row)).values())


def test_an_exchange_of_each_kind_worked_out_by_hand() -> None:
    noun = language.NOUNS["a"][0]
    name, place = language.NAMES[0], language.PLACES[0]
    verb, so = language.TRANSITIVE[0], language.PRONOUNS["o", ""]
    text = f"{language.START} la {noun} {verb} {name} of {place} . {so} {verb} {name} of {place}"
    found = tasks.exchangeable(text.split())
    assert found == {"noun": [2], "verb": [3, 9], "place": [12]}


def test_images_are_of_256_levels_and_shapes_are_neither_tiny_nor_all_over() -> None:
    pixels = load_task("shapes", 100).inputs["pixel_values"]
    assert pixels.shape == (100, 1, tasks.SIDE, tasks.SIDE)
    assert pixels.dtype == torch.float32
    levels = pixels.double() * 127.5 + 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert -1 <= pixels.min() < -0.9
    assert 0.9 < pixels.max() <= 1
    line = torch.arange(-1.5, 1.5, 0.05, dtype=torch.float64)
    kinds = len(TASKS["shapes"].names)
    u = line[None, None, :].expand(kinds, -1, -1)
    covered = tasks._inside(u, line[None, :, None].expand(kinds, -1, -1), torch.arange(kinds))
    areas = covered.double().mean((1, 2)) * 9  # in squared radii
    assert (areas > 0.9).all()
    assert (areas < 3).all()
    for a in range(kinds):
        for b in range(a):
            assert (covered[a] ^ covered[b]).double().mean() * 9 > 0.4, "two shapes are alike"


def test_turns_cover_the_circle() -> None:
    turn = torch.arange(0, 1, 0.01, dtype=torch.float64)
    cosine, sine = tasks._direction(turn)
    assert torch.allclose(cosine.square() + sine.square(), torch.ones_like(turn))
    angle = torch.atan2(sine, cosine) % (2 * math.pi)
    assert (angle.diff() > 0).all()
    assert (angle.diff() < 0.08).all()
    assert angle[0] == 0


# --- the models ---------------------------------------------------------------------------------


def recorded(model: str, row: str) -> float:
    """The first number of a row of a table in the model's README, a share if it is in percent."""
    text = (ASSETS / model / "README.md").read_text("utf-8")
    found = re.search(rf"^\| {row} \| ([\d.]+)(%?) \|", text, re.M)
    assert found, f"no row {row} in the README of {model}"
    return float(found[1]) / (100 if found[2] else 1)


@pytest.mark.parametrize("name", ["tiny-moe", "tiny-encoder", "tiny-convnet"])
def test_models_are_small_and_described(name: str) -> None:
    folder = ASSETS / name
    assert (folder / "model.safetensors").stat().st_size < 2_000_000
    assert (
        f"train_tiny_others.py {name.removeprefix('tiny-')}" in (folder / "README.md").read_text()
    )
    assert (folder / "tokenizer.json").exists() == (name != "tiny-convnet")


@pytest.mark.parametrize(
    ("name", "task", "least", "auto"),
    [
        ("tiny-encoder", "agreement", 0.9, AutoModelForSequenceClassification),
        ("tiny-convnet", "shapes", 0.9, AutoModelForImageClassification),
    ],
)
def test_classifiers_are_as_good_as_recorded(name: str, task: str, least: float, auto: Any) -> None:
    model = auto.from_pretrained(ASSETS / name).eval()
    assert tuple(model.config.id2label.values()) == TASKS[task].names
    data = load_task(task, 500, 0, "evaluation")
    with torch.no_grad():
        right = torch.cat([
            model(**inputs).logits.argmax(-1) == labels for inputs, labels in data.batches(250)
        ])  # fmt: skip
    accuracy = right.float().mean().item()
    assert accuracy > least
    assert accuracy == pytest.approx(recorded(name, "all"), abs=0.03)  # of 2,000 samples


@torch.no_grad()
def test_the_mixture_of_experts_is_as_good_as_recorded_and_uses_all_experts() -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(ASSETS / "tiny-moe").eval()
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tiny-moe")
    windows = language.windows(0, 64, 128, "evaluation")
    tokens = torch.tensor(tokenizer(windows)["input_ids"])
    output = model(tokens, labels=tokens, output_router_logits=True)
    plain = model(tokens, labels=tokens).loss
    perplexity, best = plain.exp().item(), language.optimal_perplexity(windows)
    assert perplexity == pytest.approx(recorded("tiny-moe", "128"), rel=0.01)
    assert best < perplexity < 1.3 * best
    for logits in output.router_logits:
        chosen = torch.bincount(logits.topk(2).indices.flatten(), minlength=8)
        assert (chosen > 0.02 * chosen.sum()).all(), "an expert is hardly ever chosen"
