"""One pass over staging: promote what was registered, discard what was not.

::

    staged file --open--> quiet? --hash--> registered? --yes--> link into models/, record, drop the
    name
                            | no: left for the next pass  `no--> discard

Promotion says nothing of what the file is; intake judges it afterwards. The order makes a crash
harmless at any point: the name in models/ appears before the record, the name in staging goes last.
An upload of a known digest also mends what lies damaged under its name in models/.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from server.digest import Digest
from server.errors import Overload, StorageFull
from server.repository import fsops
from server.repository.layout import Layout
from server.repository.quiet import Left, Quiet, drop_name, open_quiet, size_of
from server.repository.registry import Registry, State
from server.repository.staging import StagedUpload, Staging
from server.repository.store import ModelStore
from server.shielding import run_to_end

_MAX_WAITING = 8
_MENDED = "model file was missing or damaged; an upload mended it"
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
        self._told: set[str] = set()

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
        adopt = asyncio.to_thread(self._store.adopt_new, upload.file, upload.digest)
        try:
            adopted = await run_to_end(adopt)
        except OSError as error:
            raise StorageFull("the model could not be stored", retry_after_s=60) from error
        if await self._registry.promote(upload.digest, upload.size):
            _log.info("model promoted", extra={"digest": upload.digest.short, "by": "upload"})
        elif adopted:
            _log.warning(_MENDED, extra={"digest": upload.digest.short, "by": "upload"})
        elif not judged_again:
            return
        self._on_promoted()

    async def adopt_stored(self, digest: Digest) -> bool:
        """Promote a registered digest whose file lies in the store: the registry had been lost.

        Parameters
        ----------
        digest : Digest
            What was just registered.

        Returns
        -------
        bool
            True when this call promoted it.
        """
        if not self._store.holds(digest):
            return False
        try:
            promoted = await run_to_end(self._promote_stored(digest))
        except OSError as error:
            fields = {"digest": digest.short, "reason": error.strerror}
            _log.error("file in the store could not be read", extra=fields)
            return False
        if promoted:
            self._on_promoted()
        return promoted

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
            try:
                await self._promote_stored(digest, starting=True)
            except OSError as error:
                # whatever somebody put there must not keep the server from its start
                fields = {"digest": digest.short, "reason": error.strerror}
                _log.error("file in the store could not be settled", extra=fields)

    async def _promote_stored(self, digest: Digest, *, starting: bool = False) -> bool:
        known = await self._registry.get(digest)
        if known is None:
            _log.warning("file in the store was never registered", extra={"digest": digest.short})
            return False
        if known.state is not State.REGISTERED:
            return False
        size = await asyncio.to_thread(self._store.verify, digest)
        if size is not None:
            promoted = await self._registry.promote(digest, size)
            if promoted:
                _log.info("model promoted", extra={"digest": digest.short, "by": "recovery"})
            return promoted
        _log.error("file in the store is damaged", extra={"digest": digest.short})
        if starting:  # later, an upload may be mending it at this very moment
            await asyncio.to_thread(self._store.remove, digest)
        return False

    async def _sweep_alone(self) -> SweepReport:
        async with self._lock:
            return await self._sweep()

    async def _sweep(self) -> SweepReport:
        report = SweepReport()
        published = self._staging.bytes_published
        names = await asyncio.to_thread(self._layout.staged)
        self._told.intersection_update(names)
        try:
            for name in names:
                await self._settle_name(name, report)
        finally:
            # an error with one name must not make intake miss what the others became
            if report.promoted:
                self._on_promoted()
            left_bytes = await asyncio.to_thread(size_of, self._layout, names)
            self._staging.count_waiting(left_bytes, since=published)
            if report.promoted or report.discarded:
                counts = {"promoted": len(report.promoted), "discarded": report.discarded}
                _log.info("sweep", extra=counts)
        return report

    async def _settle_name(self, name: str, report: SweepReport) -> None:
        """Judge one name in staging, if its file is quiet."""
        try:
            file = await asyncio.to_thread(open_quiet, self._layout, name)
            if isinstance(file, Quiet):
                try:
                    left = await self._judge(file, name, report)
                finally:
                    os.close(file.fd)
            else:
                left = file
        except OSError as error:
            # one file that the disk cannot read or link must not keep the others waiting
            _log.error("upload could not be settled", extra={"reason": error.strerror})
            report.left += 1
            return
        if left is not None:
            report.left += 1
            self._tell(name, left)

    async def _judge(self, file: Quiet, name: str, report: SweepReport) -> Left | None:
        digest, size = file.digest, file.status.st_size
        known = await self._registry.get(digest)
        if file.status.st_nlink > 1 and not self._store.is_file_of(digest, file.status):
            return Left.LINKS
        promoted = False
        if known is None:
            _log.info("upload discarded: not registered", extra={"digest": digest.short})
        else:
            adopted = await asyncio.to_thread(self._adopt, file)
            promoted = await self._registry.promote(digest, size)
            if promoted:
                report.promoted.append(digest)
                _log.info("model promoted", extra={"digest": digest.short, "by": "sweep"})
            elif adopted:
                fields = {"digest": digest.short, "by": "sweep", "state": known.state.value}
                _log.warning(_MENDED, extra=fields)
        await asyncio.to_thread(drop_name, self._layout, name, file.status)
        report.discarded += not promoted
        return None

    def _adopt(self, file: Quiet) -> bool:
        os.fsync(file.fd)
        return self._store.adopt(file.fd, file.digest)

    def _tell(self, name: str, left: Left) -> None:
        """Say once why a name stays; what is being written is no news."""
        if left not in {Left.BUSY, Left.GONE} and name not in self._told:
            self._told.add(name)
            _log.warning("upload left alone", extra={"upload": name, "reason": left.value})
