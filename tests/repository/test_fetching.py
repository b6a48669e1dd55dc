"""server/repository/fetching.py with files and servers of the tests' own."""

import asyncio
import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from server.devcert import make_certificates
from server.digest import Digest
from server.errors import DigestMismatch, WorkerFailed
from server.repository import fetching as repository_fetching
from server.repository.fetching import Fetching
from server.repository.registry import State
from tests.repository.conftest import House, digest_of

DATA = bytes(range(256)) * 300
MANIFEST: dict[str, Any] = {"task": "spec2spec"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ["127.0.0.1"])
    return folder


def fetching(house: House, certificates: Path | None = None) -> Fetching:
    tls = None
    if certificates is not None:
        tls = ssl.create_default_context(cafile=certificates / "ca.pem")
    parts = (house.registry, house.staging, house.sweeper, house.recovery)
    return Fetching(*parts, wake=lambda: house.woken.append(False), tls=tls)


class Handler(BaseHTTPRequestHandler):
    """Serves a file, an error, and ways that lead elsewhere."""

    def do_GET(self) -> None:
        targets = {"/plain": "http://127.0.0.1:9/model", "/local": "file:///etc/hostname"}
        if self.path in targets or self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", targets.get(self.path, "/model"))
            self.end_headers()
        elif self.path == "/model":
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(certificates: Path) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_file_becomes_a_model_with_its_manifest(house: House, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(DATA)
    digest = digest_of(DATA)
    await fetching(house).fetch((tmp_path / "model").as_uri(), digest, MANIFEST)
    model = await house.registry.get(digest)
    assert model is not None
    assert (model.state, model.manifest) == (State.PROMOTED, MANIFEST)
    assert house.store.path(digest).read_bytes() == DATA
    assert house.woken == [True]


async def test_what_is_here_is_not_fetched_again(house: House) -> None:
    digest = await house.promoted(DATA)
    await house.registry.register(digest, {"task": "spec2spec", "card": "mine"})
    await fetching(house).fetch("file:///there/is/none", digest, MANIFEST)
    model = await house.registry.get(digest)
    assert model is not None
    assert model.manifest == {"task": "spec2spec", "card": "mine"}


async def test_a_model_that_nobody_declared_is_judged_again(house: House) -> None:
    digest = await house.promoted(DATA)
    house.woken.clear()
    await fetching(house).fetch("file:///there/is/none", digest, MANIFEST)
    model = await house.registry.get(digest)
    assert model is not None
    assert model.manifest == MANIFEST
    assert house.woken == [False]


async def test_another_file_is_not_kept(house: House, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(DATA + b"x")
    wanted = digest_of(DATA)
    with pytest.raises(DigestMismatch):
        await fetching(house).fetch((tmp_path / "model").as_uri(), wanted, MANIFEST)
    assert await house.state_of(wanted) is State.REGISTERED
    assert house.names() == []
    assert not house.store.holds(Digest(hashlib.sha256(DATA + b"x").digest()))


@pytest.mark.parametrize("path", ["/model", "/moved"])
async def test_a_model_comes_over_https(house: House, certificates: Path, path: str) -> None:
    with served(certificates) as url:
        await fetching(house, certificates).fetch(url + path, digest_of(DATA), MANIFEST)
    assert house.store.holds(digest_of(DATA))


@pytest.mark.parametrize(
    ("path", "why"), [("/plain", "not https"), ("/local", "status 302"), ("/none", "status 404")]
)
async def test_nobody_is_led_away_from_https(
    house: House, certificates: Path, path: str, why: str
) -> None:
    with served(certificates) as url, pytest.raises(WorkerFailed, match=why):
        await fetching(house, certificates).fetch(url + path, digest_of(DATA), MANIFEST)


async def test_whom_nobody_trusts_is_not_asked(house: House, certificates: Path) -> None:
    with served(certificates) as url, pytest.raises(WorkerFailed, match="certificate"):
        await fetching(house).fetch(url + "/model", digest_of(DATA), MANIFEST)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/model", "ftp://127.0.0.1/model", "data:,model", "nonsense"]
)
async def test_other_schemes_are_refused(house: House, url: str) -> None:
    with pytest.raises(WorkerFailed):
        await fetching(house).fetch(url, digest_of(DATA), MANIFEST)


async def test_a_file_that_is_missing_is_told(house: House) -> None:
    with pytest.raises(WorkerFailed):
        await fetching(house).fetch("file:///there/is/none", digest_of(DATA), MANIFEST)


async def test_a_fetch_that_fails_is_tried_again_after_pauses_that_grow(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(repository_fetching, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(repository_fetching, "_LONGEST_PAUSE_S", 0.04)
    path = tmp_path / "model"
    digest = digest_of(DATA)
    running = asyncio.create_task(fetching(house).run(path.as_uri(), digest, MANIFEST))
    async with asyncio.timeout(20):
        while len(caplog.records) < 4:
            await asyncio.sleep(0)
        path.write_bytes(DATA)
        await running
    assert [record.again_s for record in caplog.records[:4]] == [0.01, 0.02, 0.04, 0.04]  # type: ignore[attr-defined]
    model = await house.registry.get(digest)
    assert model is not None
    assert model.state is State.PROMOTED
