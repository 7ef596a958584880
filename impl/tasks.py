"""Labelled synthetic data for models that classify: `agreement` for texts, `shapes` for images.

| task | a sample is | the label says |
| --- | --- | --- |
| agreement | a text of the synthetic language in which at most one word was exchanged | what kind |
| shapes | a noisy grey image of one turned shape, before stripes | which shape |

Both have a perfect solution: the grammar decides every text of `agreement` (see below), and an
image of `shapes` is ambiguous only where noise hides it. A constant answer is right as often as
its label occurs, and every label occurs equally often.

`agreement` starts from texts that contain a word of every kind that can be exchanged, so that
nothing but the exchange tells the labels apart. The exchanged word fits in where it stands, and
is wrong only because of an earlier one:

- noun: does not agree with its determiner, of which up to two adjectives may separate it;
- verb: does not agree in number with its subject, phrases and relative clauses away;
- place: a name is `of` another place than where it was first mentioned.

A sample depends on task, split, seed and its number alone: random numbers come from strings that
are hashed, images are drawn with operations that IEEE 754 rounds alike everywhere (no sine, no
exponential) and are stored in 256 levels.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from impl import language
from impl.errors import BadInput

Drawn = TypeVar("Drawn")
SPLITS = language.SPLITS  # part of the seed of every sample: splits share none


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Inputs with the label of each, and where they came from.

    `inputs` are a model's keyword arguments, each [samples, …]; `labels` is a LongTensor [samples]
    whose values count through `names`.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    source: str
    revision: str
    seed: int
    names: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """Over the inputs by name and the labels, as little-endian 64-bit integers or 32-bit floats."""
        digest = hashlib.sha256()
        for name, tensor in [*sorted(self.inputs.items()), ("labels", self.labels)]:
            values = tensor.cpu().contiguous()
            stored = values.float().numpy().astype("<f4") if values.is_floating_point() else None
            digest.update(f"{name} {tuple(tensor.shape)}\0".encode())
            digest.update((values.numpy().astype("<i8") if stored is None else stored).data)
        return digest.hexdigest()

    def batches(self, size: int) -> list[tuple[dict[str, Tensor], Tensor]]:
        """Inputs and labels in pieces of at most `size` samples, in order."""
        return [
            (
                {name: tensor[start : start + size] for name, tensor in self.inputs.items()},
                self.labels[start : start + size],
            )
            for start in range(0, len(self), size)
        ]


class Task(NamedTuple):
    """What there is to tell apart, and which texts or images exactly: `revision` counts changes."""

    names: tuple[str, ...]
    revision: str

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / len(self.names)


TASKS: Mapping[str, Task] = {
    "agreement": Task(("intact", "noun", "verb", "place"), f"agreement-1 {language.REVISION}"),
    "shapes": Task(
        ("disc", "ring", "square", "frame", "triangle", "cross", "bars", "pair", "moon", "corner"),
        "shapes-1",
    ),
}


def load_task(name: str, samples: int, seed: int = 0, split: str = "calibration") -> LabelledData:
    """`samples` labelled samples of a task, the labels equally often (to one) and in random order.

    `split` is `train`, `calibration` or `evaluation`; no sample is in two of them. The same
    arguments give the same bits on every machine, and a longer request begins with the shorter one.

    agreement: `input_ids` [samples, 48], tokens of `language.tokenizer()`, the first of which is
    always `<s>`. shapes: `pixel_values` [samples, 1, 32, 32], float32 from -1 to 1.

    Raises BadInput for an unknown task or split, and for fewer samples than one.
    """
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1)
        guess = f"Did you mean {close[0]}? " if close else ""
        raise BadInput(f"no task is called {name!r}", f"{guess}Choose {' or '.join(TASKS)}.")
    if split not in SPLITS:
        raise BadInput(f"unknown split {split!r}", f"Choose {', '.join(SPLITS)}.")
    if samples < 1:
        raise BadInput(f"samples is {samples}: at least one is needed")
    task = TASKS[name]
    labels = _labels(f"{name} {split} {seed}", samples, len(task.names))
    keys = [f"{seed}.{number}" for number in range(samples)]
    inputs = (
        {"input_ids": agreement(keys, labels, split)}
        if name == "agreement"
        else {"pixel_values": shapes(keys, labels, split)}
    )
    return LabelledData(inputs, torch.tensor(labels), name, task.revision, seed, task.names)


def _labels(key: str, samples: int, kinds: int) -> list[int]:
    """Every label once, in random order, and again, until there are enough."""
    rng, labels = random.Random(key), list[int]()
    while len(labels) < samples:
        labels += sorted(range(kinds), key=lambda _: rng.random())
    return labels[:samples]


# --- agreement ----------------------------------------------------------------------------------

WORDS = 48  # of a text of `agreement`, the opening `<s>` among them
_TOKEN = {word: token for token, word in enumerate(language.WORDS)}
_VERBS = {verb + n: n for verb in language.INTRANSITIVE + language.TRANSITIVE for n in ("", "n")}
_NOUNS = {noun + n: (c, n) for c, n in language.FORMS for noun in language.NOUNS[c]}


def agreement(keys: list[str], labels: list[int], split: str) -> Tensor:
    """Tokens [samples, WORDS]; an intact text where the label is 0."""
    rows = []
    for key, label in zip(keys, labels, strict=True):
        words, places = text(key, split)
        if label:
            rng = random.Random(f"agreement {split} {key} {label}")
            exchange(words, places, TASKS["agreement"].names[label], rng)
        rows.append([_TOKEN[word] for word in words])
    return torch.tensor(rows)


def text(key: str, split: str) -> tuple[list[str], dict[str, list[int]]]:
    """The words of the first text of this key in which every kind of exchange is possible."""
    attempt = 0
    while True:
        words = language.text(f"agreement {key}.{attempt}", WORDS, split).split()
        places = exchangeable(words)
        if all(places.values()):
            return words, places
        attempt += 1


def exchangeable(words: list[str]) -> dict[str, list[int]]:
    """For each kind of `agreement`, the positions of words that an earlier word decides."""
    found: dict[str, list[int]] = {name: [] for name in TASKS["agreement"].names[1:]}
    known: set[str] = set()
    for i, word in enumerate(words):
        if word == language.START:
            known = set()
        elif word in _NOUNS:
            found["noun"].append(i)
        elif word in _VERBS:
            found["verb"].append(i)
        elif word == "of" and i + 1 < len(words):
            if words[i - 1] in known:
                found["place"].append(i + 1)
            known.add(words[i - 1])
    return found


def exchange(words: list[str], places: dict[str, list[int]], kind: str, rng: random.Random) -> None:
    """Exchanges one word of a kind, in place, for one that does not agree with what is before it."""
    i = _draw(places[kind], rng)
    word = words[i]
    if kind == "noun":
        c, n = _draw([form for form in language.FORMS if form != _NOUNS[word]], rng)
        words[i] = _draw(language.NOUNS[c], rng) + n
    elif kind == "verb":
        words[i] = word[:-1] if _VERBS[word] else word + "n"
    else:
        words[i] = _draw([place for place in language.PLACES if place != word], rng)


def _draw(options: Sequence[Drawn], rng: random.Random) -> Drawn:
    """One of the options. Only `random()` is promised to give the same in every Python."""
    return options[int(rng.random() * len(options))]


# --- shapes -------------------------------------------------------------------------------------

SIDE = 32  # of an image of `shapes`, in pixels
_DRAWN = 8  # random numbers of an image besides its noise
_NOISE = 4  # bytes that are added up to the noise of a pixel
_CHUNK = 256  # images that are drawn together


def shapes(keys: list[str], labels: list[int], split: str) -> Tensor:
    """Images [samples, 1, SIDE, SIDE] in float32, from -1 to 1 in 256 levels."""
    chunks = []
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunks.append(_draw_shapes(keys[part], torch.tensor(labels[part]), split))
    return torch.cat(chunks)


def _draw_shapes(keys: list[str], labels: Tensor, split: str) -> Tensor:
    """A shape of random place, size, turn and brightness, half-transparent stripes, and noise.

    Coordinates are in pixels from the centre of the image, in float64.
    """
    length = 4 * _DRAWN + _NOISE * SIDE * SIDE
    drawn = b"".join(
        hashlib.shake_256(f"shapes {split} {key}".encode()).digest(length) for key in keys
    )
    data = torch.frombuffer(bytearray(drawn), dtype=torch.uint8).view(len(keys), length).double()
    numbers = data[:, : 4 * _DRAWN].view(-1, _DRAWN, 4)
    # Four bytes to a number from 0 to 1, each then [samples, 1, 1].
    weights = [256.0**-place for place in (1, 2, 3, 4)]
    uniform = sum(numbers[..., place] * weight for place, weight in enumerate(weights))
    assert isinstance(uniform, Tensor)
    x0, y0, size, turn, light, stripe_turn, stripe_width, stripe_light = (
        uniform.view(-1, _DRAWN, 1, 1).unbind(1)
    )  # fmt: skip
    noise = data[:, 4 * _DRAWN :].view(-1, SIDE, SIDE, _NOISE).sum(-1) / (255 * _NOISE) - 0.5

    line = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    x, y = line[None, None, :], line[None, :, None]
    radius = 6 + 5 * size
    cosine, sine = _direction(turn)
    dx, dy = x - 10 * (x0 - 0.5), y - 10 * (y0 - 0.5)
    # In the shape's own frame, in radii.
    u, v = (dx * cosine + dy * sine) / radius, (dy * cosine - dx * sine) / radius
    shape = _inside(u, v, labels)

    # Brightness is at least 0.25 from the background, darker or brighter.
    contrast = torch.where(light < 0.5, light - 0.75, light - 0.25)
    cosine, sine = _direction(stripe_turn)
    along = (x * cosine + y * sine) / (3 + 6 * stripe_width)
    stripes = (along - along.floor() < 0.5).double() * (0.6 * (stripe_light - 0.5))
    image = contrast * shape.double() + stripes + 1.2 * noise
    levels = ((image.clamp(-1, 1) + 1) * 127.5 + 0.5).floor()
    return ((levels - 127.5) / 127.5).float()[:, None]


def _direction(turn: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of a turn; a turn of 0 to 1 covers the circle, if not quite evenly.

    From the rational points of a quarter circle, ((1 - t²) / (1 + t²), 2t / (1 + t²)), since
    sines differ in the last bit from machine to machine.
    """
    quarter = (4 * turn).floor()
    t = 4 * turn - quarter
    c, s = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    swap, flip = quarter % 2 == 1, quarter >= 2
    c, s = torch.where(swap, -s, c), torch.where(swap, c, s)
    return torch.where(flip, -c, c), torch.where(flip, -s, s)


