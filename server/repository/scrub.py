"""Stored files hashed again in the background: a disk that changes bytes is found out.

One file after another at a few MiB a second, in a thread of the lowest priority. A damaged model
goes back to `registered` with its reason, a damaged derived file is made again. A file that cannot
be read is only told of: its disk may answer again.
"""

import asyncio
import errno
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from os import PRIO_PROCESS, setpriority
from pathlib import Path
from typing import TypeVar

from server.digest import Digest
from server.repository.layout import Layout
from server.repository.recovery import Recovery
from server.repository.rehash import Rehash

_BYTES_PER_S = 8 << 20
_GONE = {errno.ENOENT, errno.ELOOP, errno.ENXIO}
_LOWEST_PRIORITY = 19
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Scrub:
    """Hashes everything again, slowly, and counts what it found.

    Parameters
    ----------
    layout : Layout
        Says where files lie.
    recovery : Recovery
        Mends.
    interval_s : float
        Rest between two passes.
    sleep : callable
        Waits so many seconds.
    """

    def __init__(
        self,
        layout: Layout,
        recovery: Recovery,
        *,
        interval_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._layout = layout
        self._recovery = recovery
        self._interval_s = interval_s
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(1, "scrub", initializer=_be_last)
        self._counts = {"passes": 0, "files": 0, "bytes": 0, "damaged": 0, "unreadable": 0}

    @property
    def counts(self) -> dict[str, int]:
        """What was done and found since the start."""
        return dict(self._counts)

    async def run(self) -> None:
        """Make one pass after another, for as long as the server runs."""
        while True:
            await self._sleep(self._interval_s)
            try:
                await self.look_through()
            except Exception:  # a boundary: a full disk or a busy database must not end it
                _log.exception("scrub failed")

    async def look_through(self) -> None:
        """Hash every stored file once."""
        for digest in await self._do(self._layout.stored):
            await self._look(digest, self._layout.model(digest), self._recovery.condemn)
        for digest in await self._do(self._layout.all_derived):
            await self._look(digest, self._layout.derived(digest), self._recovery.forget_derived)
        self._counts["passes"] += 1

    async def _look(
        self, digest: Digest, name: Path, mend: Callable[[Digest], Awaitable[bool]]
    ) -> None:
        try:
            if await self._is_intact(digest, name):
                self._counts["files"] += 1
            elif await mend(digest):
                self._counts["damaged"] += 1
        except OSError as error:
            if error.errno not in _GONE:  # it went meanwhile, or was never a file of ours
                self._counts["unreadable"] += 1
                fields = {"digest": digest.short, "reason": error.strerror}
                _log.error("stored file cannot be read", extra=fields)

    async def _is_intact(self, digest: Digest, name: Path) -> bool:
        with await self._do(lambda: Rehash(self._layout.disk, name)) as rehash:
            while rehash.is_file and (size := await self._do(rehash.step)):
                self._counts["bytes"] += size
                await self._sleep(size / _BYTES_PER_S)
            return rehash.is_file and rehash.digest() == digest

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _be_last() -> None:
    # on Linux a priority belongs to a thread, whatever POSIX says
    setpriority(PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
