"""The statements of the embedded queue; each runs in the transaction of whoever calls it.

::

    job         where a job is; its claim: worker, lease_until, fence
    job_event   what has happened to it, numbered without gaps
    artifact    the files that it holds: its sound until it ends, its artifacts when it is done
    job_key     what its client calls it
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from server.database import artifact, job, job_event, job_key
from server.digest import Digest
from server.errors import IdempotencyConflict
from server.jobs.job import INPUT, Asked, Event, Job, Kept, Kind, State
from server.jobs.queue import Submission

LIVE = (State.QUEUED, State.RUNNING)
_ANSWERING = (*LIVE, State.DONE)  # what a second submission is answered from
_BRIEF = [column for column in job.c if column.name != "result"]
_HELD = sa.select(job.c.id, job.c.state, job.c.fence, job.c.attempts)
_NUMBER = sa.select(sa.func.coalesce(sa.func.max(job_event.c.number), 0) + 1)
# the driver's own way: these run many times for each job
_NEXT = sa.text(
    "SELECT id FROM job WHERE state = 'queued' AND run_at <= :now "
    "ORDER BY priority DESC, id LIMIT 1"
)
_DUE = sa.text(
    "SELECT min(at) FROM (SELECT min(run_at) AS at FROM job WHERE state = 'queued' "
    "UNION ALL SELECT min(lease_until) FROM job WHERE state = 'running')"
)


@dataclass(frozen=True, slots=True)
class Held:
    """A job as its claim sees it.

    Attributes
    ----------
    id : str
        Of the job.
    state : State
        Where it is.
    fence : int
        Of the latest claim.
    attempts : int
        How often it was begun.
    """

    id: str
    state: State
    fence: int
    attempts: int


def add_event(
    connection: sa.Connection, of: str, kind: Kind, at: float, data: Mapping[str, Any]
) -> None:
    """Write down what happened to a job."""
    number = connection.execute(_NUMBER.where(job_event.c.job == of)).scalar_one()
    values = {"job": of, "number": number, "at": at, "kind": kind, "data": json.dumps(data)}
    connection.execute(sa.insert(job_event).values(**values))


def events_after(connection: sa.Connection, name: str, after: int) -> list[Event]:
    """List events of a job behind a number."""
    query = sa.select(job_event).where(job_event.c.job == name, job_event.c.number > after)
    rows = connection.execute(query.order_by(job_event.c.number))
    return [Event(row.number, row.at, Kind(row.kind), json.loads(row.data)) for row in rows]


def insert(connection: sa.Connection, new: Job) -> None:
    """Write down a new job, which holds its sound."""
    values = {
        "id": new.id,
        "owner": new.owner,
        "content": new.asked.content.raw,
        "state": new.state,
        "priority": new.priority,
        "asked": json.dumps(new.asked.describe()),
        "run_at": new.created_at,
        "created_at": new.created_at,
    }
    connection.execute(sa.insert(job).values(**values))
    hold(connection, new.id, [Kept(INPUT, new.asked.sound, new.asked.sound_bytes)])


def hold(connection: sa.Connection, name: str, files: Iterable[Kept]) -> None:
    """Write down files of a job."""
    for file in files:
        values = {"job": name, "name": file.name, "digest": file.digest.raw, "size": file.size}
        connection.execute(sa.insert(artifact).values(**values))


def get(connection: sa.Connection, name: str) -> Job | None:
    """Return a job with its result and artifacts."""
    row = connection.execute(sa.select(job).where(job.c.id == name)).one_or_none()
    if row is None:
        return None
    held = sa.select(artifact).where(artifact.c.job == name, artifact.c.name != INPUT)
    files = [Kept(one.name, Digest(one.digest), one.size) for one in connection.execute(held)]
    result = None if row.result is None else json.loads(row.result)
    return _job(row, result=result, artifacts=tuple(files))


def known(connection: sa.Connection, name: str) -> Job:
    """Return a job that this transaction has just seen.

    Raises
    ------
    LookupError
        If it has not.
    """
    found = get(connection, name)
    if found is None:
        raise LookupError(name)
    return found


def page(
    connection: sa.Connection, owner: str, *, limit: int, before: str | None, state: State | None
) -> list[Job]:
    """List jobs of an owner, the latest first."""
    query = sa.select(*_BRIEF).where(job.c.owner == owner)
    if before is not None:
        query = query.where(job.c.id < before)
    if state is not None:
        query = query.where(job.c.state == state)
    return [_job(row) for row in connection.execute(query.order_by(job.c.id.desc()).limit(limit))]


def _job(
    row: Any, *, result: dict[str, Any] | None = None, artifacts: tuple[Kept, ...] = ()
) -> Job:
    return Job(
        id=row.id,
        owner=row.owner,
        asked=Asked.parse(row.asked),
        state=State(row.state),
        priority=row.priority,
        attempts=row.attempts,
        fence=row.fence,
        progress=row.progress,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        until=row.until,
        problem=None if row.problem is None else json.loads(row.problem),
        result=result,
        artifacts=artifacts,
    )


def find(connection: sa.Connection, wanted: Submission, now: float) -> str | None:
    """Return the job that a submission is answered from.

    Raises
    ------
    IdempotencyConflict
        If its owner calls another one so.
    """
    content = wanted.asked.content.raw
    if wanted.key is not None and (known := named(connection, wanted.key, now)):
        if known[1] != content:
            raise IdempotencyConflict
        return known[0]
    query = sa.select(job.c.id).where(
        *(job.c.owner == wanted.owner, job.c.content == content, job.c.state.in_(_ANSWERING))
    )
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def named(connection: sa.Connection, key: bytes, now: float) -> tuple[str, bytes] | None:
    """Return the job, and its content, that a client calls so."""
    query = sa.select(job_key).where(job_key.c.key == key, job_key.c.until > now)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.job, row.content)


def name(connection: sa.Connection, key: bytes, content: bytes, of: str, until: float) -> None:
    """Write down what a client calls a job."""
    connection.execute(sa.delete(job_key).where(job_key.c.key == key))
    values = {"key": key, "content": content, "job": of, "until": until}
    connection.execute(sa.insert(job_key).values(**values))


def unfinished(connection: sa.Connection, owner: str | None = None) -> dict[str, int]:
    """Count the jobs that have not ended, by state."""
    query = sa.select(job.c.state, sa.func.count()).where(job.c.state.in_(LIVE))
    if owner is not None:
        query = query.where(job.c.owner == owner)
    found = {row[0]: row[1] for row in connection.execute(query.group_by(job.c.state))}
    return {state.value: found.get(state, 0) for state in LIVE}


def next_due(connection: sa.Connection, now: float) -> str | None:
    """Return the job whose turn it is."""
    found: str | None = connection.execute(_NEXT, {"now": now}).scalar_one_or_none()
    return found


def when_due(connection: sa.Connection) -> float | None:
    """Return when there may be a turn again, by the clock alone."""
    found: float | None = connection.execute(_DUE).scalar_one_or_none()
    return found


def change(
    connection: sa.Connection,
    of: str,
    states: Sequence[State],
    values: Mapping[str, Any],
    *,
    under: int | None = None,
) -> bool:
    """Change a job that is in one of some states, and under this fence where one is given."""
    found = sa.update(job).where(job.c.id == of, job.c.state.in_(states))
    if under is not None:
        found = found.where(job.c.fence == under)
    return connection.execute(found.values(**values)).rowcount == 1


def is_used(connection: sa.Connection, digest: Digest) -> bool:
    """Tell whether any job holds a file."""
    query = sa.select(artifact.c.job).where(artifact.c.digest == digest.raw).limit(1)
    return connection.execute(query).one_or_none() is not None


def drop_sound(connection: sa.Connection, of: str) -> None:
    """Hold the sound of a job no longer."""
    sound = (artifact.c.job == of) & (artifact.c.name == INPUT)
    connection.execute(sa.delete(artifact).where(sound))


def forget(connection: sa.Connection, of: str) -> list[Digest]:
    """Delete a job and all that belongs to it; return the files that it held."""
    query = sa.select(artifact.c.digest).where(artifact.c.job == of)
    held = [Digest(raw) for raw in connection.execute(query).scalars()]
    for table in (artifact, job_event, job_key):
        connection.execute(sa.delete(table).where(table.c.job == of))
    connection.execute(sa.delete(job).where(job.c.id == of))
    return held


def held(connection: sa.Connection, of: str) -> Held | None:
    """Look at the claim of a job."""
    row = connection.execute(_HELD.where(job.c.id == of)).one_or_none()
    return None if row is None else _held(row)


def running(connection: sa.Connection, *, late: float | None = None) -> list[Held]:
    """List the jobs that are claimed; those whose claim has ended at a time, where one is given."""
    query = _HELD.where(job.c.state == State.RUNNING)
    if late is not None:
        query = query.where(job.c.lease_until <= late)
    return [_held(row) for row in connection.execute(query)]


def _held(row: Any) -> Held:
    return Held(row.id, State(row.state), row.fence, row.attempts)


def over(connection: sa.Connection, now: float, most: int) -> list[str]:
    """List jobs that may be forgotten, and forget names that nobody uses any more."""
    old = sa.select(job_key.c.key).where(job_key.c.until <= now).limit(most)
    connection.execute(sa.delete(job_key).where(job_key.c.key.in_(old)))
    query = sa.select(job.c.id).where(job.c.until <= now).limit(most)
    return list(connection.execute(query).scalars())
