"""Names that lead to jobs for a while: `YYYY_MM_DD_HH_MM_SS_<16 hex>`, in memory alone."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from server.jobs.job import Job

KEEP_S = 900.0
_CODE = re.compile(r"\d{4}(?:_\d\d){5}_[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class _Code:
    job: str
    until: float


class TimeCodes:
    """Which job each code stands for.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic.
    keep_s : float
        How long a code is good.

    Attributes
    ----------
    kept_bytes : int
        Of the files of their jobs.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, keep_s: float = KEEP_S
    ) -> None:
        self.kept_bytes = 0
        self._clock = clock
        self._keep_s = keep_s
        self._codes: dict[str, _Code] = {}  # the oldest first
        self._bytes_of: dict[str, int] = {}  # of each job
        self._added = asyncio.Event()

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, job: Job) -> str:
        """Return a new code for a job that is done."""
        stamp = datetime.now(UTC).strftime("%Y_%m_%d_%H_%M_%S")
        code = f"{stamp}_{secrets.token_hex(8)}"
        self._codes[code] = _Code(job.id, self._clock() + self._keep_s)
        if job.id not in self._bytes_of:
            self._bytes_of[job.id] = sum(kept.size for kept in job.artifacts)
            self.kept_bytes += self._bytes_of[job.id]
        self._added.set()
        return code

    def leads_to(self, job: str) -> bool:
        """Tell whether a code stands for a job."""
        return job in self._bytes_of

    def job(self, code: str) -> str | None:
        """Return the job of a code that is good."""
        found = self._codes.get(code) if _CODE.fullmatch(code) else None
        return found.job if found is not None and found.until > self._clock() else None

    async def over(self) -> AsyncIterator[str]:
        """Yield each job when the last of its codes ends."""
        while True:
            if not self._codes:
                self._added.clear()
                await self._added.wait()
            code, oldest = next(iter(self._codes.items()))
            if (wait_s := oldest.until - self._clock()) > 0:
                await asyncio.sleep(wait_s)
                continue
            del self._codes[code]
            if all(other.job != oldest.job for other in self._codes.values()):
                self.kept_bytes -= self._bytes_of.pop(oldest.job)
                yield oldest.job
