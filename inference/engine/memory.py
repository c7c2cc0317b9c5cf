"""Memory that the allocator keeps for later."""

import ctypes


def release_freed() -> None:
    """Have the C library give freed memory back: a checkpoint leaves some hundred megabytes of it behind.

    glibc's malloc_trim(3); elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
