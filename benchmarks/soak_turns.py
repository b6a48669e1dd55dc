"""What the callers of `benchmarks.soak` do, one request after the other, and what goes wrong."""

import hashlib
import os
import random
import signal
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx
import psutil

from benchmarks import bodies
from benchmarks.loadgen import CLOSES, HOST, Target, post, receive
from benchmarks.serving import FORM_HEAD, FORM_TAIL, FORM_TYPE, Server

_PAUSE_S = 0.25  # between two requests of one caller, on average
_FRESH_S = 120.0  # a time stamp is good for 300
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
_REFUSED = {HTTPStatus.UNAUTHORIZED}
_FAULTS = ("cut", "left", "altered", "killed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended.

    Attributes
    ----------
    turn : str
        What was asked, and the fault if there was one.
    said : str
        The status, or why there was no answer.
    is_wrong : bool
        Whether nobody expects that.
    """

    turn: str
    said: str
    is_wrong: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A request.

    Attributes
    ----------
    name : str
        What it asks for.
    weight : float
        How often it is made, beside the others.
    make : callable
        Returns its bytes.
    on_uploads : bool
        Whether it goes to the upload port.
    expected : set of HTTPStatus
        Good answers.
    """

    name: str
    weight: float
    make: Callable[[random.Random], bytes]
    on_uploads: bool = False
    expected: frozenset[HTTPStatus] = frozenset({HTTPStatus.OK})


def _get(path: str) -> Callable[[random.Random], bytes]:
    return lambda _: f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


class Turns:
    """All kinds of requests to one server.

    Parameters
    ----------
    server : Server
        Runs.
    digests : tuple of str
        A model that takes tensors, and one of genre.
    faults : float
        Which share of the requests goes wrong.
    seed : int
        Of all that is drawn.
    """

    def __init__(
        self, server: Server, digests: tuple[str, str], *, faults: float, seed: int
    ) -> None:
        self.server = server
        self.faults = faults
        self.seed = seed
        tensors, genre = (bodies.Requests(server.token, digest) for digest in digests)
        inputs, songs = bodies.tensors(8), bodies.sounds(8)
        short = bodies.sounds(8, seconds=2.0)
        row = bodies.csv()
        unusable = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE})
        self.raw_path = f"/v1/models/{digests[0]}/predictions"
        self.turns = [
            Turn("GET /test", 8, _get("/test")),
            Turn("GET /readyz", 1, _get("/readyz")),
            Turn("GET /hashmodels", 0.3, _get("/hashmodels")),
            Turn("tensors, raw", 6, lambda r: tensors.raw([r.choice(inputs)])[0]),
            Turn("tensors, base64", 1, lambda r: tensors.base64([r.choice(inputs)])[0]),
            Turn("tensors, lists", 0.5, lambda r: tensors.nested([r.choice(inputs)])[0]),
            Turn("song and row", 1, lambda r: genre.original([r.choice(songs)], csv=row)[0]),
            Turn("short song, raw", 1, lambda r: genre.song([r.choice(short)])[0]),
            Turn(
                "damaged song",
                0.3,
                lambda r: genre.song([r.randbytes(40) + r.choice(short)[44:]])[0],
                expected=unusable,
            ),
            Turn("registration", 1, lambda r: self._register(r.randbytes(32).hex())),
            Turn("upload, unregistered", 1, lambda r: _form(r.randbytes(300_000)), on_uploads=True),
            Turn("upload of no model", 0.05, self._no_model, on_uploads=True),
        ]

    def _register(self, digest: str) -> bytes:
        return post("/registermodelhash", self.server.signed({"hash": digest}), bodies.JSON)

    def _no_model(self, draw: random.Random) -> bytes:
        data = draw.randbytes(50_000)
        self.server.register(hashlib.sha256(data).hexdigest())
        return _form(data)

    def caller(self, number: int) -> "Caller":
        """Return one caller; each has its own connections."""
        return Caller(self, random.Random(f"{self.seed} {number}"), speaks_http2=number == 0)


def _form(data: bytes) -> bytes:
    body = FORM_HEAD + data + FORM_TAIL
    return post("/nodemodeluploads", body, {"Content-Type": FORM_TYPE})


