"""Jobs whose workers and whose server die: none is lost, none ends twice."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.flows import sounds
from tests.flows.jobs import ENDED, JOBS, Customer, started
from tests.flows.messages import key, write_keys
from tests.flows.running import Server, problem_of, wait_until

pytestmark = pytest.mark.timeout(240)
New = Callable[..., Server]
CHILD = "task_child"
LAST = "('done', 'failed', 'cancelled')"


@pytest.fixture
def start(new_server: New, tmp_path: Path) -> Callable[..., Customer]:
    """Return a maker of servers with one customer."""

    def make(**settings: str) -> Customer:
        path = write_keys(tmp_path / "keys.json", key("one"))
        return Customer(new_server(KEYS_FILE=str(path), **settings).start(), "one")

    return make


def tunes(count: int, *, seconds: float = 1.0) -> list[bytes]:
    """Return different sounds."""
    song = sounds.song(seconds)
    return [sounds.encode(np.roll(song, 100 * number)) for number in range(count)]


def submit_all(customer: Customer, count: int, **changed: Any) -> list[str]:
    return [customer.submit(tune).json()["id"] for tune in tunes(count, **changed)]


def rows(server: Server, query: str) -> list[Any]:
    path = f"file:{server.models / 'registry.sqlite3'}?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as database:
        return database.execute(query).fetchall()


def states(server: Server) -> dict[str, int]:
    return dict(rows(server, "SELECT state, count(*) FROM job GROUP BY state"))


def check_that_all_are_done_once(server: Server, jobs: list[str]) -> None:
    assert states(server) == {"done": len(jobs)}
    ends = rows(server, f"SELECT job, count(*) FROM job_event WHERE kind IN {LAST} GROUP BY job")
    assert sorted(ends) == sorted((job, 1) for job in jobs)
    held = {digest.hex() for (digest,) in rows(server, "SELECT DISTINCT digest FROM artifact")}
    kept = {path.name for path in (server.models / "jobs").iterdir()}
    assert kept == held, "no artifact is missing, and no sound is left"
    files = dict(rows(server, "SELECT job, count(*) FROM artifact GROUP BY job"))
    assert files == dict.fromkeys(jobs, 2)


def kill_a_worker(server: Server) -> bool:
    """End a process that does a job, in the middle of it."""
    for child in server.children(CHILD):
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
        return True
    return False


@pytest.mark.parametrize(
    ("count", "kills"),
    [(12, 2), pytest.param(200, 20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_four_workers_of_which_one_is_killed_again_and_again(
    start: Callable[..., Customer], count: int, kills: int
) -> None:
    one = start(JOB_WORKERS="4", JOB_ATTEMPTS="5")
    jobs = submit_all(one, count)
    killed = 0
    for number in range(1, kills + 1):
        share = number * count // (kills + 1)
        wait_until(
            lambda share=share: states(one.server).get("done", 0) >= share,  # type: ignore[misc]  # defaults bind the loop's values
            f"{share} jobs are done",
            deadline_s=600,
        )
        wait_until(lambda: kill_a_worker(one.server), "a worker is killed")
        killed += 1
    for job in jobs:
        assert one.ended(job)["state"] == "done"
    check_that_all_are_done_once(one.server, jobs)
    tried = rows(one.server, "SELECT count(*) FROM job_event WHERE kind = 'retry'")[0][0]
    assert 0 < tried <= killed == kills


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_restart_in_the_middle_of_the_queue(start: Callable[..., Customer], ending: str) -> None:
    one = start(JOB_WORKERS="2", JOB_ATTEMPTS="5")
    server = one.server
    jobs = submit_all(one, 8)
    for share in (2, 4):
        wait_until(
            lambda share=share: states(server).get("done", 0) >= share,  # type: ignore[misc]  # as above
            f"{share} jobs are done",
            deadline_s=100,
        )
        if ending == "stop":
            assert server.stop() == 0
            assert states(server).get("running", 0) == 0, "they are put back"
        else:
            server.kill()
        assert states(server).get("done", 0) < len(jobs)
        server.start()
    for job in jobs:
        assert one.ended(job)["state"] == "done"
    check_that_all_are_done_once(server, jobs)
    attempts = rows(server, "SELECT max(attempts) FROM job")[0][0]
    assert attempts == 1 if ending == "stop" else attempts >= 1


def test_a_job_whose_worker_dies_each_time_fails_with_a_reason(
    start: Callable[..., Customer],
) -> None:
    one = start(JOB_WORKERS="1", JOB_ATTEMPTS="2")
    job = one.submit(tunes(1, seconds=240)[0]).json()["id"]
    for _ in range(2):
        wait_until(lambda: kill_a_worker(one.server), "a worker is killed", deadline_s=60)
        wait_until(lambda: not one.server.children(CHILD), "it has ended")
    told = one.ended(job)
    assert (told["state"], told["attempts"]) == ("failed", 2)
    assert told["problem"]["type"] == "/problems/worker-failed"
    kinds = [event["event"] for event in one.follow(job, 0) if event["event"] != "progress"]
    assert kinds == ["queued", "started", "retry", "started", "failed"]


def test_a_job_whose_process_hangs_is_tried_again(start: Callable[..., Customer]) -> None:
    one = start(JOB_WORKERS="1", DECODE_TIMEOUT_S="5")
    job = one.submit(tunes(1, seconds=240)[0]).json()["id"]
    wait_until(lambda: one.job(job)["progress"], "its process is at work")
    one.server.children(CHILD)[0].send_signal(signal.SIGSTOP)
    told = one.ended(job)
    assert (told["state"], told["attempts"]) == ("done", 2)
    kinds = [event["event"] for event in one.follow(job, 0) if event["event"] != "progress"]
    assert kinds == ["queued", "started", "retry", "started", "done"]


def test_a_stop_ends_the_streams_and_they_go_on_behind_it(start: Callable[..., Customer]) -> None:
    one = start(JOB_WORKERS="1")
    job = one.submit(tunes(1, seconds=240)[0]).json()["id"]
    started(one, job)
    heard: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: heard.extend(one.follow(job, 0)))
    reader.start()
    wait_until(lambda: rows(one.server, "SELECT 1 FROM job_event WHERE kind='progress'"), "it goes")
    assert one.server.stop() == 0
    reader.join(60)
    assert not reader.is_alive()
    assert heard[-1]["event"] not in ENDED
    one.server.start()
    heard += one.follow(job, heard[-1]["id"])
    assert heard == one.follow(job, 0)
    assert [event["id"] for event in heard] == list(range(1, len(heard) + 1))
    assert heard[-1]["event"] == "done"
    progress = [event["progress"] for event in heard if event["event"] == "progress"]
    assert progress == sorted(progress), "the second attempt says nothing that was said"


@pytest.mark.slow
def test_a_reader_that_drops_out_again_and_again_through_100_events(
    start: Callable[..., Customer],
) -> None:
    one = start(JOB_WORKERS="1")
    rate = 8000
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(1600 * rate) / rate)
    job = one.submit(sounds.encode(tone.astype(np.float32), rate)).json()["id"]
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event"] not in ENDED:
        events += one.follow(job, events[-1]["id"] if events else 0, at_most=7)
    assert len(events) >= 100
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events == one.follow(job, 0)


def test_what_has_ended_is_forgotten_in_time_with_its_files(
    start: Callable[..., Customer],
) -> None:
    one = start(JOB_KEEP_S="1", SWEEP_INTERVAL_S="0.2")
    job = one.submit(tunes(1)[0], Prefer="wait=60").json()["id"]

    def asked() -> httpx.Response:
        return one.ask("GET", f"{JOBS}/{job}")

    wait_until(lambda: asked().status_code == 404, "it is forgotten")
    assert problem_of(asked(), 404) == "job-not-found"
    folder = one.server.models / "jobs"
    wait_until(lambda: os.listdir(folder) == [], "its files are gone")
    for table in ("job", "job_event", "artifact"):
        assert rows(one.server, f"SELECT count(*) FROM {table}") == [(0,)]
