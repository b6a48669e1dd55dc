"""The files of jobs: sounds that wait, artifacts that were made; equal bytes lie here once.

::

    models/jobs/<64 hex>    its name is the SHA-256 of its bytes; read-only

A file is written without a name and hashed, and gets its name when it is whole and on disk. The
database says who holds it; the name goes with its last holder. Between a name and its record, or
the other way round, nobody else may come: see `turn`.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from server.commits import Engine
from server.digest import Digest
from server.errors import StorageFull, TooLarge
from server.job_errors import ArtifactNotFound
from server.jobs import rows
from server.jobs.job import Kept
from server.repository import fsops
from server.repository.fsops import Disk
from server.repository.staging import DISK_RESERVE, Sink, batches
from server.repository.threads import on_disk, open_on_disk
from server.shielding import whole

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-f]{64}")
FOLDER = "jobs"  # in the folder of the models


@dataclass(frozen=True, slots=True)
class Received:
    """A sound that has arrived: an open file without a name, on disk.

    Attributes
    ----------
    file : NewFile
        Open.
    digest : Digest
        Of its bytes.
    size : int
        In bytes.
    """

    file: fsops.NewFile
    digest: Digest
    size: int


class JobFiles:
    """The files.

    Parameters
    ----------
    folder : Path
        Where they lie.
    disk : Disk
        What they lie on.
    engine : Engine
        Of the database that says who holds them.
    max_file_bytes : int
        Largest sound.
    max_bytes : int
        Room for all of them.

    Attributes
    ----------
    turn : asyncio.Lock
        Held from a file's name to its record, and from the end of a record to the end of the name.
    bytes : int
        What they take.
    """

    def __init__(
        self, folder: Path, disk: Disk, engine: Engine, *, max_file_bytes: int, max_bytes: int
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._engine = engine
        self.max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._arriving = 0
        self.turn = asyncio.Lock()
        self.bytes = 0

    async def load(self) -> None:
        """Make the folder, and remove what a crash has left; once, before anybody asks."""
        await on_disk(self._make_folder)
        names = filter(_NAME.fullmatch, await on_disk(lambda: self._disk.names(self._folder)))
        found = [Digest.parse(name) for name in names]
        self.bytes = sum([await on_disk(partial(self._size, digest)) for digest in found])
        await self.release(found)

    def _make_folder(self) -> None:
        fsops.make_folders(self._disk, self._folder)
        fsops.remove_parts(self._disk, self._folder)

    @asynccontextmanager
    async def receive(
        self, chunks: AsyncIterable[bytes | memoryview], declared: int | None = None
    ) -> AsyncIterator[Received]:
        """Write a sound to disk; if nobody keeps it, it is gone when the block ends.

        Raises
        ------
        TooLarge
            If it passes the limit for one.
        StorageFull
            If there is no room for it.
        """
        self.check_room(declared or 0)
        file = await open_on_disk(self.new, fsops.NewFile.close)
        sink = Sink(file)
        try:
            async for batch in batches(chunks):
                size = sum(map(len, batch))
                if sink.size + size > self.max_file_bytes:
                    most = self.max_file_bytes
                    raise TooLarge(f"the sound of a job may have {most} bytes", limit=most)
                self.check_room(size)
                self._arriving += size
                sink.size += size
                await on_disk(partial(sink.write, batch))
            await on_disk(file.flush)
            yield Received(file, sink.digest(), sink.size)
        finally:
            self._arriving -= sink.size
            await on_disk(file.close)

    def check_room(self, size: int = 0) -> None:
        """Pass if there is room for so many bytes more.

        Raises
        ------
        StorageFull
            If there is not.
        """
        if self.bytes + self._arriving + size > self._max_bytes:
            raise StorageFull("jobs take all the room that they may have", retry_after_s=60)
        if self._disk.free_bytes(self._folder) - size < DISK_RESERVE:
            raise StorageFull("the disk has no room for jobs", retry_after_s=60)

    def new(self) -> fsops.NewFile:
        """Open a file without a name.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        return fsops.NewFile(self._disk, self._folder)

    async def measure(self, file: fsops.NewFile, name: str) -> Kept:
        """Wait until an open file is on disk, and say what it is."""

        def measure() -> Kept:
            file.flush()
            return Kept(name, self._disk.digest(file.fd), self._disk.status_of(file.fd).st_size)

        return await on_disk(measure)

    @whole
    async def keep(self, file: fsops.NewFile, digest: Digest, size: int) -> None:
        """Give a file its name; whoever calls has the `turn`, and records it before it ends.

        Raises
        ------
        StorageFull
            If the disk has no room.
        """
        if await on_disk(lambda: self._keep(file, self._path(digest))):
            self.bytes += size

    @staticmethod
    def _keep(file: fsops.NewFile, name: Path) -> bool:
        if file.link(name):
            return True
        file.replace(name)  # the older one may be damaged; these bytes have just been hashed
        return False

    @whole
    async def release(self, digests: Iterable[Digest]) -> None:
        """Remove those of some files that no job holds any more."""
        async with self.turn:
            for digest in set(digests):
                if not await self._engine.read(partial(rows.is_used, digest=digest)):
                    self.bytes -= await on_disk(partial(self._remove, digest))

    def _remove(self, digest: Digest) -> int:
        size = self._size(digest)
        fsops.remove_file(self._disk, self._path(digest))
        return size

    def _size(self, digest: Digest) -> int:
        try:
            return self._disk.status(self._path(digest)).st_size
        except FileNotFoundError:
            return 0

    async def open(self, digest: Digest) -> int:
        """Open a file for reading; who gets the descriptor closes it.

        Raises
        ------
        ArtifactNotFound
            If it is gone.
        """

        def open_it() -> int | None:
            try:
                return self._disk.open(self._path(digest))
            except FileNotFoundError:
                return None

        def close_it(fd: int | None) -> None:
            if fd is not None:
                os.close(fd)

        fd = await open_on_disk(open_it, close_it)
        if fd is None:
            _log.error("file of a job is gone", extra={"digest": digest.short})
            raise ArtifactNotFound("the file is gone")
        return fd

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read some bytes of an open file."""
        return await on_disk(lambda: self._disk.read(fd, size, offset))

    async def close(self, fd: int) -> None:
        """Close an open file."""
        await on_disk(lambda: os.close(fd))

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.hex
