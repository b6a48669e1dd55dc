"""One server for each module, tiny models of our own, and a song."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.flows import sounds
from tests.flows.running import ROOT, Server


@dataclass(frozen=True, slots=True)
class TinyModels:
    """The models that `make_models.py` built.

    Attributes
    ----------
    folder : Path
        Holds the files.
    answers : dict
        What each answers to the song, by Keras itself.
    row, mean, scale : list of float
        The song's feature row, and a scaler that suits it.
    """

    folder: Path
    answers: dict[str, list[float]]
    row: list[float]
    mean: list[float]
    scale: list[float]

    def path(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Build the models, once for the run."""
    pytest.importorskip("keras", reason="needs the keras extra")
    folder = tmp_path_factory.mktemp("tiny")
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.make_models", str(folder)],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return TinyModels(folder, **json.loads((folder / "expected.json").read_text()))


@pytest.fixture(scope="session")
def song() -> sounds.Samples:
    """Return 30 s of music."""
    return sounds.song()


@pytest.fixture(scope="session")
def wav(song: sounds.Samples) -> bytes:
    """Return the song as a 16-bit WAV file."""
    return sounds.encode(song)


@pytest.fixture(scope="session")
def short_wav() -> bytes:
    """Return 2 s that are quickly decoded."""
    return sounds.encode(sounds.song(2.0))


@pytest.fixture(scope="session")
def noise() -> Callable[[int], bytes]:
    """Return a maker of random bytes that is quicker than `secrets` and differs each time."""
    rng = np.random.default_rng()

    def make(size: int) -> bytes:
        return rng.bytes(size)

    return make


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Return what the module's server is set to; modules override this."""
    return {}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: Path, settings: dict[str, str]
) -> Iterator[Server]:
    """Run one server for the module, which must log no fault of its own."""
    running = Server(tmp_path_factory.mktemp("server"), certificates, settings)
    try:
        yield running.start()
    finally:
        running.close()
    assert "Traceback" not in running.log(), running.log()[-8000:]


@pytest.fixture
def new_server(tmp_path: Path, certificates: Path) -> Iterator[Callable[..., Server]]:
    """Return a maker of servers for one test, not started yet; they share the test's folder."""
    made: list[Server] = []

    def make(**settings: str) -> Server:
        made.append(Server(tmp_path, certificates, settings))
        return made[-1]

    yield make
    for running in made:
        running.close()
