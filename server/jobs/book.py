"""How a job gets from one state to the next, and what is told of it, inside one transaction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from server.backlog import share_of_one
from server.errors import Overload, TooManyRequests
from server.jobs import rows
from server.jobs.job import Claim, Job, Kept, Kind, State
from server.jobs.queue import ClaimLost
from server.jobs.rows import Held

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # before the second attempt, and doubled for each
_QUEUED = {"state": State.QUEUED, "lease_until": None, "worker": None}
_LAST = {State.DONE: Kind.DONE, State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}


@dataclass(frozen=True, slots=True)
class Terms:
    """How long, and how often.

    Attributes
    ----------
    attempts : int
        How often a job is begun at most.
    keep_s : float
        How long one that has ended is kept.
    most : int
        Jobs that have not ended; three quarters of them may be one owner's.
    lease_s : float
        How long a claim is good without a word of who has it.
    """

    attempts: int
    keep_s: float
    most: int
    lease_s: float = 30.0


@dataclass(slots=True)
class Book:
    """One transaction.

    Attributes
    ----------
    connection : sa.Connection
        Of the transaction.
    now : float
        Seconds since 1970.
    terms : Terms
        How long, and how often.
    happened : list of pairs
        The jobs that something happened to, and what.
    """

    connection: sa.Connection
    now: float
    terms: Terms
    happened: list[tuple[str, Kind]] = field(default_factory=list)

    def tell(self, job: str, kind: Kind, **data: Any) -> None:
        """Write an event down."""
        rows.add_event(self.connection, job, kind, self.now, data)
        self.happened.append((job, kind))

    def admit(self, owner: str) -> None:
        """Pass if there is room for one more job.

        Raises
        ------
        Overload, TooManyRequests
            If too many have not ended: of all, or of this owner.
        """
        most, share = self.terms.most, share_of_one(self.terms.most)
        if sum(rows.unfinished(self.connection).values()) >= most:
            raise Overload(f"{most} jobs have not ended", retry_after_s=10)
        if sum(rows.unfinished(self.connection, owner).values()) >= share:
            raise TooManyRequests(f"{share} jobs of this key have not ended", retry_after_s=10)

    def begin(self, new: Job) -> None:
        """Take a new job in."""
        rows.insert(self.connection, new)
        self.tell(new.id, Kind.QUEUED)

    def take(self, job: Job, worker: str) -> Claim:
        """Claim a job that is queued."""
        attempt, fence = job.attempts + 1, job.fence + 1
        taken = {
            "state": State.RUNNING,
            "attempts": attempt,
            "fence": fence,
            "worker": worker,
            "lease_until": self.now + self.terms.lease_s,
            "started_at": self.now if job.started_at is None else job.started_at,
        }
        rows.change(self.connection, job.id, [State.QUEUED], taken)
        self.tell(job.id, Kind.STARTED, attempt=attempt)
        return Claim(job.id, job.asked, fence, attempt, job.progress)

    def hold(self, claim: Claim, **values: Any) -> None:
        """Change a job under its claim.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """
        if not self._change(claim.id, claim.fence, values):
            raise ClaimLost

    def finish(self, claim: Claim, result: dict[str, Any], files: Sequence[Kept]) -> None:
        """End a job well.

        Raises
        ------
        ClaimLost
            If the claim is no longer good.
        """
        result_text = json.dumps(result)
        self.hold(claim, **self._ended(State.DONE), progress=1.0, result=result_text)
        self._end(claim.id, State.DONE, progress=1.0)
        rows.hold(self.connection, claim.id, files)

    def cancel(self, job: str) -> None:
        """End a job, if it has not ended."""
        if rows.change(self.connection, job, rows.LIVE, self._ended(State.CANCELLED)):
            self._end(job, State.CANCELLED)

    def fail(self, of: Held, problem: dict[str, Any], *, final: bool) -> bool:
        """Let a claimed job be tried again after a while, or end it; tells whether it has ended."""
        if final or of.attempts >= self.terms.attempts:
            failed = self._ended(State.FAILED) | {"problem": json.dumps(problem)}
            self._change(of.id, of.fence, failed)
            self._end(of.id, State.FAILED, problem=problem)
            return True
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (of.attempts - 1))
        self._change(of.id, of.fence, _QUEUED | {"run_at": self.now + pause_s})
        self.tell(of.id, Kind.RETRY, attempt=of.attempts, after_s=pause_s, problem=problem)
        return False

    def release(self, claim: Claim) -> None:
        """Put a job back, if the claim is still good, as if nobody had begun it."""
        back = _QUEUED | {"run_at": self.now, "attempts": claim.attempt - 1}
        if self._change(claim.id, claim.fence, back):
            self.tell(claim.id, Kind.QUEUED)

    def _change(self, job: str, fence: int, values: Mapping[str, Any]) -> bool:
        return rows.change(self.connection, job, [State.RUNNING], values, under=fence)

    def _ended(self, state: State) -> dict[str, Any]:
        until = self.now + self.terms.keep_s
        return {"state": state, "ended_at": self.now, "until": until, "lease_until": None}

    def _end(self, job: str, state: State, **data: Any) -> None:
        rows.drop_sound(self.connection, job)
        self.tell(job, _LAST[state], **data)
