"""One pass over staging: promote what was registered, discard what was not.

::

    staged files --open--> quiet? --hash--> registered? --yes--> link into models/, flush, record,
                             |                  |                drop the name
                             |                  `--no---> discard
                             `--no--> left for the next pass

Files go through it by the batch, so that many share a query, a flush of models/ and a commit.
Promotion says nothing of what the file is; intake judges it afterwards. The order makes a crash
harmless at any point: the names in models/ are on disk before the records, the names in staging go
last. An upload of a known digest also mends what lies damaged under its name in models/.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from server.digest import Digest
from server.errors import ModelNotFound, Overload
from server.metrics import SWEEPS, SWEPT
from server.repository.batch import MAX_FILES, Batches
from server.repository.layout import Layout
from server.repository.looks import Looks
from server.repository.quiet import Left, Quiet, size_of
from server.repository.registry import Model, Registry
from server.repository.staging import StagedUpload, Staging
from server.repository.store import ModelStore
from server.repository.threads import on_disk
from server.shielding import run_to_end, whole

_MAX_WAITING = 8
_MENDED = "model file was missing or damaged; an upload mended it"
_log = logging.getLogger(__name__)
_Fate = Left | OSError | None  # why a name stays in staging; None when it is gone


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
        Files left alone: still being written, or no regular files.
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
    looks : Looks, optional
        Remembers what earlier sweeps saw of files that no lease tells of.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        registry: Registry,
        staging: Staging,
        store: ModelStore,
        on_promoted: Callable[[], None],
        looks: Looks | None = None,
    ) -> None:
        self._layout = layout
        self._registry = registry
        self._staging = staging
        self._store = store
        self._on_promoted = on_promoted
        self._looks = looks or Looks()
        self._batches = Batches(layout, store, self._looks)
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

    async def finish(self) -> None:
        """Return when no sweep is under way."""
        async with self._lock:
            return

    @whole
    async def settle(self, upload: StagedUpload, *, registers: bool = True) -> None:
        """Store an upload at once, in place of a sweep.

        Parameters
        ----------
        upload : StagedUpload
            Complete.
        registers : bool
            Whether its sender may register it as well.

        Raises
        ------
        ModelNotFound
            If nobody has registered it, or somebody has removed it meanwhile.
        StorageFull
            If the disk has no room for it.
        ServerError
            If the disk fails.
        """
        async with self._store.turn(upload.digest):
            if not registers and await self._registry.get(upload.digest) is None:
                raise ModelNotFound
            judged_again = await self._registry.register(upload.digest)
            adopted = await on_disk(lambda: self._store.adopt_new(upload.file, upload.digest))
            promoted = await self._registry.promote(upload.digest, upload.size)
        if promoted:
            _log.info("model promoted", extra={"digest": upload.digest.short, "by": "upload"})
        elif adopted:
            _log.warning(_MENDED, extra={"digest": upload.digest.short, "by": "upload"})
        elif not judged_again:
            return
        self._on_promoted()

    async def _sweep_alone(self) -> SweepReport:
        async with self._lock:
            return await self._sweep()

    async def _sweep(self) -> SweepReport:
        report = SweepReport()
        published = self._staging.bytes_published
        names = await asyncio.to_thread(self._list)
        judged = 0
        kept: set[str] = set()
        try:
            while judged < len(names):
                fates = await self._settle_some(names[judged : judged + MAX_FILES], report)
                kept.update(name for name, fate in fates.items() if fate is not None)
                judged += len(fates)
        finally:
            # an error with one batch must not make intake miss what the others became
            if report.promoted:
                self._on_promoted()
            kept.update(names[judged:])
            left_bytes = await asyncio.to_thread(size_of, self._layout, kept)
            self._staging.count_waiting(left_bytes, since=published)
            SWEEPS.inc()
            SWEPT.labels("promoted").inc(len(report.promoted))
            SWEPT.labels("discarded").inc(report.discarded)
            SWEPT.labels("left").inc(report.left)
            if report.promoted or report.discarded:
                counts = {"promoted": len(report.promoted), "discarded": report.discarded}
                _log.info("sweep", extra=counts)
        return report

    def _list(self) -> list[str]:
        names = self._layout.staged()
        self._told.intersection_update(names)
        self._looks.keep_only(set(names))
        return names

    async def _settle_some(self, names: Sequence[str], report: SweepReport) -> dict[str, _Fate]:
        """Judge the first of some names, as many as make a batch; say what became of each."""
        opened = await asyncio.to_thread(self._batches.open_some, names)
        files = {name: file for name, file in opened.items() if isinstance(file, Quiet)}
        fates: dict[str, _Fate] = {
            name: None if isinstance(file, Quiet) else file for name, file in opened.items()
        }
        try:
            fates |= await self._judge(files, report)
        finally:
            await asyncio.to_thread(self._batches.close, files)
        for name, fate in fates.items():
            if isinstance(fate, Left):
                self._tell(name, fate)
            elif fate is not None:
                # one file that the disk cannot read or link does not keep the others waiting
                _log.error("upload could not be settled", extra={"reason": fate.strerror})
            report.left += fate is not None
        return fates

    async def _judge(self, files: Mapping[str, Quiet], report: SweepReport) -> dict[str, _Fate]:
        known = await self._registry.get_many({file.digest for file in files.values()})
        wanted = {name: file for name, file in files.items() if file.digest in known}
        async with AsyncExitStack() as turns:
            for digest in known:
                await turns.enter_async_context(self._store.turn(digest))
            return await self._promote(files, wanted, known, report)

    async def _promote(
        self,
        files: Mapping[str, Quiet],
        wanted: Mapping[str, Quiet],
        known: Mapping[Digest, Model],
        report: SweepReport,
    ) -> dict[str, _Fate]:
        adopted = await asyncio.to_thread(self._batches.adopt, wanted) if wanted else {}
        stored = [wanted[name] for name, outcome in adopted.items() if isinstance(outcome, bool)]
        promoted = await self._registry.promote_each(
            {file.digest: file.status.st_size for file in stored}
        )
        settled = {
            name: file
            for name, file in files.items()
            if name not in adopted
            or (isinstance(adopted[name], bool) and isinstance(promoted[file.digest], bool))
        }
        dropped = await asyncio.to_thread(self._batches.drop, settled)
        news = {digest for digest, outcome in promoted.items() if outcome is True}
        for name, file in settled.items():
            is_news = file.digest in news
            news.discard(file.digest)  # a second name of the same bytes is superfluous
            if is_news:
                report.promoted.append(file.digest)
            report.discarded += dropped[name] is None and not is_news
            _log_outcome(
                file, known.get(file.digest), promoted=is_news, mended=adopted.get(name) is True
            )
        for outcome in promoted.values():
            if isinstance(outcome, BaseException):
                raise outcome
        return dropped | {
            name: fate for name, fate in adopted.items() if not isinstance(fate, bool)
        }

    def _tell(self, name: str, left: Left) -> None:
        """Say once why a name stays; what is being written is no news."""
        if left not in {Left.BUSY, Left.GONE} and name not in self._told:
            self._told.add(name)
            _log.warning("upload left alone", extra={"upload": name, "reason": left.value})


def _log_outcome(file: Quiet, known: Model | None, *, promoted: bool, mended: bool) -> None:
    fields = {"digest": file.digest.short}
    if known is None:
        _log.info("upload discarded: not registered", extra=fields)
    elif promoted:
        _log.info("model promoted", extra=fields | {"by": "sweep"})
    elif mended:
        _log.warning(_MENDED, extra=fields | {"by": "sweep", "state": known.state.value})
