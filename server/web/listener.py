"""A port and its TLS: sockets are bound and keys read before the server gives up its rights."""

import asyncio
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from server.web import http1, http2
from server.web.wire import BUFFER_BYTES, Wire, WireServer

HTTP2_AND_1 = ("h2", "http/1.1")
HTTP1 = ("http/1.1",)
_BACKLOG = 1024
_STREAMS = 32
_QUEUED_PIECES = 4  # of a body, between the connection and its reader
_HEADER_BYTES = 16 << 10
_HANDSHAKE_S = 10.0
_GOODBYE_S = 0.5  # for a client to close its side of TLS


class TlsFault(Exception):
    """A certificate or key that cannot serve; says why."""


def load_tls(folder: Path, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """Read `server.crt` and `server.key`.

    Raises
    ------
    TlsFault
        If one is missing, unreadable, or they do not belong together.
    """
    certificate, key = folder / "server.crt", folder / "server.key"
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except FileNotFoundError:
            raise TlsFault(f"{path} is missing (`python -m server devcert` makes one)") from None
        except OSError as error:
            remedy = f"; start as root, or let user {os.geteuid()} read it"
            why = f"{error.strerror}{remedy if isinstance(error, PermissionError) else ''}"
            raise TlsFault(f"{path} cannot be read: {why}") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(list(alpn))
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        mismatch = "MISMATCH" in (error.reason or "")
        why = "do not belong together" if mismatch else "are no usable PEM pair"
        raise TlsFault(f"{certificate} and {key.name} {why}") from error
    return context


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
    app: Any,
    sock: socket.socket,
    context: ssl.SSLContext,
    *,
    stop: Callable[[], Awaitable[object]],
    graceful_s: float,
) -> None:
    """Serve an application until `stop` returns and its requests are answered or out of time.

    Hypercorn's own `serve` (0.18) waits at its end for every connection, for ever from Python
    3.12.1 on, and gives an idle client 30 s to close its side of TLS.
    """
    http1.install()
    http2.install()
    config, worker = _config(), WorkerContext(None)
    connections: set[asyncio.Task[Any]] = set()
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(BUFFER_BYTES))

    async def serve(wire: Wire) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        await WireServer(ASGIWrapper(app), loop, config, worker, wire)

    server = await loop.create_server(
        lambda: Wire(serve, buffer),
        sock=sock,
        backlog=_BACKLOG,
        ssl=context,
        ssl_handshake_timeout=_HANDSHAKE_S,
        ssl_shutdown_timeout=_GOODBYE_S,
    )
    await stop()
    server.close()
    await worker.terminated.set()
    for last, timeout_s in ((False, graceful_s), (True, 2 * _GOODBYE_S)):
        for connection in connections if last else ():
            connection.cancel()
        if connections:
            await asyncio.wait(connections, timeout=timeout_s)


def _config() -> Config:
    config = Config()
    config.include_server_header = False
    config.h2_max_concurrent_streams = _STREAMS
    config.h2_max_header_list_size = _HEADER_BYTES
    config.max_app_queue_size = _QUEUED_PIECES
    # Hypercorn's limit of 1000 ends an HTTP/2 connection under the requests that are in flight
    config.keep_alive_max_requests = sys.maxsize
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
