"""What of HTTP/1.1 is read: h11 (0.16) without the leniences that smuggle requests.

::

    bytes -> head: judged here, then parsed by h11 -> body by its length, or by chunks: judged here
                   `-> refused: 400 or 431, and the connection is closed

h11 takes a line that ends with LF alone, folded lines, control characters, one length said twice,
a length beside chunks, padded chunk sizes, extensions of any size; and it counts the bytes of a
head only while the head is incomplete. Every other server and proxy reads one of these differently,
and between two readings a second request is hidden.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import h11
from h11._readers import ChunkedReader, maybe_read_from_IDLE_client
from h11._receivebuffer import ReceiveBuffer

from server.errors import BadHttp, HeadersTooLarge, ServerError

MAX_HEAD_BYTES = 16 << 10
MAX_HEADERS = 100
_MAX_CHUNK_LINE = 15 + 256  # hexadecimal digits and extensions
_FREE_FRAMING_BYTES = 64 << 10  # of the chunks of one body, whatever they hold
_FRAMING_SHARE = 8  # beyond that, one byte of framing for so many of the body

_LONE = re.compile(rb"\r[^\n]|(?<!\r)\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# in capitals: to others `get` is another method, and Hypercorn makes it the same
METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]+")
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")
_REQUEST_LINE = re.compile(
    rb"(" + METHOD.pattern + rb") (?:https?://([^/?#\x00-\x20\x7f-\xff]+))?"
    rb"(/[\x21\x22\x24-\x7e]*) HTTP/(1\.[01])"
)
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_LINE_CUT = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?")


class _Refusal(h11.LocalProtocolError):
    """What h11 hands on as an error of the client, with the problem that it is."""

    def __init__(self, problem: ServerError) -> None:
        super().__init__(problem.detail, error_status_hint=problem.status)
        self.problem = problem


class StrictConnection(h11.Connection):
    """A server's side of one connection.

    Attributes
    ----------
    fault : ServerError
        Why the last request was refused.
    """

    def __init__(self) -> None:
        self.fault: ServerError = BadHttp()
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Deny it: Hypercorn (0.18) would answer before anybody knows whether the body is read."""
        return False

    @property
    def asks_for_head(self) -> bool:
        """Whether the answer to the last request has no body, whatever its head says."""
        return self._request_method == b"HEAD"

    def next_event(self) -> Any:
        """Return the next event; neighbouring chunks are one, for each would go its own way."""
        if self.their_state is h11.MUST_CLOSE:
            # behind a request that was said to be the last: nothing to answer, and no fault of it
            self._receive_buffer.maybe_extract_at_most(len(self._receive_buffer))
        pieces: list[bytes] = []
        try:
            event = super().next_event()
            while type(event) is h11.Data and self._chunk_follows():
                pieces.append(event.data)
                event = super().next_event()
        except h11.RemoteProtocolError as error:
            problem = getattr(error, "problem", None)
            self.fault = problem or BadHttp("the request is not valid HTTP/1.1")
            if self.trailing_data[0].startswith(b"HEAD "):
                self._request_method = b"HEAD"  # of a request that never became one
            raise
        if not pieces:
            return event
        # behind a piece that goes on comes another piece, or nothing yet
        last = [event.data] if type(event) is h11.Data else []
        return h11.Data(b"".join([*pieces, *last]))

    def _chunk_follows(self) -> bool:
        reader = self._reader
        return isinstance(reader, StrictChunks) and reader.goes_on(self._receive_buffer)

    def _get_io_object(self, role: Any, event: Any, io_dict: Any) -> Any:
        found = super()._get_io_object(role, event, io_dict)
        if found is maybe_read_from_IDLE_client:
            return HeadReader()
        return StrictChunks() if isinstance(found, ChunkedReader) else found


class HeadReader:
    """Judges one head as its bytes arrive; h11 parses what is left of the questions."""

    def __init__(self) -> None:
        self._looked = 0

    def __call__(self, buffer: ReceiveBuffer) -> h11.Request | None:
        """Return the request when its head is whole; raise when no request can come of it."""
        data = buffer._data
        end = data.find(b"\r\n\r\n", max(0, self._looked - 3))
        until = len(data) if end < 0 else end + 4
        if until > MAX_HEAD_BYTES:
            _refuse(HeadersTooLarge(f"the head of a request has at most {MAX_HEAD_BYTES} bytes"))
        if data and data[0] <= 0x20:
            _refuse(BadHttp("the request does not begin with a method"))
        if _LONE.search(data, max(0, self._looked - 1), until):
            _refuse(BadHttp("lines of a head end with CR LF"))
        self._looked = len(data)
        if end < 0:
            return None
        _judge(bytes(data[:end]).split(b"\r\n"))
        return maybe_read_from_IDLE_client(buffer)


