"""RMSNorm (arXiv 1910.07467), in the fewest of torch's operations that the device has for it."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Norm(Protocol):
    def __call__(self, x: Tensor) -> Tensor:
        """x [T, n] -> x / sqrt(mean(x^2) + eps) * weight [n]."""

    def add(self, x: Tensor, change: Tensor) -> Tensor:
        """Add change to x, the residual stream, in place, then norm it."""


class TorchNorm:
    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight, self.eps = weight, eps

    def __call__(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

    def add(self, x: Tensor, change: Tensor) -> Tensor:
        return self(x.add_(change))


class FourKernels(TorchNorm):
    """sqrt(mean(x^2) + eps) is hypot(|x|, sqrt(n eps)) / sqrt(n); torch's own takes twice as long on a CPU."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__(weight, eps)
        n = len(weight)
        self.scaled = weight * math.sqrt(n)
        self.floor = torch.tensor(math.sqrt(n * eps))

    def __call__(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x.div(torch.hypot(length, self.floor)).mul_(self.scaled)


def rms_norm(weight: Tensor, eps: float) -> Norm:
    on_cpu_in_float32 = weight.device.type == "cpu" and weight.dtype == torch.float32
    return FourKernels(weight, eps) if on_cpu_in_float32 else TorchNorm(weight, eps)
