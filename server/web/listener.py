"""A port and its TLS: sockets are bound and keys read before the server gives up its rights."""

import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets

from server.web import http2

HTTP2_AND_1 = ("h2", "http/1.1")
HTTP1 = ("http/1.1",)
_BACKLOG = 1024
_STREAMS = 32
_QUEUED_PIECES = 4  # of a body, between the connection and its reader
_HEADER_BYTES = 16 << 10
_HANDSHAKE_S = 10


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


class _Bound(Config):
    """Hypercorn's settings for a socket and a TLS context that exist already."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__()
        self._sock = sock
        self._context = context

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._context

    def create_sockets(self) -> Sockets:
        return Sockets([self._sock], [], [])


async def listen(
    app: Any,
    sock: socket.socket,
    context: ssl.SSLContext,
    *,
    stop: Callable[[], Awaitable[object]],
    graceful_s: float,
) -> None:
    """Serve an application until `stop` returns and its requests are answered or out of time."""
    config = _Bound(sock, context)
    config.backlog = _BACKLOG
    config.graceful_timeout = graceful_s
    config.ssl_handshake_timeout = _HANDSHAKE_S
    config.include_server_header = False
    config.h2_max_concurrent_streams = _STREAMS
    config.max_app_queue_size = _QUEUED_PIECES
    config.h2_max_header_list_size = _HEADER_BYTES
    config.loglevel = "WARNING"
    http2.install()
    await worker_serve(ASGIWrapper(app), config, shutdown_trigger=stop)
