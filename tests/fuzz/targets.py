"""One function for each parser of outside bytes: it returns, whatever the bytes are.

A refusal is one of `server.errors`, or h11's for a head; anything else that is raised is a fault,
and so is an answer that depends on how the bytes were cut into pieces.
"""

import asyncio
import json
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h11

from server.audio.decode import decode
from server.audio.feature_names import FEATURE_NAMES
from server.audio.feature_row import parse_feature_row
from server.audio.source import SoundBudget
from server.audio.window import WindowRule
from server.errors import ServerError
from server.gate.judge import judge
from server.signing.bearer import BearerTokens
from server.signing.header import open_header
from server.signing.keyring import Algorithm, Key, KeyRing
from server.signing.message import FIELDS, Message, open_message
from server.signing.payload import open_payload, parse_fields
from server.signing.stream import StreamUnsigner
from server.web.multipart import FormReader
from server.web.strict import StrictConnection
from server.web.v1.tensor_bodies import parse_call

NOW = 1_800_000_000.0
MAX_AGE_S = 300.0
TOKEN = "a token of the fuzzer's own"
BOUNDARY = b"edge"
SECRET = bytes(range(32))
RING = KeyRing([TOKEN], [Key("shared", Algorithm.HMAC_SHA256, SECRET)], clock=lambda: NOW)
TOKENS = BearerTokens(SECRET, lambda: RING, clock=lambda: NOW)
_LINE, _STREAM, _BODY, _FIELDS, _TOKEN = range(5)  # what the first byte of a signed input means
_GATE_BYTES = 160 << 20
_RULE = WindowRule(min_samples=64, whole_min=64, whole_max=8192, length=4096)
_BUDGET = SoundBudget(max_seconds=30.0, max_values=1 << 20)


class PiecesMatter(Exception):
    """The same bytes were read in two ways."""


def gate(data: bytes) -> None:
    """Judge a model file."""
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        # what its process is allowed to take, too: see `server.inference.gate_child`
        with suppress(ServerError, MemoryError), _bounded(_GATE_BYTES):
            judge(Path(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


@contextmanager
def _bounded(more_bytes: int) -> Iterator[None]:
    """Let the block take so much more address space, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def multipart(data: bytes) -> None:
    """Read a form: whole, and in pieces of the size that its first byte names."""
    if not data:
        return
    size, body = data[0] % 64 + 1, data[1:]
    whole = asyncio.run(_form([body]))
    cut = asyncio.run(_form([body[k : k + size] for k in range(0, len(body), size)]))
    if whole != cut:
        raise PiecesMatter(f"{whole!r} is not {cut!r}")


async def _form(pieces: list[bytes]) -> list[tuple[str, bytes]] | None:
    """Return the files of a form; None when it is refused."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    files: list[tuple[str, bytes]] = []
    content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    try:
        async for file in FormReader(chunks(), content_type).files():
            content = b"".join([bytes(piece) async for piece in file.chunks])
            files.append((file.field, content))
    except ServerError:
        return None
    return files


def signature(data: bytes) -> None:
    """Read what the first byte says: a header, a stream, a body, the fields of a head, a token."""
    if not data:
        return
    kind, rest = data[0] % 5, data[1:]
    with suppress(ServerError):
        if kind == _LINE:
            open_header(rest.decode("latin-1"), RING, path="/p", now=NOW, max_age_s=MAX_AGE_S)
        elif kind == _STREAM:
            unsigner = StreamUnsigner(RING)
            for k in range(0, len(rest), 29):
                unsigner.feed(rest[k : k + 29])
            unsigner.finish()
        elif kind == _BODY:
            open_payload(rest, RING, path="/p", now=NOW, max_age_s=MAX_AGE_S)
        elif kind == _FIELDS:
            lines = rest.decode("latin-1").split("\n")
            fields = dict(zip(FIELDS, lines, strict=False))
            message = Message(method="POST", authority="here", path="/p", query="", fields=fields)
            open_message(message, RING, now=NOW, max_age_s=MAX_AGE_S)
        else:
            TOKENS.open(rest.decode("latin-1"))


def fields(data: bytes) -> None:
    """Read JSON as the routes do; both parsers agree on what they both take."""
    plain = call = None
    with suppress(ServerError):
        plain = parse_fields(data)
    with suppress(ServerError):
        call = parse_call(data)
    if plain is not None:
        json.dumps(plain, allow_nan=False)
    if call is not None and plain is None:
        raise PiecesMatter("what one parser of JSON refuses the other takes")


def audio(data: bytes) -> None:
    """Decode a sound."""
    with suppress(ServerError):
        decode(data, rule=_RULE, budget=_BUDGET)


def row(data: bytes) -> None:
    """Read a feature row."""
    with suppress(ServerError):
        parse_feature_row(data, FEATURE_NAMES)


def http(data: bytes) -> None:
    """Read requests of HTTP/1.1: whole, and in pieces of the size that the first byte names."""
    if len(data) < 2:
        return  # no bytes at all are the end of a connection
    size, stream = data[0] % 64 + 1, data[1:]
    whole = _complete(_requests([stream]))
    cut = _complete(_requests([stream[k : k + size] for k in range(0, len(stream), size)]))
    if whole != cut:
        raise PiecesMatter(f"{whole!r} is not {cut!r}")


def _requests(pieces: list[bytes]) -> list[object]:
    connection, seen = StrictConnection(), list[object]()
    for piece in pieces:
        connection.receive_data(piece)
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return [*seen, connection.fault.slug]
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            _note(seen, event)
            if type(event) is h11.EndOfMessage and not _answered(connection):
                return seen
    return seen


def _complete(seen: list[object]) -> list[object]:
    """Return the events up to the last request that has ended: a fault is met where it is seen."""
    ends = [k for k, event in enumerate(seen) if str(event).startswith("EndOfMessage")]
    return seen[: ends[-1] + 1] if ends else []


def _note(seen: list[object], event: object) -> None:
    """Note an event; neighbouring data is one."""
    if not isinstance(event, h11.Data):
        seen.append(repr(event))
    elif event.data and seen and isinstance(seen[-1], bytes):
        seen[-1] += bytes(event.data)
    elif event.data:
        seen.append(bytes(event.data))


def _answered(connection: StrictConnection) -> bool:
    """Answer a request; False when the connection ends with it."""
    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.our_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (gate, multipart, signature, fields, audio, row, http)
}
