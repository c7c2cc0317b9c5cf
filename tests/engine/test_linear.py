"""Whichever kernel multiplies, the product is that of float32."""

import pytest
import torch
from torch.nn import functional as F

from inference.engine.linear import fits_float16, linear

STORED = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (48, 1536), (301, 64), (8, 40)])
def test_products_are_exact_to_float32(stored: torch.dtype, outputs: int, inputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(outputs, inputs, generator=generator) * 0.02).to(stored).float()
    bias = torch.randn(outputs, generator=generator)
    plain, biased = linear(weight), linear(weight, bias)
    for tokens in (1, 2, 7, 33, 130):
        x = torch.randn(tokens, inputs, generator=generator)
        torch.testing.assert_close(plain(x), F.linear(x, weight), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(biased(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


def test_float16_is_for_weights_that_it_holds() -> None:
    weight = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    assert fits_float16(weight.half().float())
    assert fits_float16(weight.bfloat16().float())
    assert fits_float16((weight * 1e-6).bfloat16().float())
    assert not fits_float16(weight)
    assert not fits_float16(weight.bfloat16().float() * 1e6)
    assert not fits_float16(torch.full((2, 2), float("nan")))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_stay_what_they_are(dtype: torch.dtype) -> None:
    x, weight = torch.ones(3, 8, dtype=dtype), torch.eye(8, dtype=dtype)
    assert torch.equal(linear(weight)(x), x)
