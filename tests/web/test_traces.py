"""W3C Trace Context: which headers are read, what is answered, and what the log says."""

import logging
from typing import Any

import pytest
from quart import Blueprint, Response

from server.telemetry import LineFormatter
from server.web.body import Pace
from server.web.direct import DirectRoutes
from server.web.site import Site, build_site
from server.web.traces import Trace, parse
from tests.web.asking import ask

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NAME, GOOD = b"traceparent", f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def site() -> Site:
    routes, direct = Blueprint("plain", __name__), DirectRoutes("direct")

    @routes.post("/plain")
    async def plain() -> Response:
        logging.getLogger("here").info("at work")
        return Response("done")

    @direct.post("/direct")
    async def at_once(_asked: Any) -> Response:
        logging.getLogger("here").info("at work")
        return Response("done")

    pace = Pace(idle_s=5, min_rate=1, grace_s=5)
    return build_site("traced", [routes, direct], pace=pace, legacy_status=False)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GOOD, "01"),
        (f"  {GOOD}\t", "01"),
        (f"00-{TRACE}-{PARENT}-00", "00"),
        (f"00-{TRACE}-{PARENT}-03", "03"),
        (f"01-{TRACE}-{PARENT}-07", "01"),
        (f"cc-{TRACE}-{PARENT}-00-what-will-be", "00"),
    ],
)
def test_a_trace_is_read(text: str, flags: str) -> None:
    assert parse(text) == Trace(TRACE, flags)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "00", GOOD[:-1], GOOD + "0", GOOD + "-", GOOD + "-more", GOOD.upper()),
        GOOD.replace("00-", "ff-", 1),
        *(
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE[:-1]}-{PARENT}-01",
        ),
        *(f"00-{TRACE[:-1]}g-{PARENT}-01", f"00_{TRACE}_{PARENT}_01", f"cc-{TRACE}-{PARENT}-00.x"),
        *(f"cc-{TRACE}-{PARENT}-00-" + "x" * 500, GOOD + "\n", "\u0660" + GOOD[1:]),
    ],
)
def test_what_is_malformed_is_ignored(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("path", ["/plain", "/direct", "/nowhere"])
async def test_the_answer_and_the_log_name_the_trace(
    site: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    formatter = LineFormatter()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    caplog.set_level(logging.INFO)
    keep = Keep()
    logging.getLogger().addHandler(keep)
    try:
        _, headers, _ = await ask(site, path, more=[(NAME, GOOD.encode())])
        _, others, _ = await ask(site, path, more=[(NAME, GOOD[:-1].encode())])
    finally:
        logging.getLogger().removeHandler(keep)
    request_id = headers["x-request-id"]
    assert headers["traceresponse"] == f"00-{TRACE}-{request_id}-01"
    assert "traceresponse" not in others
    of_first = [line for line in lines if f"request={request_id}" in line]
    assert len(of_first) == (1 if path == "/nowhere" else 2)
    assert all(f"trace={TRACE}" in line for line in of_first)
    assert not any("trace=" in line for line in lines if line not in of_first)


async def test_a_trace_that_comes_twice_is_ignored(site: Site) -> None:
    _, headers, _ = await ask(site, "/plain", more=[(NAME, GOOD.encode())] * 2)
    assert "traceresponse" not in headers
