"""The sound of a job as it arrives: the whole body, or the one file of a form.

::

    sound    a file
    ...      values: the fields of the route
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server.errors import MalformedForm
from server.jobs.files import JobFiles, Received
from server.web.connection import StreamedRequest
from server.web.multipart import FormFile, FormReader
from server.web.signed import StreamedBody
from server.web.v1.forms import FORM

SOUND = "sound"
FORM_BYTES = 1 << 16  # around the sound
_MAX_VALUE_BYTES = 4096
_MAX_VALUES = 100


@asynccontextmanager
async def sound_of(
    asked: StreamedRequest, body: StreamedBody, files: JobFiles
) -> AsyncIterator[tuple[Received, dict[str, Any]]]:
    """Give the sound of a request, and the fields of its form.

    Raises
    ------
    MalformedForm
        If it is a form that carries anything else.
    ServerError
        As `JobFiles.receive`.
    """
    declared = asked.stream_body.declared
    if asked.mimetype != FORM:
        async with files.receive(body.chunks, declared) as received:
            yield received, {}
        return
    chunks = aiter(body.chunks)
    parts = FormReader(chunks, asked.headers.get("Content-Type", "")).parts()
    fields = await _values(parts)
    if fields.sound is None:
        raise MalformedForm(f"the form carries no file in the field `{SOUND}`")
    async with files.receive(fields.sound.chunks, declared) as received:
        behind = await _values(parts, fields.named)
        if behind.sound is not None:
            raise MalformedForm("a job has one sound")
        async for _behind in chunks:
            pass  # what follows the form was signed too: the verdict comes at the very end
        yield received, behind.named


class _Values:
    """The values of a form up to a file."""

    def __init__(self, named: dict[str, Any]) -> None:
        self.named = named
        self.sound: FormFile | None = None


async def _values(parts: AsyncIterator[FormFile], before: dict[str, Any] | None = None) -> _Values:
    """Read values until a file comes, or the end."""
    found = _Values(dict(before or {}))
    async for part in parts:
        if part.name is not None:
            if part.field != SOUND:
                raise MalformedForm(f"the file of the form is in the field `{SOUND}`")
            found.sound = part
            return found
        if part.field in found.named or len(found.named) >= _MAX_VALUES:
            raise MalformedForm(f"the field {part.field[:40]!r} comes twice, or too many do")
        found.named[part.field] = await _text(part)
    return found


async def _text(part: FormFile) -> str:
    value = b""
    async for piece in part.chunks:
        value += piece
        if len(value) > _MAX_VALUE_BYTES:
            raise MalformedForm(f"a value of the form has at most {_MAX_VALUE_BYTES} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedForm("a value of the form is no UTF-8") from error
