"""Measure what a job takes: each baseline, in its child process, over a short and a long sound.

    python -m benchmarks.tasks [--task NAME ...] [--seconds S] [--long S]

The sound is generated (voices, a beat and noise, in stereo) and given as MP3. Told are the
processor time for a second of sound (what a long sound takes less what a short one takes, so that
starting the child is left out), the start, the most memory that the child had, what an hour took
more than a minute, and the longest time without a word of progress. Exits with 1 where a bar is
missed: 2 s without a word, or half a gigabyte more.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from server.inference.parameters import file_names, parameters_of
from server.inference.sandbox_level import OFF
from server.inference.task_runs import TaskRuns, TaskWork
from server.inference.workers import ModelWorkers
from server.tasks.table import TASKS

RATE_HZ = 44_100
MOST_SILENT_S = 2.0
MOST_MORE_MB = 512
_PART_S = 10


class NoModels(ModelWorkers):
    """Baselines ask no model."""

    def __init__(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Run:
    """What one job took.

    Attributes
    ----------
    cpu_s, wall_s : float
        Of the whole job.
    start_s : float
        Until the first word.
    peak_mb : float
        The most memory that the child had.
    silent_s : float
        The longest time between two words of progress.
    """

    cpu_s: float
    wall_s: float
    start_s: float
    peak_mb: float
    silent_s: float


def main() -> int:
    """Measure, print a table, and say whether a bar is missed."""
    jobs = [name for name, task in TASKS.items() if task.baseline is not None]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", action="append", choices=jobs, help="only this one")
    parser.add_argument("--seconds", type=int, default=60, help="of the short sound")
    parser.add_argument("--long", type=int, default=3600, help="of the long sound, in seconds")
    asked = parser.parse_args()
    print(
        "| task | CPU s for 1 s of sound | start s | peak MB | MB more for the long one "
        "| longest silence s |"
    )
    print("|---|---|---|---|---|---|")
    missed = False
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        short = _sound(folder / "short.mp3", asked.seconds)
        long = _sound(folder / "long.mp3", asked.long)
        for name in asked.task or jobs:
            first, second = (_measured(name, path, folder) for path in (short, long))
            each = (second.cpu_s - first.cpu_s) / (asked.long - asked.seconds)
            more, silent = second.peak_mb - first.peak_mb, max(first.silent_s, second.silent_s)
            missed |= more > MOST_MORE_MB or silent > MOST_SILENT_S
            print(
                f"| `{name}` | {each:.4f} | {first.start_s:.2f} | {second.peak_mb:.0f} "
                f"| {more:.0f} | {silent:.2f} |",
                flush=True,
            )
    return 1 if missed else 0


def _sound(path: Path, seconds: int) -> Path:
    """Write parts of ten seconds, each another one."""
    rng = np.random.default_rng(58)
    time_s = np.arange(_PART_S * RATE_HZ) / RATE_HZ
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, format="MP3") as file:
        for _ in range(max(1, seconds // _PART_S)):
            pitches = 110 * 2 ** (rng.integers(0, 36, 3) / 12)
            voices = sum(np.sin(2 * np.pi * pitch * time_s) for pitch in pitches)
            beat = np.exp(-8 * (time_s % 0.5)) * rng.standard_normal(len(time_s))
            noise = 0.02 * rng.standard_normal((len(time_s), 2))
            file.write((0.1 * voices + 0.2 * beat)[:, None] * [1.0, 0.8] + noise)
    return path


def _measured(name: str, sound: Path, folder: Path) -> Run:
    return asyncio.run(_run(name, sound, folder))


async def _run(name: str, sound: Path, folder: Path) -> Run:
    contract = json.loads(json.dumps(asdict(TASKS[name].contract)))
    parameters = parameters_of(contract, {})
    runs = TaskRuns(NoModels(), rights=OFF.rights(memory_bytes=1 << 40), step_timeout_s=600)
    words: list[float] = []
    peak = 0.0

    async def on_progress(_: float) -> None:
        nonlocal peak
        words.append(time.monotonic())
        peak = max(peak, _peak_mb())

    with ExitStack() as stack:
        files = {
            item: stack.enter_context((folder / file).open("w+b")).fileno()
            for item, file in file_names(contract, parameters).items()
        }
        opened = stack.enter_context(sound.open("rb")).fileno()
        began, spent = time.monotonic(), _children_s()
        await runs.run(TaskWork(name, None, parameters, opened, files=files), on_progress)
        ended = time.monotonic()
    gaps = [after - before for before, after in pairwise([*words, ended])]
    return Run(_children_s() - spent, ended - began, words[0] - began, peak, max(gaps))


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _peak_mb() -> float:
    """Return the most memory that the one child has had."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        status = Path(f"/proc/{pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
