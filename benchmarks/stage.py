"""The contestants of `benchmarks.predict`, running side by side, and their turns."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from benchmarks import bodies, ours
from benchmarks.bodies import Requests
from benchmarks.engine import Engine, Model, Spell, engine_alone
from benchmarks.loadgen import Target
from benchmarks.measuring import Contestant, Turn, take_turn
from benchmarks.peers.contestants import quart_command
from benchmarks.peers.environments import ORIGINAL, Unavailable
from benchmarks.peers.running import running
from benchmarks.serving import ROOT, Server, free_ports, served

MANY = 32
BATCHES = (1, 8)
_SONGS, _TENSORS = 24, 12
_ENGINE_S = 1.5
_LEAST_SONGS = 3


@dataclass(frozen=True, slots=True)
class Beside:
    """A turn, and the engine's on both sides of it.

    Attributes
    ----------
    turn : Turn
        What the server did.
    engine : dict of int to Spell
        What the engine alone did, by batch; means of before and after.
    """

    turn: Turn
    engine: dict[int, Spell]

    @property
    def best(self) -> Spell:
        """The engine at its most rows a second."""
        return max(self.engine.values(), key=lambda spell: spell.rate)


class Stage:
    """Everything that runs.

    Parameters
    ----------
    engine : Engine
        The engine alone.
    server : Server
        Ours, ready.
    digests : tuple of str
        The model as one of genre, and as one that takes tensors.
    original : Contestant or None
        The original's way, where it could be started.
    """

    def __init__(
        self,
        engine: Engine,
        server: Server,
        digests: tuple[str, str],
        original: Contestant | None,
    ) -> None:
        self._engine = engine
        self._ours = ours.contestant(server)
        self._original = original
        self._songs = bodies.sounds(_SONGS)
        self._inputs = bodies.tensors(_TENSORS)
        genre, tensors = (Requests(server.token, digest) for digest in digests)
        csv = bodies.csv()
        self._make: dict[str, Callable[[], list[bytes]]] = {
            "song": lambda: genre.original(self._songs),
            "song raw": lambda: genre.song(self._songs),
            "csv": lambda: genre.original(self._songs, csv=csv),
            "csv raw": lambda: genre.song(self._songs, csv=csv),
            "raw": lambda: tensors.raw(self._inputs),
            "one": lambda: tensors.raw(self._inputs),
            "base64": lambda: tensors.base64(self._inputs),
            "json": lambda: tensors.nested(self._inputs),
        }

    @property
    def has_original(self) -> bool:
        """Whether the original's way runs."""
        return self._original is not None

    def beside_engine(self, name: str, *, callers: int, seconds: float) -> Beside:
        """Let our server answer requests of one kind."""
        # signed now: a time stamp is accepted for 300 s
        requests = self._make[name]()
        take_turn(self._ours, requests, callers=callers, at_least=2 * callers)
        before = self._spells()
        turn = take_turn(
            self._ours, requests, callers=callers, seconds=seconds, at_least=len(requests)
        )
        after = self._spells()
        return Beside(turn, {batch: _mean(before[batch], after[batch]) for batch in BATCHES})

    def original(self, name: str, *, callers: int, seconds: float) -> Turn:
        """Let the original's way answer the same requests."""
        assert self._original is not None, "ask has_original first"
        requests = self._make[name]()
        least = max(callers, _LEAST_SONGS)
        take_turn(self._original, requests, callers=1, at_least=1)
        return take_turn(self._original, requests, callers=callers, seconds=seconds, at_least=least)

    def frontend_ms(self) -> float:
        """Return the CPU milliseconds of decoding a song and drawing its picture, alone."""
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.frontend_alone"],
            cwd=ROOT,
            env=os.environ | one_thread,
            check=True,
            capture_output=True,
        )
        return float(told.stdout)

    def _spells(self) -> dict[int, Spell]:
        return {batch: self._engine.run(batch, _ENGINE_S / 2) for batch in BATCHES}


def _mean(a: Spell, b: Spell) -> Spell:
    return Spell((a.rate + b.rate) / 2, (a.cpu_ms + b.cpu_ms) / 2, (a.p50_ms + b.p50_ms) / 2)


@contextmanager
def stage(model: Model, folder: Path) -> Iterator[Stage]:
    """Start all contestants; `folder` keeps the environment of the original's way."""
    with ExitStack() as stack:
        engine = stack.enter_context(engine_alone(model))
        server = stack.enter_context(served({"FEATURE_CACHE_BYTES": "0"}))
        server.start()
        digests = (
            server.host(model.keras.read_bytes(), None),
            server.host(variant(model), {"task": "tensors"}),
        )
        server.wait_for_ready(len(digests))
        server.wait_for_decoders()
        yield Stage(engine, server, digests, _original(stack, server, model, folder))


def variant(model: Model) -> bytes:
    """Return the model under another digest."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "variant.h5"
        copy.write_bytes(model.keras.read_bytes())
        with h5py.File(copy, "r+") as file:
            file.attrs["variant"] = 1
        return copy.read_bytes()


def _original(stack: ExitStack, server: Server, model: Model, folder: Path) -> Contestant | None:
    """Start the original's way with our certificate and our token."""
    (port,) = free_ports(1)
    certificates = server.ca.parent
    tls = ["--certfile", str(certificates / "server.crt")]
    tls += ["--keyfile", str(certificates / "server.key")]
    environment = {"MODEL_KERAS": str(model.keras), "SIGNING_TOKEN": server.token}
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    first = Requests(server.token, "0" * 64).base64(bodies.tensors(1))[0]
    try:
        contestant, _ = stack.enter_context(
            running(
                ORIGINAL.make(folder),
                [*quart_command(port, scratch), *tls],
                Target(port, server.trust()),
                first,
                environment=environment,
                log=scratch / "log",
            )
        )
    except Unavailable as reason:
        print(f"the original's way is not measured: {reason}")
        return None
    return contestant
