"""A bounded memory of what was asked for last."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; what was not asked for the longest time goes first.

    Any thread may ask, keep and forget.

    Parameters
    ----------
    most : int
        Entries at most; 0 remembers nothing.
    most_bytes : int
        What all entries may weigh together.
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> T | None:
        """Return the value of a key, if it is remembered."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def keep(self, key: bytes, value: T, *, weight: int) -> None:
        """Remember a value of so many bytes, and forget others where there is no room for it."""
        with self._lock:
            self._remove(key)
            self._entries[key] = value, weight
            self._bytes += weight
            while len(self._entries) > self._most or self._bytes > self._most_bytes:
                self._remove(next(iter(self._entries)))

    def forget(self, key: bytes) -> None:
        """Forget a key."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
