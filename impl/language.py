"""The synthetic language of the `tiny` model, of which the best possible perplexity is known.

A document opens with its topic and goes on in sentences. To predict it well a model needs

- the topic, named once at the start: it decides which subjects and names are frequent (by Zipf's
  law, as everywhere);
- agreement: determiners, nouns, verbs and pronouns agree in class (a, o, u) and number, also
  across adjectives, prepositional phrases, relative clauses and from sentence to sentence;
- knowledge: each noun and name has verbs that it likes, each verb its objects and adverbs;
- memory: a pronoun is the last subject again, and likes the same verbs; a name keeps coming back
  in its document, and is always `of` the same place.

The grammar is a stack of goals. The next word alone tells which option of which goal was taken, so
the words so far fix the state of the grammar, and with it the exact probability of every next
word. The entropy of these probabilities is the lowest loss that any model can have. Weights are
integers and orders are hashes, so a text depends on its seed alone.
"""

from __future__ import annotations

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import accumulate, product
from typing import TYPE_CHECKING, NamedTuple

from impl.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

START, UNKNOWN = "<s>", "<unk>"  # every document opens with START
REVISION = "language-1"  # of the texts: another number where the same seed gives another text
SPLITS = ("train", "calibration", "evaluation")  # part of the seed: splits share no text

# --- Words ------------------------------------------------------------------------------------


@cache
def _shuffled(words: tuple[str, ...], *context: str) -> tuple[str, ...]:
    """The words in an order that looks random but is fixed by the words and the context."""

    def order(word: str) -> bytes:
        return hashlib.sha256("|".join([*context, word]).encode()).digest()

    return tuple(sorted(words, key=order))


def _invent(count: int, ending: str) -> tuple[str, ...]:
    return tuple(next(_stem) + ending for _ in range(count))


CLASSES, NUMBERS = ("a", "o", "u"), ("", "n")  # a word's class is its vowel; a plural ends in n
FORMS = [(c, n) for c in CLASSES for n in NUMBERS]
_syllables = product("bdfgklmnprstvz", "aeiou", "bdgklmprstv")
_stem = iter(_shuffled(tuple(map("".join, _syllables))))
NOUNS = {c: _invent(20, c) for c in CLASSES}
ADJECTIVES = _invent(24, "e")
INTRANSITIVE = _invent(16, "i")
TRANSITIVE = _invent(20, "i")
ADVERBS = _invent(14, "ely")
NAMES = tuple(name.capitalize() for name in _invent(26, "is"))
PLACES = tuple(place.capitalize() for place in _invent(24, "or"))
TOPICS = _invent(8, "ismo")
PREPOSITIONS = ["apu", "beno", "cira", "delo", "ente", "fora"]
DETERMINERS = {(c, n): [f"l{c}{n}", f"k{c}{n}"] for c, n in FORMS}
PRONOUNS = {(c, n): f"s{c}{n}" for c, n in FORMS}
WORDS: tuple[str, ...] = (  # a word's index is its token
    *(UNKNOWN, START, ":", ".", ",", "who", "and", "of"),
    *(noun + n for c in CLASSES for noun in NOUNS[c] for n in NUMBERS),
    *(verb + n for verb in INTRANSITIVE + TRANSITIVE for n in NUMBERS),
    *(determiner for form in FORMS for determiner in DETERMINERS[form]),
    *(*PRONOUNS.values(), *PREPOSITIONS, *ADJECTIVES, *ADVERBS, *NAMES, *PLACES, *TOPICS),
)

# --- Grammar ----------------------------------------------------------------------------------

Goal = tuple[str, ...]  # a kind, and what it depends on: ("noun", "a", "n", "object", verb)


class Option(NamedTuple):
    """A word that meets a goal, its weight among the options, and the goals that it opens."""

    word: str
    weight: int
    then: tuple[Goal, ...] = ()


@cache
def _zipf(words: tuple[str, ...], share: int, *context: str) -> list[tuple[str, int]]:
    """Splits `share` (in thousands) over the words by 1/rank; the context decides the ranks."""
    harmonic = sum(1 / rank for rank in range(1, len(words) + 1))
    weights = [round(1000 * share / rank / harmonic) for rank in range(1, len(words) + 1)]
    return list(zip(_shuffled(words, *context), weights, strict=True))


def _class(head: str) -> str:
    """A noun shows its class in its last letter; a name has one that must be known."""
    return _shuffled(CLASSES, head)[0] if head in NAMES else head[-1]


