"""What keeps the server from starting is said at once, all of it in one message."""

import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.running import ROOT, Server, wait_until

pytestmark = pytest.mark.timeout(120)
New = Callable[..., Server]


def _fails(server: Server) -> str:
    """Start a server that cannot serve; return what it says."""
    done = server.run("serve")
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def taken() -> Iterator[str]:
    """Return an address that somebody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def test_missing_certificates_are_named(new_server: New, tmp_path: Path) -> None:
    said = _fails(new_server(CERTS_DIR=str(tmp_path / "nothing")))
    assert "server.crt" in said
    assert "missing" in said


def test_a_key_of_another_certificate_is_told(
    new_server: New, certificates: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    command = [sys.executable, "-m", "server", "devcert", str(mixed)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    shutil.copy(certificates / "server.crt", mixed / "server.crt")
    assert "do not belong together" in _fails(new_server(CERTS_DIR=str(mixed)))


def test_a_certificate_that_is_none_is_told(
    new_server: New, certificates: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(certificates, broken)
    (broken / "server.crt").write_text("no certificate")
    assert "PEM" in _fails(new_server(CERTS_DIR=str(broken)))


def test_a_missing_token_is_told(new_server: New) -> None:
    assert "SIGNING_TOKEN is not set" in _fails(new_server(SIGNING_TOKEN=""))


def test_a_short_token_is_told(new_server: New) -> None:
    said = _fails(new_server(SIGNING_TOKEN="short and sweet"))
    assert "shorter than 16 bytes" in said
    assert "short and sweet" not in said


def test_a_token_that_everybody_knows_is_told(new_server: New, tmp_path: Path) -> None:
    known = "your-secret-token-here-2026"
    said = _fails(new_server(SIGNING_TOKEN=known))
    assert "everybody knows" in said
    assert known not in said
    (tmp_path / "tokens").write_text(f"a good one of more than sixteen bytes\n{known}\n")
    (tmp_path / "tokens").chmod(0o600)
    said = _fails(new_server(SIGNING_TOKEN="", SIGNING_TOKEN_FILE=str(tmp_path / "tokens")))
    assert "everybody knows" in said


def test_an_empty_token_file_is_told(new_server: New, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("\n \n")
    (tmp_path / "tokens").chmod(0o600)
    said = _fails(new_server(SIGNING_TOKEN="", SIGNING_TOKEN_FILE=str(tmp_path / "tokens")))
    assert "holds no token" in said


def test_a_missing_token_file_is_told(new_server: New, tmp_path: Path) -> None:
    said = _fails(new_server(SIGNING_TOKEN="", SIGNING_TOKEN_FILE=str(tmp_path / "none")))
    assert "SIGNING_TOKEN_FILE" in said


def test_a_weak_token_is_warned_of(new_server: New) -> None:
    server = new_server(SIGNING_TOKEN="only 24 bytes of secrecy").start()
    server.wait_for_log("shorter than 32 bytes")


def test_a_folder_that_cannot_be_written_is_named(new_server: New, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = _fails(new_server(MODELS_DIR=str(tmp_path / "file" / "models")))
    assert "MODELS_DIR" in said


def test_one_folder_for_models_and_uploads_is_refused(new_server: New, tmp_path: Path) -> None:
    same = str(tmp_path / "same")
    assert "two folders" in _fails(new_server(MODELS_DIR=same, UPLOADS_DIR=same))


def test_a_taken_port_is_named(new_server: New, taken: str) -> None:
    said = _fails(new_server(API_BIND=taken))
    assert f"API_BIND={taken}" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWEEP_INTERVAL_S", "soon"),
        ("SWEEP_INTERVAL_S", "0"),
        ("SWEEP_INTERVAL_S", "inf"),
        ("SWEEP_INTERVAL_S", "nan"),
        ("MAX_MODEL_BYTES", "-1"),
        ("API_BIND", "443"),
        ("UPLOAD_BIND", "127.0.0.1:99999"),
        ("LEGACY_STATUS", "maybe"),
        ("DATABASE_URL", "postgresql://nowhere"),
        ("DECODERS", "0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(new_server: New, name: str, value: str) -> None:
    assert name in _fails(new_server(**{name: value}))


def test_a_log_level_that_there_is_not_is_told(new_server: New) -> None:
    assert "LOG_LEVEL" in _fails(new_server(LOG_LEVEL="LOUD"))


def test_every_fault_is_told_in_one_message(new_server: New, tmp_path: Path, taken: str) -> None:
    (tmp_path / "file").write_text("in the way")
    said = _fails(
        new_server(
            SIGNING_TOKEN="short",
            CERTS_DIR=str(tmp_path / "nothing"),
            MODELS_DIR=str(tmp_path / "file" / "models"),
            UPLOAD_BIND=taken,
            SWEEP_INTERVAL_S="soon",
        )
    )
    for word in ("shorter than", "server.crt", "MODELS_DIR", "UPLOAD_BIND", "SWEEP_INTERVAL_S"):
        assert word in said


def test_a_damaged_registry_is_told(new_server: New) -> None:
    server = new_server().start()
    assert server.stop() == 0
    path = server.models / "registry.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('alias', 'model')"
        pages = [row[0] for row in connection.execute(query)]
    data = bytearray(path.read_bytes())
    for page in pages:
        data[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(data)
    assert "see `fsck`" in _fails(server)
    assert "see `fsck`" in server.run("models", "list").stderr
    assert server.run("fsck").stdout.startswith("damaged database")


def test_a_second_server_on_the_same_models_says_so(new_server: New) -> None:
    new_server().start()
    assert "owns MODELS_DIR" in _fails(new_server())


def test_a_sweep_beside_the_running_server_says_so(new_server: New) -> None:
    server = new_server().start()
    done = server.run("sweep")
    assert done.returncode != 0
    assert "running server" in done.stderr
    assert server.get("/test").status_code == 200


def _wait_until_signals_are_handled(server: Server) -> None:
    status = Path(f"/proc/{server.process.pid}/status")

    def handles_it() -> bool:
        caught = int(re.findall(r"SigCgt:\s*([0-9a-f]+)", status.read_text())[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_until(handles_it, "SIGTERM is handled")


def test_a_stop_that_comes_before_anything_is_imported_is_heard(new_server: New) -> None:
    # process 1 of a container is not given signals that it does not handle
    server = new_server().launch()
    _wait_until_signals_are_handled(server)
    server.terminate()
    assert server.process.wait(timeout=30) == 0


def test_a_reload_during_the_start_does_not_end_the_server(new_server: New) -> None:
    server = new_server().launch()
    _wait_until_signals_are_handled(server)

    def has_started() -> bool:
        server.process.send_signal(signal.SIGHUP)
        return "certificate taken over" in server.log() or server.process.poll() is not None

    wait_until(has_started, "the certificate is looked at", deadline_s=60)
    assert server.process.poll() is None


def test_a_sweep_without_a_server_promotes_what_was_registered(
    new_server: New, noise: Callable[[int], bytes]
) -> None:
    server = new_server(INTAKE_TIMEOUT_S="0.1").start()
    server.upload(noise(100))
    assert server.stop() == 0
    done = server.run("sweep")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 promoted, 1 discarded, 0 left"


def test_settings_are_listed_without_the_token(new_server: New) -> None:
    done = new_server().run("settings")
    assert done.returncode == 0
    assert "SWEEP_INTERVAL_S" in done.stdout
    assert "only the flow tests use" not in done.stdout


def test_the_token_is_never_logged(new_server: New) -> None:
    server = new_server(LOG_LEVEL="DEBUG").start()
    server.register("ab" * 32)
    server.post("/registermodelhash", b"x")
    assert server.stop() == 0
    assert "only the flow tests use" not in server.log()


def test_plain_http_is_not_served(new_server: New) -> None:
    server = new_server().start()
    port = int(server.api.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.sendall(b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read = b"".join(iter(lambda: plain.recv(4096), b""))
    assert b"HTTP/1.1 200" not in read
    assert server.get("/test").status_code == 200
