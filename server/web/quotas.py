"""What a key may ask for in a while, where its entry in the file of keys says so.

A quota is a bucket: full at first, it fills up again steadily, and what is asked for comes out of
it. A body may take more than is left; the key then waits until that has come back. Counts begin
anew with the server, and when the quota is changed.
"""

import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from server.errors import QuotaExceeded
from server.signing.principal import Principal

_MINUTE_S, _HOUR_S = 60.0, 3600.0


@dataclass(slots=True)
class _Bucket:
    size: int
    left: float
    at: float


class Quotas:
    """Counts what keys ask for.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}  # as many as there are keys

    def spend(self, principal: Principal, size: int) -> None:
        """Count a request with a body of `size` bytes.

        Raises
        ------
        QuotaExceeded
            If the key has asked for too much of late.
        """
        if (most := principal.limits.requests_per_minute) is not None:
            self._spend(principal.key_id, "requests a minute", most, _MINUTE_S, 1)
        self.spend_bytes(principal, size)

    def spend_bytes(self, principal: Principal, size: int) -> None:
        """Count bytes of a body.

        Raises
        ------
        QuotaExceeded
            If the key has sent too many of late.
        """
        if (most := principal.limits.bytes_per_hour) is not None and size:
            self._spend(principal.key_id, "bytes an hour", most, _HOUR_S, size)

    async def counted(
        self, principal: Principal, pieces: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Yield the pieces of a body whose size nobody has declared, and count them."""
        async for piece in pieces:
            self.spend_bytes(principal, len(piece))
            yield piece

    def _spend(self, key_id: str, what: str, size: int, period_s: float, amount: int) -> None:
        now = self._clock()
        bucket = self._buckets.get((key_id, what))
        if bucket is None or bucket.size != size:
            bucket = self._buckets[key_id, what] = _Bucket(size, float(size), now)
        per_s = size / period_s
        bucket.left = min(bucket.size, bucket.left + (now - bucket.at) * per_s)
        bucket.at = now
        if bucket.left < 1:
            wait_s = math.ceil((1 - bucket.left) / per_s)
            raise QuotaExceeded(f"the key may ask for {size} {what}", retry_after_s=wait_s)
        bucket.left -= amount