def _after(role: str, head: str, n: str) -> tuple[Goal, ...]:
    """What follows a subject of this head word and number; nothing follows other phrases."""
    if role != "subject":
        return ()
    predicate = (("predicate", head, n, "object"), ("join", head, n))
    return (*predicate, ("word", "."), ("close",), ("sentence", head, n))


@cache
def _phrases(role: str, chooser: str) -> list[Option]:
    """Noun phrases by their determiners; the chooser (topic, verb, preposition) prefers a class."""
    return [
        Option(
            determiner,
            9000 * preference * count * weight // (7 * 3 * 5),
            (("adjectives", c, "more"), ("noun", c, n, role, chooser)),
        )
        for c, preference in zip(_shuffled(CLASSES, chooser), (4, 2, 1), strict=True)
        for n, count in zip(NUMBERS, (2, 1), strict=True)
        for determiner, weight in zip(DETERMINERS[c, n], (3, 2), strict=True)
    ]


def _names(role: str, share: int, topic: str, known: tuple[str, ...]) -> list[Option]:
    """Names: mostly known ones, the last introduced first, else new ones as the topic has it."""
    share_new = share // 3 if known else share
    new = [(name, w) for name, w in _zipf(NAMES, share_new, topic) if name not in known]
    recent = known[::-1]
    harmonic = sum(1 / rank for rank in range(1, len(recent) + 1))
    old = [
        (name, round(1000 * (share - share_new) / rank / harmonic))
        for rank, name in enumerate(recent, 1)
    ]
    return [
        Option(name, weight, (("of", name, *again), *_after(role, name, "")))
        for names, again in ((new, ()), (old, ("again",)))
        for name, weight in names
    ]


def _options(goal: Goal, topic: str, known: tuple[str, ...]) -> tuple[int, list[Option]]:
    """The weight of leaving the goal out (0: it must be met), and the ways to meet it.

    `known` are the names that the document has mentioned, in the order of their first mention.
    """
    match goal:
        case ("start",):
            return 0, [Option(START, 1, (("topic",),))]
        case ("topic",):
            return 0, [Option(word, 1, (("word", ":"), ("sentence",))) for word in TOPICS]
        case ("word", word):
            return 0, [Option(word, 1)]
        case ("close",):  # the document may end after a sentence
            return 7, [Option(START, 1, (("topic",),))]
        case ("sentence", *last):
            options = _phrases("subject", topic) + _names("subject", 7, topic, known)
            if last:  # a pronoun stands for the subject of the sentence before
                head, n = last
                pronoun = PRONOUNS[_class(head), n]
                options.append(Option(pronoun, 3000, _after("subject", head, n)))
            return 0, options
        case ("object", verb):
            return 0, _phrases("object", verb) + _names("object", 3, topic, known)
        case ("thing", chooser):  # takes no modifier, so that phrases do not nest for ever
            return 0, _phrases("thing", chooser)
        case ("adjectives", c, *more):
            then = (("adjectives", c),) if more else ()
            words = _zipf(ADJECTIVES, 3 if more else 1, topic, c)
            return 5000, [Option(word, w, then) for word, w in words]
        case ("noun", c, n, role, chooser):
            return 0, [
                Option(
                    noun + n,
                    w,
                    (() if role == "thing" else (("modifier", noun, n),)) + _after(role, noun, n),
                )
                for noun, w in _zipf(NOUNS[c], 10, chooser)
            ]
        case ("modifier", head, n):
            who = Option("who", 2000, (("predicate", head, n, "thing"), ("word", ",")))
            return 8000, [who, *(Option(word, 500, (("thing", word),)) for word in PREPOSITIONS)]
        case ("predicate", head, n, target):
            alone, taking = _zipf(INTRANSITIVE, 4, head), _zipf(TRANSITIVE, 6, head)
            return 0, [
                *(Option(verb + n, w, (("adverb", verb),)) for verb, w in alone),
                *(Option(verb + n, w, ((target, verb), ("adverb", verb))) for verb, w in taking),
            ]
        case ("adverb", verb):
            return 5000, [Option(word, w) for word, w in _zipf(ADVERBS, 2, verb)]
        case ("join", head, n):
            return 6000, [Option("and", 1000, (("predicate", head, n, "object"),))]
        case ("of", name, *again):
            return (1000 if again else 0), [Option("of", 1000, (("place", name),))]
        case ("place", _):  # of a new name; where a known one is from is in the document's memory
            return 0, [Option(word, w) for word, w in _zipf(PLACES, 10, topic)]
    raise ValueError(f"unknown goal {goal}")


class _Choice(NamedTuple):
    """The options of a goal, made ready for drawing and for looking up words."""

    skip: int
    options: list[Option]
    bounds: list[int]  # running sums of the weights, the skip first
    places: dict[str, int]

    @property
    def total(self) -> int:
        return self.bounds[-1]


