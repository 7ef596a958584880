"""Masks have exact counts, whatever the scores: ties, small widths, odd shares."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impl.errors import BadInput
from impl.masks import NM, lowest, n_m, per_layer, per_output, shares

scores = st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**31)).map(
    # Few distinct values, so that most of them tie.
    lambda s: torch.randint(0, 4, s[:2], generator=torch.Generator().manual_seed(s[2])).float()
)


@given(scores, st.floats(0, 0.999))
def test_counts_are_exact_and_spread_over_rows(score: torch.Tensor, sparsity: float) -> None:
    due = round(sparsity * score.numel())
    assert per_layer(score, sparsity).sum() == due
    rows = per_output(score, sparsity).sum(1)
    assert rows.sum() == due
    assert rows.max() - rows.min() <= 1


@given(scores, st.integers(0, 70))
def test_the_lowest_go_and_ties_fall_to_the_first(score: torch.Tensor, count: int) -> None:
    mask = lowest(score, count)
    expected = torch.zeros_like(mask)
    for row, values in enumerate(score.tolist()):
        order = sorted(range(len(values)), key=lambda j: (values[j], j))
        expected[row, order[:count]] = True
    assert torch.equal(mask, expected)


@given(scores, st.integers(1, 40), st.integers(0, 2**31))
def test_every_row_has_a_count_of_its_own(score: torch.Tensor, distinct: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, score.shape[1] + 1, (distinct,), generator=generator)
    counts = counts[torch.randint(0, distinct, score.shape[:1], generator=generator)]
    mask = lowest(score, counts)
    for row, count in enumerate(counts.tolist()):
        assert torch.equal(mask[row], lowest(score[row], count))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**31))
def test_n_of_m_stay_in_every_group(n: int, more: int, groups: int, seed: int) -> None:
    pattern = NM(n, n + more)
    score = torch.rand(3, groups * pattern.m, generator=torch.Generator().manual_seed(seed))
    mask = n_m(score, pattern).unflatten(-1, (-1, pattern.m))
    assert ((~mask).sum(-1) == n).all()
    grouped = score.unflatten(-1, (-1, pattern.m))
    kept, gone = grouped.masked_fill(mask, 9), grouped.masked_fill(~mask, -9)
    assert (gone.amax(-1) <= kept.amin(-1)).all()


@given(st.integers(0, 10**7), st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_shares_add_up_and_fit(total: int, sizes: list[int]) -> None:
    total %= sum(sizes) + 1
    parts = shares(total, sizes)
    assert sum(parts) == total
    assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        lowest(torch.tensor([[0.0, float("nan")]]), 1)


@pytest.mark.parametrize(
    "text", ["", "2", "4:2", "0:4", "2:2", "2:4:8", "-1:4", "2/4", "a:b", "２:4"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="N:M"):
        NM.parse(text)


def test_patterns_read_and_write() -> None:
    assert str(NM.parse(" 4:8 ")) == "4:8"
    assert NM.parse("1:4") == NM(1, 4)
    assert NM(1, 4).sparsity == 0.75
    assert NM.parse(None) is None
