"""The acceptance scripts, unchanged, and the model that they host on the shared clips."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.flows import sounds
from tests.flows.running import ROOT, TOKEN, Server, difference, probabilities

pytestmark = pytest.mark.timeout(400)
Find = Callable[[str], Path]
MODEL = "models/two_input_gtzan_seed1.h5"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SWEEP_INTERVAL_S": "10"}


@pytest.fixture(scope="module")
def hosted(server: Server, shared: Find) -> str:
    """Return the digest of the model that was trained on the published table."""
    return server.host(shared(MODEL).read_bytes())


def _run(server: Server, shared: Find, name: str) -> str:
    folder = Path(os.environ.get("ACCEPTANCE", ROOT.parent / "shared" / "acceptance"))
    if not (folder / name).exists():
        pytest.skip(f"needs {name} in the folder that ACCEPTANCE names")
    data = shared(MODEL).parents[1]
    done = subprocess.run(
        [sys.executable, str(folder / name)],
        env=os.environ
        | {
            "BASE_URL": server.api,
            "UPLOAD_URL": server.uploads,
            "SIGNING_TOKEN": TOKEN,
            "CA_FILE": str(server.ca),
            "SHARED_DATA": str(data),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_walkthrough_passes(server: Server, shared: Find) -> None:
    assert "all steps passed" in _run(server, shared, "walkthrough.py")


def test_requests_and_curl_agree(server: Server, shared: Find, hosted: str) -> None:
    assert "requests and curl agree" in _run(server, shared, "requests_walkthrough.py")


@pytest.fixture(scope="module")
def answers(server: Server, shared: Find, hosted: str) -> dict[str, list[float]]:
    """Return what the model says to each shared clip, without a row."""
    clips = sorted(shared("gtzan/wav").glob("*.wav"))
    found = {}
    for clip in clips:
        found[clip.name] = probabilities(server.predict(hosted, clip.read_bytes()))
    return found


@pytest.fixture(scope="module")
def expected(shared: Find) -> dict[str, list[float]]:
    with shared("models/two_input_gtzan_seed1_expected.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: [float(cell) for cell in row[1:11]] for row in rows}


def test_clips_get_the_class_that_was_expected(
    answers: dict[str, list[float]], expected: dict[str, list[float]]
) -> None:
    same = [np.argmax(answers[name]) == np.argmax(row) for name, row in expected.items()]
    assert len(same) == 20
    assert sum(same) >= 17


def test_no_clip_is_answered_one_hot(answers: dict[str, list[float]]) -> None:
    assert max(max(row) for row in answers.values()) < 0.99999


@pytest.mark.parametrize("name", ["stems/own12s/mixture.flac", "songs/asc_time_to_strike.mp3"])
def test_a_song_of_another_length_is_within_the_spread_of_the_clips(
    server: Server, shared: Find, hosted: str, answers: dict[str, list[float]], name: str
) -> None:
    sound = shared(name)  # of 12 s and of more than 200 s
    answer = server.predict(hosted, sound.read_bytes(), ext=sound.suffix[1:])
    assert max(probabilities(answer)) <= max(max(row) for row in answers.values())


def test_an_mp3_of_a_clip_answers_as_the_clip(server: Server, shared: Find, hosted: str) -> None:
    clip = shared("gtzan/wav/rock.00000.wav")
    y, rate_hz = soundfile.read(clip, dtype="float32")
    given = probabilities(server.predict(hosted, clip.read_bytes()))
    mp3 = probabilities(server.predict(hosted, sounds.encode(y, rate_hz, fmt="MP3"), ext="mp3"))
    assert np.argmax(mp3) == np.argmax(given)
    assert difference(mp3, given) < 0.05
