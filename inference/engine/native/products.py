"""Linear layers by `products.c`, on processors with tile registers."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from inference.engine.linear import Linear
from inference.engine.native.compiler import compile_library

SOURCE = Path(__file__).with_name("products.c")
# As in products.c
SIDE, DEPTH, PASS = 16, 32, 32
TILE_BYTES = {4: 2 * SIDE + 2 * SIDE + SIDE * DEPTH // 2, 8: 2 * SIDE + SIDE * DEPTH}


@cache
def products() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler, or where processor or kernel have no such registers."""
    library = compile_library(SOURCE, [])
    if library is None or not hasattr(library, "multiply") or library.prepare():
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.multiply.argtypes, library.multiply.restype = [pointer] * 4 + [size] * 5 + [pointer, size], None
    for pack in (library.pack_four_bits, library.pack_eight_bits):
        pack.argtypes, pack.restype = [pointer] * 2 + [size] * 2, size
    return library


class TileLinear:
    """x [T, in] bfloat16 -> x W^T + b [T, out] in `dtype`, bfloat16 or float32, of a weight [out, in] of any dtype.

    It is kept in 4 or 8 bits where they hold it exactly, as they do what was quantised to llama.cpp's Q4_1 or Q8_0 and
    stored in float16 since; else in bfloat16.
    """

    def __init__(self, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.multiply = library.multiply
        self.outputs, self.dtype = len(weight), dtype
        self.bits, self.packed = pack(library, weight.float())
        self.bias = bias
        self.weight_at, self.bias_at = self.packed.data_ptr(), None if bias is None else bias.data_ptr()
        self.fixed = (weight.shape[1], self.outputs, self.bits, dtype.itemsize)

    def __call__(self, x: Tensor, adapters: int | None = None, layer: int = 0) -> Tensor:
        """
        Args:
            adapters: the address of a `lora` (lora.h) of this layer's group, whose low-rank products are added, in
                bfloat16.
        """
        y = x.new_empty(len(x), self.outputs, dtype=self.dtype)
        self.multiply(x.data_ptr(), self.weight_at, self.bias_at, y.data_ptr(), len(x), *self.fixed, adapters, layer)
        return y


def pack(library: ctypes.CDLL, weight: Tensor) -> tuple[int, Tensor]:
    """weight [out, in] float32 -> how many bits hold a number of it, and the tiles."""
    outputs, inputs = weight.shape
    for bits, into in ((4, library.pack_four_bits), (8, library.pack_eight_bits)):
        packed = torch.empty(outputs // SIDE, inputs // DEPTH, TILE_BYTES[bits], dtype=torch.uint8)
        if into(weight.data_ptr(), packed.data_ptr(), outputs, inputs):
            return bits, packed
    tiles = weight.bfloat16().view(outputs // SIDE, SIDE, inputs // DEPTH, DEPTH // 2, 2)
    return 16, tiles.permute(0, 2, 3, 1, 4).contiguous()


def tile_linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype = torch.bfloat16) -> Linear | None:
    """A `TileLinear`; None where the machine cannot, or the sizes do not fit."""
    fits = len(weight) % PASS == 0 and weight.shape[1] % DEPTH == 0
    return TileLinear(library, weight, bias, dtype) if fits and (library := products()) else None
