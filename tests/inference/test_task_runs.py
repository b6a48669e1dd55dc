"""Jobs in their own child processes, behind the walls of this machine."""

import asyncio
import json
import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server.errors import MalformedRequest, ServerError
from server.inference.parameters import file_names, parameters_of
from server.inference.task_runs import TaskRuns, TaskWork
from server.inference.workers import ModelWorkers
from server.sound_errors import SoundTooShort, UnreadableSound
from server.tasks.table import TASKS
from tests.inference.walls import GIB, HERE

RATE = 22_050
MIDI: dict[str, Any] = json.loads(json.dumps(asdict(TASKS["midi"].contract)))


class NoModels(ModelWorkers):
    """For jobs that name no model."""

    def __init__(self) -> None:
        pass


@pytest.fixture
def runs() -> TaskRuns:
    rights = HERE.rights(memory_bytes=GIB, artifact_bytes=GIB)
    return TaskRuns(NoModels(), rights=rights, step_timeout_s=60)


def tune(path: Path, pitches: list[int], *, seconds: float = 0.5) -> Path:
    time = np.arange(int(seconds * RATE)) / RATE
    fade = np.minimum(1, np.minimum(time, seconds - time) / 0.02)
    voices = [440 * 2 ** ((pitch - 69) / 12) for pitch in pitches]
    y = np.concatenate(
        [fade * sum(np.sin(2 * np.pi * h * f * time) / h**2 for h in range(1, 6)) for f in voices]
    )
    soundfile.write(path, 0.3 * y, RATE)
    return path


async def run(
    runs: TaskRuns, folder: Path, sound: Path, **given: Any
) -> tuple[dict[str, Any], list[float]]:
    told: list[float] = []

    async def on_progress(progress: float) -> None:
        told.append(progress)

    parameters = parameters_of(MIDI, given)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((folder / file).open("w+b")).fileno()
            for name, file in file_names(MIDI, parameters).items()
        }
        opened = stack.enter_context(sound.open("rb")).fileno()
        work = TaskWork("midi", None, parameters, opened, files=files)
        return await runs.run(work, on_progress), told


async def test_a_baseline_answers_where_no_model_is_named(tmp_path: Path, runs: TaskRuns) -> None:
    sound = tune(tmp_path / "tune.wav", [60, 64, 67, 72] * 12)
    result, told = await run(runs, tmp_path, sound)
    assert [note["pitch"] for note in result["notes"]] == [60, 64, 67, 72] * 12
    assert result["duration_s"] == 24.0
    assert (tmp_path / "notes.mid").read_bytes()[:4] == b"MThd"
    assert len(json.loads((tmp_path / "list.json").read_text())) == result["count"]
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] <= 1


async def test_a_parameter_changes_the_result(tmp_path: Path, runs: TaskRuns) -> None:
    sound = tune(tmp_path / "tune.wav", [60, 64, 67, 72])
    result, _ = await run(runs, tmp_path, sound, max_hz="400")
    assert [note["pitch"] for note in result["notes"]] == [60, 64, 67]


@pytest.mark.parametrize(
    ("content", "error"), [(b"no sound at all, whatever its name says", UnreadableSound)]
)
async def test_what_is_wrong_with_the_sound_is_told(
    tmp_path: Path, runs: TaskRuns, content: bytes, error: type[ServerError]
) -> None:
    sound = tmp_path / "sound.wav"
    sound.write_bytes(content)
    with pytest.raises(error):
        await run(runs, tmp_path, sound)


async def test_a_sound_may_be_too_short(tmp_path: Path, runs: TaskRuns) -> None:
    with pytest.raises(SoundTooShort):
        await run(runs, tmp_path, tune(tmp_path / "short.wav", [60], seconds=0.05))


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def test_who_cancels_frees_the_child(tmp_path: Path, runs: TaskRuns) -> None:
    sound = tune(tmp_path / "long.wav", [60, 64] * 300)
    begun = asyncio.Event()
    before = children()

    async def on_progress(_: float) -> None:
        begun.set()

    with ExitStack() as stack:
        parameters = parameters_of(MIDI, {})
        files = {
            name: stack.enter_context((tmp_path / file).open("w+b")).fileno()
            for name, file in file_names(MIDI, parameters).items()
        }
        opened = stack.enter_context(sound.open("rb")).fileno()
        work = TaskWork("midi", None, parameters, opened, files=files)
        job = asyncio.create_task(runs.run(work, on_progress))
        await begun.wait()
        assert children() - before
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert not children() - before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"onset_threshold": "2"}, "onset_threshold"),
        ({"program": "4.5"}, "whole number"),
        ({"program": "nan"}, "whole number"),
        ({"end": "maybe"}, "heard"),
        ({"tempo": "90"}, "tempo_bpm"),
        ({"min_hz": True}, "min_hz"),
    ],
)
def test_a_parameter_is_held_against_the_contract(given: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedRequest, match=named):
        parameters_of(MIDI, given)
