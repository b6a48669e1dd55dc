"""The tutorial, as it is printed, and the examples of new clients, against a server of the run."""

import base64
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.running import ROOT, said_by
from tests.flows import sounds
from tests.flows.messages import key, write_keys
from tests.flows.running import TOKEN, Server, digest_of, sandbox, wait_until
from tests.signing.messages import SECRET

pytestmark = pytest.mark.timeout(240)
EXAMPLES, DEMO = ROOT / "examples", ROOT / "examples" / "demo"
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Server]:
    keys = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"))
    folder = tmp_path_factory.mktemp("examples")
    running = Server(folder, certificates, {"KEYS_FILE": str(keys)}).start()
    yield running
    running.close()


def run(server: Server, *command: str | Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),  # where the package is not installed
        "BASE_URL": server.api,
        "CA_FILE": str(server.ca),
        "SIGNING_TOKEN": TOKEN,
        "KEY_ID": "all",
        "KEY_SECRET": base64.b64encode(SECRET).decode(),
    }
    return said_by(command, environment)


def test_curl_and_openssl_are_enough(server: Server) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("needs curl and openssl")
    model = DEMO / "genre.h5"
    said = run(server, "bash", EXAMPLES / "curl.sh", model, DEMO / "own12s.flac").splitlines()
    assert said[0] == f"{digest_of(model.read_bytes())} ready"
    assert re.search(r'"top":\[\{"label":"[a-z]+","probability":0\.\d+\}', said[1])


def test_node_streams_a_model_once(server: Server, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    model = tmp_path / "model.h5"
    model.write_bytes(os.urandom(3 << 20))
    digest = digest_of(model.read_bytes())
    script = EXAMPLES / "node" / "upload.mjs"
    assert run(server, "node", script, model) == f"{digest} promoted: 201, {3 << 20} bytes sent\n"
    assert digest in server.stored()
    assert re.fullmatch(rf"{digest} \w+: 200, 0 bytes sent\n", run(server, "node", script, model))


def test_a_folder_is_asked_about_and_goes_on(server: Server, tmp_path: Path) -> None:
    manifest = json.loads((DEMO / "manifest.json").read_text())
    digest = server.host((DEMO / "genre.h5").read_bytes(), manifest)
    folder = tmp_path / "songs"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.wav").write_bytes(sounds.encode(sounds.song(2, seed=seed)))
    (folder / "bad.mp3").write_bytes(b"this is no sound")
    script = EXAMPLES / "batch.py"
    table = run(server, sys.executable, script, digest, folder)
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(table))}
    assert sorted(rows) == ["0.wav", "1.wav", "2.wav", "bad.mp3"]
    assert rows["bad.mp3"]["problem"] == "unreadable-sound"
    assert rows["0.wav"]["model"] == digest
    earlier = tmp_path / "earlier.csv"
    earlier.write_text(table.replace(str(folder / "1.wav"), "elsewhere.wav"))
    again = run(server, sys.executable, script, digest, folder, earlier)
    assert again.startswith(str(folder / "1.wav"))
    assert len(again.splitlines()) == 1


# the tutorial


def steps() -> list[tuple[str, str]]:
    """Return every command that the tutorial prints, with what it says will be answered."""
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", TUTORIAL, re.S)
    return [(command, answer) for command, answer in blocks]


def pattern(answer: str) -> str:
    """Return a pattern of what is printed: `...` stands for anything, and numbers may differ."""
    parts = (re.sub(r"\d+%", r"\\d+%", re.escape(part)) for part in answer.split("..."))
    return "(?s:.*)".join(parts)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return something like a fresh checkout in which everything is installed."""
    for name in ("server", "spectrogrampredictor", "examples", "scripts", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path


@pytest.fixture
def served(checkout: Path) -> Iterator[dict[str, str]]:
    """Run the first command of the tutorial on free ports; return what it says to export."""
    with socket.socket() as one, socket.socket() as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in (one, two)]
    environment = {
        "PATH": os.environ["PATH"],
        "SANDBOX": sandbox(),
        "API_BIND": f"127.0.0.1:{ports[0]}",
        "UPLOAD_BIND": f"127.0.0.1:{ports[1]}",
    }
    log = checkout / "log"
    with log.open("wb") as file:
        running = subprocess.Popen(
            steps()[0][0].split(),
            cwd=checkout,
            env=environment,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: " serving api=" in log.read_text(), "it serves", deadline_s=60)
        exported = re.findall(r"^export (.*)$", log.read_text(), re.M)
        assert len(exported) == 3
        yield dict(pair.split("=", 1) for line in exported for pair in line.split())
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)


@pytest.mark.timeout(300)
def test_the_tutorial_works_as_it_is_printed(checkout: Path, served: dict[str, str]) -> None:
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    first, *others = steps()
    assert first == ("./scripts/serve", "")
    assert len(others) == 7
    for command, answer in others:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=checkout,
            env={"PATH": os.environ["PATH"], "HOME": str(checkout)} | served,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert re.match(pattern(answer), done.stdout), f"{command}\n{done.stdout}"


def test_the_tutorial_shows_what_is_exported() -> None:
    (shown,) = re.findall(r"```sh\n(.*?)```", TUTORIAL, re.S)
    assert re.findall(r"(\w+)=", shown) == ["BASE_URL", "UPLOAD_URL", "CA_FILE", "SIGNING_TOKEN"]


def test_the_code_of_the_client_s_page_works(server: Server) -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    code = next(code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "push" in code)
    said = run(server, sys.executable, "-c", f"import os; os.chdir({str(ROOT)!r})\n{code}")
    assert re.fullmatch(r"Label\(label='[a-z]+', probability=0\.\d+\) .* repeated\n", said)
