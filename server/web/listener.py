"""A port: it is bound before the server gives up its rights, and accepts what the doors let in."""

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from server.web import http1, http2
from server.web.doors import Doors, caller_of
from server.web.site import Site
from server.web.strict import MAX_HEAD_BYTES
from server.web.wire import Buffers, Wire
from server.web.wire_server import WireServer

_log = logging.getLogger(__name__)
HTTP2_AND_1 = ("h2", "http/1.1")
HTTP1 = ("http/1.1",)
_BACKLOG = 1024
_STREAMS = 32
_QUEUED_PIECES = 4  # of a body, between the connection and its reader
_HANDSHAKE_S = 10.0
_OPENING_S = 2.0  # the same, when the server stops
_GOODBYE_S = 0.5  # for a client to close its side of TLS
_ACCEPT_PAUSE_S = 0.2  # when the system has no descriptor left


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket and listen: who connects from now on waits until it is served.

    Raises
    ------
    OSError
        If the address is taken or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


async def listen(
    app: Site,
    sock: socket.socket,
    context: ssl.SSLContext,
    *,
    doors: Doors,
    stop: Callable[[], Awaitable[object]],
    graceful_s: float,
) -> None:
    """Serve an application until `stop` returns and its requests are answered or out of time.

    Hypercorn's own `serve` (0.18) waits at its end for every connection, for ever from Python
    3.12.1 on, and gives an idle client 30 s to close its side of TLS. asyncio's server accepts
    whatever comes, and tells of it only after the handshake.
    """
    http1.install()
    http2.install(doors.send_away)
    config, worker = _config(), WorkerContext(None)
    serving: set[asyncio.Task[Any]] = set()
    opened: set[asyncio.Task[Any]] = set()
    loop = asyncio.get_running_loop()
    buffers = Buffers()

    async def serve(wire: Wire) -> None:
        task = asyncio.current_task()
        if task is not None:
            serving.add(task)
            task.add_done_callback(serving.discard)
        state = {http1.REFUSING: app.early, http1.WIRE: wire}
        await WireServer(ASGIWrapper(app), loop, config, worker, wire, state=state)

    def let_in(connection: socket.socket, caller: str) -> None:
        opening = _shake_hands(connection, context, lambda: Wire(serve, buffers))
        task = loop.create_task(opening)
        opened.add(task)
        task.add_done_callback(opened.discard)
        task.add_done_callback(lambda _: doors.leave(caller))

    accepting = loop.create_task(_accept(sock, doors, let_in))
    await stop()
    accepting.cancel()
    await asyncio.wait([accepting])
    sock.close()
    await worker.terminated.set()
    await _let_end(serving, opened, graceful_s)
    for tasks in (serving, opened):
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _GOODBYE_S)


async def _let_end(
    serving: set[asyncio.Task[Any]], opened: set[asyncio.Task[Any]], graceful_s: float
) -> None:
    """Wait for requests under way, and for those that connections in their handshake bring."""
    now = asyncio.get_running_loop().time
    end = now() + graceful_s
    opening_end = min(end, now() + _OPENING_S)
    while (tasks := serving | opened) and (left_s := opening_end - now()) > 0:
        await asyncio.wait(tasks, timeout=left_s)
    while serving and (left_s := end - now()) > 0:
        await asyncio.wait(serving, timeout=left_s)


async def _accept(
    sock: socket.socket, doors: Doors, let_in: Callable[[socket.socket, str], None]
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await doors.wait_for_room()
        try:
            connection, address = await loop.sock_accept(sock)
        except OSError as error:
            _log.warning("no connection can be accepted", extra={"reason": error.strerror})
            await asyncio.sleep(_ACCEPT_PAUSE_S)
            continue
        caller = caller_of(address[0])
        if doors.enter(caller):
            let_in(connection, caller)
        else:
            connection.close()


async def _shake_hands(
    connection: socket.socket, context: ssl.SSLContext, protocol: Callable[[], Wire]
) -> None:
    """Begin TLS; return when the connection is closed."""
    try:
        _, wire = await asyncio.get_running_loop().connect_accepted_socket(
            protocol,
            connection,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_GOODBYE_S,
        )
    except OSError:  # of TLS too: a client that is none, or that left
        return
    await wire.wait_closed()


def _config() -> Config:
    config = Config()
    config.include_server_header = False
    config.h2_max_concurrent_streams = _STREAMS
    config.h2_max_header_list_size = MAX_HEAD_BYTES
    config.max_app_queue_size = _QUEUED_PIECES
    # Hypercorn's limit of 1000 ends an HTTP/2 connection under the requests that are in flight
    config.keep_alive_max_requests = sys.maxsize
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
