"""Read the files of a multipart form as they arrive (RFC 7578).

::

    chunks -> FormReader.files() -> name, chunks of the first file
                                 -> name, chunks of the second ...

python-multipart finds the boundaries. Nothing is kept but the piece at hand and an unfinished part
header, which is bounded.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import MalformedForm

MAX_FILES = 12
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096
_MAX_BOUNDARY = 200


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file of a form; its chunks must be read before the next file is asked for.

    Attributes
    ----------
    field : str
        The form field that it belongs to.
    chunks : async iterator of bytes
        Its content.
    """

    field: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _PartBegins:
    disposition: bytes


@dataclass(frozen=True, slots=True)
class _PartEnds:
    pass


@dataclass(frozen=True, slots=True)
class _FormEnds:
    pass


_Event = bytes | _PartBegins | _PartEnds | _FormEnds


class _Parser:
    """Turns the parser's callbacks into events in order; data is an event of its own."""

    def __init__(self, boundary: bytes) -> None:
        self.events: deque[_Event] = deque()
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": self._add_data,
                "on_part_end": lambda: self.events.append(_PartEnds()),
                "on_end": lambda: self.events.append(_FormEnds()),
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _begin_part(self) -> None:
        self.events.append(_PartBegins(self._headers.get(b"content-disposition", b"")))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(data[start:end])


class FormReader:
    """Takes a multipart body apart.

    Parameters
    ----------
    chunks : async iterator of bytes
        The body.
    content_type : str
        The request's header, which names the boundary.

    Raises
    ------
    MalformedForm
        If the header names none.
    """

    def __init__(self, chunks: AsyncIterator[bytes], content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise MalformedForm("send the files as multipart/form-data, in the field `model`")
        self._chunks = chunks
        self._parser = _Parser(boundary)

    async def files(self) -> AsyncIterator[FormFile]:
        """Yield the files one after the other.

        Raises
        ------
        MalformedForm
            If the body is no such form, or has parts that are no files.
        """
        while isinstance(event := await self._next(), _PartBegins):
            kind, options = parse_options_header(event.disposition)
            field = options.get(b"name", b"").decode("utf-8", "replace")
            if kind != b"form-data" or b"filename" not in options:
                raise MalformedForm(f"the field {field[:40]!r} must carry a file")
            yield FormFile(field, self._data())
        if not isinstance(event, _FormEnds):
            raise MalformedForm("the files of the form must be read in order")

    async def _data(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), bytes):
            yield event

    async def _next(self) -> _Event:
        try:
            while not self._parser.events:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    raise MalformedForm("the form ends early")
                self._parser.feed(chunk)
        except MultipartParseError as error:
            raise MalformedForm("the form cannot be read") from error
        return self._parser.events.popleft()
