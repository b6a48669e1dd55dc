"""What an upload that comes in parts gains with one request; it stays, whoever goes away."""

import time
from collections.abc import AsyncIterable, Callable

from server.errors import BadSignature, TooLarge
from server.metrics import UPLOAD_BYTES
from server.repository.partial_files import Partial, PartialFiles
from server.repository.staging import BATCH_BYTES, BATCH_PIECES, Room, Staging
from server.repository.threads import on_disk, open_on_disk
from server.shielding import run_to_end


class Appending:
    """Goes on with uploads.

    Parameters
    ----------
    files : PartialFiles
        Hold them.
    staging : Staging
        Has the room for them.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, files: PartialFiles, staging: Staging, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._files = files
        self._staging = staging
        self._clock = clock

    async def append(
        self,
        partial: Partial,
        chunks: AsyncIterable[bytes],
        room: Room,
        *,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Go on with an upload that is held.

        Parameters
        ----------
        partial : Partial
            The upload.
        chunks : asynchronous iterable of bytes
            What comes next. Where it breaks off, what has come stays.
        room : Room
            What its request reserved.
        check : callable, optional
            Raises when what came is not right; then, and where it breaks off, nothing of it stays.

        Raises
        ------
        TooLarge
            If there is more than was announced.
        StorageFull
            If the disk or the room for uploads is short.
        """
        fd = await open_on_disk(lambda: self._files.open_growing(partial.id), self._files.close)
        start, is_right = partial.offset, check is None
        try:
            try:
                await self._write(partial, fd, chunks, room)
            except BadSignature:  # it came whole, and is not what was signed
                is_right = False
                raise
            finally:
                partial.touched = self._clock()
            if check is not None:
                check()
                is_right = True
            await on_disk(lambda: self._files.flush(fd))
        finally:
            kept = partial.offset if is_right else start
            UPLOAD_BYTES.inc(partial.offset - start)
            self._staging.give_back(partial.offset - kept)
            partial.offset = kept
            await on_disk(lambda: self._close(fd, kept))

    def _close(self, fd: int, size: int) -> None:
        try:
            self._files.cut(fd, size)  # a write that failed may have left a piece
        finally:
            self._files.close(fd)

    async def _write(
        self, partial: Partial, fd: int, chunks: AsyncIterable[bytes], room: Room
    ) -> None:
        batch: list[bytes | memoryview] = []
        size = 0

        async def write() -> None:
            nonlocal batch, size
            taken, count, batch, size = batch, size, [], 0
            if not taken:
                return
            self._staging.let_in(count, room)
            try:
                await on_disk(lambda: self._files.append(fd, taken))
            except BaseException:
                self._staging.give_back(count)
                raise
            partial.offset += count

        try:
            async for chunk in chunks:
                if partial.offset + size + len(chunk) > partial.note.length:
                    raise TooLarge("the upload is longer than announced", limit=partial.note.length)
                batch.append(chunk)
                size += len(chunk)
                if size >= BATCH_BYTES or len(batch) == BATCH_PIECES:
                    await run_to_end(write())
        finally:
            await run_to_end(write())  # what has come stays, whoever has gone
