"""Work that must not be left half done when the task that waits for it is cancelled."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run work to its end; cancellations meanwhile, however many, take effect afterwards."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # its caller hears of the cancellation instead
        raise


def whole(
    function: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a coroutine function one whose calls always run to their end."""

    @functools.wraps(function)
    async def to_the_end(*arguments: P.args, **named: P.kwargs) -> T:
        return await run_to_end(function(*arguments, **named))

    return to_the_end
