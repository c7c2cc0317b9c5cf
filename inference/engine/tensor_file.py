"""A safetensors file of many small tensors, read at once.

Its library makes each tensor by itself, which takes several times as long as reading what they hold.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from inference.engine.memory import passing

HEADER_LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000  # as in the library
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # as named there


@dataclass(frozen=True, slots=True)
class Kind:
    """What the file says of a tensor: the name of its numbers' type, and its shape."""

    numbers: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of one of the `FLOATS`."""
        return FLOATS[self.numbers].itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What comes before the contents, as its SHA-256, and how long they are. Equal ones describe the same layout."""

    digest: bytes
    contents_bytes: int
    file: Path = field(compare=False)


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape in the contents.

    Attributes:
        starts: where each begins, in bytes.
        step: from one to the next, in bytes, where they can be viewed as one tensor.
    """

    dtypes: tuple[torch.dtype, ...]
    shape: tuple[int, ...]
    starts: tuple[int, ...]
    step: int | None

    def of(self, contents: Tensor) -> Tensor:
        """[tensors, *shape]; a view where there is a step."""
        if self.step is None:
            return torch.stack([self.single(contents, place) for place in range(len(self.starts))])
        dtype, size = self.dtypes[0], self.dtypes[0].itemsize
        strides = [math.prod(self.shape[place:]) for place in range(1, len(self.shape) + 1)]
        numbers = contents[: len(contents) // size * size].view(dtype)
        return numbers.as_strided(
            (len(self.starts), *self.shape), (self.step // size, *strides), self.starts[0] // size
        )

    def single(self, contents: Tensor, place: int) -> Tensor:
        dtype, start = self.dtypes[place], self.starts[place]
        size_bytes = dtype.itemsize * math.prod(self.shape)
        return contents[start : start + size_bytes].clone().view(dtype).view(self.shape)


def read_header(file: Path) -> Header:
    """Raises OSError; ValueError: it is none of such a file."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(HEADER_LENGTH_BYTES), "little")
        contents_bytes = os.stat(opened.fileno()).st_size - HEADER_LENGTH_BYTES - size
        if contents_bytes < 0 or size > MOST_HEADER_BYTES:
            raise ValueError(f"{file} has a header of {size} bytes")
        return Header(hashlib.sha256(opened.read(size)).digest(), contents_bytes, file)


def kinds_in(file: Path) -> dict[str, Kind]:
    """The kinds of all tensors by name, in the order of their contents; nothing else of the file is read.

    Raises:
        OSError, SafetensorError, ValueError: it is not such a file.
    """
    with safe_open(file, framework="pt", backend="pread") as checked:
        slices = {name: checked.get_slice(name) for name in checked.offset_keys()}
        return {name: Kind(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}


def starts_of(kinds: Mapping[str, Kind]) -> dict[str, int]:
    """Where each tensor begins in the contents, in bytes. All are of `FLOATS`, in the order of the contents."""
    *starts, _ = accumulate((kind.size_bytes for kind in kinds.values()), initial=0)
    return dict(zip(kinds, starts, strict=True))


def stack(kinds: Sequence[Kind], starts: Sequence[int]) -> Stack:
    """Of tensors of one shape, which may be of several types."""
    dtypes = tuple(FLOATS[kind.numbers] for kind in kinds)
    size = dtypes[0].itemsize
    step, *others = {after - before for before, after in pairwise(starts)} or {0}
    is_even = not others and step >= 0 and step % size == 0 and starts[0] % size == 0 and len(set(dtypes)) == 1
    return Stack(dtypes, kinds[0].shape, tuple(starts), step if is_even else None)


def contents(header: Header) -> Tensor:
    """The bytes of all tensors.

    Raises:
        OSError; ValueError: the file has changed meanwhile.
    """
    data = passing((header.contents_bytes,), torch.uint8)
    with header.file.open("rb") as opened:
        size = int.from_bytes(opened.read(HEADER_LENGTH_BYTES), "little")
        opened.seek(size, os.SEEK_CUR)
        if opened.readinto(data.numpy().data) != header.contents_bytes:
            raise ValueError(f"{header.file} ends too soon")
    return data
