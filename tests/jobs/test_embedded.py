"""server/jobs/embedded.py: one job for one content, one claim for one job, one end."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from server.database import job_event
from server.digest import Digest
from server.errors import IdempotencyConflict, Overload, TooManyRequests
from server.jobs.job import Kept, Kind, State
from server.jobs.queue import ClaimLost, Submission
from tests.jobs.conftest import KEEP_S, LEASE_S, Office, asked, digest_of

PROBLEM = {"type": "/problems/worker-failed", "status": 502, "title": "x", "detail": "y"}
MIDI = Kept("notes.mid", digest_of(b"MThd"), 4)


# submitting


async def test_equal_content_is_one_job_of_one_owner(office: Office) -> None:
    first = await office.submit()
    assert (await office.submit()).id == first.id
    for other in (
        await office.submit(b"another sound"),
        await office.submit(parameters={"program": 5}),
        await office.submit(model=digest_of(b"model")),
        await office.submit(manifest=digest_of(b"manifest")),
        await office.submit(version=2),
        await office.submit(owner="two"),
    ):
        assert other.id != first.id


async def test_a_job_that_is_done_answers_and_one_that_is_not_is_begun_anew(
    office: Office,
) -> None:
    first = await office.submit()
    await office.queue.finish(await office.queue.claim("w"), {"count": 1}, [MIDI])
    again = await office.submit()
    assert (again.id, again.result, again.artifacts) == (first.id, {"count": 1}, (MIDI,))
    other = await office.submit(b"other")
    await office.queue.cancel(other.id)
    assert (await office.submit(b"other")).id != other.id


async def test_a_key_of_the_client_names_one_job(office: Office) -> None:
    key = bytes(32)
    first = await office.submit(key=key)
    await office.queue.cancel(first.id)
    assert (await office.submit(key=key)).id == first.id, "whatever became of it"
    with pytest.raises(IdempotencyConflict):
        await office.submit(b"another", key=key)
    office.clock.now += 86_401
    await office.queue.expire()
    assert (await office.submit(b"another", key=key)).id != first.id


async def test_what_is_not_done_is_bounded_and_of_one_owner_too(office: Office) -> None:
    for number in range(15):
        await office.submit(b"%d" % number)
    with pytest.raises(TooManyRequests):
        await office.submit(b"one more")
    for number in range(5):
        await office.submit(b"%d" % number, owner="two")
    with pytest.raises(Overload):
        await office.submit(b"one more", owner="three")
    assert (await office.submit(b"3")).state is State.QUEUED, "an old one is answered all the same"
    assert office.queue.unfinished == {"queued": 20, "running": 0}


# claiming


async def test_priority_goes_before_age(office: Office) -> None:
    for name, priority in ((b"a", 0), (b"b", 0), (b"c", 5), (b"d", -5)):
        office.clock.now += 1
        await office.submit(name, priority=priority)
    turns = [(await office.queue.claim("w")).asked.sound for _ in range(4)]
    assert turns == [digest_of(name) for name in (b"c", b"a", b"b", b"d")]


async def test_who_waits_is_woken_by_a_submission(office: Office) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = [group.create_task(office.queue.claim(f"w{k}")) for k in range(3)]
        await asyncio.sleep(0)
        jobs = [await office.submit(b"%d" % k) for k in range(3)]
    assert {task.result().id for task in waiting} == {job.id for job in jobs}


async def test_who_leaves_while_taking_a_job_leaves_it_to_others(office: Office) -> None:
    job = await office.submit()
    leaving = asyncio.ensure_future(office.queue.claim("leaving"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the claim is on its way to the database
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    claim = await asyncio.wait_for(office.queue.claim("w"), 30)
    assert (claim.id, claim.attempt) == (job.id, 1)


async def test_a_late_worker_is_refused(office: Office) -> None:
    job = await office.submit()
    late = await office.queue.claim("late")
    office.clock.now += LEASE_S
    office.clock.now += 1
    with pytest.raises(TimeoutError):  # it is put back first, with a pause
        await asyncio.wait_for(office.queue.claim("w"), 0.2)
    office.clock.now += 1
    claim = await asyncio.wait_for(office.queue.claim("w"), 30)
    assert (claim.id, claim.fence, claim.attempt) == (job.id, late.fence + 1, 2)
    refused: list[Any] = [
        office.queue.extend(late),
        office.queue.progress(late, 0.5),
        office.queue.finish(late, {}, []),
        office.queue.fail(late, PROBLEM, final=True),
    ]
    for call in refused:
        with pytest.raises(ClaimLost):
            await call
    await office.queue.release(late)
    await asyncio.wait_for(office.queue.lost(late), 30)
    await office.queue.finish(claim, {"by": "w"}, [])
    with pytest.raises(ClaimLost):
        await office.queue.finish(claim, {"by": "w again"}, [])
    done = await office.queue.get(job.id)
    assert done is not None
    assert (done.state, done.result) == (State.DONE, {"by": "w"})
    assert await office.kinds(job.id) == ["queued", "started", "retry", "started", "done"]


async def test_a_claim_that_is_extended_is_kept(office: Office) -> None:
    await office.submit()
    claim = await office.queue.claim("w")
    for _ in range(5):
        office.clock.now += LEASE_S - 1
        await office.queue.extend(claim)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(office.queue.claim("other"), 0.05)
    await office.queue.finish(claim, {}, [])


# ending


async def test_what_fails_is_tried_again_with_longer_pauses_then_failed(office: Office) -> None:
    job = await office.submit()
    pauses = []
    for _ in range(2):
        assert not await office.queue.fail(await office.queue.claim("w"), PROBLEM, final=False)
        event = (await office.queue.events(job.id, 0))[-1]
        assert event.kind is Kind.RETRY
        assert event.data["problem"] == PROBLEM
        pauses.append(event.data["after_s"])
        office.clock.now += event.data["after_s"]
    assert pauses == [1.0, 2.0]
    assert await office.queue.fail(await office.queue.claim("w"), PROBLEM, final=False)
    failed = await office.queue.get(job.id)
    assert failed is not None
    assert (failed.state, failed.problem, failed.attempts) == (State.FAILED, PROBLEM, 3)
    kinds = await office.kinds(job.id)
    assert kinds == ["queued", *["started", "retry"] * 2, "started", "failed"]


async def test_a_fault_of_the_client_is_final(office: Office) -> None:
    job = await office.submit()
    assert await office.queue.fail(await office.queue.claim("w"), PROBLEM, final=True)
    assert await office.kinds(job.id) == ["queued", "started", "failed"]


async def test_a_stalled_job_fails_when_it_was_begun_often_enough(office: Office) -> None:
    job = await office.submit()
    for _ in range(3):
        await asyncio.wait_for(office.queue.claim("dying"), 30)
        office.clock.now += LEASE_S + 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(office.queue.claim("w"), 0.1)
        office.clock.now += 30
    failed = await office.queue.get(job.id)
    assert failed is not None
    assert failed.state is State.FAILED
    assert failed.problem is not None
    assert failed.problem["type"] == "/problems/worker-failed"


async def test_who_cancels_ends_the_claim_at_once(office: Office) -> None:
    job = await office.submit()
    claim = await office.queue.claim("w")
    lost = asyncio.ensure_future(office.queue.lost(claim))
    await office.queue.cancel(job.id)
    await asyncio.wait_for(lost, 30)
    with pytest.raises(ClaimLost):
        await office.queue.finish(claim, {}, [])
    await office.queue.cancel(job.id)
    assert await office.kinds(job.id) == ["queued", "started", "cancelled"]


async def test_what_is_released_was_never_begun(office: Office) -> None:
    job = await office.submit()
    claim = await office.queue.claim("w")
    await office.queue.release(claim)
    again = await office.queue.claim("w")
    assert (again.id, again.attempt, again.fence) == (job.id, 1, claim.fence + 1)


async def test_a_job_has_one_end_whatever_the_code_does(office: Office) -> None:
    job = await office.submit()
    await office.queue.cancel(job.id)
    values = {"job": job.id, "number": 99, "at": 0.0, "kind": "done", "data": "{}"}
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        await office.engine.write(lambda c: c.execute(sa.insert(job_event).values(**values)))


# a restart


async def test_a_restart_takes_back_what_was_being_done(office: Office) -> None:
    done, running, waiting = [await office.submit(name) for name in (b"a", b"b", b"c")]
    await office.queue.finish(await office.queue.claim("w"), {}, [])
    await office.queue.claim("w")
    after = office.again()
    await after.recover()
    office.clock.now += 1
    assert {(await after.claim("v")).id for _ in range(2)} == {running.id, waiting.id}
    assert await office.kinds(done.id) == ["queued", "started", "done"]
    assert await office.kinds(running.id) == ["queued", "started", "retry", "started"]


# events


async def test_progress_is_told_and_kept(office: Office) -> None:
    job = await office.submit()
    claim = await office.queue.claim("w")
    for progress in (0.1, 0.5):
        await office.queue.progress(claim, progress)
    found = await office.queue.get(job.id)
    assert found is not None
    assert found.progress == 0.5
    events = await office.queue.events(job.id, 2)
    assert [(event.number, event.data) for event in events] == [
        (3, {"progress": 0.1}),
        (4, {"progress": 0.5}),
    ]


async def test_who_listens_is_woken_for_its_job_alone(office: Office) -> None:
    job, other = await office.submit(b"a"), await office.submit(b"b")
    with office.queue.listening(job.id) as mine, office.queue.listening(other.id) as theirs:
        await office.queue.cancel(job.id)
        assert (mine.is_set(), theirs.is_set()) == (True, False)


# looking and forgetting


async def test_an_owner_lists_their_own_the_latest_first(office: Office) -> None:
    ids = []
    for number in range(5):
        office.clock.now += 1
        ids.append((await office.submit(b"%d" % number)).id)
    await office.submit(b"9", owner="two")
    await office.queue.cancel(ids[1])
    page = await office.queue.page("one", limit=3)
    assert [job.id for job in page] == ids[:1:-1]
    assert [job.id for job in await office.queue.page("one", limit=3, before=ids[2])] == [
        ids[1],
        ids[0],
    ]
    gone = await office.queue.page("one", limit=9, state=State.CANCELLED)
    assert [job.id for job in gone] == [ids[1]]


async def test_the_sound_is_held_until_the_end_and_artifacts_until_forgotten(
    office: Office,
) -> None:
    job = await office.submit()

    async def held() -> list[Digest]:
        query = sa.text("SELECT digest FROM artifact")
        rows = await office.engine.read(lambda c: c.execute(query).scalars().all())
        return [Digest(raw) for raw in rows]

    assert await office.queue.remove(job.id) == [], "it has not ended"
    assert await held() == [digest_of(b"sound")]
    await office.queue.finish(await office.queue.claim("w"), {}, [MIDI])
    assert await held() == [MIDI.digest]
    office.clock.now += KEEP_S - 1
    assert await office.queue.expire() == []
    await office.submit()  # who asks again wants it for as long again
    office.clock.now += 2
    assert await office.queue.expire() == []
    office.clock.now += KEEP_S
    assert await office.queue.expire() == [MIDI.digest]
    assert await office.queue.get(job.id) is None
    assert await office.queue.events(job.id, 0) == []


async def test_what_is_found_is_what_would_be_answered(office: Office) -> None:
    wanted = Submission("one", asked())
    assert await office.queue.find(wanted) is None
    job = await office.submit()
    found = await office.queue.find(wanted)
    assert found is not None
    assert found.id == job.id


async def test_no_query_scans_a_table(office: Office) -> None:
    seen: list[tuple[str, Any]] = []

    def see(_c: object, _cursor: object, sql: str, values: object, *_rest: object) -> None:
        if sql.startswith(("SELECT", "UPDATE", "DELETE")):
            seen.append((sql, values))

    sa.event.listen(office.engine._engine, "before_cursor_execute", see)
    job = await office.submit(key=bytes(32))
    claim = await office.queue.claim("w")
    await office.queue.progress(claim, 0.5)
    await office.queue.finish(claim, {}, [MIDI])
    await office.queue.page("one", limit=3, before=job.id)
    await office.queue.recover()
    await office.queue.events(job.id, 0)
    office.clock.now += KEEP_S
    await office.queue.expire()
    for sql, values in list(seen):
        plan = await office.engine.read(
            lambda c, sql=sql, values=values: c.exec_driver_sql(  # type: ignore[misc]  # defaults bind the loop's values
                f"EXPLAIN QUERY PLAN {sql}", values
            ).all()
        )
        assert [row.detail for row in plan if row.detail.startswith("SCAN job")] == [], sql
