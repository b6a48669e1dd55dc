"""The files of an upload, and who sends each of them.

::

    dialect 1    a form; behind each file its own signature
    dialect 2    a form of plain files, or one file as the whole body; so with a bearer token
    nobody       a form of plain files, on the upload port
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from server.errors import MalformedForm
from server.signing.principal import Principal, Scope
from server.signing.stream import UnsignedStream
from server.web.body import limited
from server.web.callers import Caller, Callers
from server.web.connection import StreamedRequest
from server.web.multipart import FormFile, FormReader

_FORM = "multipart/form-data"
_FIELD = "model"
_SCOPES = (Scope.UPLOAD, Scope.REGISTER)  # a signed upload registers its own digest
Chunks = AsyncIterable[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class SignedFile:
    """One file of a signed upload.

    Attributes
    ----------
    chunks : async iterable of bytes or memoryview
        Its bytes.
    sender : callable
        Says who sent it, from its size in bytes, once the whole upload was read.
    """

    chunks: Chunks
    sender: Callable[[int], Awaitable[Principal]]


async def plain_files(
    asked: StreamedRequest, max_bytes: int, max_files: int
) -> AsyncIterator[Chunks]:
    """Yield the files of an unsigned form.

    Raises
    ------
    MalformedForm
        If it is none, or carries anything else.
    """
    async for file in _form_files(asked, limited(asked.stream_body, max_bytes), max_files):
        yield file.chunks


async def signed_files(
    asked: StreamedRequest, callers: Callers, max_bytes: int, max_files: int
) -> AsyncIterator[SignedFile]:
    """Yield the files of a signed upload; all of it is judged when the last one was read.

    Raises
    ------
    BadSignature
        At the latest at the end.
    ScopeMissing
        If the sender may not upload and register.
    MalformedForm
        If it is no form where it should be one, or carries anything else.
    """
    caller = await callers.identify(asked, *_SCOPES)
    if caller is not None:
        async for file in _files_of(caller, asked, max_bytes, max_files):
            yield file
        return
    body = limited(asked.stream_body, max_bytes)
    async for form_file in _form_files(asked, body, max_files):
        unsigned = UnsignedStream(form_file.chunks, callers.keys())
        yield SignedFile(unsigned, partial(_signer, callers, unsigned))


async def _signer(callers: Callers, unsigned: UnsignedStream, size: int) -> Principal:
    return await callers.by_key(unsigned.key, size, *_SCOPES)


async def _files_of(
    caller: Caller, asked: StreamedRequest, max_bytes: int, max_files: int
) -> AsyncIterator[SignedFile]:
    async def sender(_size: int) -> Principal:
        return caller.still()  # the whole body was counted when it was admitted

    hashed = aiter(caller.body(asked.stream_body, max_bytes))
    if asked.mimetype == _FORM:
        async for file in _form_files(asked, hashed, max_files):
            yield SignedFile(file.chunks, sender)
    else:
        yield SignedFile(hashed, sender)
    async for _behind in hashed:
        pass  # what follows the form was signed too: the verdict comes at the very end


async def _form_files(
    asked: StreamedRequest, chunks: AsyncIterator[bytes], max_files: int
) -> AsyncIterator[FormFile]:
    count = 0
    async for file in FormReader(chunks, asked.headers.get("Content-Type", "")).files():
        count += 1
        if file.field != _FIELD or count > max_files:
            raise MalformedForm(f"send 1 to {max_files} files in the field `{_FIELD}`")
        yield file
    if count == 0:
        raise MalformedForm(f"the form carries no file in the field `{_FIELD}`")
