"""Read the files of a multipart form as they arrive (RFC 7578).

::

    chunks -> FormReader.files() -> field, chunks of the first file
                                 -> field, chunks of the second ...

Nothing is kept but the piece at hand and an unfinished part header, which is bounded.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from server.errors import MalformedForm
from server.web.splitter import Event, FormEnds, PartBegins, Splitter

MAX_FILES = 12
_MAX_BOUNDARY = 200


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file of a form; its chunks must be read before the next file is asked for.

    Attributes
    ----------
    field : str
        The form field that it belongs to.
    chunks : async iterator of bytes or memoryview
        Its content.
    name : str or None
        Of the file, as its sender calls it; None for a value that is no file.
    """

    field: str
    chunks: AsyncIterator[bytes | memoryview]
    name: str | None


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
            raise MalformedForm("send the files as multipart/form-data")
        self._chunks = chunks
        self._splitter = Splitter(boundary)

    async def files(self) -> AsyncIterator[FormFile]:
        """Yield the files one after the other.

        Raises
        ------
        MalformedForm
            If the body is no such form, or has parts that are no files.
        """
        async for part in self.parts():
            if part.name is None:
                raise MalformedForm(f"the field {part.field[:40]!r} must carry a file")
            yield part

    async def parts(self) -> AsyncIterator[FormFile]:
        """Yield files and plain values one after the other.

        Raises
        ------
        MalformedForm
            If the body is no such form.
        """
        while isinstance(event := await self._next(), PartBegins):
            kind, options = parse_options_header(event.headers.get(b"content-disposition", b""))
            if kind != b"form-data":
                raise MalformedForm("a part of the form has no name")
            name = options.get(b"filename")
            yield FormFile(
                options.get(b"name", b"").decode("utf-8", "replace"),
                self._data(),
                None if name is None else name.decode("utf-8", "replace"),
            )
        if not isinstance(event, FormEnds):
            raise MalformedForm("the files of the form must be read in order")

    async def _data(self) -> AsyncIterator[bytes | memoryview]:
        while isinstance(event := await self._next(), bytes | memoryview):
            yield event

    async def _next(self) -> Event:
        while not self._splitter.events:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise MalformedForm("the form ends early")
            self._splitter.feed(chunk)
        return self._splitter.events.popleft()
