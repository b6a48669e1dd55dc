"""Registry and store kept in agreement: after a crash, after a loss, and when a file must go.

::

    at the start    record, no file         -> registered: it may be uploaded again
                    file, registered        -> hashed, flushed, promoted; damaged: removed
                    file, never registered  -> left until somebody registers it
    later           registered, file here   -> the same, when its digest is registered
                    rejected for long       -> record first, then the file
                    damaged                 -> record first, with the reason, then the file
                    derived, damaged        -> its model is judged again

A file and its record change in one turn (`ModelStore.turn`); a crash between them is what the next
start mends.
"""

import asyncio
import logging
from collections.abc import Callable

from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout
from server.repository.registry import Registry, State
from server.repository.store import ModelStore
from server.repository.switching import Change
from server.shielding import whole

DAMAGED = "its file was damaged on the server's disk; upload it again"
MISSING = "its file was lost from the server's disk; upload it again"
_log = logging.getLogger(__name__)


class Recovery:
    """Makes records and files agree.

    Parameters
    ----------
    layout : Layout
        Says where things lie.
    registry : Registry
        Holds the records.
    store : ModelStore
        Holds the files.
    on_promoted : callable
        Called after a promotion, so that intake looks.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        registry: Registry,
        store: ModelStore,
        on_promoted: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._registry = registry
        self._store = store
        self._on_promoted = on_promoted

    async def reconcile(self) -> None:
        """Make the registry agree with the store, whatever interrupted the last run."""
        for folder in (self._layout.models, self._layout.uploads):
            await asyncio.to_thread(fsops.remove_parts, self._layout.disk, folder)
        stored = set(await asyncio.to_thread(self._layout.stored))
        recorded = set(await self._registry.with_files())
        missing = recorded - stored
        for digest in missing:
            _log.warning("model file is missing", extra={"digest": digest.short})
        await asyncio.gather(*(self._registry.forget_file(d, reason=MISSING) for d in missing))
        for digest in stored - recorded:
            try:
                await self._promote(digest, starting=True)
            except OSError as error:
                # whatever somebody put there must not keep the server from its start
                fields = {"digest": digest.short, "reason": error.strerror}
                _log.error("file in the store could not be settled", extra=fields)

    @whole
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
            promoted = await self._promote(digest)
        except OSError as error:
            fields = {"digest": digest.short, "reason": error.strerror}
            _log.error("file in the store could not be read", extra=fields)
            return False
        if promoted:
            self._on_promoted()
        return promoted

    @whole
    async def remove_rejected(self, digest: Digest) -> bool:
        """Remove the file of a model that is still rejected; True when it was.

        Raises
        ------
        OSError
            If the disk cannot remove it.
        """
        async with self._store.turn(digest):
            if not await self._registry.forget_file(digest, states=[State.REJECTED]):
                return False
            await asyncio.to_thread(self._store.remove, digest)
        return True

    @whole
    async def remove(self, digest: Digest, change: Change) -> bool:
        """Remove a model's record, by a change that does so, and its file; False without record.

        Raises
        ------
        OSError
            If the disk cannot remove it.
        """
        known = await self._registry.get(digest)
        async with self._store.turn(digest):
            if not await self._registry.apply(digest, change):
                return False
            await asyncio.to_thread(self._store.remove, digest)
        _log.info("model removed", extra={"digest": digest.short})
        if known is not None and known.record is not None and "derived" in known.record:
            await self._remove_derived(Digest.parse(known.record["derived"]))
        return True

    async def _remove_derived(self, digest: Digest) -> None:
        """Remove a derived file unless another model has the same."""
        for state in (State.READY, State.DISABLED):
            for model in await self._registry.in_state(state):
                if (model.record or {}).get("derived") == digest.hex:
                    return
        name = self._layout.derived(digest)
        await asyncio.to_thread(fsops.remove_file, self._layout.disk, name)

    @whole
    async def condemn(self, digest: Digest) -> bool:
        """Send a model back to `registered` that is damaged or missing; False when it is neither.

        Raises
        ------
        OSError
            If the file cannot be read or removed.
        """
        async with self._store.turn(digest):
            # an upload may have mended it since somebody found it damaged
            if await asyncio.to_thread(self._store.verify, digest) is not None:
                return False
            reason = DAMAGED if self._store.holds(digest) else MISSING
            if not await self._registry.forget_file(digest, reason=reason):
                return False
            await asyncio.to_thread(self._store.remove, digest)
        _log.error("model must be uploaded again", extra={"digest": digest.short, "reason": reason})
        return True

    @whole
    async def forget_derived(self, digest: Digest) -> bool:
        """Remove a damaged or missing derived file; True when its model is judged again.

        Raises
        ------
        OSError
            If the disk cannot remove it.
        """
        again = [
            await self._registry.judge_again(model.digest)
            for model in await self._registry.in_state(State.READY)
            if (model.record or {}).get("derived") == digest.hex
        ]
        name = self._layout.derived(digest)
        await asyncio.to_thread(fsops.remove_file, self._layout.disk, name)
        if again:
            _log.error("derived file must be made again", extra={"digest": digest.short})
            self._on_promoted()
        return bool(again)

    async def _promote(self, digest: Digest, *, starting: bool = False) -> bool:
        async with self._store.turn(digest):
            return await self._promote_in_turn(digest, starting=starting)

    async def _promote_in_turn(self, digest: Digest, *, starting: bool) -> bool:
        known = await self._registry.get(digest)
        if known is None:
            _log.warning("file in the store was never registered", extra={"digest": digest.short})
            return False
        if known.state is not State.REGISTERED:
            return False
        size = await asyncio.to_thread(self._verify_for_good, digest)
        if size is not None:
            _log.info("model promoted", extra={"digest": digest.short, "by": "recovery"})
            return await self._registry.promote(digest, size)
        _log.error("file in the store is damaged", extra={"digest": digest.short})
        if starting:  # later, an upload may be mending it at this very moment
            await asyncio.to_thread(self._store.remove, digest)
        return False

    def _verify_for_good(self, digest: Digest) -> int | None:
        """Hash a file and flush it with its name: who put it there may not have come so far."""
        size = self._store.verify(digest, flushed=True)
        self._store.flush()
        return size
