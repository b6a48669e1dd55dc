"""Acts on the disk, in threads: the event loop never waits for one."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from server.errors import ServerError, StorageFull
from server.repository import fsops
from server.shielding import run_to_end

_log = logging.getLogger(__name__)
T = TypeVar("T")


async def on_disk(work: Callable[[], T]) -> T:
    """Run a disk operation in a thread, to its end even when the request is dropped meanwhile.

    The descriptor is closed afterwards, so no thread may still hold it.

    Raises
    ------
    StorageFull
        If the disk is full.
    ServerError
        If it fails.
    """
    try:
        return await run_to_end(asyncio.to_thread(work))
    except OSError as error:
        raise storage_error(error) from error


async def open_on_disk(work: Callable[[], T], close: Callable[[T], None]) -> T:
    """Open something in a thread; if nobody waits for it any more, it is closed again.

    Raises
    ------
    StorageFull
        If the disk is full.
    ServerError
        If it fails.
    """
    opened: list[T] = []

    def open_it() -> T:
        opened.append(work())
        return opened[0]

    try:
        return await on_disk(open_it)
    except BaseException:
        for one in opened:
            await on_disk(partial(close, one))
        raise


def storage_error(error: OSError) -> ServerError:
    """Return what a disk's failure is to whoever uploads."""
    if error.errno in fsops.DISK_FULL:
        return StorageFull("the disk has no room for the upload", retry_after_s=60)
    _log.error("disk failed", extra={"reason": error.strerror})
    return ServerError("the upload could not be written to disk")
