"""server/inference/pool.py and process.py with real child processes."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from server.errors import BadModel, Overload, WorkerFailed
from server.inference import idle_watch
from server.inference.call_watch import MOST_THREADS
from server.inference.child_kind import ChildKind
from server.inference.frames import Message
from server.inference.pool import ChildPool
from server.inference.sandbox import Rights
from server.metrics import PREFIX, REGISTRY
from server.sound_errors import SoundTooShort
from tests.inference.odd_models import WATCHED

MakePool = Callable[..., ChildPool]


@pytest.fixture
async def make_pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePool]:
    monkeypatch.setenv("SIGNING_TOKEN", "a token that no child may see")
    pools: list[ChildPool] = []

    def make(
        *,
        size: int = 1,
        queue: int = 8,
        timeout_s: float = 30.0,
        rights: Rights | None = None,
        **config: object,
    ) -> ChildPool:
        kind = ChildKind(
            "tests.inference.odd_child",
            config,
            start_timeout_s=30,
            call_timeout_s=timeout_s,
            max_calls=int(str(config.get("max_calls", 1000))),
            rights=rights,
        )
        pools.append(ChildPool(kind, size=size, max_queue=queue, spawn=asyncio.ensure_future))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def ask(pool: ChildPool, op: str, **fields: object) -> dict[str, Any]:
    return (await pool.call(Message({"op": op, **fields}))).fields


async def test_a_call_is_answered(make_pool: MakePool) -> None:
    assert (await ask(make_pool(), "echo", text="hello"))["text"] == "hello"


async def test_a_child_sees_no_token_and_an_empty_folder(make_pool: MakePool) -> None:
    ready = await make_pool().ready()
    assert "SIGNING_TOKEN" not in ready["environment"]
    assert ready["cwd"] == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_what_ends_the_server_is_for_the_server_to_hear(
    make_pool: MakePool, number: signal.Signals
) -> None:
    pool = make_pool()
    pid = (await pool.ready())["pid"]
    os.kill(pid, number)
    assert (await ask(pool, "echo", text="still here"))["text"] == "still here"
    assert (await pool.ready())["pid"] == pid


async def test_a_problem_in_the_input_is_told_with_its_members(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(SoundTooShort, match="too short") as refused:
        await ask(pool, "problem")
    assert refused.value.members == {"needed": 22050}
    assert (await ask(pool, "echo", text="still here"))["text"] == "still here"


@pytest.mark.parametrize("op", ["die", "raise", "nonsense"])
async def test_a_child_that_fails_is_replaced_and_fails_one_call(
    make_pool: MakePool, op: str
) -> None:
    pool = make_pool()
    calls = [ask(pool, op), ask(pool, "echo", text="next")]
    failed, answered = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, WorkerFailed)
    assert isinstance(answered, dict)


async def test_a_call_that_takes_too_long_fails(make_pool: MakePool) -> None:
    pool = make_pool(timeout_s=1.0)
    with pytest.raises(WorkerFailed, match="no answer"):
        await ask(pool, "hang")
    assert (await ask(pool, "echo", text="next"))["text"] == "next"


async def test_a_child_that_dies_idle_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool()
    first = (await pool.ready())["pid"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: pool.alive == 0)
    assert (await ask(pool, "echo", text="x"))["pid"] != first


async def test_a_child_that_cannot_be_started_for_a_while_is_started_later(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pool = make_pool()
    first = (await pool.ready())["pid"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    os.kill(first, signal.SIGKILL)
    await until(lambda: pool.alive == 0)
    with pytest.raises(WorkerFailed, match="could not be started"):
        await ask(pool, "echo", text="x")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    await until(lambda: pool.alive > 0)
    assert (await ask(pool, "echo", text="x"))["text"] == "x"


async def test_a_child_that_has_served_enough_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool(max_calls=2)
    pids = [(await ask(pool, "echo", text="x"))["pid"] for _ in range(4)]
    assert len(set(pids)) == 2


async def test_calls_beyond_the_queue_are_refused_at_once(make_pool: MakePool) -> None:
    pool = make_pool(queue=2)
    await pool.ready()
    calls = [ask(pool, "echo", text=str(n)) for n in range(10)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(result, Overload) for result in results)
    assert all(isinstance(result, Overload | dict) for result in results)


async def test_a_caller_that_left_before_its_turn_is_skipped(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.ready()
    left = asyncio.ensure_future(ask(pool, "die"))
    await asyncio.sleep(0)
    left.cancel()
    first = (await pool.ready())["pid"]
    assert (await ask(pool, "echo", text="x"))["pid"] == first


async def test_a_call_that_ends_other_work_comes_before_what_waits(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.ready()
    done: list[str] = []

    async def echo(text: str, *, first: bool = False) -> None:
        await pool.call(Message({"op": "echo", "text": text}), first=first)
        done.append(text)

    calls = [echo("one"), echo("two"), echo("three"), echo("urgent", first=True)]
    await asyncio.gather(*calls)
    assert done.index("urgent") < done.index("three")


async def test_a_caller_that_left_before_its_turn_takes_no_place(make_pool: MakePool) -> None:
    pool = make_pool(queue=2)
    await pool.ready()
    held = asyncio.ensure_future(ask(pool, "hang"))
    await asyncio.sleep(0)
    await until(lambda: pool.waiting == 0)
    left = [asyncio.ensure_future(ask(pool, "echo", text="x")) for _ in range(2)]
    await until(lambda: pool.waiting == 2)
    with pytest.raises(Overload):
        await ask(pool, "echo", text="one too many")
    for call in left:
        call.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert pool.waiting == 0
    waiting = asyncio.ensure_future(ask(pool, "echo", text="taken"))
    await until(lambda: pool.waiting == 1)
    for call in (waiting, held):
        call.cancel()
    await asyncio.gather(waiting, held, return_exceptions=True)


async def test_a_first_child_that_refuses_fails_the_pool(make_pool: MakePool) -> None:
    with pytest.raises(BadModel, match="no model"):
        await make_pool(refuse=True).ready()


async def test_a_first_child_that_dies_fails_the_pool(make_pool: MakePool) -> None:
    with pytest.raises(WorkerFailed):
        await make_pool(die=True).ready()


def failures(cause: str) -> float:
    labels = {"child": "odd_child", "cause": cause}
    return REGISTRY.get_sample_value(f"{PREFIX}_child_failures_total", labels) or 0.0


async def test_a_child_that_dies_while_it_starts_is_counted(make_pool: MakePool) -> None:
    before = failures("exit")
    with pytest.raises(WorkerFailed):
        await make_pool(die=True).ready()
    assert failures("exit") == before + 1


async def test_a_child_that_dies_in_a_call_is_counted_once(make_pool: MakePool) -> None:
    before, pool = failures("exit"), make_pool()
    with pytest.raises(WorkerFailed):
        await ask(pool, "die")
    await ask(pool, "echo", text="next")
    assert failures("exit") == before + 1


async def test_children_that_are_ended_well_are_not_counted(make_pool: MakePool) -> None:
    causes = ("exit", "killed", "signal")
    before, pool = [failures(cause) for cause in causes], make_pool(max_calls=1)
    for _ in range(3):
        await ask(pool, "echo", text="x")
    await pool.close()
    assert [failures(cause) for cause in causes] == before


async def test_by_what_a_child_died_is_never_lost(make_pool: MakePool) -> None:
    before = failures("signal")
    for _ in range(20):  # whoever asks for the status of a dead process first has it
        with pytest.raises(WorkerFailed):
            await make_pool(die_by=signal.SIGUSR1).ready()
    assert failures("signal") == before + 20


async def test_a_child_that_starts_threads_without_end_is_ended(make_pool: MakePool) -> None:
    before = failures("threads")
    with pytest.raises(WorkerFailed, match="threads"):
        await make_pool(threads=MOST_THREADS, hold=True, rights=WATCHED).ready()
    assert failures("threads") == before + 1


async def test_a_child_may_have_many_threads(make_pool: MakePool) -> None:
    pool = make_pool(threads=MOST_THREADS - 1, rights=WATCHED)
    await pool.ready()
    assert await ask(pool, "shout") == {"shouted": True}


async def test_a_child_that_computes_while_nobody_asks_is_replaced(
    make_pool: MakePool, quick: None
) -> None:
    before, pool = failures("cpu"), make_pool(spin=True, rights=WATCHED)
    first = (await ask(pool, "echo", text="answered in time"))["pid"]
    await until(lambda: failures("cpu") > before)
    await until(lambda: pool.alive > 0)
    assert (await ask(pool, "echo", text="x"))["pid"] != first


async def test_a_call_that_computes_has_all_of_its_time(make_pool: MakePool, quick: None) -> None:
    before, pool = failures("cpu"), make_pool(spin=True, rights=WATCHED, timeout_s=2.0)
    with pytest.raises(WorkerFailed, match="no answer"):
        await ask(pool, "hang")
    assert failures("cpu") == before


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge idle children after half a second, not after ten."""
    monkeypatch.setattr(idle_watch, "_LOOK_S", 0.1)
    monkeypatch.setattr(idle_watch, "_JUDGED_S", 0.5)