class Caller:
    """Makes one request after the other.

    Parameters
    ----------
    turns : Turns
        To choose from.
    draw : random.Random
        Chooses.
    speaks_http2 : bool
        Whether half of its requests are predictions over HTTP/2.
    """

    def __init__(self, turns: Turns, draw: random.Random, *, speaks_http2: bool) -> None:
        self._turns = turns
        self._draw = draw
        self._connections: dict[int, ssl.SSLSocket] = {}
        self._http2 = self._open_http2() if speaks_http2 else None

    def _open_http2(self) -> httpx.Client:
        server = self._turns.server
        base = f"https://{HOST}:{server.api}"
        return httpx.Client(http2=True, verify=server.trust(), base_url=base, timeout=120)

    def pause_s(self) -> float:
        """Return how long to wait for the next turn."""
        return self._draw.expovariate(1 / _PAUSE_S)

    def take_turn(self) -> Outcome:
        """Make a request, or a fault of one."""
        if self._http2 is not None and self._draw.random() < 0.5:
            return self._by_http2(self._http2)
        turns = self._turns.turns
        (turn,) = self._draw.choices(turns, [each.weight for each in turns])
        request = turn.make(self._draw)
        if self._draw.random() >= self._turns.faults:
            return self._exchange(turn, turn.name, request, turn.expected | _BUSY)
        fault = self._draw.choice(_FAULTS)
        name = f"{turn.name}: {fault}"
        if fault == "cut":
            return self._leave(turn, name, request[: self._draw.randrange(1, len(request))])
        if fault == "left":
            return self._leave(turn, name, request)
        if fault == "altered":
            at = request.rindex(b"\r\n\r\n") + 4
            flipped = bytes([request[at] ^ 1]) if at < len(request) else b""
            request = request[:at] + flipped + request[at + 1 :]
            return self._exchange(turn, name, request, turn.expected | _BUSY | _REFUSED | _ODD)
        self._kill_a_child()
        return self._exchange(turn, name, request, turn.expected | _BUSY)

    def _by_http2(self, client: httpx.Client) -> Outcome:
        make = next(turn.make for turn in self._turns.turns if turn.name == "tensors, raw")
        head, _, body = make(self._draw).partition(b"\r\n\r\n")
        lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
        headers = {name: value for name, value in lines if name != "Host"}
        try:
            answer = client.post(self._turns.raw_path, content=body, headers=headers)
        except httpx.HTTPError as error:
            return Outcome("tensors, HTTP/2", type(error).__name__, is_wrong=True)
        is_good = answer.status_code in {HTTPStatus.OK} | _BUSY
        return Outcome("tensors, HTTP/2", str(answer.status_code), is_wrong=not is_good)

    def _exchange(
        self, turn: Turn, name: str, request: bytes, expected: frozenset[HTTPStatus]
    ) -> Outcome:
        port = self._turns.server.uploads if turn.on_uploads else self._turns.server.api
        for attempt in (0, 1):
            is_fresh = port not in self._connections
            try:
                connection = self._connect(port)
                connection.sendall(request)
                status, head, _ = receive(connection.recv)
            except (OSError, ValueError) as error:
                self._drop(port)
                if is_fresh or attempt:
                    return Outcome(name, type(error).__name__, is_wrong=True)
                continue  # a connection that was kept may have been closed meanwhile
            if CLOSES in head:
                self._drop(port)
            return Outcome(name, str(status), is_wrong=status not in expected)
        raise AssertionError("the second attempt returns")

    def _leave(self, turn: Turn, name: str, sent: bytes) -> Outcome:
        port = self._turns.server.uploads if turn.on_uploads else self._turns.server.api
        self._drop(port)
        try:
            self._connect(port).sendall(sent)
        except OSError as error:
            return Outcome(name, type(error).__name__, is_wrong=True)
        finally:
            self._drop(port)
        return Outcome(name, "gone", is_wrong=False)

    def _connect(self, port: int) -> ssl.SSLSocket:
        if port not in self._connections:
            connection = Target(port, self._turns.server.trust()).connect()
            assert isinstance(connection, ssl.SSLSocket), "TLS was asked for"
            self._connections[port] = connection
        return self._connections[port]

    def _drop(self, port: int) -> None:
        if connection := self._connections.pop(port, None):
            connection.close()

    def _kill_a_child(self) -> None:
        children = self._turns.server.processes()[1:]
        if children:
            try:
                os.kill(self._draw.choice(children).pid, signal.SIGKILL)
            except (ProcessLookupError, psutil.Error):
                time.sleep(0)  # it had ended by itself

    def close(self) -> None:
        """Close its connections."""
        for port in list(self._connections):
            self._drop(port)
        if self._http2 is not None:
            self._http2.close()


_ODD = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
)
