"""Which system calls a sandboxed child may make, by name; and their numbers.

Three lists: `RUNNING` holds once a child is warm and only computes, reads its socket and answers;
`READING` holds while it loads and warms up, where Landlock says which files; `LOADING` instead
where the child may also write in its own folder. What stands in none is refused, whatever it is:
sockets, programs, processes, signals to others, tracing, mounting, keys, io_uring and what a later
kernel may bring.
"""

import fcntl
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass

RUNNING = frozenset(
    {
        # its socket, and descriptors that are open already
        *("read", "readv", "write", "writev", "pread64", "lseek", "close", "fstat", "recvfrom"),
        *("sendto",),
        # memory
        *("mmap", "munmap", "mprotect", "mremap", "madvise", "brk"),
        # threads that are there already wait for each other
        *("futex", "sched_yield", "sched_getaffinity", "getcpu", "membarrier", "rseq"),
        *("restart_syscall",),
        # time
        *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday"),
        *("time", "times", "getrusage"),
        # waiting
        *("poll", "ppoll", "pselect6", "epoll_wait", "epoll_pwait"),
        # signals to itself, its own end, and who it is
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "exit"),
        *("exit_group",),
        *("getpid", "gettid", "uname", "getrandom"),
    }
)
READING = RUNNING | frozenset(
    {
        # files, as far as Landlock lets it
        *("open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat"),
        *("faccessat2", "readlink", "readlinkat"),
        *("getdents", "getdents64", "getcwd", "statfs", "fstatfs", "fcntl", "ioctl", "dup"),
        *("dup2", "dup3", "fadvise64", "mincore"),
        *("preadv", "fsync", "fdatasync", "flock", "umask"),
        # files that the parent opened to be written
        "ftruncate",
        # new threads, and how many are worth it
        *("clone", "set_robust_list", "get_robust_list", "set_tid_address"),
        *("sched_setaffinity", "sched_getparam"),
        *("sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min"),
        *("get_mempolicy", "mbind", "prctl"),
        *("sysinfo", "getrlimit", "prlimit64"),
        # between its own threads
        *("pipe", "pipe2", "eventfd2", "epoll_create1", "epoll_ctl", "select"),
        # who it is
        *("getuid", "geteuid", "getgid", "getegid", "getppid", "getpgrp"),
        # the second filter
        *("seccomp",),
    }
)
LOADING = READING | frozenset(
    {
        *("pwrite64", "pwritev", "fallocate"),
        *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
        *("symlink", "symlinkat"),
    }
)
# glibc falls back to older calls where these are unknown; the flags of clone3 lie in memory, where
# no filter sees them
UNKNOWN = frozenset({"clone3"})

_CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020000  # every namespace
_PR_SET_NAME, _PR_GET_NAME = 15, 16
_OPEN_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TCGETS, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = 0x5401, 0x541B, 0x5421, 0x5450, 0x5451


@dataclass(frozen=True, slots=True)
class Condition:
    """What the low 32 bits of an argument must be, which is all that these calls look at.

    Attributes
    ----------
    argument : int
        Which, from 0.
    equals : tuple of int
        Its values.
    needs, never : int
        Without `equals`: a bit that must be set, unless it is 0, and bits that must not.
    """

    argument: int
    equals: tuple[int, ...] = ()
    needs: int = 0
    never: int = 0


def conditions(pid: int, *, writes: bool) -> Mapping[str, Condition]:
    """Return the calls that are allowed with some arguments only.

    Parameters
    ----------
    pid : int
        The process that will make them.
    writes : bool
        Whether files may be opened for more than reading.
    """
    opens = {
        "open": Condition(1, never=_OPEN_TO_WRITE),
        "openat": Condition(2, never=_OPEN_TO_WRITE),
    }
    duplicates = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC)
    flags = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL)
    locks = (fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW)
    return {
        "tgkill": Condition(0, equals=(pid,)),
        "prlimit64": Condition(0, equals=(0, pid)),
        "sched_setaffinity": Condition(0, equals=(0, pid)),
        "clone": Condition(0, needs=_CLONE_THREAD, never=_CLONE_NEW),
        "prctl": Condition(0, equals=(_PR_SET_NAME, _PR_GET_NAME)),
        "fcntl": Condition(1, equals=(*duplicates, *flags, *locks)),
        "ioctl": Condition(1, equals=(_TCGETS, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX)),
        **({} if writes else opens),
    }


