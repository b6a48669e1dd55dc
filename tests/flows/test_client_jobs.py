"""Jobs by the client and its command line, over TLS."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectrogrampredictor import AsyncClient, Client, JobFailed, SigningToken
from spectrogrampredictor.__main__ import main
from spectrogrampredictor.problems import JobNotFound, MalformedRequest
from tests.flows.running import TOKEN, Server

pytestmark = pytest.mark.timeout(240)
RATE = 22_050


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two notes."""
    time = np.arange(RATE // 2) / RATE
    fade = np.minimum(1, np.minimum(time, 0.5 - time) / 0.02)
    notes = [
        fade * sum(np.sin(2 * np.pi * h * hz * time) / h**2 for h in range(1, 6))
        for hz in (261.63, 329.63)
    ]
    path = tmp_path_factory.mktemp("tune") / "tune.wav"
    soundfile.write(path, 0.3 * np.concatenate(notes), RATE)
    return path


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.api, SigningToken(TOKEN), ca_file=server.ca) as client:
        yield client


def test_a_job_is_handed_in_waited_for_and_fetched(
    client: Client, tune: Path, tmp_path: Path
) -> None:
    told: list[float] = []
    job = client.jobs.run("midi", tune, progress=told.append, max_hz=2000)
    assert (job.state, job.baseline, job.model) == ("done", "salience-baseline", None)
    assert job.outputs is not None
    assert [note["pitch"] for note in job.outputs["notes"]] == [60, 64]
    assert told == sorted(told)
    assert told[-1] == 1
    paths = client.jobs.save(job, tmp_path / "notes")
    assert sorted(path.name for path in paths) == ["list.json", "notes.mid"]
    assert len(json.loads((tmp_path / "notes" / "list.json").read_text())) == 2


def test_the_same_job_again_is_the_one_that_is_there(client: Client, tune: Path) -> None:
    first = client.jobs.run("emotion", tune)
    assert client.jobs.submit("emotion", tune).id == first.id
    assert first.id in [job.id for job in client.jobs.every(state="done")]


def test_a_job_that_fails_says_why(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(100), RATE)
    with pytest.raises(JobFailed, match="needs at least") as failed:
        client.jobs.run("midi", path)
    assert failed.value.job.state == "failed"


def test_a_parameter_that_is_none_is_refused(client: Client, tune: Path) -> None:
    with pytest.raises(MalformedRequest, match="tempo_bpm"):
        client.jobs.submit("midi", tune, tempo=90)


def test_a_job_that_is_over_can_be_forgotten(client: Client, tune: Path) -> None:
    job = client.jobs.run("midi", tune, program=1)
    client.jobs.cancel(job)
    with pytest.raises(JobNotFound):
        client.jobs.get(job.id)


def test_tasks_are_told(client: Client) -> None:
    found = {task["name"]: task for task in client.jobs.tasks()}
    assert {"genre", "tensors", "midi", "emotion"} <= set(found)
    assert found["midi"]["baseline"] == "salience-baseline"


async def test_the_same_without_waiting(server: Server, tune: Path, tmp_path: Path) -> None:
    async with AsyncClient(server.api, SigningToken(TOKEN), ca_file=server.ca) as client:
        job = await client.jobs.run("midi", tune, program=2)
        (first, *_) = await client.jobs.save(job, tmp_path)
        assert first.is_file()
        assert job.id in [one.id async for one in client.jobs.every()]
        assert (await client.jobs.get(job.id)).state == "done"
        assert await client.jobs.tasks()
        await client.jobs.cancel(job)


def test_the_command_line(
    server: Server,
    tune: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (
        ("BASE_URL", server.api),
        ("CA_FILE", str(server.ca)),
        ("SIGNING_TOKEN", TOKEN),
    ):
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        assert main([*arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    folder = str(tmp_path / "out")
    told = json.loads(run("jobs", "run", "midi", str(tune), "-p", "program=3", "--output", folder))
    assert told["outputs"]["count"] == 2
    assert (tmp_path / "out" / "notes.mid").read_bytes()[:4] == b"MThd"
    job = run("jobs", "run", "midi", str(tune), "-p", "program=5", "--no-wait").strip()
    run("jobs", "fetch", job, "--output", folder)
    assert json.loads(run("jobs", "show", job))["state"] == "done"
    assert job in run("jobs", "--state", "done")
    assert json.loads(run("jobs", "--json").splitlines()[0])["task"]
    run("jobs", "cancel", job)
    assert "midi: " in run("tasks")
    assert json.loads(run("tasks", "--json"))
    assert main(["jobs", "run", "midi", str(tune), "-p", "program"]) == 2
    assert main(["jobs", "show", "0" * 32]) == 1
