"""Memory by the kind of its use: in pages that suit it, and given back in time."""

import ctypes
import math
import mmap

import torch
from torch import Tensor

# What not every system has
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
SMALL_PAGES: int | None = getattr(mmap, "MADV_NOHUGEPAGE", None)
HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
HUGE_PAGE_BYTES = 1 << 21  # of x86 and, with pages of 4 KB, of ARM


def lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU mapped, so that pages never written take no memory.

    In small pages: a step that is the first to write here and there would wait until whole huge ones are found and
    cleared, which was measured at 5 ms a layer.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = dtype.itemsize * math.prod(shape)
    return torch.frombuffer(mapped(size, SMALL_PAGES), dtype=dtype).view(shape)


def passing(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros on the CPU, to be written as a whole and given up soon.

    In huge pages, where there are any: to be given 2 MB in small ones takes longer than to fill them.
    """
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    size = dtype.itemsize * count
    memory = mapped(size + -size % HUGE_PAGE_BYTES, HUGE_PAGES)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


def mapped(size: int, pages: int | None) -> mmap.mmap:
    memory = mmap.mmap(-1, size, **PRIVATE)
    if pages is not None:
        memory.madvise(pages)
    return memory


def release_freed() -> None:
    """Have the C library give freed memory back: a checkpoint leaves some hundred megabytes of it behind.

    glibc's malloc_trim(3); elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
