"""Requests that find no room, on real connections: answers are the same with and without h11."""

import asyncio
import gc
import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.metrics import REQUESTS
from server.web import wire_server
from tests.web.listening import FULL, MIB, Listening, post, receive


def refused() -> float:
    """Return how many refusals were counted."""
    counter = REQUESTS.labels("things", "POST", "/v1/things/<name>", "503")
    return float(counter._value.get())


STREAMS = st.lists(
    st.one_of(
        st.builds(
            post,
            st.sampled_from(["/v1/things/full", "/v1/things/red", "/v1/things/full?receipt=1"]),
            st.binary(max_size=300),
        ),
        st.sampled_from(
            [
                post("/v1/things/full", b"abc", "Connection: keep-alive"),
                post("/v1/things/f%75ll", b"abc"),
                post("/v1/things/full/", b"abc"),
                post("https://here/v1/things/full", b"abc"),
                post("/v1/things/full", b"abc").replace(b"Content-L", b"content-l"),
                b"GET /v1/things/full HTTP/1.1\r\nHost: here\r\n\r\n",
                b"POST /v1/things/full HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n"
                b"\r\n3\r\nabc\r\n0\r\n\r\n",
            ]
        ),
    ),
    min_size=1,
    max_size=5,
)
LAST = {  # after these the connection is closed
    "closing": post("/v1/things/full", b"abc", "Connection: close"),
    "old": FULL.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two lengths": post("/v1/things/full", b"abc", "Content-Length: 3"),
    "length and chunks": post("/v1/things/full", b"abc", "Transfer-Encoding: chunked"),
    "upgrade": post("/v1/things/full", b"abc", "Upgrade: websocket"),
    "folded": post("/v1/things/full", b"abc", " folded"),
    "no host": FULL.replace(b"Host: here\r\n", b""),
    "another host": post("https://there/v1/things/full", b"abc"),
    "signed length": FULL.replace(b": 3", b": +3"),
    "many headers": post("/v1/things/full", b"abc", *(f"X-{k}: y" for k in range(101))),
    "large head": post("/v1/things/full", b"abc", "X: " + "y" * 17_000),
    "line feeds": FULL.replace(b"\r\n", b"\n"),
    "zero": FULL.replace(b"here", b"he\0re"),
}


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *itertools.accumulate(cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places) if start < end]


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.lists(st.integers(1, 200), max_size=12))
async def test_answers_are_those_of_the_long_way(requests: list[bytes], cuts: list[int]) -> None:
    pieces = cut(b"".join(requests), cuts)
    early = await Listening(early=True).told(pieces, len(requests))
    late = await Listening(early=False).told(pieces, len(requests))
    assert early == late
    assert early


@pytest.mark.parametrize("request_", LAST.values(), ids=LAST.keys())
async def test_what_ends_a_connection_ends_it_as_the_long_way_does(request_: bytes) -> None:
    early = await Listening(early=True).told([request_], 2)
    late = await Listening(early=False).told([request_], 2)
    assert early == late
    assert len(early) == 1


async def test_what_finds_no_room_reaches_no_application() -> None:
    listening = Listening(early=True)
    counted = refused()
    requests = [post("/v1/things/full", bytes(MIB)) for _ in range(3)]
    answers = await listening.told([*requests, post("/v1/things/red", b"\1\2")], 4)
    assert [status for status, _, _ in answers] == [503, 503, 503, 200]
    assert answers[0][1]["retry-after"] == "7"
    assert answers[3][2] == "red 2 3"
    assert listening.asked == 1
    assert refused() == counted + 3


async def test_the_answer_comes_before_the_body() -> None:
    listening = Listening(early=True)
    request = post("/v1/things/full", bytes(1000))
    async with listening.connected() as (reader, writer):
        writer.write(request[:-900])
        answer = await receive(reader)
        assert answer is not None
        assert answer[0] == 503
        writer.write(request[-900:] + post("/v1/things/red", b"\1"))
        assert (await receive(reader) or (0,))[0] == 200
    assert listening.asked == 1


