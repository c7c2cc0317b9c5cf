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
    def dtype(self) -> torch.dtype:
        """Of one of the `FLOATS`."""
        return FLOATS[self.numbers]

    @property
    def size_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class Piece:
    """A tensor of one of the `FLOATS`, and where it begins in the contents, in bytes."""

    kind: Kind
    start: int

    def of(self, contents: Tensor) -> Tensor:
        stop = self.start + self.kind.size_bytes
        return contents[self.start : stop].clone().view(self.kind.dtype).view(self.kind.shape)


@dataclass(frozen=True)
class Header:
    """What comes before the contents, as its SHA-256, and how long they are. Equal ones describe the same layout."""

    digest: bytes
    contents_bytes: int
    file: Path = field(compare=False)


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape, which may be of several types.

    Attributes:
        step: from one to the next, in bytes, where they can be viewed as one tensor.
    """

    pieces: tuple[Piece, ...]
    step: int | None

    def of(self, contents: Tensor) -> Tensor:
        """[tensors, *shape]; a view where there is a step."""
        if self.step is None:
            return torch.stack([piece.of(contents) for piece in self.pieces])
        first, shape = self.pieces[0].start, self.pieces[0].kind.shape
        dtype = self.pieces[0].kind.dtype
        size = dtype.itemsize
        strides = [math.prod(shape[place:]) for place in range(1, len(shape) + 1)]
        numbers = contents[: len(contents) // size * size].view(dtype)
        return numbers.as_strided((len(self.pieces), *shape), (self.step // size, *strides), first // size)


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


def pieces_of(kinds: Mapping[str, Kind]) -> dict[str, Piece]:
    """Tensors of `FLOATS` by name, given in the order of the contents."""
    starts = accumulate((kind.size_bytes for kind in kinds.values()), initial=0)
    return {name: Piece(kind, start) for (name, kind), start in zip(kinds.items(), starts, strict=False)}


def stack(pieces: Sequence[Piece]) -> Stack:
    size, first = pieces[0].kind.dtype.itemsize, pieces[0].start
    step, *others = {after.start - before.start for before, after in pairwise(pieces)} or {0}
    are_alike = len({piece.kind for piece in pieces}) == 1
    is_even = are_alike and not others and step >= 0 and step % size == 0 and first % size == 0
    return Stack(tuple(pieces), step if is_even else None)


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
