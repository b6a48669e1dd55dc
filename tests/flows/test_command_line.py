"""The command `spectrogrampredictor` against the server, over TLS."""

import csv
import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrogrampredictor.__main__ import main
from tests.flows.conftest import TinyModels
from tests.flows.messages import key, write_keys
from tests.flows.running import ROOT, TOKEN, Server, digest_of, wait_until
from tests.flows.sounds import encode, song
from tests.flows.test_extract import read_terminal

pytestmark = pytest.mark.timeout(240)
Noise = Callable[[int], bytes]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))


@pytest.fixture(scope="module")
def settings(keys: Path) -> dict[str, str]:
    return {"KEYS_FILE": str(keys)}


def environment(server: Server, cache: Path) -> dict[str, str]:
    return {
        "BASE_URL": server.api,
        "CA_FILE": str(server.ca),
        "SIGNING_TOKEN": TOKEN,
        "XDG_CACHE_HOME": str(cache),
    }


@pytest.fixture
def run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    for name in ("BEARER_TOKEN", "KEY_ID", "KEY_SECRET", "KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(server, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str | Path, status: int = 0) -> str:
        """Return what a command prints, or what it says on standard error when it fails."""
        capsys.readouterr()
        ended = main([str(each) for each in arguments])
        said = capsys.readouterr()
        assert ended == status, said
        return said.out if status == 0 else said.err

    return ask


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture
def album(tmp_path: Path, short_wav: bytes) -> Path:
    folder = tmp_path / "album"
    (folder / "live").mkdir(parents=True)
    (folder / "live" / "one.wav").write_bytes(short_wav)
    (folder / "two.wav").write_bytes(short_wav)
    (folder / "bad.mp3").write_bytes(b"this is no sound")
    (folder / "cover.jpg").write_bytes(b"a picture")
    return folder


def test_a_model_is_pushed_looked_at_and_removed(run: Run, tmp_path: Path, noise: Noise) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes(noise(2000))
    digest = digest_of(model.read_bytes())
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"task": "tensors"}')
    assert run("register", model, "--manifest", manifest) == f"{digest}  registered\n"
    assert run("register", digest) == f"{digest}  registered\n"
    assert re.fullmatch(rf"{digest}  \w+  {model}\n", run("push", model, "--no-wait"))
    assert "no Keras model begins like this" in run("push", model, status=1)
    shown = json.loads(run("models", "show", digest))
    assert (shown["state"], shown["bytes"]) == ("rejected", 2000)
    listed = [json.loads(line) for line in run("models", "--json").splitlines()]
    assert shown in listed
    (row,) = [line for line in run("models", "--state", "rejected").splitlines() if digest in line]
    assert re.match(rf"{digest}  rejected  tensors  2\.0 kB  -\s+no Keras model", row)
    assert run("models", "remove", digest, "--yes") == ""
    assert "(model-not-found)" in run("models", "show", digest, status=1)


def test_a_model_that_is_wanted_by_name_is_switched(
    run: Run, hosted: str, tiny: TinyModels
) -> None:
    assert run("push", tiny.path("two.h5")).startswith(f"{hosted}  ready")
    assert run("aliases", "set", "first", hosted) == f"first  {hosted}\n"
    assert run("aliases", "set", "first", "first") == f"first  {hosted}\n"
    assert re.search(rf"first +{hosted} +-", run("aliases"))  # as wide as the longest name
    assert run("models", "disable", "first", "--reason", "tired") == f"{hosted}  disabled\n"
    assert "tired" in run("predict", "first", tiny.path("two.h5"), status=1)
    assert run("models", "enable", "first") == f"{hosted}  ready\n"
    assert run("aliases", "remove", "first") == ""
    assert "(alias-not-found)" in run("aliases", "rollback", "first", status=1)


def test_a_name_is_led_back(run: Run, noise: Noise) -> None:
    one, two = digest_of(noise(9)), digest_of(noise(9))
    for digest in (one, two):
        run("register", digest)
        run("aliases", "set", "latest", digest)
    assert run("aliases", "rollback", "latest") == f"latest  {one}\n"


def test_an_album_is_a_table(run: Run, hosted: str, album: Path) -> None:
    said = run("predict", hosted, album / "two.wav", album / "live")
    first, second = said.splitlines()
    assert re.search(r"two\.wav +[a-z]+ \d\.\d{4}  [a-z]+ \d\.\d{4}  [a-z]+ \d\.\d{4}$", first)
    assert "one.wav" in second
    assert first.split()[1:] == second.split()[1:]