async def test_a_client_that_leaves_in_its_body_ends_the_connection() -> None:
    listening = Listening(early=True)
    async with listening.connected() as (reader, writer):
        writer.write(post("/v1/things/full", bytes(1000))[:-900])
        assert (await receive(reader) or (0,))[0] == 503
        writer.write_eof()
        assert await reader.read() == b""


async def test_a_client_that_never_ends_its_body_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_server, "DRAIN_S", 0.2)
    listening = Listening(early=True, patience_s=0.05)
    async with listening.connected() as (reader, writer):
        writer.write(post("/v1/things/full", bytes(1000))[:-900])
        assert (await receive(reader) or (0,))[0] == 503
        assert await reader.read() == b""


async def test_a_slow_body_is_given_more_time_than_silence() -> None:
    listening = Listening(early=True, patience_s=0.5)
    async with listening.connected() as (reader, writer):
        request = post("/v1/things/full", bytes(4))
        writer.write(request[:-4])
        for _ in range(4):
            await asyncio.sleep(0.2)  # what is tested is that time passes
            writer.write(b"\0")
        assert (await receive(reader) or (0,))[0] == 503
        writer.write(post("/v1/things/red", b"\1"))
        assert (await receive(reader) or (0,))[0] == 200


async def test_a_server_that_stops_takes_the_rest_of_a_refused_body() -> None:
    listening = Listening(early=True)
    async with listening.connected() as (reader, writer):
        request = post("/v1/things/full", bytes(1000))
        writer.write(request[:-900])
        assert (await receive(reader) or (0,))[0] == 503
        await listening.context.terminated.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert listening.served == 1
        writer.write(request[-900:])
        assert await reader.read() == b""


async def test_requests_behind_each_other_leave_turns_to_others() -> None:
    listening, count = Listening(early=True), 500
    async with listening.connected() as (reader, writer):
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.create_task(others())
        writer.write(FULL * count)
        for _ in range(count):
            assert (await receive(reader) or (0,))[0] == 503
        other.cancel()
    assert turns >= count


async def test_a_body_that_is_too_long_to_skip_is_refused_the_long_way() -> None:
    listening = Listening(early=True)
    head = re.sub(rb"Length: \d+", b"Length: 999999999999", post("/v1/things/full", b""))
    answers = await listening.told([head], 1)
    assert answers[0][0] == 503
    assert listening.asked == 1


async def test_a_refusal_leaves_nothing_to_the_garbage_collector() -> None:
    listening, count = Listening(early=True), 50
    async with listening.connected() as (reader, writer):
        for left in (None, 0):
            gc.collect()
            gc.disable()
            try:
                for _ in range(count):
                    writer.write(FULL)
                    assert (await receive(reader) or (0,))[0] == 503
                found = gc.collect()
            finally:
                gc.enable()
            assert left is None or found < count  # the first round fills what is kept
    assert listening.asked <= 1


async def test_a_traced_request_is_asked_about_by_its_route_alone() -> None:
    listening = Listening(early=True)
    asked: list[str] = []
    listening.site.early._routes[0]._check_room = lambda _address, name: asked.append(name)
    traced = post("/v1/things/full", b"a", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01")
    await listening.told([traced], 1)
    assert asked == []  # each question moves the time that the next is told to come back at


async def test_the_time_of_a_refused_body_counts_from_its_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_server, "DRAIN_S", 1.0)
    listening = Listening(early=True, patience_s=1.0)
    async with listening.connected() as (reader, writer):
        await asyncio.sleep(0.7)  # what is tested is that time passes
        writer.write(post("/v1/things/full", bytes(1000))[:-900])
        assert (await receive(reader) or (0,))[0] == 503
        begun = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - begun > 0.8


async def test_who_sends_what_it_was_not_told_to_send_hears_that_the_connection_closes() -> None:
    listening = Listening(early=False)
    request = post("/v1/things/full", bytes(1000), "Expect: 100-continue")
    async with listening.connected() as (reader, writer):
        writer.write(request[:-900])  # some of the body is there when the answer is made
        answer = await receive(reader)
        assert answer is not None
        assert answer[0] == 503
        assert answer[1]["connection"] == "close"
        assert await reader.read() == b""
