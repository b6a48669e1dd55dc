"""Work that is under way, and a truthful word on when it will be done.

The rate is measured: what ended since the work before it ended, in time that was not idle. While
nothing ends, the wait grows with the time that nothing has ended.
"""

import math
import time
from collections.abc import Callable

_LONGEST_S = 300
_SHARE_OF_LATEST = 0.2  # of the latest interval in the mean


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

    def wait_s(self) -> int:
        """Tell in how many whole seconds what is under way will be done; at least 1."""
        stalled_s = self._clock() - self._since
        needed_s = self._amount * (self._unit_s or 0.0)
        return min(_LONGEST_S, max(1, math.ceil(max(needed_s, stalled_s))))


def share_of_one(most: int) -> int:
    """Return how much of a bounded whole one caller, or one model, may take: three quarters."""
    return most - most // 4
