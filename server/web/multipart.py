"""Read the files of a multipart form as they arrive (RFC 7578).

Werkzeug's parser without I/O finds the boundaries.

::

    chunks -> FormReader.files() -> name, chunks of the first file
                                 -> name, chunks of the second ...

Nothing is kept but the piece at hand and an unfinished part header, which is bounded.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from server.errors import MalformedForm

MAX_FILES = 12
_MAX_HEADER_BYTES = 8192
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
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise MalformedForm("send the files as multipart/form-data, in the field `model`")
        self._chunks = chunks
        self._decoder = MultipartDecoder(
            boundary.encode("latin-1", "replace"), max_parts=MAX_FILES + 1
        )

    async def files(self) -> AsyncIterator[FormFile]:
        """Yield the files one after the other.

        Raises
        ------
        MalformedForm
            If the body is no such form, or has parts that are no files.
        """
        while not isinstance(event := await self._next(), Epilogue):
            if isinstance(event, Field):
                raise MalformedForm(f"the field {str(event.name)[:40]!r} must carry a file")
            if isinstance(event, File):
                yield FormFile(event.name or "", self._data())

    async def _data(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            event = await self._next()
            if not isinstance(event, Data):
                raise MalformedForm("a file of the form ends early")
            more = event.more_data
            if event.data:
                yield event.data

    async def _next(self) -> Event:
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                bounded = self._decoder.state not in (State.DATA, State.DATA_START)
                if bounded and len(self._decoder.buffer) > _MAX_HEADER_BYTES:
                    raise MalformedForm("the form has too much between its files")
                self._decoder.receive_data(await anext(self._chunks, None))
        except RequestEntityTooLarge as error:
            raise MalformedForm(f"a form may carry {MAX_FILES} files") from error
        except (ValueError, LookupError) as error:
            raise MalformedForm("the form cannot be read, or ends early") from error
        return event
