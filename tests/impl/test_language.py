"""The synthetic language: its probabilities are exact, its grammar holds, its texts are fixed."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter

import pytest

from impl import language
from impl.errors import BadInput
from impl.language import Reader

DOCUMENTS = language.text("grammar", 20_000).split(language.START)[1:-1]


def test_every_word_is_one_token_and_the_tokenizer_goes_both_ways() -> None:
    assert len(set(language.WORDS)) == len(language.WORDS)
    tokenizer = language.tokenizer()
    text = language.text(1, 3000)
    tokens = tokenizer(text)["input_ids"]
    assert [language.WORDS[token] for token in tokens] == text.split()
    assert tokenizer.decode(tokens) == text
    assert tokenizer("quite unheard of")["input_ids"] == [0, 0, language.WORDS.index("of")]


def test_texts_depend_on_seed_and_split_alone() -> None:
    # If this fails on purpose, count up language.REVISION and train tiny anew.
    digest = hashlib.sha256(language.text(0, 5000, "evaluation").encode()).hexdigest()
    assert (language.REVISION, digest[:16]) == ("language-1", "5d4ceba0d66ea448")
    texts = {language.text(seed, 50, split) for seed in range(3) for split in language.SPLITS}
    assert len(texts) == 9
    windows = language.windows(0, 5, 40, "calibration")
    assert len(set(windows)) == 5
    assert all(w.startswith(language.START) and len(w.split()) == 40 for w in windows)
    with pytest.raises(BadInput, match="split"):
        language.text(0, 10, "test")


def test_probabilities_of_the_next_word_sum_to_one_and_agree_with_reading() -> None:
    reader = Reader()
    for word in language.text(2, 4000).split():
        distribution = reader.distribution()
        assert math.isclose(math.fsum(distribution.values()), 1.0)
        assert math.isclose(distribution[word], reader.read(word))


@pytest.mark.parametrize("words", [1, 2, 3, 9, 30])
def test_words_are_drawn_with_the_probabilities_that_are_told(words: int) -> None:
    prefix = language.text(3, words).split()
    draws: Counter[str] = Counter()
    count = 4000
    rng = random.Random(words)
    for _ in range(count):
        reader = Reader()
        for word in prefix:
            reader.read(word)
        expected = reader.distribution()
        draws[reader.draw(rng)] += 1
    assert set(draws) <= set(expected)
    for word, p in expected.items():
        # Five standard deviations: about one run in ten thousand would fail by chance, and the
        # seed is fixed.
        assert abs(draws[word] - count * p) <= 5 * math.sqrt(count * p * (1 - p)) + 1, word


def test_the_best_perplexity_of_a_text_worked_out_by_hand() -> None:
    # After the start, one of eight topics, then a colon for certain.
    text = f"{language.START} {language.TOPICS[0]} :"
    assert language.optimal_perplexity(text) == pytest.approx(math.sqrt(8))
    assert language.optimal_perplexity([text, text]) == pytest.approx(math.sqrt(8))


def test_the_best_perplexity_is_the_expected_one_on_average() -> None:
    windows = language.windows(5, 60, 100, "evaluation")
    expected = language.expected_perplexity(5, 60, 100)
    assert language.optimal_perplexity(windows) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(
    "text", ["", language.START, "of", f"{language.START} of", f"{language.START} <unk>"]
)
def test_what_is_not_the_language_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        language.optimal_perplexity(text)


def test_a_name_is_always_of_the_same_place_within_a_document() -> None:
    again = 0
    for document in DOCUMENTS:
        home: dict[str, str] = {}
        words = document.split()
        for name, of, place in zip(words, words[1:], words[2:], strict=False):
            if name in language.NAMES and of == "of":
                again += name in home
                assert home.setdefault(name, place) == place
    assert again > 100


def test_determiners_agree_with_their_nouns_across_adjectives() -> None:
    form_of = {d: form for form, both in language.DETERMINERS.items() for d in both}
    nouns = {noun + n: (c, n) for c, n in language.FORMS for noun in language.NOUNS[c]}
    across = 0
    for document in DOCUMENTS:
        form, adjectives = None, 0
        for word in document.split():
            if word in form_of:
                form, adjectives = form_of[word], 0
            elif word in language.ADJECTIVES:
                adjectives += 1
            elif form:
                assert nouns[word] == form
                form = None
                across += adjectives > 0
    assert across > 100


def test_verbs_agree_with_the_subject_across_all_that_stands_between() -> None:
    form_of = {d: n for (_, n), both in language.DETERMINERS.items() for d in both}
    form_of |= {pronoun: n for (_, n), pronoun in language.PRONOUNS.items()}
    form_of |= dict.fromkeys(language.NAMES, "")
    verbs = {v + n: n for v in language.INTRANSITIVE + language.TRANSITIVE for n in ("", "n")}
    for document in DOCUMENTS:
        body = document.split(":", 1)[1]
        for sentence in body.split(".")[:-1]:
            words = sentence.split()
            # The last verb belongs to the subject, unless it stands in a relative clause.
            if "who" not in words and "and" not in words:
                found = [verbs[word] for word in words if word in verbs]
                assert found == [form_of[words[0]]]
