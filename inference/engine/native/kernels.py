"""`kernels.c`, compiled. Its functions take the addresses of contiguous tensors of one dtype."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from inference.engine.families import DecoderSpec
from inference.engine.native.compiler import compile_library
from inference.engine.projections import GROUPS, chunk_width, projections

SOURCE = Path(__file__).with_name("kernels.c")
ELEMENTS = {torch.bfloat16: "ELEMENT_BF16", torch.float32: "ELEMENT_F32"}
# As in kernels.c
LANES = 16
MOST_GROUP = 16
MOST_HEAD = 256
ALL = 2**62

SIGNATURES = {
    "rms_norm": "pppiid",
    "add_rms_norm": "ppppiid",
    "norm_heads": "ppiiiid",
    "silu_gate": "ppii",
    "gelu_gate": "ppii",
    "rotate_and_write": "ppppiiiii",
    "attend": "ppppiiiiiid",
    "attend_chunks": "ppppiiiiiid",
    "add_lora": "ppip",
    "run_layers": "ppi",
    "find_likeliest": "pppii",
    "draw": "pii",
}
Function = Callable[..., None]
TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}


@cache
def kernels(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled functions for one element type, by their names in C; None where there are none."""
    library = compile_library(SOURCE, [ELEMENTS[dtype]], ctypes.PyDLL) if dtype in ELEMENTS else None
    if library:
        for name in SIGNATURES:
            declare(library, name)
    return library


def declare(library: ctypes.CDLL, name: str) -> Function:
    function = getattr(library, name)
    function.argtypes, function.restype = [TYPES[letter] for letter in SIGNATURES[name]], None
    return function


def apart(library: ctypes.CDLL, name: str) -> Function:
    """A function of the library that lets other threads have the interpreter's lock while it runs: one that is long."""
    return declare(ctypes.CDLL(None, handle=library._handle), name)


def fields(pointers: str, sizes: str, numbers: str = "") -> list[tuple[str, Any]]:
    """`_fields_` of a structure in C, by their names there."""
    kinds = ((pointers, TYPES["p"]), (sizes, TYPES["i"]), (numbers, TYPES["d"]))
    return [(name, kind) for names, kind in kinds for name in names.split()]


def address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def fits(spec: DecoderSpec) -> bool:
    """Whether every size of the model is one that the functions were written for."""
    inputs = {projection.inputs for group in GROUPS for projection in projections(group, spec)}
    widths = {chunk_width(group, spec) for group in GROUPS}
    return (
        all(size % (2 * LANES) == 0 for size in (*inputs, *widths, spec.head_dim))
        and spec.head_dim <= MOST_HEAD
        and spec.heads // spec.kv_heads <= MOST_GROUP
    )
