"""Rows, pipes and logs for the tests that talk to `odd_child.py`."""

import asyncio
import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.inference.child_kind import ChildKind
from server.inference.frames import Part
from server.inference.sandbox import Rights

CHILD = "tests.inference.odd_child"
# what the parent holds a child to, without the walls that the kernel must have
WATCHED = Rights(1 << 30, landlock=False, seccomp=False, file_bytes=1 << 20, keeps_writing=True)


class Gate:
    """A pipe that a child waits at until the test opens it.

    Parameters
    ----------
    folder : Path
        Holds the pipe.
    name : str
        Of the pipe.
    """

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = folder / name
        os.mkfifo(self.path)
        self._fd: int | None = None

    async def reached(self) -> None:
        """Return when a child waits at the gate."""
        await until(self._has_reader)

    def _has_reader(self) -> bool:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        return True

    def open(self) -> None:
        """Let the child that waits go on."""
        assert self._fd is not None
        # a new pipe for the next time: the child may be seen at this one for a while yet
        self.path.unlink()
        os.mkfifo(self.path)
        os.close(self._fd)
        self._fd = None


def odd_kind(
    config: dict[str, Any], *, call_timeout_s: float = 30.0, in_flight: int = 1
) -> ChildKind:
    """Return a kind of child that never is replaced for its age."""
    return ChildKind(
        CHILD,
        config,
        start_timeout_s=30,
        call_timeout_s=call_timeout_s,
        max_calls=1 << 30,
        in_flight=in_flight,
    )


def row(*values: float, dtype: str = "float32") -> list[Part]:
    """Return a row of the tensor ``x``."""
    data = struct.pack(f"<{len(values)}{'f' if dtype == 'float32' else 'd'}", *values)
    return [Part("x", data, dtype, (1, len(values)))]


def values(part: Part) -> list[float]:
    """Return the numbers of an output."""
    return list(struct.unpack(f"<{len(part.data) // 4}f", bytes(part.data)))


def lines(log: Path) -> list[dict[str, Any]]:
    """Return what children wrote to a log."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds; fail when it still does not after half a minute."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
