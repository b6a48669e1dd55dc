"""Who waits for what: woken in this process, so that nobody asks the database again and again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Wakes those who wait for a name."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, name: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the name is rung.

        Clear it, look, then wait: what happens after the look is not missed.
        """
        rung = asyncio.Event()
        self._waiting.setdefault(name, set()).add(rung)
        try:
            yield rung
        finally:
            waiting = self._waiting[name]
            waiting.discard(rung)
            if not waiting:
                del self._waiting[name]

    def ring(self, name: str) -> None:
        """Wake everybody who waits for a name."""
        for rung in self._waiting.get(name, ()):
            rung.set()
