"""server/web/wire.py between an event loop and a client."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from server.web.wire import BUFFER_BYTES, Wire

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
    buffer = memoryview(bytearray(BUFFER_BYTES))
    server = await loop.create_server(lambda: Wire(kept, buffer), "127.0.0.1", 0)
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
    buffer = memoryview(bytearray(BUFFER_BYTES))
    server = await loop.create_server(lambda: Wire(kept, buffer), "127.0.0.1", 0)

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


async def test_bytes_that_nobody_wants_are_skipped() -> None:
    async def serve(wire: Wire) -> None:
        first = await wire.read()
        await wire.skip(1 + 3 * MIB - len(first))
        assert await read_all(wire) == b"the rest"

    async def ask(client: Client) -> None:
        client[1].write(b"a")
        await client[1].drain()
        client[1].write(bytes(3 * MIB) + b"the rest")
        client[1].write_eof()

    await joined(serve, ask)


async def test_skipping_what_has_arrived_leaves_what_follows() -> None:
    async def serve(wire: Wire) -> None:
        while wire._unread_bytes < 6:
            await asyncio.sleep(0)
        await wire.skip(2)
        await wire.skip(0)
        assert await wire.read() == b"cdef"

    async def ask(client: Client) -> None:
        client[1].write(b"abcdef")

    await joined(serve, ask)


async def test_a_client_that_leaves_is_not_skipped() -> None:
    async def serve(wire: Wire) -> None:
        with pytest.raises(ConnectionResetError):
            await wire.skip(10)
        with pytest.raises(ConnectionResetError):
            await wire.skip(10)

    async def ask(client: Client) -> None:
        client[1].write(b"abc")
        client[1].write_eof()

    await joined(serve, ask)