def _inside(u: Tensor, v: Tensor, labels: Tensor) -> Tensor:
    """Which pixels the shapes cover, [samples, SIDE, SIDE], given coordinates in radii."""

    def disc(du: float, dv: float, radius: float) -> Tensor:
        a, b = u - du, v - dv
        return a * a + b * b < radius * radius

    square = torch.maximum(u.abs(), v.abs())
    # Half-planes at 90, 210 and 330 degrees; 0.866 is about the root of 3/4.
    triangle = torch.maximum(-v, torch.maximum(0.866 * u + 0.5 * v, 0.5 * v - 0.866 * u))
    every = {
        "disc": disc(0, 0, 0.9),
        "ring": disc(0, 0, 1.0) & ~disc(0, 0, 0.55),
        "square": square < 0.8,
        "frame": (square < 0.85) & (square > 0.45),
        "triangle": triangle < 0.55,
        "cross": (torch.minimum(u.abs(), v.abs()) < 0.27) & (square < 1),
        "bars": (square < 0.9) & (v.abs() > 0.35),
        "pair": disc(0.6, 0, 0.5) | disc(-0.6, 0, 0.5),
        "moon": disc(0, 0, 1.0) & ~disc(0.55, 0, 0.85),
        "corner": (square < 0.9) & (torch.minimum(u, v) < -0.25),
    }
    stacked = torch.stack([every[name] for name in TASKS["shapes"].names])
    return stacked[labels, torch.arange(len(labels))]