async def test_a_child_that_shouts_is_still_heard(make_pool: MakePool) -> None:
    assert await ask(make_pool(), "shout") == {"shouted": True}


async def test_of_what_a_failing_child_says_few_lines_are_logged(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    with pytest.raises(WorkerFailed):
        await ask(pool, "rave")
    await ask(pool, "echo", text="next")  # of another child: the first has been reported
    assert sum(record.msg == "child said" for record in caplog.records) == 20


async def test_closing_ends_the_children(make_pool: MakePool) -> None:
    pool = make_pool(size=2)
    pid = (await pool.ready())["pid"]
    await pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("turns", range(8))
async def test_a_call_that_comes_as_the_pool_closes_is_answered(
    make_pool: MakePool, turns: int
) -> None:
    pool = make_pool()
    await pool.ready()
    called = asyncio.ensure_future(ask(pool, "echo", text="x"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await pool.close()
    async with asyncio.timeout(30):
        results = await asyncio.gather(called, return_exceptions=True)
    assert isinstance(results[0], Overload | dict)


async def test_a_closed_pool_refuses_calls(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.close()
    with pytest.raises(Overload):
        await ask(pool, "echo", text="x")


@pytest.mark.parametrize("members", [{"self": 1}, {"detail": "x", "status": 200}, {"a b": None}])
async def test_a_first_child_may_tell_any_members_of_its_problem(
    make_pool: MakePool, members: dict[str, object]
) -> None:
    with pytest.raises(BadModel, match="no model"):
        async with asyncio.timeout(30):
            await make_pool(answer=members).ready()