@lru_cache(maxsize=100_000)
def _choice(goal: Goal, topic: str, known: tuple[str, ...]) -> _Choice:
    skip, options = _options(goal, topic, known)
    bounds = list(accumulate((option.weight for option in options), initial=skip))
    return _Choice(skip, options, bounds, {option.word: i for i, option in enumerate(options)})


# --- Texts and their probabilities --------------------------------------------------------------


class Reader:
    """The state of the grammar after the words so far."""

    def __init__(self) -> None:
        self._goals: list[Goal] = [("start",)]  # the next goal is the last
        self._topic = ""
        self._home: dict[str, str] = {}  # the place of each known name

    def _choice(self, goal: Goal) -> _Choice:
        if goal[0] == "place" and goal[1] in self._home:
            return _choice(("word", self._home[goal[1]]), "", ())
        known = tuple(self._home) if goal[0] in ("sentence", "object") else ()
        return _choice(goal, self._topic, known)

    def _take(self, goal: Goal, option: Option) -> None:
        if option.word == START:
            self._goals, self._home = [], {}
        elif goal[0] == "topic":
            self._topic = option.word
        elif goal[0] == "place":
            self._home[goal[1]] = option.word
        self._goals.extend(reversed(option.then))

    def draw(self, rng: random.Random) -> str:
        """Draws the next word and goes on to it."""
        while True:
            goal = self._goals.pop()
            choice = self._choice(goal)
            place = bisect_right(choice.bounds, int(rng.random() * choice.total)) - 1
            if place >= 0:
                option = choice.options[place]
                self._take(goal, option)
                return option.word

    def read(self, word: str) -> float:
        """The probability of `word` coming next, in (0, 1]; goes on to it.

        Raises BadInput where the language does not allow the word.
        """
        probability = 1.0
        while True:
            goal = self._goals.pop()
            choice = self._choice(goal)
            place = choice.places.get(word)
            if place is not None:
                option = choice.options[place]
                self._take(goal, option)
                return probability * option.weight / choice.total
            if not choice.skip:
                raise BadInput(f"the synthetic language does not allow {word!r} here")
            probability *= choice.skip / choice.total

    def distribution(self) -> dict[str, float]:
        """The exact probability of every word that may come next."""
        found: dict[str, float] = {}
        probability = 1.0
        for goal in reversed(self._goals):
            choice = self._choice(goal)
            for option in choice.options:
                found[option.word] = probability * option.weight / choice.total
            probability *= choice.skip / choice.total
            if not choice.skip:
                break
        return found


def text(seed: int | str, tokens: int, split: str = "train") -> str:
    """`tokens` words of documents, the last one cut off, separated by spaces."""
    if split not in SPLITS:
        raise BadInput(f"unknown split {split!r}", f"Choose {', '.join(SPLITS)}.")
    rng, reader = random.Random(f"{split} {seed}"), Reader()
    return " ".join(reader.draw(rng) for _ in range(tokens))


def windows(seed: int, samples: int, length: int, split: str) -> list[str]:
    """`samples` texts of `length` words. Each starts a document, so that none lacks its context."""
    return [text(f"{seed}.{sample}", length, split) for sample in range(samples)]


def optimal_perplexity(texts: str | Iterable[str]) -> float:
    """exp(mean of -log p) under the true probabilities: what a perfect model would reach.

    The first word of each text has no words before it and is not counted. Raises BadInput for a
    text that the language does not allow or that does not start a document.
    """
    losses: list[float] = []
    for each in [texts] if isinstance(texts, str) else texts:
        reader = Reader()
        probabilities = [reader.read(word) for word in each.split()]
        losses += [-math.log(p) for p in probabilities[1:]]
    if not losses:
        raise BadInput("a text of at least two words is needed")
    return math.exp(math.fsum(losses) / len(losses))


def expected_perplexity(seed: int, samples: int, length: int) -> float:
    """exp(mean entropy of the next word): what `optimal_perplexity` is on average.

    Over the positions of `samples` drawn windows, with the exact entropy at each of them.
    """
    entropies: list[float] = []
    for window in windows(seed, samples, length, "evaluation"):
        reader = Reader()
        for position, word in enumerate(window.split()):
            if position:
                chances = reader.distribution().values()
                entropies.append(-math.fsum(p * math.log(p) for p in chances))
            reader.read(word)
    return math.exp(math.fsum(entropies) / len(entropies))


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; words of any other language are `<unk>`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: token for token, word in enumerate(WORDS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=START,
        pad_token=START,
        clean_up_tokenization_spaces=False,
    )
