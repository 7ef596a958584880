"""The sums that `Block.collect` takes over the calibration text."""

from __future__ import annotations

import pytest
import torch

from impl.statistics import gram, sum_of_squares


@pytest.mark.parametrize("width", [1, 3, 4, 5, 64, 131])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gram_matrix_is_the_whole_product_and_symmetric(width: int, dtype: torch.dtype) -> None:
    x = torch.randn(50, width, generator=torch.Generator().manual_seed(width)).to(dtype)
    found, exact = gram(x), x.double().T @ x.double()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, found.T)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (50, 131), (9_001, 17), (3, 70_000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squares_are_summed_in_double_whatever_the_shape(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])).to(dtype)
    before, found = x.clone(), sum_of_squares(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, x.double().square().sum(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
