"""The norm is torch's, however few kernels it takes."""

import pytest
import torch
from torch.nn import functional as F

from inference.engine.norm import rms_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3, 0.0])
def test_it_equals_torchs(size: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 64, generator=generator) * size).to(dtype)
    weight = torch.randn(64, generator=generator).to(dtype)
    torch.testing.assert_close(rms_norm(weight, 1e-5)(x), F.rms_norm(x, (64,), weight, 1e-5))
