"""Measure what it costs the web process to refuse a prediction while every place is taken.

    python -m benchmarks.refusals [--requests N] [--rounds N]

The server's own listener, over TLS, with one route that has no room; a second process asks, over
several connections in turns. CPU milliseconds of a refusal, the lowest and the highest of the
rounds: by the route, once it has a request of Quart's; by the application, before that; and as the
head arrives, as those are refused that come within a second of another.
tests/web/test_turning_away.py proves the answers to be the same.
"""

import argparse
import asyncio
import multiprocessing
import os
import ssl
import sys
import tempfile
from pathlib import Path

from quart import Response

from benchmarks.loadgen import Target, post, receive
from server.devcert import make_certificates
from server.errors import Overload
from server.web import early
from server.web.body import Pace
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.doors import Doors
from server.web.listener import bind, listen
from server.web.site import Site, build_site

_CONNECTIONS = 50
_LONGEST_S = 120.0
_BODIES = (1_000, 90_000)
_PATH = "/v1/models/song/predictions"
_WAYS = ("by the route", "by the application", "as the head arrives")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals")
    parser.add_argument("--requests", type=int, default=2000, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"| a body of | {' | '.join(_WAYS)} |\n|---|{'---|' * len(_WAYS)}")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        make_certificates(Path(folder), ["localhost", "127.0.0.1"])
        for size in _BODIES:
            cells = []
            for way in _WAYS:
                spent = [
                    asyncio.run(_round(Path(folder), way, size=size, requests=options.requests))
                    for _ in range(options.rounds)
                ]
                cells.append(f"{min(spent):.2f} to {max(spent):.2f}")
            print(f"| {size} bytes | {' | '.join(cells)} |", flush=True)
    return 0


async def _round(folder: Path, way: str, *, size: int, requests: int) -> float:
    """Return the CPU milliseconds of one refusal."""
    early._BUSY_S = 1.0 if way == _WAYS[-1] else 0.0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    asking = multiprocessing.get_context("spawn").Process(
        target=_ask, args=(folder / "ca.pem", port, size, requests)
    )
    asking.start()
    began = os.times()
    await listen(
        _site(early=way != "by the route"),
        sock,
        context,
        doors=Doors(2 * _CONNECTIONS, 2 * _CONNECTIONS),
        stop=lambda: asyncio.to_thread(asking.join, _LONGEST_S),
        graceful_s=1.0,
    )
    ended = os.times()
    if asking.exitcode:
        raise SystemExit("the one who asks has failed")
    return (ended.user + ended.system - began.user - began.system) * 1e3 / requests


def _site(*, early: bool) -> Site:
    def refuse(_address: str, **_parts: str) -> None:
        raise Overload("all places are taken", retry_after_s=3)

    routes = DirectRoutes("full", refuse if early else None)

    @routes.post("/v1/models/<digest>/predictions")
    async def predict(asked: StreamedRequest, digest: str) -> Response:
        refuse(asked.caller, digest=digest)
        return Response()

    return build_site("full", [routes], pace=Pace(30, 1, 30), legacy_status=False)


def _ask(ca: Path, port: int, size: int, requests: int) -> None:
    target = Target(port, ssl.create_default_context(cafile=ca))
    headers = {"Content-Type": "audio/wav", "Signed-Request": "x" * 300}
    request = post(_PATH, os.urandom(size), headers)
    connections = [target.connect() for _ in range(_CONNECTIONS)]
    for number in range(requests):
        connection = connections[number % _CONNECTIONS]
        connection.sendall(request)
        status, _, _ = receive(connection.recv)
        if status != Overload.status:
            raise SystemExit(f"answered {status}")


if __name__ == "__main__":
    sys.exit(main())