def test_a_sound_that_is_none_is_told_and_the_others_are_answered(
    run: Run, hosted: str, album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("models")
    assert main(["predict", hosted, str(album)]) == 1
    said = capsys.readouterr()
    assert [line.count("  ! ") for line in said.out.splitlines()] == [1, 0, 0]
    assert "(unreadable-sound)" in said.out
    assert said.err == "1 of 3 sounds could not be answered\n"


def test_several_files_go_in_one_request(
    run: Run, server: Server, hosted: str, album: Path
) -> None:
    def asked() -> int:
        server.get("/test")  # what was answered before it is in the log then, not always at once
        return server.log().count("/predictions")

    before = asked()
    assert len(run("predict", hosted, album / "two.wav", album / "live", album / "two.wav")) > 100
    wait_until(lambda: asked() > before, "it is logged")
    assert asked() == before + 1


def test_an_album_is_csv(run: Run, hosted: str, album: Path) -> None:
    said = run("predict", hosted, album / "live", album / "two.wav", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [Path(row["file"]).name for row in rows] == ["one.wav", "two.wav"]
    for row in rows:
        numbers = {label: float(text) for label, text in list(row.items())[3:]}
        assert sum(numbers.values()) == pytest.approx(1, abs=1e-5)
        assert row["best"] == max(numbers, key=lambda label: numbers[label])
        assert row["model"] == hosted
    assert "bad.mp3" in run("predict", hosted, album, "--format", "csv", status=1)


def test_an_album_is_json(run: Run, hosted: str, album: Path, tiny: TinyModels) -> None:
    said = run("predict", hosted, album / "two.wav", "--format", "json", "--top", "2")
    (answer,) = map(json.loads, said.splitlines())
    assert [one["label"] for one in answer["top"]] == sorted(
        answer["probabilities"], key=lambda label: -answer["probabilities"][label]
    )[:2]
    assert answer["window"] == "0-2 s of 2 s, repeated"


def test_a_long_sound_is_asked_about_as_a_whole(run: Run, hosted: str, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(encode(song(40.0)))
    said = run("predict", hosted, "long.wav", "--windows", "mean", "--format", "json")
    assert json.loads(said)["window"] == "0-40 s of 40 s, mean of 2 windows"


def test_a_feature_row_comes_from_a_file(
    run: Run, hosted: str, album: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "row.csv"
    wrong.write_text("length\n1\n")
    said = run("predict", hosted, album / "two.wav", "--features", wrong, status=1)
    assert said == "1 of 1 sounds could not be answered\n"


def test_a_model_that_there_is_not_is_said_once(run: Run, album: Path) -> None:
    said = run("predict", "0" * 64, album, status=1)
    assert said == "No model with this digest is registered (model-not-found)\n"


def test_a_folder_without_a_sound_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no sound" in run("predict", "best", tmp_path / "empty", status=1)


def test_a_receipt_is_kept_and_verified(run: Run, hosted: str, album: Path) -> None:
    run("predict", hosted, "album/two.wav", "--receipts", "receipts")
    assert run("keys", "receipts") == "wrote receipts.jwks\n"
    check = ["verify-receipt", "receipts/album-two.receipt", "--keys", "receipts.jwks"]
    answer, sound = "receipts/album-two.answer.json", "album/two.wav"
    stated = json.loads(run(*check, "--answer", answer, "--sound", sound, "--model", hosted))
    assert stated["model"] == hosted
    assert "another input" in run(*check, "--sound", "album/bad.mp3", status=1)
    Path("receipts.jwks").write_text("{")
    assert "these are no keys" in run(*check, status=1)


def test_a_token_is_minted_and_used(
    run: Run, hosted: str, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = run("tokens", "--scope", "predict", "--model", hosted[:6] + "*", "--ttl", "60").strip()
    monkeypatch.setenv("BEARER_TOKEN", token)
    assert "two.wav" in run("predict", hosted, album / "two.wav")
    assert "(scope-missing)" in run("models", status=1)


def test_a_key_of_ones_own_is_made_and_used(
    run: Run, keys: Path, hosted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the line that is printed, as an operator would."""
    line = run("keys", "make", "mine")
    assert stat.S_IMODE(Path("mine.pem").stat().st_mode) == 0o600
    assert "File exists" in run("keys", "make", "mine", status=1)
    done = subprocess.run(
        [sys.executable, *line.split()[1:]],
        cwd=ROOT,
        env=os.environ | {"KEYS_FILE": str(keys)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("KEY_ID", "mine")
    monkeypatch.setenv("KEY_FILE", "mine.pem")
    assert json.loads(run("models", "show", hosted))["digest"] == hosted
    assert "(scope-missing)" in run("models", "disable", hosted, status=1)


def test_a_server_that_is_not_there_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CA_FILE")
    assert "CA_FILE names the authority" in run("models", status=1)
    monkeypatch.setenv("CA_FILE", "/gone.pem")
    assert "No such file" in run("models", status=1)


def test_a_terminal_sees_a_large_file_go(server: Server, tmp_path: Path, noise: Noise) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes(noise(3 << 20))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spectrogrampredictor", "push", str(model), "--no-wait"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TERM": "xterm"} | environment(server, tmp_path / "cache"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    shown = read_terminal(ours)
    assert done.returncode == 0, shown
    assert done.stdout.startswith(digest_of(model.read_bytes()))
    assert re.search(r"model\.h5  \[#+\]  100%", shown)
