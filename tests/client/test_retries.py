"""spectrogrampredictor/retries.py, and the clients that go by it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from spectrogrampredictor import AsyncClient, Client, HmacKey, Problem, Retries
from tests.client.test_auth import opened
from tests.signing.messages import SECRET

KEY = HmacKey("shared", SECRET)
RESET, REFUSED = httpx.ReadError("reset"), httpx.ConnectError("refused")
SOON = Retries(tries=3)


class Server(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers, or fails, in turn."""

    def __init__(self, *turns: httpx.Response | Exception) -> None:
        self.turns = list(turns)
        self.nonces: list[str] = []
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.nonces.append(opened(request, request.read()).nonce)
        self.keys.append(request.headers.get("Idempotency-Key", ""))
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.handle_request(request)


Call = Callable[[Server, str, Sequence[Any]], Any]


def ask(server: Server, name: str, arguments: Sequence[Any] = (), retries: Retries = SOON) -> Any:
    with Client("https://models.example", KEY, retries=retries, transport=server) as client:
        return getattr(client, name)(*arguments)


def ask_asynchronously(
    server: Server, name: str, arguments: Sequence[Any] = (), retries: Retries = SOON
) -> Any:
    async def run() -> Any:
        options: dict[str, Any] = {"retries": retries, "transport": server}
        async with AsyncClient("https://models.example", KEY, **options) as client:
            return await getattr(client, name)(*arguments)

    return asyncio.run(run())


@pytest.fixture(params=[ask, ask_asynchronously], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    found: Call = request.param
    return found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectrogrampredictor.retries._FIRST_S", 0.0)


def good() -> httpx.Response:
    return httpx.Response(200, json={"keys": []})


def busy() -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "0"})


def test_a_busy_server_is_asked_again_with_a_new_signature(call: Call) -> None:
    server = Server(busy(), httpx.Response(429), good())
    assert call(server, "receipt_keys", ()) == {"keys": []}
    assert len(set(server.nonces)) == 3


def test_a_line_that_broke_is_tried_again(call: Call) -> None:
    server = Server(RESET, REFUSED, good())
    assert call(server, "receipt_keys", ()) == {"keys": []}
    assert len(set(server.nonces)) == 3


def test_it_gives_up_after_so_many_tries(call: Call) -> None:
    server = Server(busy(), busy(), busy(), good())
    with pytest.raises(Problem):
        call(server, "receipt_keys", ())
    server = Server(RESET, RESET, RESET, good())
    with pytest.raises(httpx.ReadError):
        call(server, "receipt_keys", ())


def test_a_refusal_stands(call: Call) -> None:
    for status in (400, 401, 404, 422, 500, 502, 504):
        server = Server(httpx.Response(status), good())
        with pytest.raises(Problem):
            call(server, "receipt_keys", ())
        assert len(server.nonces) == 1


def test_what_must_not_be_done_twice_is_not_sent_again_when_it_may_have_arrived(call: Call) -> None:
    server = Server(RESET, good())
    with pytest.raises(httpx.ReadError):
        call(server, "set_alias", ("best", "00"))
    said = {"name": "best", "digest": "00", "previous": None, "changed": "2026-11-26T05:00:00Z"}
    server = Server(REFUSED, busy(), httpx.Response(200, json=said))
    assert call(server, "set_alias", ("best", "00")).digest == "00"


def test_what_counts_once_is_sent_again_under_its_key(call: Call) -> None:
    said = {"name": "best", "digest": "00", "previous": None, "changed": "2026-11-26T05:00:00Z"}
    server = Server(RESET, busy(), httpx.Response(200, json=said))
    assert call(server, "roll_back_alias", ("best",)).digest == "00"
    assert len(set(server.keys)) == 1
    assert len(server.keys[0]) > 20


def test_a_certificate_that_is_not_trusted_is_not_tried_again(call: Call) -> None:
    fault = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer")
    server = Server(fault, good())
    with pytest.raises(httpx.ConnectError):
        call(server, "receipt_keys", ())


def test_it_waits_as_long_as_the_server_says() -> None:
    answer = httpx.Response(503, headers={"Retry-After": "7"})
    assert Retries().pause_after_answer(answer, 1, 0) == 7


def test_it_does_not_wait_beyond_its_budget() -> None:
    answer = httpx.Response(503, headers={"Retry-After": "7"})
    assert Retries(budget_s=10).pause_after_answer(answer, 1, 3) == 7
    assert Retries(budget_s=10).pause_after_answer(answer, 1, 3.1) is None
    assert Retries(tries=1).pause_after_answer(answer, 1, 0) is None


def test_pauses_double_up_to_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectrogrampredictor.retries._FIRST_S", 0.25)
    retries = Retries(tries=99, budget_s=1e9)
    for tried, most in ((1, 0.25), (2, 0.5), (3, 1.0), (7, 10.0), (40, 10.0)):
        pause = retries.pause_after_error(RESET, tried, 0, may_repeat=True)
        assert pause is not None
        assert most / 2 <= pause <= most
