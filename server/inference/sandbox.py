"""The walls around a child process, seen from inside: they close in two steps and never open.

::

    clean environment, imports, one thread
        --> no new rights, limits, Landlock, the wide filter of system calls
    load and warm up: threads start, and inherit the walls
        --> the narrow filter, for all threads: no file is opened any more
    calls of the parent, hostile inputs

The parent says in its first message what the child may use. A child that was told to close a wall,
and cannot, ends: nothing runs behind fewer walls than the parent believes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from server.inference import sandbox_landlock, sandbox_limits, sandbox_seccomp
from server.inference.sandbox_calls import LOADING, READING, RUNNING


@dataclass(frozen=True, slots=True)
class Rights:
    """What a child may use.

    Attributes
    ----------
    memory_bytes : int
        What it may take for itself; the parent ends it above that.
    read : tuple of str
        Files that it may read while it starts, beside libraries.
    writes : bool
        Whether it may write in its own folder while it starts.
    file_bytes : int
        The largest file that it may write while it starts, one that the parent opened included.
    landlock, seccomp : bool
        Which walls the machine has.
    keeps_writing : bool
        Whether it may write files that the parent opened while it runs, too.
    """

    memory_bytes: int
    read: tuple[str, ...] = ()
    writes: bool = False
    file_bytes: int = 0
    landlock: bool = True
    seccomp: bool = True
    keeps_writing: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the rights as JSON values."""
        return asdict(self)


@contextmanager
def confined(told: Mapping[str, Any] | None) -> Iterator[None]:
    """Load and warm up in the block; the walls close before it, and further after it.

    Parameters
    ----------
    told : mapping or None
        Rights, as the parent described them; None: there are no walls.

    Raises
    ------
    OSError
        If a wall cannot be closed.
    RuntimeError
        If there are several threads: the others would stay outside.
    """
    if told is None:
        yield
        return
    rights = Rights(**told)
    if (threads := sandbox_limits.threads()) != 1:
        raise RuntimeError(f"{threads} threads run before the walls are closed")
    sandbox_limits.renounce()
    sandbox_limits.bound_start(memory_bytes=rights.memory_bytes, file_bytes=rights.file_bytes)
    if rights.landlock:
        work = os.getcwd() if rights.writes else None
        sandbox_landlock.restrict(read=[*sandbox_landlock.libraries(), *rights.read], work=work)
    if rights.seccomp:
        allowed = LOADING if rights.writes else READING
        sandbox_seccomp.install(allowed, writes=rights.writes)
    try:
        yield
    finally:
        file_bytes = rights.file_bytes if rights.keeps_writing else 0
        sandbox_limits.bound_runs(memory_bytes=rights.memory_bytes, file_bytes=file_bytes)
        if rights.seccomp:
            sandbox_seccomp.install(RUNNING, writes=False)
