"""Linear layers by compiled functions: on tile registers in bfloat16, on vectors in float32."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from inference.engine.linear import Linear, fits_float16
from inference.engine.native.compiler import compile_library

SOURCES = {torch.bfloat16: "tile_products.c", torch.float32: "vector_products.c"}
# As in both of them
SIDE, DEPTH, PASS = 16, 32, 32
TILE_BYTES = {4: 2 * SIDE + 2 * SIDE + SIDE * DEPTH // 2, 8: 2 * SIDE + SIDE * DEPTH}


@cache
def products(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled functions for inputs in a dtype; None where there is no compiler, or processor or kernel cannot."""
    source = SOURCES.get(dtype)
    library = compile_library(Path(__file__).with_name(source), []) if source else None
    if library is None or not hasattr(library, "multiply") or library.prepare():
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.multiply.argtypes, library.multiply.restype = [pointer] * 4 + [size] * 5 + [pointer, size], None
    for pack in (library.pack_four_bits, library.pack_eight_bits):
        pack.argtypes, pack.restype = [pointer] * 2 + [size] * 2, size
    return library


class PackedLinear:
    """x [T, in] bfloat16 or float32 -> x W^T + b [T, out] in `dtype`, of a weight [out, in] packed in `bits` bits."""

    def __init__(
        self,
        library: ctypes.CDLL,
        bits: int,
        packed: Tensor,
        bias: Tensor | None,
        sizes: tuple[int, int],
        dtype: torch.dtype,
    ) -> None:
        self.multiply = library.multiply
        self.bits, self.packed, self.bias, self.dtype = bits, packed, bias, dtype
        self.outputs, self.inputs = sizes
        self.weight_at, self.bias_at = packed.data_ptr(), None if bias is None else bias.data_ptr()
        self.fixed = (self.inputs, self.outputs, bits, dtype.itemsize)

    def __call__(self, x: Tensor, adapters: int | None = None, layer: int = 0) -> Tensor:
        """
        Args:
            adapters: the address of a `lora` (lora.h) of this layer's group, whose low-rank products are added, in
                the dtype of x.
        """
        y = x.new_empty(len(x), self.outputs, dtype=self.dtype)
        self.multiply(x.data_ptr(), self.weight_at, self.bias_at, y.data_ptr(), len(x), *self.fixed, adapters, layer)
        return y


def pack(library: ctypes.CDLL, weight: Tensor, dtype: torch.dtype) -> tuple[int, Tensor] | None:
    """How many bits hold a number of weight [out, in], float32, and the tiles.

    Four or eight where they hold it exactly, as they do what was quantised to llama.cpp's Q4_1 or Q8_0 and not rounded
    since; for bfloat16's products also if it was rounded to float16. Else 16: bfloat16, or float16 without loss; None
    where float16 would lose something.
    """
    outputs, inputs = weight.shape
    for bits, into in ((4, library.pack_four_bits), (8, library.pack_eight_bits)):
        packed = torch.empty(outputs // SIDE, inputs // DEPTH, TILE_BYTES[bits], dtype=torch.uint8)
        if into(weight.data_ptr(), packed.data_ptr(), outputs, inputs):
            return bits, packed
    tiles = (outputs // SIDE, SIDE, inputs // DEPTH)
    if dtype == torch.bfloat16:
        return 16, weight.bfloat16().view(*tiles, DEPTH // 2, 2).permute(0, 2, 3, 1, 4).contiguous()
    if fits_float16(weight):
        return 16, weight.half().view(*tiles, DEPTH).permute(0, 2, 3, 1).contiguous()
    return None


def packed_linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, out_dtype: torch.dtype) -> Linear | None:
    """A `PackedLinear` for inputs in `dtype`; None where the machine cannot, or sizes or numbers do not fit."""
    if len(weight) % PASS or weight.shape[1] % DEPTH or (library := products(dtype)) is None:
        return None
    packed = pack(library, weight.float(), dtype)
    return packed and PackedLinear(library, *packed, bias, (len(weight), weight.shape[1]), out_dtype)
