"""Ends a child process that takes more memory or threads than it may, while it is called.

The limit that the child has on its address space refuses what is asked for at once; this counts
what is really held, which the child cannot deny. Threads of one process have no limit in the
kernel, but all processes of a service or container together have; they start only while a child
loads, which is its first call.
"""

import asyncio
import os
from collections.abc import Callable
from types import TracebackType

from server.inference.memory import private_bytes
from server.inference.usage import usage

# Keras, TensorFlow and ONNX Runtime together start 4 a core and a dozen when a model is judged, on
# 2, 16 and 100 cores; a worker 2 a core, a decoder none
MOST_THREADS = 64 + 8 * len(os.sched_getaffinity(0))
_LOOK_S = 0.2


class CallWatch:
    """Looks at a process five times a second while a block runs.

    Parameters
    ----------
    pid : int
        The process.
    max_bytes : int or None
        What it may hold for itself; None: nobody looks.
    kill : callable
        Called once when it takes more.

    Attributes
    ----------
    cause, reason : str
        Why it was killed, in a word and in a sentence; empty: it was not.
    """

    def __init__(self, pid: int, max_bytes: int | None, kill: Callable[[], None]) -> None:
        self._pid = pid
        self._max_bytes = max_bytes
        self._kill = kill
        self._timer: asyncio.TimerHandle | None = None
        self.cause = self.reason = ""

    def __enter__(self) -> "CallWatch":
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._max_bytes is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_S, self._look, self._max_bytes)

    def _look(self, max_bytes: int) -> None:
        taken = usage(self._pid)
        if taken.is_headless:
            self.cause, self.reason = "threads", "its first thread ended by itself"
        elif taken.threads > MOST_THREADS:
            self.cause, self.reason = "threads", f"it started more than {MOST_THREADS} threads"
        elif private_bytes(self._pid) > max_bytes:
            mib = max_bytes >> 20
            self.cause, self.reason = "memory", f"it took more than {mib} MiB of memory"
        if self.cause:
            self._kill()
        else:
            self._wait()
