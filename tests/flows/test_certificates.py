"""Certificates that are renewed while the server runs: no connection is dropped."""

import shutil
import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from server.devcert import make_certificates
from tests.flows.running import Server, wait_until

pytestmark = pytest.mark.timeout(120)
NewServer = Callable[..., Server]


@pytest.fixture
def pairs(tmp_path: Path) -> list[Path]:
    """Make two pairs, each of its own authority."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        make_certificates(folder, ["localhost", "127.0.0.1"])
    return folders


@pytest.fixture
def served(new_server: NewServer, pairs: list[Path], tmp_path: Path) -> Server:
    """Run a server on a copy of the first pair; its clients trust both authorities."""
    certs = shutil.copytree(pairs[0], tmp_path / "certs")
    server = new_server(CERTS_DIR=str(certs), CERT_CHECK_S="0.2")
    both = certs / "ca.pem"
    both.write_bytes(b"".join((folder / "ca.pem").read_bytes() for folder in pairs))
    server.ca = both
    return server.start()


def _install(pair: Path, server: Server) -> None:
    """Replace both files, each at once, as renewal tools do."""
    certs = server.ca.parent
    for name in ("server.key", "server.crt"):
        shutil.copy(pair / name, certs / "new")
        (certs / "new").replace(certs / name)


def _shown(server: Server, url: str = "") -> bytes:
    with server.connect(url) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return der


def _wait_until_shown(server: Server, url: str, first: bytes, *, again: bool) -> None:
    """Return when a port shows the first certificate again, or no longer."""
    wait_until(lambda: (_shown(server, url) == first) == again, "the renewed one is shown")


def test_a_renewal_drops_no_connection(served: Server, pairs: list[Path]) -> None:
    old = {url: _shown(served, url) for url in (served.api, served.uploads)}
    done = threading.Event()
    answers: list[int] = []
    failures: list[Exception] = []

    def ask(*, anew: bool) -> None:
        http = served.client()
        try:
            while not done.is_set():
                answers.append(http.get("/test").status_code)
                if anew:
                    http.close()
                    http = served.client()
        except httpx.HTTPError as error:
            failures.append(error)
        finally:
            http.close()

    threads = [threading.Thread(target=ask, kwargs={"anew": k % 2 == 0}) for k in range(4)]
    for thread in threads:
        thread.start()
    try:
        for k in range(4):
            _install(pairs[(k + 1) % 2], served)
            # the second pair is shown after odd renewals, the first after even ones
            for url, first in old.items():
                _wait_until_shown(served, url, first, again=k % 2 == 1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(answers) == {200}
    assert len(answers) > 20


def test_a_signal_has_the_files_looked_at_at_once(
    new_server: NewServer, pairs: list[Path], tmp_path: Path
) -> None:
    certs = shutil.copytree(pairs[0], tmp_path / "certs")
    server = new_server(CERTS_DIR=str(certs), CERT_CHECK_S="3600")
    server.ca = certs / "ca.pem"
    server.start()
    shutil.copy(pairs[1] / "server.key", certs)
    shutil.copy(pairs[1] / "server.crt", certs)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("certificate taken over")
    server.ca = pairs[1] / "ca.pem"
    assert server.get("/test").status_code == 200


def test_a_broken_file_keeps_the_old_certificate_and_is_told(served: Server) -> None:
    state = served.get("/readyz").json()
    assert state["cert_reload"] == "ok"
    (served.ca.parent / "server.crt").write_text("garbage")
    wait_until(lambda: served.get("/readyz").json()["cert_reload"] == "failed", "it is told")
    told = served.get("/readyz")
    assert told.json()["cert_not_after"] == state["cert_not_after"]
    assert str(served.ca.parent) not in told.text
    assert "the old certificate stays" in served.log()


def test_a_renewed_certificate_speaks_http2_as_before(served: Server, pairs: list[Path]) -> None:
    _install(pairs[1], served)
    served.wait_for_log("certificate taken over")
    with served.client(http2=True) as http:
        assert http.get("/test").http_version == "HTTP/2"


@pytest.mark.parametrize(
    ("curve", "taken"), [("X25519", True), ("prime256v1", True), ("secp384r1", True),
                         ("secp521r1", False), ("X448", False)]
)  # fmt: skip
def test_the_curves_are_those_of_the_intermediate_profile(
    served: Server, curve: str, taken: bool
) -> None:
    trust = served.tls()
    trust.set_ecdh_curve(curve)
    plain = served.connect_plain()
    try:
        trust.wrap_socket(plain, server_hostname="127.0.0.1").close()
    except (ssl.SSLError, ConnectionError):
        assert not taken
    else:
        assert taken
