"""Find the parts of a multipart body in pieces of any size (RFC 2046 section 5.1).

::

    [preamble CRLF] --boundary [blanks] CRLF
    name: value CRLF ... CRLF
    data CRLF--boundary [blanks] CRLF ... data CRLF--boundary-- [epilogue]

Every delimiter begins with the only CR that it has, and what frames a body is short: so one search
of a piece finds a delimiter, a look at its last CR finds one that may be cut, and what is left over
for the next piece is bounded. bytes | memoryview is given as it came, not copied.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server.errors import MalformedForm

_MAX_PREAMBLE = 1024
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 8192  # of one part, together
_AFTER = re.compile(rb"(--)|[ \t]{0,64}\r\n")
_AFTER_CUT = re.compile(rb"-|[ \t]{0,64}\r?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers were read.

    Attributes
    ----------
    headers : dict of bytes to bytes
        By their lower-case names.
    """

    headers: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class PartEnds:
    """All data of a part was given."""


@dataclass(frozen=True, slots=True)
class FormEnds:
    """The last delimiter was read; what follows is dropped."""


Event = PartBegins | bytes | memoryview | PartEnds | FormEnds


class Splitter:
    """Turn pieces of a body into events, in order.

    Parameters
    ----------
    boundary : bytes
        Separates the parts; holds no CR.

    Attributes
    ----------
    events : deque
        What was found and not yet taken.
    """

    def __init__(self, boundary: bytes) -> None:
        if b"\r" in boundary:
            raise MalformedForm("a boundary holds no line break")
        self.events: deque[Event] = deque()
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first delimiter needs no line break before it
        self._skipped = 0
        self._step: Callable[[bytes, int], int] = self._preamble

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises
        ------
        MalformedForm
            If the body cannot be one of this boundary.
        """
        piece, self._held = self._held + piece, b""
        at = 0
        while at < len(piece):
            at = self._step(piece, at)

    def _preamble(self, piece: bytes, at: int) -> int:
        end, after = self._find_delimiter(piece, at)
        self._skipped += end - at
        if self._skipped > _MAX_PREAMBLE:
            raise MalformedForm("the form does not begin with its boundary")
        if self._step == self._epilogue:
            self.events.append(FormEnds())
        return after

    def _data(self, piece: bytes, at: int) -> int:
        end, after = self._find_delimiter(piece, at)
        if end > at:
            whole = at == 0 and end == len(piece)
            self.events.append(piece if whole else memoryview(piece)[at:end])
        if self._step != self._data:
            self.events.append(PartEnds())
        if self._step == self._epilogue:
            self.events.append(FormEnds())
        return after

    def _epilogue(self, piece: bytes, at: int) -> int:
        return len(piece)

    def _headers(self, piece: bytes, at: int) -> int:
        """Read headers; `at` is the line break before them."""
        end = piece.find(b"\r\n\r\n", at, at + _MAX_HEADER_BYTES)
        if end < 0:
            if len(piece) - at >= _MAX_HEADER_BYTES:
                raise MalformedForm(f"a part has more than {_MAX_HEADER_BYTES} bytes of headers")
            self._held = piece[at:]
            return len(piece)
        lines = piece[at + 2 : end].split(b"\r\n") if end > at else []
        headers = [_HEADER.fullmatch(line) for line in lines]
        if None in headers or len(headers) > _MAX_HEADERS:
            raise MalformedForm("the headers of a part cannot be read")
        self.events.append(PartBegins({m[1].lower(): m[2] for m in headers if m is not None}))
        self._step = self._data
        return end + 4

    def _find_delimiter(self, piece: bytes, at: int) -> tuple[int, int]:
        """Choose the next step; return where the delimiter begins and where to go on."""
        delimiter = self._delimiter
        # searching from the end is the faster search, and linear: no two candidates overlap
        found = piece.find(delimiter, at) if piece.rfind(delimiter, at) >= 0 else -1
        while found >= 0:
            after = found + len(delimiter)
            if match := _AFTER.match(piece, after):
                self._step = self._epilogue if match[1] else self._headers
                return found, match.end() - (0 if match[1] else 2)
            if _AFTER_CUT.fullmatch(piece, after):
                return self._hold(piece, found)
            if piece[after] in b" \t":
                raise MalformedForm("a boundary is followed by something else")
            found = piece.find(delimiter, after)
        cut = piece.rfind(b"\r", max(at, len(piece) - len(delimiter) + 1))
        if cut >= 0 and delimiter.startswith(piece[cut:]):
            return self._hold(piece, cut)
        return len(piece), len(piece)

    def _hold(self, piece: bytes, start: int) -> tuple[int, int]:
        self._held = piece[start:]
        return start, len(piece)
