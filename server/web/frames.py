"""HTTP/2 frames counted before they are parsed (RFC 9113 section 4.1).

::

    length 3 | type 1 | flags 1 | stream 4 | payload

h2 (4.4) parses all that it is given before anybody hears of it: 256 KiB of frames that each open a
stream and close it are a second of work. Here the bytes are cut so that few frames go at a time,
and frames that no client needs are refused by their length.
"""

import time
from collections.abc import Callable, Iterator

_PREFACE_BYTES = 24
_HEAD_BYTES = 9
_FRAMES_AT_ONCE = 64
_DATA, _HEADERS, _PUSH, _CONTINUATION = 0, 1, 5, 9
_OTHER_BYTES = 1 << 14  # only DATA may be larger, whatever the connection allows


class FrameFault(Exception):
    """A frame that no client needs."""


class FrameCutter:
    """Cuts what arrives on one connection.

    Parameters
    ----------
    header_bytes : int
        Most bytes of one header block, as it is sent.
    """

    def __init__(self, header_bytes: int) -> None:
        self._header_bytes = header_bytes
        self._block_bytes = 0
        self._inside = _PREFACE_BYTES  # bytes until the next frame begins
        self._head = b""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces of few frames each.

        Raises
        ------
        FrameFault
            Before the piece that holds the fault.
        """
        start = at = frames = 0
        while at < len(data):
            if self._inside:
                step = min(self._inside, len(data) - at)
                self._inside -= step
                at += step
                continue
            step = _HEAD_BYTES - len(self._head)
            self._head += data[at : at + step]
            at += step
            if len(self._head) < _HEAD_BYTES:
                break
            self._judge(self._head)
            self._inside, self._head = int.from_bytes(self._head[:3]), b""
            frames += 1
            if frames == _FRAMES_AT_ONCE:
                yield data[start:at]
                start, frames = at, 0
        yield data[start:]

    def _judge(self, head: bytes) -> None:
        length, kind = int.from_bytes(head[:3]), head[3]
        if kind != _DATA and length > _OTHER_BYTES:
            raise FrameFault
        if kind in (_HEADERS, _PUSH):
            self._block_bytes = length
        elif kind == _CONTINUATION:
            self._block_bytes += length
        if self._block_bytes > self._header_bytes:
            raise FrameFault


class Allowance:
    """How often something may happen: so many times at once, then so many a second.

    Parameters
    ----------
    burst : int
        At once.
    per_s : float
        What comes back each second.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self, burst: int, per_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = self._left = float(burst)
        self._per_s = per_s
        self._clock = clock
        self._at = clock()

    def spend(self) -> bool:
        """Count one; False when it was one too many."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        self._left -= 1
        return self._left >= 0
