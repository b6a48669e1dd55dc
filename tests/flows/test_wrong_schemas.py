"""Signed bodies that are not what a route takes: refused for little time and little memory."""

import json
from collections.abc import Callable

import psutil
import pytest

from tests.flows.running import Server, problem_of, sign_text
from tests.flows.test_memory import growth_of

pytestmark = pytest.mark.timeout(180)
MIB = 1 << 20
CPU_S = 0.05
SMALL = 60_000  # bytes: a registration may have little more
LARGE = 48 * MIB
BAD: dict[str, Callable[[int], str]] = {
    "another field": lambda size: json.dumps({"hash": "0" * 64, "more": "x" * size}),
    "a number for a text": lambda size: '{"hash": ' + "9" * min(size, 4000) + "}",
    "a number of many digits": lambda size: '{"hash": ' + "9" * size + "}",
    "no object": lambda size: json.dumps(["x" * size]),
    "a field twice": lambda size: '{"hash": "' + "0" * size + '", "hash": "1"}',
    "NaN": lambda size: '{"hash": NaN, "more": "' + "x" * size + '"}',
    "deep": lambda size: '{"hash": ' + "[" * size,
    "deep and closed": lambda size: '{"hash": ' + "[" * (size // 2) + "]" * (size // 2) + "}",
    "many values": lambda size: '{"hash": [' + "1," * (size // 2) + "1]}",
    "many fields": lambda size: "{" + ",".join(f'"{k:07}":1' for k in range(size // 12)) + "}",
    "half a character": lambda size: '{"hash": "\\ud800' + "x" * size + '"}',
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_schema_is_refused_for_little_time(server: Server, name: str) -> None:
    body = sign_text(BAD[name](SMALL))
    server.post("/registermodelhash", body)  # once for what is imported and compiled
    web = psutil.Process(server.process.pid)
    before, count = sum(web.cpu_times()[:2]), 20
    for _ in range(count):
        slug = problem_of(server.post("/registermodelhash", body), 400)
        assert slug == ("bad-digest" if name == "half a character" else "malformed-request")
    assert (sum(web.cpu_times()[:2]) - before) / count < CPU_S


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_schema_takes_less_than_twice_its_bytes(server: Server, name: str) -> None:
    body = sign_text(BAD[name](LARGE))
    server.post("/prediction", body[:-1])  # once: what the process keeps of its memory is no growth
    with growth_of(server) as growth:
        assert problem_of(server.post("/prediction", body), 400) == "malformed-request"
        assert growth() < 2 * len(body)
