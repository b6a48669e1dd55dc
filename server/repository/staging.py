"""Uploads on their way in: written without a name, hashed while they are written.

::

    chunks -> unnamed file in uploads_tmp/ -> flushed -> `publish` -> uploads_tmp/<32 hex>.upload
                      |                          `-----> straight into the store (signed uploads)
                      `-> closed on any error: nothing remains

What a request declares is reserved when it is admitted, so that uploads which fit one by one do not
fill the disk together. Nobody reserves more than a fair share, though: a declared length costs its
sender nothing. What goes beyond the share is let in as it comes.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.backlog import Backlog, share_of_one
from server.digest import Digest
from server.errors import Overload, StorageFull, TooLarge, TooManyRequests
from server.metrics import UPLOAD_BYTES, UPLOADS
from server.repository import fsops
from server.repository.layout import Layout
from server.repository.threads import on_disk, storage_error

BATCH_BYTES = 1 << 20  # one hop to a thread for so much
BATCH_PIECES = 512  # or for so many: small pieces take more room than they hold, writev takes 1024
DISK_RESERVE = 256 << 20  # never fill the disk to the last byte: the registry lives there too


@dataclass(slots=True)
class Room:
    """What an admitted request may still write before others are asked.

    Attributes
    ----------
    left : int
        In bytes.
    """

    left: int = 0


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
        self._disk = layout.disk
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._max_uploads = max_uploads
        self._in_flight = Backlog()
        self._of_caller: Counter[str] = Counter()
        self._bytes_in_flight = 0
        self._bytes_reserved = 0
        self._bytes_waiting = 0
        self._bytes_published = 0

    @property
    def max_file_bytes(self) -> int:
        """Largest single file, in bytes."""
        return self._max_file_bytes

    @asynccontextmanager
    async def admit(self, declared_bytes: int | None, caller: str = "") -> AsyncIterator[Room]:
        """Hold one of the places for an upload request, and room for what it declares.

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
        if self._in_flight.amount >= self._max_uploads:
            detail = f"{self._max_uploads} uploads are in flight"
            raise Overload(detail, retry_after_s=self._in_flight.refuse())
        share = share_of_one(self._max_uploads)
        if self._of_caller[caller] >= share:
            detail = f"{share} uploads of one address are in flight"
            raise TooManyRequests(detail, retry_after_s=self._in_flight.refuse())
        free = self._check_room(declared_bytes or 0)
        room = Room(min(declared_bytes or 0, min(self._max_bytes, free) // self._max_uploads))
        self._in_flight.begin()
        self._of_caller[caller] += 1
        self._bytes_reserved += room.left
        try:
            yield room
        finally:
            self._bytes_reserved -= room.left
            self._in_flight.end()
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    @asynccontextmanager
    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview], room: Room | None = None
    ) -> AsyncIterator[StagedUpload]:
        """Write a stream to disk; what is neither published nor stored when the block ends is gone.

        Parameters
        ----------
        chunks : asynchronous iterable of bytes
            The file.
        room : Room, optional
            What its request reserved.

        Raises
        ------
        TooLarge
            If the file passes the limit for one file.
        StorageFull
            If the disk or the room for uploads is short.
        """
        room = room or Room()
        try:
            file = fsops.NewFile(self._disk, self._layout.uploads)
        except OSError as error:
            raise storage_error(error) from error
        sink = Sink(file)
        outcome = "failed"
        try:
            async for batch in batches(chunks):
                await self._take(sink, batch, room)
            await on_disk(file.flush)
            outcome = "received"
            yield StagedUpload(file, sink.digest(), sink.size)
        finally:
            self.give_back(sink.size)
            UPLOADS.labels(outcome).inc()
            UPLOAD_BYTES.inc(sink.size)
            await on_disk(file.close)  # what has no name is freed now: 0.1 s a gigabyte

    async def publish(self, upload: StagedUpload) -> None:
        """Give an upload its name in staging, where the next sweep finds it."""
        name = self._layout.new_upload()
        await on_disk(lambda: upload.file.link(name))
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

    def let_in(self, size: int, room: Room) -> None:
        """Count bytes that are about to be written.

        Raises
        ------
        StorageFull
            If the disk or the room for uploads is short.
        """
        reserved = min(size, room.left)
        self._check_room(size, reserved=reserved)
        room.left -= reserved
        self._bytes_reserved -= reserved
        self._bytes_in_flight += size

    def hold(self, size: int) -> None:
        """Count bytes of an unfinished upload that lie here since before the start."""
        self._bytes_in_flight += size

    def give_back(self, size: int) -> None:
        """Count bytes no longer that were let in, or held."""
        self._bytes_in_flight -= size

    async def _take(self, sink: "Sink", batch: list[bytes | memoryview], room: Room) -> None:
        size = sum(map(len, batch))
        if sink.size + size > self._max_file_bytes:
            raise TooLarge(
                f"a model file may have {self._max_file_bytes} bytes", limit=self._max_file_bytes
            )
        self.let_in(size, room)
        sink.size += size
        await on_disk(lambda: sink.write(batch))

    def _check_room(self, size: int, *, reserved: int = 0) -> int:
        """Return the free bytes of the disk, if there is room for so many more."""
        others = 0
        if size > reserved:
            others = self._bytes_reserved - reserved
            taken = self._bytes_in_flight + self._bytes_waiting + others
            if taken + size > self._max_bytes:
                raise StorageFull(
                    "uploads that wait for a sweep take all the room", retry_after_s=15
                )
        free = self._disk.free_bytes(self._layout.uploads)
        if free - others - size < DISK_RESERVE:
            raise StorageFull("the disk has no room for the upload", retry_after_s=60)
        return free


class Sink:
    """An open file and the hash of what went into it.

    Attributes
    ----------
    size : int
        Bytes that were let in; counted by whoever lets them in.
    """

    def __init__(self, file: fsops.NewFile) -> None:
        self.size = 0
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Append pieces; blocks."""
        for piece in pieces:
            self._sha256.update(piece)
        self._file.write(pieces)

    def digest(self) -> Digest:
        """Return the SHA-256 of what was written."""
        return Digest(self._sha256.digest())


async def batches(
    chunks: AsyncIterable[bytes | memoryview],
) -> AsyncIterator[list[bytes | memoryview]]:
    """Gather pieces until they are worth a hop to a thread."""
    batch: list[bytes | memoryview] = []
    size = 0
    async for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= BATCH_BYTES or len(batch) == BATCH_PIECES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
