"""How the web process takes memory: bodies of requests come and go by the megabyte.

The C library hands every block over 128 KiB back to the system as soon as it is free, and each new
one is filled with zeros page by page: that is a fifth of what reading a body of 2 MB costs. Kept
blocks are taken again as they are. Only glibc is told.

glibc itself gives back only what lies free at the end of its heap: one small object that outlives a
rush of large ones keeps all that is free below it. So what lies free is looked at now and then.
"""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_KEPT = 4 << 20
_MOST_KEPT = 16 << 20
_MOST_FREE = 32 << 20  # anywhere in the heap
GIVE_BACK_S = 10


def keep_large_blocks() -> None:
    """Let freed blocks of up to 4 MiB be used again, 16 MiB of them at most."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)


class _Heap(ctypes.Structure):
    """What `mallinfo2` tells (glibc 2.33), in its order."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def give_back() -> int:
    """Hand free memory back to the system, if there is much; return how much was free, in bytes.

    It takes some milliseconds, in which nothing can be allocated.
    """
    library = ctypes.CDLL(None)
    tell, trim = getattr(library, "mallinfo2", None), getattr(library, "malloc_trim", None)
    if tell is None or trim is None:
        return 0
    tell.restype = _Heap
    free: int = tell().fordblks
    if free > _MOST_FREE:
        trim(_MOST_KEPT)
    return free


def freeze_start() -> None:
    """Take everything that was made at the start out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()
