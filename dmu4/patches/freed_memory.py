"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Give back what the allocator keeps of freed memory; nothing happens where its library cannot do that.

    Arrays of up to 32 MB are taken from pools that each thread has, and which keep their largest size otherwise: some
    0.4 GB once the bands of a patch have been read.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