class StrictChunks(ChunkedReader):
    """Reads a body of chunks whose framing is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self._body_bytes = 0
        self._framing_bytes = 0

    def __call__(self, buffer: ReceiveBuffer) -> Any:
        """Return what comes next of the body; None when more must arrive first."""
        if self._reading_trailer:
            if not _trailer_is_whole(buffer._data):
                return None
        elif self._bytes_in_chunk == 0:
            self._judge_line(buffer._data, len(self._bytes_to_discard))
        event = super().__call__(buffer)
        if type(event) is h11.Data:
            self._body_bytes += len(event.data)
        return event

    def goes_on(self, buffer: ReceiveBuffer) -> bool:
        """Tell whether data lies ready behind the last piece: more of a chunk, or another one."""
        data, at = buffer._data, len(self._bytes_to_discard)
        if self._bytes_in_chunk:
            return bool(data)
        return len(data) > at and data[at] != ord("0") and data.find(b"\r\n", at) >= 0

    def _judge_line(self, data: bytearray, at: int) -> None:
        end = data.find(b"\r\n", at, at + _MAX_CHUNK_LINE + 2)
        if end < 0:
            line = data[at : at + _MAX_CHUNK_LINE + 2]
            if len(line) > _MAX_CHUNK_LINE + 1 or not _CHUNK_LINE_CUT.fullmatch(line):
                _refuse(BadHttp("a chunk does not begin with its size"))
            return
        if not _CHUNK_LINE.fullmatch(data, at, end):
            _refuse(BadHttp("a chunk does not begin with its size"))
        self._framing_bytes += end - at + 4
        if self._framing_bytes > _FREE_FRAMING_BYTES + self._body_bytes // _FRAMING_SHARE:
            _refuse(BadHttp("the chunks of the body are too small for what frames them"))


def _trailer_is_whole(data: bytearray) -> bool:
    """Judge the fields behind the last chunk, which are dropped."""
    if data[:2] == b"\r\n":
        return True
    end = data.find(b"\r\n\r\n")
    until = len(data) if end < 0 else end + 4
    if until > MAX_HEAD_BYTES:
        _refuse(HeadersTooLarge(f"the trailer of a body has at most {MAX_HEAD_BYTES} bytes"))
    if _LONE.search(data, 0, until):
        _refuse(BadHttp("lines of a trailer end with CR LF"))
    if end >= 0:
        _fields(bytes(data[:end]).split(b"\r\n"))
    return end >= 0


@dataclass(frozen=True, slots=True)
class PlainPost:
    """A POST whose head says how long its body is, and asks nothing of the connection.

    Attributes
    ----------
    path : str
        What is asked, without the query.
    fields : dict
        Values of the headers, by their names in lower case.
    head_bytes, body_bytes : int
        How long it is.
    """

    path: str
    fields: dict[bytes, list[bytes]]
    head_bytes: int
    body_bytes: int


def plain_post(data: bytes) -> PlainPost | None:
    """Read a request in what arrived; None where h11 has to look.

    Parameters
    ----------
    data : bytes
        What arrived, from its beginning; it may end in the request.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0 or not data.startswith(b"POST /"):
        return None
    try:
        version, target, fields = _judge(data[:end].split(b"\r\n"))
    except _Refusal:
        return None
    lengths, path = fields.get(b"content-length"), target.partition(b"?")[0]
    if version != b"1.1" or lengths is None or b"expect" in fields or b"%" in path:
        return None
    if any(value.lower() != b"keep-alive" for value in fields.get(b"connection", [])):
        return None
    return PlainPost(path.decode("ascii"), fields, end + 4, int(lengths[0]))


def _judge(lines: Sequence[bytes]) -> tuple[bytes, bytes, dict[bytes, list[bytes]]]:
    """Refuse a head that could be read in two ways, or that asks for what is not served.

    Returns
    -------
    version, target : bytes
        Of HTTP, and what is asked.
    fields : dict
        Values of the headers, by their names in lower case.
    """
    first = _REQUEST_LINE.fullmatch(lines[0])
    if first is None:
        _refuse(BadHttp("the request line is not METHOD, a path, and HTTP/1.1 or HTTP/1.0"))
    _, authority, target, version = first.groups()
    fields = _fields(lines[1:])
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    hosts = fields.get(b"host", [])
    if len(lengths) + len(codings) > 1:
        _refuse(BadHttp("a body has one Content-Length, or else one Transfer-Encoding"))
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        _refuse(BadHttp("Content-Length is a decimal number"))
    if codings and (codings[0].lower() != b"chunked" or version == b"1.0"):
        _refuse(BadHttp("the only Transfer-Encoding is `chunked`, in HTTP/1.1"))
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        _refuse(BadHttp("a request names one Host"))
    if hosts and not HOST.fullmatch(hosts[0]):
        _refuse(BadHttp("Host is a name or an address, and perhaps a port"))
    if authority and hosts and authority.lower() != hosts[0].lower():
        _refuse(BadHttp("the request target and Host name different servers"))
    if b"upgrade" in fields:
        _refuse(BadHttp("no connection is upgraded here: neither to WebSocket nor to h2c"))
    return version, target, fields


def _fields(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    if len(lines) > MAX_HEADERS:
        _refuse(HeadersTooLarge(f"a request has at most {MAX_HEADERS} headers"))
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            _refuse(BadHttp("a header is not NAME, a colon, and a value on one line"))
        fields.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    return fields


def _refuse(problem: ServerError) -> NoReturn:
    raise _Refusal(problem)
