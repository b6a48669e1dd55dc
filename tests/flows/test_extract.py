"""`python -m server extract`: the numbers of training are those that are served."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.messages import key, send, write_keys
from tests.flows.running import ROOT, Server, sandbox, wait_until
from tests.flows.test_v1_predictions import path_of
from tests.signing.messages import hmac_signer

pytestmark = pytest.mark.timeout(240)
ALL = hmac_signer("all")
SIZE = "32x40"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))
    return {"KEYS_FILE": str(path)}


def make_set(folder: Path) -> Path:
    """Put four sounds of other lengths, rates and formats, and two files that are none."""
    made = {
        "blues/short.wav": sounds.encode(sounds.song(2.0)),
        "blues/whole.flac": sounds.encode(sounds.song(30.0, seed=3), fmt="FLAC"),
        "jazz/long.ogg": sounds.encode(sounds.song(33.0, seed=4), fmt="OGG", subtype="VORBIS"),
        "jazz/fast.wav": sounds.encode(sounds.song(3.0, seed=5), 44_100),
        "jazz/empty.wav": b"",
        "jazz/text.mp3": b"this is no sound",
    }
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "server", "extract", str(folder), "--size", SIZE, *options]


def extract(
    folder: Path, *options: str, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options),
        cwd=ROOT,
        env=os.environ | {"SANDBOX": sandbox()},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_set(tmp_path_factory.mktemp("sets") / "genres")
    done = extract(folder)
    assert done.returncode == 1, done.stderr
    assert "6 sounds with 2 labels: 4 extracted, 2 bad" in done.stdout
    assert "bad: jazz/empty.wav: The sound has 0 bytes." in done.stdout
    return folder.with_name("genres-features")


def rows(out: Path) -> dict[str, list[float]]:
    with (out / "features.csv").open() as file:
        table = csv.DictReader(file)
        return {
            row["filename"]: [float(v) for k, v in row.items() if k not in ("filename", "label")]
            for row in table
        }


def test_what_is_extracted_is_what_is_served_bit_for_bit(
    server: Server, tiny: TinyModels, extracted: Path
) -> None:
    """Have a model that answers its inputs answer every sound."""
    manifest = json.loads((extracted / "manifest.json").read_text())
    manifest["labels"] = [f"value {k}" for k in range(58 + 32 * 40)]
    digest = server.host(tiny.path("echo.keras").read_bytes(), manifest)
    table = rows(extracted)
    with np.load(extracted / "spectrograms.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    assert len(table) == 4
    for k, name in enumerate(arrays["filenames"].tolist()):
        sound = (extracted.with_name("genres") / name).read_bytes()
        answer = send(server, path_of(digest), sound, ALL, content_type="audio/x").json()
        served = np.array(answer["probabilities"], np.float32)
        assert np.array_equal(served[:58], np.array(table[name], np.float32)), name
        assert np.array_equal(served[:58], arrays["features"][k]), name
        assert np.array_equal(served[58:], arrays["spectrograms"][k].ravel()), name


def test_labels_are_the_folders(extracted: Path) -> None:
    with np.load(extracted / "spectrograms.npz", allow_pickle=False) as archive:
        assert archive["labels"].tolist() == ["blues", "blues", "jazz", "jazz"]
    assert json.loads((extracted / "manifest.json").read_text())["labels"] == ["blues", "jazz"]


def test_bad_files_stand_in_their_table(extracted: Path) -> None:
    with (extracted / "bad-files.csv").open() as file:
        bad = {row["filename"]: row["problem"] for row in csv.DictReader(file)}
    assert bad == {"jazz/empty.wav": "empty-sound", "jazz/text.mp3": "unreadable-sound"}


def test_the_number_of_processes_changes_no_bit(extracted: Path, tmp_path: Path) -> None:
    extract(extracted.with_name("genres"), "--jobs", "1", "--out", str(tmp_path))
    for name in ("features.csv", "spectrograms.npz", "bad-files.csv", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (extracted / name).read_bytes(), name


def journal(out: Path) -> list[str]:
    path = out / ".extract" / "journal.jsonl"
    return path.read_text().splitlines()[1:] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(
    extracted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder, out = extracted.with_name("genres"), tmp_path / "out"
    running = subprocess.Popen(
        command(folder, "--out", str(out), "--jobs", "1"),
        cwd=ROOT,
        env=os.environ | {"SANDBOX": sandbox()},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: journal(out), "the first sound is done", deadline_s=60)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    stopped_whole = running.returncode == 1  # it was quicker than the signal
    if number is not signal.SIGKILL and not stopped_whole:
        assert running.returncode == 130, said
        assert said == "stopped; the same command goes on from here\n"
    before = journal(out)
    assert extract(folder, "--out", str(out)).returncode == 1
    assert journal(out)[: len(before)] == before
    assert len(journal(out)) == 6  # nothing was done twice
    for name in ("features.csv", "spectrograms.npz"):
        assert (out / name).read_bytes() == (extracted / name).read_bytes(), name


def test_a_later_run_reads_what_is_new_or_was_changed(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    folder, out = tmp_path / "set", tmp_path / "set-features"
    for name, seed in (("a", 1), ("b", 2)):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.wav").write_bytes(sounds.encode(sounds.song(2, seed=seed)))
    assert extract(folder, stderr=theirs).returncode == 0
    os.close(theirs)
    assert re.search(r"100%  2 of 2 sounds(, 0:\d\d left)?\r", read_terminal(ours))
    before = rows(out)
    (folder / "b" / "1.wav").write_bytes(sounds.encode(sounds.song(2.5, seed=3)))
    (folder / "b" / "2.wav").write_bytes(sounds.encode(sounds.song(2, seed=4)))
    (folder / "a" / "1.wav").rename(folder / "a" / "0.wav")
    assert extract(folder).returncode == 0
    after = rows(out)
    assert list(after) == ["a/0.wav", "b/1.wav", "b/2.wav"]
    assert after["a/0.wav"] == before["a/1.wav"]
    assert after["b/1.wav"] != before["b/1.wav"]
    assert len(journal(out)) == 5


def read_terminal(fd: int) -> str:
    """Return all that was written to a terminal whose other end is closed."""
    said = b""
    with suppress(OSError):  # Linux ends it so
        while piece := os.read(fd, 4096):
            said += piece
    os.close(fd)
    return said.decode()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--picture", "cs467-crop@1"], "cs467-crop@1 draws pictures 200 high, not 32"),
        (["--size", "5"], "height and width in pixels, such as 235x335"),
        (["--jobs", "0"], "a number from 1 to 256"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.wav").write_bytes(b"")
    done = extract(tmp_path / "set", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    done = extract(tmp_path / "gone")
    assert (done.returncode, done.stderr) == (2, f"{tmp_path}/gone: No such file or directory\n")
    done = extract(tmp_path)
    assert done.returncode == 2
    assert "there is no sound in it" in done.stderr
