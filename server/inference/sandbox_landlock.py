"""Which files a process may open: Linux's Landlock, three system calls.

It holds for the calling thread and those that it starts later, so it is asked for while there is
one thread. What is not granted is refused: reading, writing, making, removing, running; from
version 4 on also TCP, from version 6 on signals and abstract sockets of processes outside. Files
that are open already stay so. Source: linux/landlock.h.

Landlock knows nothing of looking at names and sizes (stat), of modes and owners, and of UDP; the
filter of system calls does.
"""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import server

# the same numbers on every machine
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_READ = _READ_FILE | _READ_DIR
_WORK = _READ | _WRITE_FILE | _TRUNCATE
_WORK |= _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
_ON_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE  # what can be granted of something no folder
# how many rights on files each version knows; all of them are taken away
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_NOW = 16
_NETWORK_SINCE, _SCOPE_SINCE = 4, 6
_TCP, _SIGNALS_AND_ABSTRACT = 0b11, 0b11

# What the C library, TensorFlow and ONNX Runtime look at; none of it tells of other processes.
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/urandom"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems"),
    *("/proc/sys/vm", "/sys/devices/system", "/sys/fs/cgroup"),
)


def version() -> int:
    """Return the version of Landlock in this kernel; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    answer: int = ctypes.CDLL(None).syscall(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)
    return max(answer, 0)


def libraries() -> list[str]:
    """Return where Python, its packages, the server's code and the system's libraries lie.

    Not the folder that the server's code lies in: models and certificates may lie beside it.
    """
    package = Path(server.__file__).parent
    found = [path for path in sys.path if path not in ("", str(package.parent))]
    named = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
    return [*found, str(Path(sys.base_prefix, "lib")), str(package), *named, *_SYSTEM]


def restrict(*, read: Sequence[str], work: str | None) -> None:
    """Let this thread, and those that it starts, open some files only, for good.

    Parameters
    ----------
    read : sequence of str
        Files, and folders with all that is below, that may be read. Those that do not exist are
        left out.
    work : str or None
        A folder to read, write, make and remove files in.

    Raises
    ------
    OSError
        If the kernel does not take it.
    """
    known = version()
    files = (1 << _RIGHTS.get(known, _RIGHTS_NOW)) - 1
    handled = struct.pack("=Q", files)
    if known >= _NETWORK_SINCE:
        handled += struct.pack("=Q", _TCP)
    if known >= _SCOPE_SINCE:
        handled += struct.pack("=Q", _SIGNALS_AND_ABSTRACT)
    rules = _call(_CREATE, handled, ctypes.c_size_t(len(handled)), 0)
    try:
        for path in read:
            _grant(rules, path, _READ & files)
        if work is not None:
            _grant(rules, work, _WORK & files)
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _grant(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there, or not for us, needs no right
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        _call(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    answer: int = libc.syscall(number, *arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the rules for files")
    return answer
