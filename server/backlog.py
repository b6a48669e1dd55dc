"""Work that is under way, and a truthful word on when it will be done.

The rate is measured: what ended since the work before it ended, in time that was not idle. While
nothing ends, the wait grows with the time that nothing has ended. Who is refused is expected back
when it was told to come, and whoever is refused after it is told a later time.
"""

import math
import time
from collections.abc import Callable

_LONGEST_S = 300
_SHARE_OF_LATEST = 0.2  # of the latest interval in the mean
_GRAIN_S = 1.0  # what is told is whole seconds: within one, refusals share a moment
_FURTHEST = 9  # times what is under way: who never comes back must not delay others for long


class Backlog:
    """An amount of work, in any unit.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._amount = 0
        self._since = clock()  # when something last ended, or work came after idleness
        self._unit_s: float | None = None  # mean time that one unit keeps the others waiting
        self._told = self._since  # when the last that was refused comes back
        self._returning = 0  # and how much with it

    @property
    def amount(self) -> int:
        """How much is under way."""
        return self._amount

    def begin(self, amount: int = 1) -> None:
        """Count work that begins."""
        if not self._amount:
            self._since = self._clock()
        self._amount += amount

    def end(self, amount: int = 1) -> None:
        """Count work that has ended, however it ended."""
        self._amount -= amount
        now = self._clock()
        latest = (now - self._since) / max(1, amount)
        if self._unit_s is None:
            self._unit_s = latest
        else:
            self._unit_s += _SHARE_OF_LATEST * (latest - self._unit_s)
        self._since = now

    def refuse(self, amount: int = 1) -> int:
        """Tell work that finds no room in how many whole seconds to come back; at least 1.

        By then what is under way is done, and what was refused before and came back.
        """
        now, unit_s = self._clock(), self._unit_s or 0.0
        busy_s = max(self._amount * unit_s, now - self._since)
        if self._told <= now or self._told < now + busy_s - _GRAIN_S:
            self._told, self._returning = now + busy_s, 0
        elif (self._returning + amount) * unit_s > 1 or self._returning + amount > self._amount:
            self._told += max(1, math.ceil(amount * unit_s))
            self._told, self._returning = min(self._told, now + _FURTHEST * max(1.0, busy_s)), 0
        self._returning += amount
        return min(_LONGEST_S, max(1, math.ceil(self._told - now)))


def share_of_one(most: int) -> int:
    """Return how much of a bounded whole one caller, or one model, may take: three quarters."""
    return most - most // 4
