"""Linear layers in the memory layout in which their hardware multiplies fastest."""

import torch
from torch import Tensor
from torch.nn import functional as F


class Linear:
    """y = x W^T + b for W [out, in].

    On a CPU in float32, a wide layer is kept as [in, out]: a single row then reads it in one sweep, at nearly twice
    the speed, and a batch loses nothing. Everything else is kept as it is in the checkpoint.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        outputs, inputs = weight.shape
        self.by_columns = is_cpu_float32(weight) and outputs > inputs
        self.weight = weight.t().contiguous() if self.by_columns else weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if not self.by_columns:
            return F.linear(x, self.weight, self.bias)
        return torch.mm(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)


class Head:
    """The vocabulary projection: so large that a batch is worth a second copy, packed by oneDNN for its kernels."""

    def __init__(self, weight: Tensor, expected_rows: int = 16) -> None:
        self.weight = weight
        self.packed: Tensor | None = None
        if is_cpu_float32(weight) and torch.backends.mkldnn.is_available():
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, expected_rows)

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is None or x.shape[0] == 1:
            return F.linear(x, self.weight)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, "none", [], "")


def is_cpu_float32(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
