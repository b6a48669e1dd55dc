"""How the web process takes memory: bodies of requests come and go by the megabyte.

The C library hands every block over 128 KiB back to the system as soon as it is free, and each new
one is filled with zeros page by page: that is a fifth of what reading a body of 2 MB costs. Kept
blocks are taken again as they are. What is kept is bounded, and only glibc is told.
"""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_KEPT = 4 << 20
_MOST_KEPT = 16 << 20


def keep_large_blocks() -> None:
    """Let freed blocks of up to 4 MiB be used again, 16 MiB of them at most."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)


def freeze_start() -> None:
    """Take everything that was made at the start out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()
