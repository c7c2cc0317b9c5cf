"""RMSNorm (arXiv 1910.07467), in the fewest kernels that the device has for it."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

Norm = Callable[[Tensor], Tensor]


def rms_norm(weight: Tensor, eps: float) -> Norm:
    """x [T, n] -> x / sqrt(mean(x^2) + eps) * weight [n]."""
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        n = len(weight)
        return partial(four_kernels, weight * math.sqrt(n), torch.tensor(math.sqrt(n * eps)))
    return partial(F.rms_norm, normalized_shape=weight.shape, weight=weight, eps=eps)


def four_kernels(weight: Tensor, floor: Tensor, x: Tensor) -> Tensor:
    """sqrt(mean(x^2) + eps) is hypot(|x|, sqrt(n eps)) / sqrt(n); torch's own takes twice as long on a CPU."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x.div(torch.hypot(length, floor)).mul_(weight)
