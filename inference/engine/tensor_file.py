"""A safetensors file of many small tensors, read at once.

Its library makes each tensor by itself, which takes several times as long as reading what they hold.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from inference.engine.memory import passing

HEADER_LENGTH_BYTES = 8
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # as named there


@dataclass(frozen=True, slots=True)
class Kind:
    """What the file says of a tensor: the name of its numbers' type, and its shape."""

    numbers: str
    shape: tuple[int, ...]


def kinds_in(file: Path) -> dict[str, Kind]:
    """The kinds of all tensors by name, in the order of their contents; nothing else of the file is read.

    Raises:
        OSError, SafetensorError, ValueError: it is not such a file.
    """
    with safe_open(file, framework="pt", backend="pread") as checked:
        slices = {name: checked.get_slice(name) for name in checked.offset_keys()}
        return {name: Kind(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}


def read_tensors(file: Path, kinds: Mapping[str, Kind]) -> dict[str, Tensor]:
    """All tensors of a file, as views of one piece of memory.

    Args:
        kinds: the file's, each of one of the `FLOATS`.

    Raises:
        OSError, RuntimeError, ValueError: the file has changed meanwhile.
    """
    dtypes = [FLOATS[kind.numbers] for kind in kinds.values()]
    shapes = [kind.shape for kind in kinds.values()]
    parts = contents(file).split(
        [dtype.itemsize * math.prod(shape) for dtype, shape in zip(dtypes, shapes, strict=True)]
    )
    return {
        name: part.view(dtype).view(shape)
        for name, part, dtype, shape in zip(kinds, parts, dtypes, shapes, strict=True)
    }


def contents(file: Path) -> Tensor:
    """What the format has behind its header: the bytes of all tensors."""
    with file.open("rb") as opened:
        header = int.from_bytes(opened.read(HEADER_LENGTH_BYTES), "little")
        opened.seek(header, os.SEEK_CUR)
        data = passing((file.stat().st_size - opened.tell(),), torch.uint8)
        opened.readinto(data.numpy().data)
    return data
