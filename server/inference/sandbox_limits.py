"""What a process gives up of itself: capabilities, dumps, and what is beyond its needs."""

import ctypes
import os
import resource
import struct
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 38, 47
_AMBIENT_CLEAR_ALL = 4
_CAPABILITIES = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_KEPT = 1 << 2  # CAP_DAC_READ_SEARCH: as root, the model may be another user's; Landlock says which
_OPEN_FILES = 256
_START_SLACK = 1 << 30
_THREAD_BYTES = 128 << 20  # what the address space of a thread's stack and arena may be
_THREADS_A_CORE = 4


def threads() -> int:
    """Count the threads of this process."""
    return len(os.listdir("/proc/self/task"))


def renounce() -> None:
    """Give up what root may, every new right, and being looked into; for good.

    Raises
    ------
    OSError
        If the system does not let go.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    libc = ctypes.CDLL(None, use_errno=True)
    head = struct.pack("=Ii", _CAPABILITIES, 0)
    now = ctypes.create_string_buffer(24)  # two of (effective, permitted, inheritable)
    if libc.capget(head, now) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be read")
    permitted = struct.unpack("=6I", now.raw)[1] & _KEPT
    kept = struct.pack("=6I", permitted, permitted, 0, 0, 0, 0)
    if now.raw != kept and libc.capset(head, kept) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")
    _prctl(_PR_SET_DUMPABLE, 0)
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        _lower(kind, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)


def bound_start(*, memory_bytes: int, file_bytes: int) -> None:
    """Bound what loading may take: the address space, and the size of any file that is written.

    Threads reserve address space that they do not use, and there may be many.
    """
    cores = len(os.sched_getaffinity(0))
    slack = _START_SLACK + cores * _THREADS_A_CORE * _THREAD_BYTES
    _lower(resource.RLIMIT_AS, _address_space() + 2 * memory_bytes + slack)
    _lower(resource.RLIMIT_FSIZE, file_bytes)


def bound_runs(*, memory_bytes: int, file_bytes: int) -> None:
    """Bound what runs may take beside what a warm process has, and files that are open already."""
    _lower(resource.RLIMIT_AS, _address_space() + memory_bytes)
    _lower(resource.RLIMIT_FSIZE, file_bytes)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # the kernel compares whole registers
    if libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} was refused")
