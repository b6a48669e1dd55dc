"""server/inference/call_queue.py: calls wait for children, or children for calls."""

import asyncio

import pytest

from server.errors import Overload
from server.inference.call_queue import Asked, Calls
from server.inference.frames import Message


def call(name: str) -> Asked:
    return Message({"name": name}), asyncio.get_running_loop().create_future()


def never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def taken(calls: Calls) -> str:
    asked = await calls.next(never())
    assert asked is not None
    assert isinstance(asked[0], Message)
    return str(asked[0].fields["name"])


async def test_calls_are_taken_in_their_order_but_for_one_that_is_first() -> None:
    calls = Calls(8)
    calls.put(call("one"))
    calls.put(call("two"))
    calls.put(call("zero"), first=True)
    assert [await taken(calls) for _ in range(3)] == ["zero", "one", "two"]


async def test_a_call_goes_to_the_child_that_waits_longest() -> None:
    calls = Calls(0)  # nothing may wait
    children = [asyncio.ensure_future(taken(calls)) for _ in range(2)]
    await asyncio.sleep(0)
    calls.put(call("one"))
    calls.put(call("two"))
    assert await asyncio.gather(*children) == ["one", "two"]


async def test_calls_beyond_the_bound_are_refused() -> None:
    calls = Calls(1)
    calls.put(call("one"))
    with pytest.raises(Overload, match="1 calls wait"):
        calls.put(call("two"))
    assert len(calls) == 1


async def test_a_call_whose_caller_is_gone_is_skipped() -> None:
    calls = Calls(8)
    gone, here = call("gone"), call("here")
    calls.put(gone)
    calls.put(here)
    gone[1].cancel()
    assert await taken(calls) == "here"


async def test_a_forgotten_call_takes_nobody_s_place() -> None:
    calls = Calls(1)
    left = call("left")
    calls.put(left)
    calls.forget(left[1])
    calls.put(call("next"))
    assert await taken(calls) == "next"


async def test_a_child_that_is_over_takes_nothing_more() -> None:
    calls = Calls(8)
    over = never()
    waiting = asyncio.ensure_future(calls.next(over))
    await asyncio.sleep(0)
    over.set_result(None)
    assert await waiting is None
    calls.put(call("next"))
    assert await calls.next(over) is None
    assert await taken(calls) == "next"


async def test_a_call_that_a_stopped_child_had_just_taken_is_answered() -> None:
    calls = Calls(8)
    child = asyncio.ensure_future(calls.next(never()))
    await asyncio.sleep(0)
    asked = call("lost")
    calls.put(asked)
    child.cancel()
    with pytest.raises(asyncio.CancelledError):
        await child
    with pytest.raises(Overload):
        await asked[1]


async def test_a_stop_refuses_all_that_wait() -> None:
    calls = Calls(8)
    asked = call("one")
    calls.put(asked)
    calls.refuse(Overload("the process was stopped"))
    with pytest.raises(Overload):
        await asked[1]
    assert len(calls) == 0
