"""RMSNorm by a compiled function."""

import ctypes

import torch
from torch import Tensor


class NativeNorm:
    """See `norm.Norm`."""

    def __init__(self, library: ctypes.CDLL, weight: Tensor, eps: float) -> None:
        self.rms_norm, self.add_rms_norm = library.rms_norm, library.add_rms_norm
        self.weight, self.eps = weight, eps
        self.weight_at = weight.data_ptr()

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        out = torch.empty_like(x)
        self.rms_norm(x.data_ptr(), self.weight_at, out.data_ptr(), *x.shape, self.eps)
        return out

    def add(self, x: Tensor, change: Tensor) -> Tensor:
        out = torch.empty_like(change)
        self.add_rms_norm(x.data_ptr(), change.data_ptr(), self.weight_at, out.data_ptr(), *x.shape, self.eps)
        return out
