"""The task `spec2spec` in its own child process, behind the walls of this machine."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from server.inference.parameters import file_names, parameters_of
from server.inference.task_runs import TaskRuns, TaskWork
from server.tasks.table import TASKS
from tests.inference.test_task_runs import NoModels
from tests.inference.walls import GIB, HERE
from tests.tasks.working import describe, noise


@pytest.mark.parametrize(("form", "subtype"), [("wav", "FLOAT"), ("mp3", None)])
async def test_a_sound_is_made_of_a_sound(tmp_path: Path, form: str, subtype: str | None) -> None:
    contract = describe(TASKS["spec2spec"])
    rights = HERE.rights(memory_bytes=GIB, artifact_bytes=GIB)
    runs = TaskRuns(NoModels(), rights=rights, step_timeout_s=60)
    told: list[float] = []

    async def on_progress(progress: float) -> None:
        told.append(progress)

    sound = tmp_path / f"sound.{form}"
    soundfile.write(sound, noise(8 * 22_050), 22_050, subtype=subtype)
    parameters = parameters_of(contract, {"iterations": 2})
    names = file_names(contract, parameters)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((tmp_path / file).open("w+b")).fileno()
            for name, file in names.items()
        }
        opened = stack.enter_context(sound.open("rb")).fileno()
        work = TaskWork("spec2spec", None, parameters, opened, files=files)
        result = await runs.run(work, on_progress)
    assert result["tiles"] == 2
    assert soundfile.info(tmp_path / names["out"]).frames == pytest.approx(8 * 22_050, abs=2304)
    for name in ("inspec", "outspec"):
        with Image.open(tmp_path / names[name]) as image:
            assert image.format == "PNG"
            image.load()
    assert told == sorted(told)
    assert len(told) > 1
