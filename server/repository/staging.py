"""Uploads on their way in: written without a name, hashed while they are written.

::

    chunks -> unnamed file in uploads_tmp/ -> flushed -> `publish` -> uploads_tmp/<32 hex>.upload
                      |                          `-----> straight into the store (signed uploads)
                      `-> closed on any error: nothing remains
"""

import asyncio
import errno
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager

from server.backlog import Backlog, share_of_one
from server.digest import Digest
from server.errors import Overload, ServerError, StorageFull, TooLarge, TooManyRequests
from server.repository import fsops
from server.repository.layout import Layout
from server.shielding import run_to_end

_BATCH_BYTES = 1 << 20  # one hop to a thread for so much
_BATCH_PIECES = 512  # or for so many: small pieces take more room than they hold, writev takes 1024
_DISK_RESERVE = 256 << 20  # never fill the disk to the last byte: the registry lives there too
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StagedUpload:
    """A complete upload: an open file that is on disk, and its digest.

    Attributes
    ----------
    file : NewFile
        Open, without a name.
    digest : Digest
        Of all its bytes.
    size : int
        In bytes.
    """

    def __init__(self, file: fsops.NewFile, digest: Digest, size: int) -> None:
        self.file = file
        self.digest = digest
        self.size = size


class Staging:
    """Takes uploads in, within bounds.

    Parameters
    ----------
    layout : Layout
        Says where uploads lie.
    max_file_bytes : int
        Largest single file.
    max_bytes : int
        Room for all uploads together, waiting and in flight.
    max_uploads : int
        Requests in flight at once.
    """

    def __init__(
        self, layout: Layout, *, max_file_bytes: int, max_bytes: int, max_uploads: int
    ) -> None:
        self._layout = layout
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._max_uploads = max_uploads
        self._in_flight = Backlog()
        self._of_caller: Counter[str] = Counter()
        self._bytes_in_flight = 0
        self._bytes_waiting = 0
        self._bytes_published = 0

    @property
    def max_file_bytes(self) -> int:
        """Largest single file, in bytes."""
        return self._max_file_bytes

    @asynccontextmanager
    async def admit(self, declared_bytes: int | None, caller: str = "") -> AsyncIterator[None]:
        """Hold one of the places for an upload request.

        Parameters
        ----------
        declared_bytes : int or None
            What the request declares.
        caller : str
            Whose it is; three quarters of the places may be one caller's.

        Raises
        ------
        Overload
            If every place is taken.
        TooManyRequests
            If this caller has its share of them.
        StorageFull
            If what the request declares cannot fit.
        """
        share, wait_s = share_of_one(self._max_uploads), self._in_flight.wait_s()
        if self._in_flight.amount >= self._max_uploads:
            raise Overload(f"{self._max_uploads} uploads are in flight", retry_after_s=wait_s)
        if self._of_caller[caller] >= share:
            detail = f"{share} uploads of one address are in flight"
            raise TooManyRequests(detail, retry_after_s=wait_s)
        self._check_room(declared_bytes or 0)
        self._in_flight.begin()
        self._of_caller[caller] += 1
        try:
            yield
        finally:
            self._in_flight.end()
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    @asynccontextmanager
    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview]
    ) -> AsyncIterator[StagedUpload]:
        """Write a stream to disk; what is neither published nor stored when the block ends is gone.

        Raises
        ------
        TooLarge
            If the file passes the limit for one file.
        StorageFull
            If the disk or the room for uploads is short.
        """
        try:
            file = fsops.NewFile(self._layout.uploads)
        except OSError as error:
            raise _storage_error(error) from error
        sink = _Sink(file)
        try:
            async for batch in _batches(chunks):
                await self._take(sink, batch)
            await _on_disk(file.flush)
            yield StagedUpload(file, sink.digest(), sink.size)
        finally:
            self._bytes_in_flight -= sink.size
            file.close()

    async def publish(self, upload: StagedUpload) -> None:
        """Give an upload its name in staging, where the next sweep finds it."""
        name = self._layout.new_upload()
        await _on_disk(lambda: upload.file.link(name))
        self._bytes_waiting += upload.size
        self._bytes_published += upload.size

    @property
    def bytes_published(self) -> int:
        """Count the bytes of all uploads that were ever given a name."""
        return self._bytes_published

    def count_waiting(self, waiting_bytes: int, *, since: int) -> None:
        """Take over the bytes that a sweep left in staging.

        Parameters
        ----------
        waiting_bytes : int
            What is left of the names that the sweep looked at.
        since : int
            What `bytes_published` was before the sweep looked: it knows of nothing later.
        """
        self._bytes_waiting = waiting_bytes + self._bytes_published - since

    async def _take(self, sink: "_Sink", batch: list[bytes | memoryview]) -> None:
        size = sum(map(len, batch))
        if sink.size + size > self._max_file_bytes:
            raise TooLarge(
                f"a model file may have {self._max_file_bytes} bytes", limit=self._max_file_bytes
            )
        self._check_room(size)
        self._bytes_in_flight += size
        sink.size += size
        await _on_disk(lambda: sink.write(batch))

    def _check_room(self, size: int) -> None:
        if self._bytes_in_flight + self._bytes_waiting + size > self._max_bytes:
            raise StorageFull("uploads that wait for a sweep take all the room", retry_after_s=15)
        if fsops.free_bytes(self._layout.uploads) - size < _DISK_RESERVE:
            raise StorageFull("the disk has no room for the upload", retry_after_s=60)


class _Sink:
    """An open file and the hash of what went into it; `size` counts what was let in."""

    def __init__(self, file: fsops.NewFile) -> None:
        self.size = 0
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, pieces: list[bytes | memoryview]) -> None:
        for piece in pieces:
            self._sha256.update(piece)
        _write_all(self._file.fd, pieces)

    def digest(self) -> Digest:
        return Digest(self._sha256.digest())


def _write_all(fd: int, pieces: list[bytes | memoryview]) -> None:
    written = os.writev(fd, pieces)
    for piece in pieces:
        view = memoryview(piece)[written:]
        written = max(0, written - len(piece))
        while view:
            view = view[os.write(fd, view) :]


async def _batches(
    chunks: AsyncIterable[bytes | memoryview],
) -> AsyncIterator[list[bytes | memoryview]]:
    batch: list[bytes | memoryview] = []
    size = 0
    async for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= _BATCH_BYTES or len(batch) == _BATCH_PIECES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _on_disk(work: Callable[[], object]) -> None:
    """Run a disk operation in a thread, to its end even when the request is dropped meanwhile.

    The descriptor is closed afterwards, so no thread may still hold it.
    """
    try:
        await run_to_end(asyncio.to_thread(work))
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> ServerError:
    if error.errno in _FULL:
        return StorageFull("the disk has no room for the upload", retry_after_s=60)
    return ServerError("the upload could not be written to disk")
