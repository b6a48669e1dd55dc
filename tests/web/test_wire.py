"""server/web/wire.py between an event loop and a client."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from server.web.wire import BUFFER_BYTES, Buffers, Wire

MIB = 1 << 20
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def joined(
    serve: Callable[[Wire], Awaitable[None]], ask: Callable[[Client], Awaitable[None]]
) -> None:
    """Run a server's and a client's side of one connection; raise what either raises."""
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def kept(wire: Wire) -> None:
        try:
            await serve(wire)
        except BaseException as error:
            served.set_exception(error)
        else:
            served.set_result(None)
        finally:
            wire.close()

    loop = asyncio.get_running_loop()
    buffers = Buffers()
    server = await loop.create_server(lambda: Wire(kept, buffers), "127.0.0.1", 0)
    client = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        await ask(client)
        await served
    finally:
        client[1].close()
        server.close()


async def read_all(wire: Wire) -> bytes:
    pieces = []
    while piece := await wire.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_bytes_arrive_as_they_were_sent() -> None:
    sent = bytes(range(256)) * (3 * MIB // 256)

    async def serve(wire: Wire) -> None:
        assert await read_all(wire) == sent

    async def ask(client: Client) -> None:
        client[1].write(sent)
        client[1].write_eof()

    await joined(serve, ask)


async def test_connections_that_share_the_buffer_keep_apart() -> None:
    async def kept(wire: Wire) -> None:
        received = b""
        while len(received) < MIB:
            received += await wire.read()
        wire.write(b"".join(sorted({received[k : k + 1] for k in range(MIB)})))
        wire.close()

    loop = asyncio.get_running_loop()
    buffers = Buffers()
    server = await loop.create_server(lambda: Wire(kept, buffers), "127.0.0.1", 0)

    async def ask(letter: bytes) -> None:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(16):
            writer.write(letter * (MIB // 16))
            await writer.drain()
        assert await reader.read() == letter
        writer.close()

    await asyncio.gather(ask(b"a"), ask(b"b"))
    server.close()


async def test_who_does_not_read_stops_the_sender() -> None:
    stopped = asyncio.Event()

    async def serve(wire: Wire) -> None:
        await stopped.wait()
        assert len(await wire.read()) < 2 * BUFFER_BYTES
        await read_all(wire)

    async def fill(client: Client) -> None:
        async with asyncio.timeout(0.5):
            while True:  # until every buffer on the way is full
                client[1].write(bytes(MIB))
                await client[1].drain()

    async def ask(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await fill(client)
        stopped.set()
        client[1].write_eof()

    await joined(serve, ask)


async def test_a_broken_connection_is_told_to_its_reader() -> None:
    async def serve(wire: Wire) -> None:
        with pytest.raises(ConnectionError):
            await read_all(wire)

    async def reset(client: Client) -> None:
        sock = client[1].get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client[1].transport.abort()

    await joined(serve, reset)


async def test_sending_to_who_is_gone_is_told() -> None:
    async def serve(wire: Wire) -> None:
        await read_all(wire)
        wire.close()
        await wire.wait_closed()
        with pytest.raises(ConnectionResetError):
            wire.write(b"late")
        with pytest.raises(ConnectionResetError):
            await wire.drain()

    async def ask(client: Client) -> None:
        client[1].write_eof()

    await joined(serve, ask)


async def test_who_sends_much_waits_until_it_is_received() -> None:
    answer = bytes(8 * MIB)

    async def serve(wire: Wire) -> None:
        assert await wire.read() == b"go"
        wire.write(answer)
        await wire.drain()

    async def ask(client: Client) -> None:
        client[1].write(b"go")
        assert await client[0].readexactly(len(answer)) == answer

    await joined(serve, ask)


def four_bytes(data: bytes) -> tuple[bytes, int] | None:
    """Answer what begins with a number below 5: it is four bytes and so many MiB long."""
    return None if data[:1] >= b"5" else (b"no ", 4 + int(data[:1]) * MIB)


async def test_what_the_first_look_answers_is_skipped_however_it_arrives() -> None:
    async def serve(wire: Wire) -> None:
        wire.look_first(four_bytes)
        assert await read_all(wire) == b"9the rest"
        assert not wire.unwanted.is_arriving

    async def ask(client: Client) -> None:
        client[1].write(b"0aaa" + b"3" + bytes(3 * MIB) + b"aaa")
        assert await client[0].readexactly(6) == b"no no "
        for piece in (b"1", b"aaa", bytes(MIB) + b"9the rest"):
            client[1].write(piece)
            await client[1].drain()
        client[1].write_eof()
        assert await client[0].read() == b"no "

    await joined(serve, ask)


async def test_only_so_many_are_answered_at_once() -> None:
    async def serve(wire: Wire) -> None:
        wire.look_first(four_bytes)
        assert await wire.read() == b"0eee0fff"

    async def ask(client: Client) -> None:
        client[1].write(b"0aaa0bbb0ccc0ddd0eee0fff")
        assert await client[0].read() == b"no " * 4

    await joined(serve, ask)


async def test_nothing_is_answered_at_once_while_nobody_reads() -> None:
    async def serve(wire: Wire) -> None:
        wire.look_first(four_bytes)
        while wire._unread_bytes < 4:
            await asyncio.sleep(0)
        assert await wire.read() == b"0aaa"

    async def ask(client: Client) -> None:
        client[1].write(b"0aaa")
        assert await client[0].read() == b""

    await joined(serve, ask)


async def test_a_client_that_leaves_is_not_skipped() -> None:
    async def serve(wire: Wire) -> None:
        wire.look_first(four_bytes)
        assert await wire.read() == b""
        await wire.unwanted.arrived()

    async def ask(client: Client) -> None:
        client[1].write(b"1aaa")
        client[1].write_eof()
        assert await client[0].read() == b"no "

    await joined(serve, ask)


async def test_connections_with_tls_receive_into_one_buffer(certificates: Path) -> None:
    wires: list[Wire] = []
    received: list[bytes] = []

    async def kept(wire: Wire) -> None:
        wires.append(wire)
        received.append(await read_all(wire))
        wire.close()

    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    trusting = ssl.create_default_context(cafile=certificates / "ca.pem")
    loop, buffers = asyncio.get_running_loop(), Buffers()
    server = await loop.create_server(
        lambda: Wire(kept, buffers), "127.0.0.1", 0, ssl=serving, ssl_shutdown_timeout=0.1
    )
    address = server.sockets[0].getsockname()
    clients = [await asyncio.open_connection(*address, ssl=trusting) for _ in range(2)]
    while len(wires) < len(clients):
        await asyncio.sleep(0)
    held = {id(cast(Any, wire._connected)._ssl_protocol._ssl_buffer) for wire in wires}
    assert len(held) == 1
    for k in range(100):
        for number, (_, writer) in enumerate(clients):
            writer.write(bytes([number]) * (700 * k))
            await writer.drain()
    for _, writer in clients:
        writer.close()
    for wire in wires:
        await wire.wait_closed()
    server.close()
    assert sorted(received) == [bytes([k]) * (700 * 4950) for k in range(len(clients))]
