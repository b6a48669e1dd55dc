"""Sounds of a multipart form, each with its feature row.

::

    sound    a file; 1 to 64 of them
    csv      a file or a value: the row of the sound before it, or of the first one
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from server.errors import MalformedForm
from server.web.multipart import FormReader

FORM = "multipart/form-data"
MAX_SOUNDS = 64
_SOUND, _ROW = "sound", "csv"
_MAX_NAME = 255
_MAX_ROW_BYTES = 1 << 20  # a decoder takes less; this bounds what is copied for it


@dataclass(slots=True)
class FormSound:
    """A sound of a form.

    Attributes
    ----------
    name : str
        Of the file; what its sender calls it.
    data : bytes or memoryview
        The file.
    csv : bytes or None
        Its feature row; None when there is none.
    """

    name: str
    data: bytes | memoryview
    csv: bytes | None = None


async def read_sounds(body: bytes, content_type: str) -> list[FormSound]:
    """Take a form apart; what it holds is not copied.

    Raises
    ------
    MalformedForm
        If it is none, or carries anything else.
    """
    sounds: list[FormSound] = []
    early: bytes | None = None  # a row that came before the first sound
    async for part in FormReader(_whole(body), content_type).parts():
        pieces = [piece async for piece in part.chunks]
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if part.field == _SOUND and part.name is not None:
            sounds.append(FormSound(part.name[:_MAX_NAME], data, early))
            early = None
        elif part.field == _ROW:
            if len(data) > _MAX_ROW_BYTES:
                raise MalformedForm(f"a `csv` has at most {_MAX_ROW_BYTES} bytes")
            if sounds and sounds[-1].csv is None:
                sounds[-1].csv = bytes(data)
            elif sounds or early is not None:
                raise MalformedForm("a `csv` stands behind its sound, and each has one")
            else:
                early = bytes(data)
        else:
            raise MalformedForm("the form holds files in the field `sound`, and `csv`")
        if len(sounds) > MAX_SOUNDS:
            raise MalformedForm(f"a form has at most {MAX_SOUNDS} sounds")
    if not sounds:
        raise MalformedForm("the form carries no file in the field `sound`")
    return sounds


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body
