"""One file and one line of the table make a task: over HTTP, in the description, in the checks."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from openapi_spec_validator import validate

from spectrogrampredictor import Client, SigningToken
from spectrogrampredictor.problems import MalformedRequest
from tests.flows.running import ROOT, TOKEN, Server

pytestmark = pytest.mark.timeout(240)
HERE = Path(__file__).parent
_LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", "models", "uploads_tmp", "build", "*.pyc")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the server, and add a file and a line."""
    house = tmp_path_factory.mktemp("parent") / "house"
    shutil.copytree(ROOT, house, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    shutil.copy(HERE / "further_task.py", house / "server/tasks/loudness.py")
    table = house / "server/tasks/table.py"
    imported = "from server.tasks.loudness import LOUDNESS\n"
    text = table.read_text().replace("from server.tasks.midi", f"{imported}from server.tasks.midi")
    table.write_text(text.replace("MIDI,", "LOUDNESS, MIDI,"))
    assert table.read_text().count("LOUDNESS") == 2
    return house


@pytest.fixture(scope="module")
def enlarged(
    house: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("enlarged"), certificates, {"PYTHONPATH": str(house)})
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def client(enlarged: Server) -> Iterator[Client]:
    with Client(enlarged.api, SigningToken(TOKEN), ca_file=enlarged.ca) as client:
        yield client


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "steps.wav"
    levels = np.repeat([0.5, 0.05, 0.0], 22_050)
    soundfile.write(path, levels * np.where(np.arange(len(levels)) % 2, 1, -1), 22_050)
    return path


def test_it_does_jobs(client: Client, sound: Path, tmp_path: Path) -> None:
    job = client.jobs.run("loudness", sound, floor_db=-80)
    assert (job.baseline, job.parameters) == ("rms-baseline", {"floor_db": -80.0})
    assert job.outputs == {"loudest_db": pytest.approx(-6.02, abs=0.02), "seconds": 3}
    (path,) = client.jobs.save(job, tmp_path)
    levels = [float(line) for line in path.read_text().split()]
    assert levels == pytest.approx([-6.02, -26.02, -80], abs=0.02)


def test_its_parameters_are_checked(client: Client, sound: Path) -> None:
    with pytest.raises(MalformedRequest, match="`floor_db` is a number from -200 to 0"):
        client.jobs.submit("loudness", sound, floor_db=1)


def test_it_is_listed_and_described(client: Client, enlarged: Server) -> None:
    (told,) = [task for task in client.jobs.tasks() if task["name"] == "loudness"]
    assert told["artifacts"] == [
        {"name": "levels", "summary": "One number a line.", "formats": ["txt"]}
    ]
    described = enlarged.get("/openapi.json").json()
    validate(described)
    parameters = {one["name"]: one for one in described["paths"]["/v1/jobs"]["post"]["parameters"]}
    assert "loudness" in parameters["task"]["schema"]["enum"]
    assert parameters["floor_db"]["schema"] == {"type": "number", "minimum": -200, "maximum": 0}
    page = enlarged.get("/docs")
    assert isinstance(page, httpx.Response)
    assert "What silence is called." in page.text


def test_the_checks_of_contracts_and_docs_hold(house: Path) -> None:
    checks = ("tests/tasks/test_tasks.py", "tests/test_docs.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *checks,
        ],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "passed" in done.stdout
