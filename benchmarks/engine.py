"""The engine alone: what no server around it can be faster than.

    python -m benchmarks.engine

prints the engine's rows a second and CPU ms a row at several batch sizes. The other benchmarks use
the same child process through `Engine` and give it its turn between the servers.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import ROOT

BATCHES = (1, 8, 32)
_SPELLS = 3
_SPELL_S = 3.0


@dataclass(frozen=True, slots=True)
class Model:
    """The files of the benchmarks' model.

    Attributes
    ----------
    keras : Path
        As its owner has it, HDF5.
    onnx : Path
        As it is run.
    """

    keras: Path
    onnx: Path


def make_model(folder: Path) -> Model:
    """Make the model, or find it, in a process of its own: TensorFlow stays out of this one."""
    model = Model(folder / "model.h5", folder / "model.onnx")
    if not model.onnx.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.model_file", str(folder)],
            cwd=ROOT,
            env=_environment(),
            check=True,
            capture_output=True,
        )
    return model


@dataclass(frozen=True, slots=True)
class Spell:
    """What the engine did in some seconds, alone.

    Attributes
    ----------
    rate : float
        Rows a second.
    cpu_ms : float
        CPU milliseconds a row.
    p50_ms : float
        The median of a run, whatever its batch.
    """

    rate: float
    cpu_ms: float
    p50_ms: float


def median_spell(spells: list[Spell]) -> Spell:
    """Return the medians of several spells."""
    return Spell(
        statistics.median(spell.rate for spell in spells),
        statistics.median(spell.cpu_ms for spell in spells),
        statistics.median(spell.p50_ms for spell in spells),
    )


class Engine:
    """A child process with nothing but the engine.

    Parameters
    ----------
    model : Model
        What it runs.
    """

    def __init__(self, model: Model) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine_child", str(model.onnx)],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, batch: int, seconds: float) -> Spell:
        """Run batches of one size, one after the other."""
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("the engine has no pipes")
        self._process.stdin.write(f"{batch} {seconds}\n")
        self._process.stdin.flush()
        return Spell(**json.loads(self._process.stdout.readline()))

    def stop(self) -> None:
        """End the child."""
        self._process.communicate(timeout=20)


@contextmanager
def engine_alone(model: Model) -> Iterator[Engine]:
    """Lend the engine."""
    engine = Engine(model)
    try:
        yield engine
    finally:
        engine.stop()


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def main() -> int:
    """Measure the engine alone, print a table and return the exit status."""
    with tempfile.TemporaryDirectory() as folder, engine_alone(make_model(Path(folder))) as engine:
        seen: dict[int, list[Spell]] = {batch: [] for batch in BATCHES}
        for _ in range(_SPELLS):
            for batch, spells in seen.items():
                spells.append(engine.run(batch, _SPELL_S))
    print(f"{'batch':>8}{'rows/s':>10}{'CPU ms/row':>12}{'p50 ms':>10}   medians of {_SPELLS}")
    for batch, spells in seen.items():
        spell = median_spell(spells)
        print(f"{batch:8}{spell.rate:10.1f}{spell.cpu_ms:12.2f}{spell.p50_ms:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