@dataclass(frozen=True, slots=True)
class Machine:
    """How system calls are numbered here.

    Attributes
    ----------
    audit : int
        AUDIT_ARCH of linux/audit.h, by which the kernel names the numbering.
    numbers : mapping of str to int
        Calls by name; those that this numbering lacks are missing.
    first_foreign : int
        Numbers from here on belong to another numbering (x32); 0: none do.
    """

    audit: int
    numbers: Mapping[str, int]
    first_foreign: int = 0


def machine() -> Machine | None:
    """Return how calls are numbered for this process; None where we do not know."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    return MACHINES.get(platform.machine())


# name, number on x86_64 (asm/unistd_64.h), number on aarch64 (asm-generic/unistd.h)
_TABLE = """
read 0 63         write 1 64         open 2 -          close 3 57         stat 4 -
fstat 5 80        lstat 6 -          poll 7 -          lseek 8 62         mmap 9 222
mprotect 10 226   munmap 11 215      brk 12 214        rt_sigaction 13 134
rt_sigprocmask 14 135                rt_sigreturn 15 139                  ioctl 16 29
pread64 17 67     pwrite64 18 68     readv 19 65       writev 20 66       access 21 -
pipe 22 -         select 23 -        sched_yield 24 124                   mremap 25 216
mincore 27 232    madvise 28 233     dup 32 23         dup2 33 -          nanosleep 35 101
getpid 39 172     sendto 44 206      recvfrom 45 207   clone 56 220       exit 60 93
uname 63 160      fcntl 72 25        flock 73 32       fsync 74 82        fdatasync 75 83
ftruncate 77 46   getdents 78 -      getcwd 79 17      rename 82 -        mkdir 83 -
rmdir 84 -        unlink 87 -        symlink 88 -      readlink 89 -      umask 95 166
gettimeofday 96 169                  getrlimit 97 163  getrusage 98 165   sysinfo 99 179
times 100 153     getuid 102 174     getgid 104 176    geteuid 107 175    getegid 108 177
getppid 110 173   getpgrp 111 -      sigaltstack 131 132                  statfs 137 43
fstatfs 138 44    sched_getparam 143 121               sched_getscheduler 145 120
sched_get_priority_max 146 125       sched_get_priority_min 147 126       prctl 157 167
gettid 186 178    time 201 -         futex 202 98      sched_setaffinity 203 122
sched_getaffinity 204 123            getdents64 217 61 set_tid_address 218 96
restart_syscall 219 128              fadvise64 221 223 clock_gettime 228 113
clock_getres 229 114                 clock_nanosleep 230 115              exit_group 231 94
epoll_wait 232 -  epoll_ctl 233 21   tgkill 234 131    mbind 237 235     get_mempolicy 239 236
openat 257 56     mkdirat 258 34     newfstatat 262 79 unlinkat 263 35    renameat 264 38
symlinkat 266 36  readlinkat 267 78  faccessat 269 48  pselect6 270 72    ppoll 271 73
set_robust_list 273 99               get_robust_list 274 100              epoll_pwait 281 22
fallocate 285 47  eventfd2 290 19    epoll_create1 291 20                 dup3 292 24
pipe2 293 59      preadv 295 69      pwritev 296 70    prlimit64 302 261  getcpu 309 168
renameat2 316 276 seccomp 317 277    getrandom 318 278 membarrier 324 283 statx 332 291
rseq 334 293      clone3 435 435     faccessat2 439 439
"""


def _numbers(column: int) -> dict[str, int]:
    words = _TABLE.split()
    rows = zip(words[::3], words[column::3], strict=True)
    return {name: int(number) for name, number in rows if number != "-"}


MACHINES = {
    "x86_64": Machine(0xC000003E, _numbers(1), first_foreign=0x40000000),
    "aarch64": Machine(0xC00000B7, _numbers(2)),
}
