"""One pass over staging: promote what was registered, discard what was not.

::

    staged file --open--> quiet? --hash--> registered? --yes--> link into models/, record, drop the
    name
                            | no: left for the next pass  `no--> discard

Promotion says nothing of what the file is; intake judges it afterwards. The order makes a crash
harmless at any point: the name in models/ appears before the record, the name in staging goes last.
"""

import asyncio
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from server.digest import Digest
from server.errors import Overload, StorageFull
from server.repository import fsops
from server.repository.layout import UPLOAD_NAME, Layout
from server.repository.registry import Registry, State
from server.repository.staging import StagedUpload, Staging
from server.repository.store import ModelStore
from server.shielding import run_to_end

_MAX_WAITING = 8
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SweepReport:
    """What one sweep did.

    Attributes
    ----------
    promoted : list of Digest
        Promoted by this very sweep, in the order of their names in staging.
    discarded : int
        Files removed because nobody registered their digest, or because it is stored already.
    left : int
        Files left alone: still being written, not ours, or no regular files.
    """

    promoted: list[Digest] = field(default_factory=list)
    discarded: int = 0
    left: int = 0


class _Verdict(Enum):
    PROMOTED = auto()
    DISCARDED = auto()
    LEFT = auto()


class Sweeper:
    """Settles uploads; one sweep at a time.

    Parameters
    ----------
    layout : Layout
        Says where things lie.
    registry : Registry
        Says what may become a model.
    staging : Staging
        Counts what waits.
    store : ModelStore
        Takes what is promoted.
    on_promoted : callable
        Called after a promotion, so that intake looks.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        registry: Registry,
        staging: Staging,
        store: ModelStore,
        on_promoted: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._registry = registry
        self._staging = staging
        self._store = store
        self._on_promoted = on_promoted
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def sweep(self) -> SweepReport:
        """Judge every staged file once.

        Raises
        ------
        Overload
            If too many callers wait for a sweep already.
        """
        if self._waiting >= _MAX_WAITING:
            raise Overload("too many sweeps were asked for at once")
        self._waiting += 1
        try:
            # a caller that leaves must not close a file that a thread is about to link
            return await run_to_end(self._sweep_alone())
        finally:
            self._waiting -= 1

    async def settle(self, upload: StagedUpload) -> None:
        """Store an upload whose sender may register: the second half of a signed upload."""
        judged_again = await self._registry.register(upload.digest)
        try:
            await run_to_end(asyncio.to_thread(self._store.adopt_new, upload.file, upload.digest))
        except OSError as error:
            raise StorageFull("the model could not be stored", retry_after_s=60) from error
        if await self._registry.promote(upload.digest, upload.size):
            _log.info("model promoted", extra={"digest": upload.digest.short, "by": "upload"})
        elif not judged_again:
            return
        self._on_promoted()

    async def reconcile(self) -> None:
        """Make the registry agree with the store, whatever interrupted the last run."""
        for folder in (self._layout.models, self._layout.uploads):
            await asyncio.to_thread(fsops.remove_parts, folder)
        stored = set(await asyncio.to_thread(self._layout.stored))
        recorded = set(await self._registry.with_files())
        for digest in recorded - stored:
            _log.warning("model file is missing", extra={"digest": digest.short})
            await self._registry.forget_file(digest)
        for digest in stored - recorded:
            await self._promote_stored(digest)

    async def _promote_stored(self, digest: Digest) -> None:
        known = await self._registry.get(digest)
        if known is None:
            _log.warning("file in the store was never registered", extra={"digest": digest.short})
        elif known.state is State.REGISTERED:
            size = await asyncio.to_thread(_verify, self._layout, digest)
            if size is None:
                _log.error("file in the store is damaged; removed", extra={"digest": digest.short})
                await asyncio.to_thread(self._store.remove, digest)
            elif await self._registry.promote(digest, size):
                _log.info("model promoted", extra={"digest": digest.short, "by": "recovery"})

    async def _sweep_alone(self) -> SweepReport:
        async with self._lock:
            return await self._sweep()

    async def _sweep(self) -> SweepReport:
        report = SweepReport()
        left_bytes = 0
        for name in await asyncio.to_thread(self._layout.staged):
            try:
                verdict, digest = await self._settle_name(name)
            except OSError as error:
                # one file that the disk cannot read or link must not keep the others waiting
                _log.error("upload could not be settled", extra={"reason": error.strerror})
                verdict, digest = _Verdict.LEFT, None
            if verdict is _Verdict.PROMOTED and digest is not None:
                report.promoted.append(digest)
            elif verdict is _Verdict.DISCARDED:
                report.discarded += 1
            else:
                report.left += 1
                left_bytes += await asyncio.to_thread(_size, self._layout, name)
        self._staging.count_waiting(left_bytes)
        if report.promoted:
            self._on_promoted()
        if report.promoted or report.discarded:
            counts = {"promoted": len(report.promoted), "discarded": report.discarded}
            _log.info("sweep", extra=counts)
        return report

    async def _settle_name(self, name: str) -> tuple[_Verdict, Digest | None]:
        """Judge one name in staging, if its file is quiet."""
        opened = await asyncio.to_thread(_open_quiet, self._layout, name)
        if opened is None:
            return _Verdict.LEFT, None
        fd, digest, status = opened
        try:
            return await self._judge(fd, digest, status, name), digest
        finally:
            os.close(fd)

    async def _judge(self, fd: int, digest: Digest, status: os.stat_result, name: str) -> _Verdict:
        known = await self._registry.get(digest)
        promoted = False
        if status.st_nlink > 1 and not self._store.is_file_of(digest, status):
            return _Verdict.LEFT
        if known is not None and known.state is not State.REJECTED:
            if not self._store.holds(digest):
                await asyncio.to_thread(self._adopt, fd, digest)
            promoted = await self._registry.promote(digest, status.st_size)
        await asyncio.to_thread(_drop_name, self._layout, name, status)
        if promoted:
            _log.info("model promoted", extra={"digest": digest.short, "by": "sweep"})
        elif known is None:
            _log.info("upload discarded: not registered", extra={"digest": digest.short})
        return _Verdict.PROMOTED if promoted else _Verdict.DISCARDED

    def _adopt(self, fd: int, digest: Digest) -> None:
        os.fsync(fd)
        self._store.adopt(fd, digest)


def _open_quiet(layout: Layout, name: str) -> tuple[int, Digest, os.stat_result] | None:
    """Open and hash a file that is ours alone and that nobody is writing; None for any other."""
    try:
        fd = os.open(layout.uploads / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if _is_plain(before) and _is_quiet(fd, name):
            digest = Digest.of_file(fd)
            after = os.fstat(fd)
            if _is_quiet(fd, name) and _unchanged(before, after):
                kept, fd = fd, -1
                return kept, digest, after
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def _is_plain(status: os.stat_result) -> bool:
    # a second name is fine when it is the store's: a crash between link and unlink leaves it so
    owned = status.st_nlink <= 2 and status.st_uid == os.geteuid()
    return stat.S_ISREG(status.st_mode) and owned


def _is_quiet(fd: int, name: str) -> bool:
    """Tell whether no process has the file open for writing."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    except OSError:
        # no leases on this file system: only what staging itself linked is known to be complete
        return UPLOAD_NAME.fullmatch(name) is not None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def _unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _drop_name(layout: Layout, name: str, status: os.stat_result) -> None:
    path = layout.uploads / name
    try:
        if os.path.samestat(os.lstat(path), status):
            path.unlink()
    except FileNotFoundError:
        pass


def _size(layout: Layout, name: str) -> int:
    try:
        return os.lstat(layout.uploads / name).st_size
    except FileNotFoundError:
        return 0


def _verify(layout: Layout, digest: Digest) -> int | None:
    fd = os.open(layout.model(digest), os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.fstat(fd).st_size if Digest.of_file(fd) == digest else None
    finally:
        os.close(fd)
