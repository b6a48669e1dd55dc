"""One line on the terminal that says how far a long command is.

::

    [############                  ]  41%  1.2 of 2.9 GB
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 30
_EVERY_S = 0.1
_CLEAR = "\r\x1b[K"


class Progress:
    """A bar; where nobody looks, because the stream is no terminal, it is silent.

    Parameters
    ----------
    stream : TextIO
        Where it is drawn.
    told : callable, optional
        What stands behind the bar, of how much is done and of how much there is: gigabytes.
    """

    def __init__(
        self, stream: TextIO = sys.stderr, *, told: Callable[[int, int], str] | None = None
    ) -> None:
        self._stream = stream
        self._told = told or _gigabytes
        self._is_seen = stream.isatty()
        self._next = 0.0

    def show(self, done: int, total: int) -> None:
        """Draw it anew, at most ten times a second; the end is always drawn."""
        now = time.monotonic()
        if self._is_seen and (now >= self._next or done >= total):
            self._next = now + _EVERY_S
            self._stream.write(_CLEAR + _bar(done, total, self._told(done, total)))
            self._stream.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._is_seen:
            self._stream.write(_CLEAR)
            self._stream.flush()


def _bar(done: int, total: int, told: str) -> str:
    share = min(1.0, done / total) if total else 1.0
    bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH)
    return f"[{bar}] {share:4.0%}  {told}"


def _gigabytes(done: int, total: int) -> str:
    return f"{done / 1e9:.1f} of {total / 1e9:.1f} GB"
