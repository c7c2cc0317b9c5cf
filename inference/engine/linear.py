"""Linear layers, their weights laid out once in the way that the device multiplies fastest."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[Tensor], Tensor]

# oneDNN lays a weight out for a number of tokens; measured on AVX2, this one is good from 2 tokens to 256
TOKENS_PACKED_FOR = 16
# Half the step between float16's smallest numbers: what a bfloat16 weight may lose there, and no other
LEAST_STEP_HALVED = 2.0**-25


def linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """x [T, in] -> x W^T + b [T, out], in the dtype of weight [out, in].

    On a CPU the weight is copied into the layout of the kernel that was measured fastest at decoding: FBGEMM's where
    float16 holds the weight without loss (products and sums stay float32; half as many bytes to read), else oneDNN's.
    """
    if weight.device.type == "cpu":
        if weight.dtype == torch.float32 and works(pack_float16, weight.dtype) and fits_float16(weight):
            return pack_float16(weight, bias)
        if works(pack_onednn, weight.dtype):
            return pack_onednn(weight, bias)
    return partial(F.linear, weight=weight, bias=bias)


def fits_float16(weight: Tensor) -> bool:
    """Whether float16 holds the float32 weight: so it does where the checkpoint is in float16 or bfloat16."""
    return bool((weight.half().float() - weight).abs().max() <= LEAST_STEP_HALVED)


def pack_float16(weight: Tensor, bias: Tensor | None) -> Linear:
    packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
    return partial(multiply_float16, packed)


def multiply_float16(packed: torch.ScriptObject, x: Tensor) -> Tensor:
    return torch.ops.quantized.linear_dynamic_fp16(x, packed)


def pack_onednn(weight: Tensor, bias: Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS_PACKED_FOR)
    return partial(multiply_onednn, packed, bias)


def multiply_onednn(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


@cache
def works(pack: Callable[[Tensor, Tensor | None], Linear], dtype: torch.dtype) -> bool:
    """Whether a kernel computes right on this machine: tried, for neither is there on every processor."""
    weight = torch.arange(-64, 64, dtype=dtype).view(16, 8) / 64
    x, bias = torch.eye(8, dtype=dtype), torch.ones(16, dtype=dtype)
    try:
        return torch.equal(pack(weight, bias)(x), F.linear(x, weight, bias))
    except (RuntimeError, AttributeError):  # this build or processor has no such kernel
        return False
