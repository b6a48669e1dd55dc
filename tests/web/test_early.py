"""server/web/early.py through an application: refusals by the head of a request alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from quart import Response

from server.errors import Overload, TooManyRequests
from server.metrics import REQUESTS
from server.web import early
from server.web.body import PROCEED, Pace
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.site import Site, build_site
from tests.web.asking import ask

PATHS = ["/v1/things/red", "/v2/things/red", "/prediction"]


class Places:
    """Places that a test takes away."""

    def __init__(self) -> None:
        self.refusal: Overload | None = None
        self.asked: list[str] = []
        self.handled: list[str] = []

    def check(self, address: str, **_parts: str) -> None:
        self.asked.append(address)
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def make(places: Places) -> Callable[..., Site]:
    def built(*, legacy_status: bool = False, early: bool = True) -> Site:
        routes = DirectRoutes("things", places.check if early else None)

        async def answer(asked: StreamedRequest, **_parts: str) -> Response:
            if places.refusal is not None:
                raise places.refusal
            places.handled.append(asked.path)
            return Response("done", content_type="text/plain")

        @routes.post("/v1/things/<name>")
        async def first(asked: StreamedRequest, name: str) -> Response:
            return await answer(asked, name=name)

        @routes.post("/v2/things/<name>")
        async def second(asked: StreamedRequest, name: str) -> Response:
            return await answer(asked, name=name)

        @routes.post("/prediction")
        async def original(asked: StreamedRequest) -> Response:
            return await answer(asked)

        pace = Pace(idle_s=5, min_rate=1, grace_s=5)
        return build_site("things", [routes], pace=pace, legacy_status=legacy_status)

    return built


def without_id(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    told = json.loads(body)
    assert told.pop("instance") == f"urn:request:{headers.pop('x-request-id')}"
    return headers, told


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("legacy_status", [False, True])
@pytest.mark.parametrize("kind", [Overload, TooManyRequests])
async def test_the_answer_is_what_the_route_itself_would_give(
    make: Callable[..., Site],
    places: Places,
    path: str,
    legacy_status: bool,
    kind: type[Overload],
) -> None:
    places.refusal = kind("all places are taken", retry_after_s=7)
    soon = await ask(make(legacy_status=legacy_status), path)
    late = await ask(make(legacy_status=legacy_status, early=False), path)
    assert soon[0] == late[0]
    assert without_id(*soon[1:]) == without_id(*late[1:])
    assert soon[1]["retry-after"] == "7"
    assert places.asked == ["127.0.0.1"]
    assert places.handled == []


async def test_where_there_is_room_the_route_answers(
    make: Callable[..., Site], places: Places
) -> None:
    for path in PATHS:
        assert (await ask(make(), path))[0] == 200
    assert places.handled == PATHS


@pytest.mark.parametrize("path", ["/v1/things/red/", "/v1/things/"])
async def test_another_spelling_is_for_quart(
    make: Callable[..., Site], places: Places, path: str
) -> None:
    places.refusal = Overload("all places are taken")
    assert (await ask(make(), path))[0] in {404, 503}
    assert places.asked == []


async def test_another_method_is_refused_by_name(make: Callable[..., Site], places: Places) -> None:
    places.refusal = Overload("all places are taken")
    assert (await ask(make(), "/v1/things/red", method="GET"))[0] == 405
    assert places.asked == []


async def test_a_traced_request_is_answered_with_its_trace(
    make: Callable[..., Site], places: Places
) -> None:
    places.refusal = Overload("all places are taken")
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    status, headers, _ = await ask(make(), "/v1/things/red", more=[(b"traceparent", trace)])
    assert status == 503
    assert "0af7651916cd43dd8448eb211c80319c" in headers["traceresponse"]


async def test_refusals_are_counted(make: Callable[..., Site], places: Places) -> None:
    places.refusal = Overload("all places are taken")
    counter = REQUESTS.labels("things", "POST", "/v1/things/<name>", "503")
    before = counter._value.get()
    for _ in range(3):
        await ask(make(), "/v1/things/red")
    assert counter._value.get() == before + 3


class Client:
    """A client that sends a body piece by piece, as it is asked for."""

    def __init__(self, site: Site, *, expects: bool = False) -> None:
        self.sent: list[Any] = []
        self.pieces = [b"12", b"345", b"6"]
        self.proceeded = 0
        headers = [(b"host", b"here"), (b"content-length", b"6")]
        headers += [(b"expect", b"100-Continue")] if expects else []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/things/red",
            "raw_path": b"/v1/things/red",
            "query_string": b"",
            "headers": headers,
            "client": None,
            "state": {PROCEED: self._proceed},
        }
        self.done = asyncio.ensure_future(site(scope, self._receive, self._send))

    async def _proceed(self) -> None:
        self.proceeded += 1

    async def _receive(self) -> Any:
        # the answer is out before anything of the body is read
        assert b"taken" in b"".join(message.get("body", b"") for message in self.sent)
        if not self.pieces:
            return {"type": "http.disconnect"}
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


async def test_the_answer_comes_first_and_the_body_is_dropped(
    make: Callable[..., Site], places: Places
) -> None:
    places.refusal = Overload("all places are taken")
    client = Client(make())
    await client.done
    assert client.pieces == []
    assert [message.get("more_body") for message in client.sent] == [None, True, False]


async def test_a_body_that_waits_to_be_asked_for_is_not(
    make: Callable[..., Site], places: Places
) -> None:
    places.refusal = Overload("all places are taken")
    client = Client(make(), expects=True)
    await client.done
    assert len(client.pieces) == 3
    assert client.proceeded == 0
    assert [message.get("more_body") for message in client.sent] == [None, False]


async def test_a_client_that_leaves_ends_it(make: Callable[..., Site], places: Places) -> None:
    places.refusal = Overload("all places are taken")
    client = Client(make())
    client.pieces.clear()
    await client.done
    assert client.sent[-1]["more_body"] is False


async def test_a_client_that_never_reads_ends_it(
    make: Callable[..., Site], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "_ANSWER_S", 0.05)
    places.refusal = Overload("all places are taken")

    class Deaf(Client):
        async def _send(self, message: Any) -> None:
            await super()._send(message)
            await asyncio.Event().wait()

    client = Deaf(make())
    await asyncio.wait_for(client.done, 20)
    assert len(client.sent) == 1
