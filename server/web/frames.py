"""HTTP/2 frames counted before they are parsed (RFC 9113 section 4.1).

::

    length 3 | type 1 | flags 1 | stream 4 | payload

h2 (4.4) parses all that it is given before anybody hears of it: 256 KiB of frames that each open a
stream and close it are a second of work. And it keeps what came of a frame until the whole of it is
there, before it looks at its length. Here the bytes are cut so that few frames go at a time, frames
that no client needs are refused, and a large frame of DATA goes on as it arrives, each piece as a
frame of its own::

    DATA 1 MiB, END_STREAM  ->  DATA 256 KiB, DATA 256 KiB, ..., DATA 100 KiB, END_STREAM

What flow control counts stays the same: padding goes behind the last piece.

How many frames a client needs depends on what it sends and what it is sent: DATA holds some bytes,
and windows are opened for what came through them. For all else there is an allowance.
"""

import time
from collections.abc import Callable, Iterator

_PREFACE_BYTES = 24
_HEAD_BYTES = 9
_FRAMES_AT_ONCE = 64
_DATA, _HEADERS, _PUSH, _CONTINUATION = 0, 1, 5, 9
_MAX_CONTINUATIONS = 16
# at once, each second, and for how many bytes there is one more
_PIECES = (4000, 100.0, 128)  # frames of DATA, for what they hold
_PIECES_OF_A_REQUEST = 2  # its body, and its end
_OTHERS = (1000, 100.0, 1024)  # and others, for what is sent to the client
_OTHERS_OF_AN_ANSWER = 2  # clients open both windows again for one of any length
_PADDED = 8
_OTHER_BYTES = 1 << 14  # only DATA may be larger, whatever the connection allows


class FrameFault(Exception):
    """A frame that no client needs."""


class FrameCutter:
    """Cuts what arrives on one connection.

    Parameters
    ----------
    header_bytes : int
        Most bytes of one header block, as it is sent.
    data_bytes : int
        Most bytes of one frame of DATA.
    """

    def __init__(self, header_bytes: int, data_bytes: int) -> None:
        self._header_bytes = header_bytes
        self._data_bytes = data_bytes
        self._block_bytes = 0
        self._inside = _PREFACE_BYTES  # bytes that go on as they are until the next frame begins
        self._head = b""
        self._large: _LargeData | None = None
        self._continuations = 0
        self._pieces = Allowance(*_PIECES[:2])
        self._others = Allowance(*_OTHERS[:2])

    def allow_for(self, sent: int) -> None:
        """Count bytes that were sent to the client: it opens its windows for them."""
        self._others.add(sent / _OTHERS[2])

    def allow_for_answer(self) -> None:
        """Count an answer that was begun."""
        self._others.add(_OTHERS_OF_AN_ANSWER)

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces of few frames each.

        Raises
        ------
        FrameFault
            Before the piece that holds the fault.
        """
        view, at, frames = memoryview(data), 0, 0
        parts: list[bytes | memoryview] = []
        while at < len(view):
            if self._inside:
                parts.append(view[at : at + self._inside])
                at += len(parts[-1])
                self._inside -= len(parts[-1])
                continue
            if self._large is not None:
                piece = view[at : at + self._large.wanted]
                at += len(piece)
                parts += self._large.take(piece)
                if not self._large.left:
                    self._inside, self._large = self._large.padding, None
                continue
            step = _HEAD_BYTES - len(self._head)
            self._head += view[at : at + step]
            at += step
            if len(self._head) < _HEAD_BYTES:
                break
            self._begin(self._head, parts)
            self._head = b""
            frames += 1
            if frames == _FRAMES_AT_ONCE:
                yield b"".join(parts)
                parts, frames = [], 0
        if parts:
            yield b"".join(parts)

    def _begin(self, head: bytes, parts: list[bytes | memoryview]) -> None:
        self._judge(head)
        length = int.from_bytes(head[:3])
        if length > _OTHER_BYTES:
            self._large = _LargeData(head)
        else:
            parts.append(head)
            self._inside = length

    def _judge(self, head: bytes) -> None:
        length, kind = int.from_bytes(head[:3]), head[3]
        if length > (self._data_bytes if kind == _DATA else _OTHER_BYTES):
            raise FrameFault
        if kind == _DATA:
            self._pieces.add(length / _PIECES[2])
            is_allowed = self._pieces.spend()
        elif kind in (_HEADERS, _PUSH):
            self._block_bytes, self._continuations = length, 0
            self._pieces.add(_PIECES_OF_A_REQUEST)
            is_allowed = True  # what requests cost is bounded elsewhere
        elif kind == _CONTINUATION:
            self._block_bytes += length
            self._continuations += 1
            is_allowed = self._continuations <= _MAX_CONTINUATIONS
        else:
            is_allowed = self._others.spend()
        if not is_allowed or self._block_bytes > self._header_bytes:
            raise FrameFault


class _LargeData:
    """A frame of DATA that goes on in pieces.

    Attributes
    ----------
    left : int
        Bytes that have not come, without the padding as soon as that is known.
    padding : int
        Bytes that stand behind them.
    """

    def __init__(self, head: bytes) -> None:
        self.left = int.from_bytes(head[:3])
        self.padding = 0
        self._flags = head[4]
        self._stream = head[5:]
        self._says_padding = bool(self._flags & _PADDED)  # with its first byte

    @property
    def wanted(self) -> int:
        """How many bytes may be taken at once."""
        return 1 if self._says_padding else self.left

    def take(self, piece: memoryview) -> list[bytes | memoryview]:
        """Return what goes on instead of the next bytes."""
        if self._says_padding:
            self._says_padding = False
            self.padding = piece[0]
            self.left -= 1 + self.padding
            return []
        self.left -= len(piece)
        if self.left:
            return [self._head(len(piece), 0), piece]
        if not self._flags & _PADDED:
            return [self._head(len(piece), self._flags), piece]
        padding = [self._head(1 + self.padding, self._flags), bytes([self.padding])]
        return [self._head(len(piece), 0), piece, *padding]

    def _head(self, size: int, flags: int) -> bytes:
        return size.to_bytes(3) + bytes([_DATA, flags]) + self._stream


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

    def add(self, more: float) -> None:
        """Let it happen more often."""
        self._left = min(self._burst, self._left + more)

    def spend(self) -> bool:
        """Count one; False when it was one too many."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        self._left -= 1
        return self._left >= 0
