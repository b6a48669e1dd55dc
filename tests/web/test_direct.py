"""server/web/direct.py through a real application, called as ASGI servers do."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest
from quart import Response

from server.errors import UnusableInput
from server.web.body import Pace
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.pieces import Pieces
from server.web.site import Site, build_site
from tests.web.asking import ask


async def _lines() -> AsyncGenerator[bytes, None]:
    yield b"one\n"
    yield b"two\n"


@pytest.fixture
def freed() -> list[str]:
    """Return the names of the answers whose room was given back."""
    return []


@pytest.fixture
def site(freed: list[str]) -> Site:
    routes = DirectRoutes("things")

    @routes.post("/things/<name>/turns")
    async def turn(asked: StreamedRequest, name: str) -> Response:
        size = sum([len(piece) async for piece in asked.stream_body])
        if name == "bad":
            raise UnusableInput("no such turn")
        if name == "worse":
            raise RuntimeError("nobody foresaw this")
        return Response(f"{name} {size}", content_type="text/plain")

    @routes.post("/things/<name>/lines")
    async def lines(asked: StreamedRequest, name: str) -> Response:
        assert [piece async for piece in asked.stream_body]
        held = AsyncExitStack()
        held.callback(lambda: freed.append(name))
        response = Response(Pieces(_lines(), held), content_type="text/plain")
        response.timeout = None
        return response

    pace = Pace(idle_s=5, min_rate=1, grace_s=5)
    return build_site("things", [routes], pace=pace, legacy_status=False)


async def test_a_path_as_it_is_written_is_answered(site: Site) -> None:
    status, headers, body = await ask(site, "/things/red/turns")
    assert (status, body) == (200, b"red 5")
    assert headers["content-length"] == "5"


async def test_quart_answers_another_spelling_with_the_same_head(site: Site) -> None:
    _, direct, body = await ask(site, "/things/red/turns")
    status, others, same = await ask(site, "/things/red/turns/")
    assert (status, same) == (200, body)
    assert direct.keys() == others.keys()


async def test_another_method_is_refused_by_name(site: Site) -> None:
    status, headers, _ = await ask(site, "/things/red/turns", method="GET")
    assert status == 405
    assert "POST" in headers["allow"]


async def test_a_problem_is_told(site: Site) -> None:
    status, headers, body = await ask(site, "/things/bad/turns")
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert json.loads(body)["detail"] == "no such turn"
    assert headers["x-request-id"] in json.loads(body)["instance"]


async def test_what_nobody_foresaw_is_a_problem_that_tells_nothing(site: Site) -> None:
    status, _, body = await ask(site, "/things/worse/turns")
    assert status == 500
    assert b"foresaw" not in body


@pytest.mark.parametrize("path", ["/things/red/lines", "/things/red/lines/"])
async def test_lines_are_sent_one_by_one_and_their_room_is_freed(
    site: Site, freed: list[str], path: str
) -> None:
    status, headers, body = await ask(site, path)
    assert (status, body) == (200, b"one\ntwo\n")
    assert "content-length" not in headers
    assert freed == ["red"]


@pytest.mark.parametrize("path", ["/things/turns", "/things/a/b/turns", "/things/red/turnsx"])
async def test_a_path_of_another_form_is_not_found(site: Site, path: str) -> None:
    status, _, _ = await ask(site, path)
    assert status == 404
