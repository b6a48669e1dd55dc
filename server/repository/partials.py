"""Uploads that come in parts: they go on after a cut line, and after the server's end.

::

    create --> append, append, ... --> settle: hashed, looked up, linked into models/
                  |                      `--> gone, if it is no model that was registered
                  `- what has arrived stays, whoever went away

One request at a time has an upload; a later one takes it over, because the one before may hang on a
dead line. Nothing is trusted but the digest at the end. Unfinished uploads count as staged bytes;
they, and what is known of finished ones, end when nobody has touched them for a while.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from server.backlog import share_of_one
from server.digest import Digest
from server.errors import DigestMismatch, Overload, TooManyRequests
from server.metrics import UPLOADS
from server.repository.partial_files import Note, Partial, PartialFiles
from server.repository.registry import Registry
from server.repository.staging import StagedUpload, Staging
from server.repository.sweep import Sweeper
from server.repository.threads import on_disk
from server.shielding import whole
from server.upload_errors import UploadNotFound, UploadTakenOver


@dataclass(slots=True, eq=False)
class _Holder:
    """The task of the request that has an upload."""

    task: "asyncio.Task[object]"
    is_taken_over: bool = False
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)


class Partials:
    """The uploads that come in parts.

    Parameters
    ----------
    files : PartialFiles
        Hold them.
    staging : Staging
        Has the room for them.
    registry : Registry
        Says what may become a model.
    sweeper : Sweeper
        Makes it one.
    most : int
        How many may be unfinished.
    keep_s : float
        For how long nobody may touch one, in seconds.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        files: PartialFiles,
        staging: Staging,
        registry: Registry,
        sweeper: Sweeper,
        *,
        most: int,
        keep_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._staging = staging
        self._registry = registry
        self._sweeper = sweeper
        self._most = most
        self._keep_s = keep_s
        self._clock = clock
        self._known: dict[str, Partial] = {}
        self._holders: dict[str, _Holder] = {}

    @property
    def unfinished(self) -> int:
        """How many are unfinished."""
        return sum(not partial.note.done for partial in self._known.values())

    async def load(self) -> None:
        """Find what is there from before the start."""
        for upload, found in (await asyncio.to_thread(self._files.found)).items():
            self._known[upload] = Partial(upload, found.note, found.size, found.touched)
            if not found.note.done:
                self._staging.hold(found.size)

    def expires(self, partial: Partial) -> float:
        """Return when an upload ends if nobody touches it, in seconds since 1970."""
        return partial.touched + self._keep_s

    async def create(
        self, owner: str, length: int, *, digest: Digest | None, metadata: str
    ) -> Partial:
        """Begin an upload.

        Raises
        ------
        Overload
            If there are too many.
        TooManyRequests
            If this owner has its share of them.
        """
        await self.expire()
        open_ones = [one.note.owner for one in self._known.values() if not one.note.done]
        if len(open_ones) >= self._most:
            raise Overload(f"{self._most} uploads are unfinished", retry_after_s=60)
        if open_ones.count(owner) >= share_of_one(self._most):
            detail = f"{share_of_one(self._most)} uploads of one key are unfinished"
            raise TooManyRequests(detail, retry_after_s=60)
        note = Note(owner, length, None if digest is None else digest.hex, metadata)
        partial = Partial(secrets.token_hex(16), note, 0, self._clock())
        self._known[partial.id] = partial  # it takes its place before anybody waits
        try:
            await on_disk(lambda: self._files.create(partial.id, note))
        except BaseException:
            await self.remove(partial)
            raise
        return partial

    def find(self, upload: str, owner: str) -> Partial:
        """Return an upload of this owner.

        Raises
        ------
        UploadNotFound
            If there is none.
        """
        partial = self._known.get(upload)
        if partial is None or partial.note.owner != owner or self._is_over(partial):
            raise UploadNotFound
        return partial

    @asynccontextmanager
    async def holding(self, partial: Partial) -> AsyncIterator[None]:
        """Have an upload alone; whoever had it stops.

        Raises
        ------
        UploadTakenOver
            If a later request takes it.
        UploadNotFound
            If it has ended meanwhile.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an upload is held by a task")
        while (other := self._holders.get(partial.id)) is not None:
            other.is_taken_over = True
            other.task.cancel()
            await other.has_ended.wait()
        mine = self._holders[partial.id] = _Holder(task)
        try:
            if self._known.get(partial.id) is not partial:
                raise UploadNotFound
            yield
        except asyncio.CancelledError:
            if mine.is_taken_over:
                task.uncancel()
                raise UploadTakenOver from None
            raise
        finally:
            del self._holders[partial.id]
            mine.has_ended.set()

    @whole
    async def settle(self, partial: Partial, *, allow: Callable[[Digest], None]) -> None:
        """Make a whole upload a model, if its digest was registered; else it is gone.

        Parameters
        ----------
        partial : Partial
            Held, and whole.
        allow : callable
            Raises when its owner may not upload this model.

        Raises
        ------
        DigestMismatch
            If it is not the model that was announced, or none that was registered.
        ServerError
            If the disk fails, or what `allow` raises: it may be settled again then.
        """
        if partial.note.done:
            return
        file, digest = await on_disk(lambda: self._files.open_whole(partial.id))
        try:
            if partial.note.digest not in (None, digest.hex):
                await self._refuse(partial, f"what arrived hashes to {digest.hex}")
            if await self._registry.get(digest) is None:
                await self._refuse(partial, f"what arrived, {digest.hex}, was never registered")
            allow(digest)
            staged = StagedUpload(file, digest, partial.offset)
            await self._sweeper.settle(staged, registers=False)
        finally:
            await on_disk(file.close)
        done = replace(partial.note, done=True)
        await on_disk(lambda: self._files.finish(partial.id, done))
        self._staging.give_back(partial.offset)
        partial.note, partial.touched = done, self._clock()
        UPLOADS.labels("received").inc()
        await self._forget_done()

    async def _refuse(self, partial: Partial, why: str) -> None:
        await self.remove(partial)
        UPLOADS.labels("failed").inc()
        raise DigestMismatch(why)

    @whole
    async def remove(self, partial: Partial) -> None:
        """Forget an upload."""
        if self._known.pop(partial.id, None) is None:
            return
        if not partial.note.done:
            self._staging.give_back(partial.offset)
        await on_disk(lambda: self._files.remove(partial.id))

    async def expire(self) -> None:
        """Forget the uploads that nobody has touched for long."""
        for partial in list(self._known.values()):
            if self._is_over(partial):
                await self.remove(partial)

    async def _forget_done(self) -> None:
        """Keep what is known of as many finished uploads as may be unfinished, the latest."""
        done = [partial for partial in self._known.values() if partial.note.done]
        done.sort(key=lambda partial: partial.touched)
        for partial in done[: max(0, len(done) - self._most)]:
            await self.remove(partial)

    def _is_over(self, partial: Partial) -> bool:
        return partial.id not in self._holders and self.expires(partial) < self._clock()
