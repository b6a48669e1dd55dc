"""A real server for the benchmarks: over TLS, on free loopback ports, in a folder of its own."""

import base64
import hashlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itsdangerous
import psutil

from server.devcert import make_certificates

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
_START_S = 60.0
_RETRY_S = 0.002
_EDGE = "edge-of-a-benchmark"
FORM_TYPE = f"multipart/form-data; boundary={_EDGE}"
FORM_HEAD = (
    f"--{_EDGE}\r\n"
    'Content-Disposition: form-data; name="model"; filename="model"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
FORM_TAIL = f"\r\n--{_EDGE}--\r\n".encode()


class Server:
    """A server process; started again it finds what it left in its folder.

    Parameters
    ----------
    folder : Path
        Holds certificates, models, staging and the log.
    settings : mapping
        Environment on top of the server's own defaults.

    Attributes
    ----------
    api, uploads : int
        The two ports, free when they were chosen.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.models = folder / "models"
        self.staging = folder / "uploads_tmp"
        self.ca = folder / "certs" / "ca.pem"
        self.token = secrets.token_hex(32)
        self.api, self.uploads = free_ports(2)
        self._log = folder / "log"
        self._folder = folder
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._read_from = 0
        if not self.ca.exists():
            make_certificates(self.ca.parent, ["localhost", HOST])
        self._trust = self.trust()

    # the process

    def set(self, **settings: str) -> None:
        """Set more of its environment, before it starts."""
        self._settings |= settings

    def start(self) -> float:
        """Start the process; return the seconds until the API port answered `GET /test`."""
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            started = time.perf_counter()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "serve"],
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - started > _START_S:
                raise SystemExit(f"the server did not start:\n{self.log()}")
            time.sleep(_RETRY_S)
        return time.perf_counter() - started

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SIGNING_TOKEN": self.token,
            "CERTS_DIR": str(self.ca.parent),
            "MODELS_DIR": str(self.models),
            "UPLOADS_DIR": str(self.staging),
            "API_BIND": f"{HOST}:{self.api}",
            "UPLOAD_BIND": f"{HOST}:{self.uploads}",
        } | self._settings

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/test")[0] == http.client.OK
        except ConnectionError:
            return False

    def wait_for_decoders(self) -> None:
        """Return when every decoder is warm and no process of the server starts any more."""
        many = int(self._settings.get("DECODERS", os.cpu_count() or 1))
        wait_until(
            lambda: json.loads(self.ask("GET", "/readyz")[1])["decoders"] == many, "decoders"
        )

    def stop(self) -> None:
        """Stop the process as an operator would."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)

    def log(self) -> str:
        """Return what the running process has logged."""
        with self._log.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode("utf-8", "replace")

    @property
    def web(self) -> psutil.Process:
        """The web process."""
        assert self._process is not None, "start the server first"
        return psutil.Process(self._process.pid)

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Return the web process and its children, or the children of one module."""
        children = self.web.children(recursive=True)
        if not module:
            return [self.web, *children]
        return [child for child in children if module in _command(child)]

    # asking it

    def trust(self) -> ssl.SSLContext:
        """Return a context that trusts the server; clients set their protocols on theirs."""
        return ssl.create_default_context(cafile=str(self.ca))

    def connection(self, port: int | None = None) -> http.client.HTTPSConnection:
        """Return a connection to a port, the API's by default, that opens when it is used."""
        return http.client.HTTPSConnection(HOST, port or self.api, timeout=600, context=self._trust)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        port: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own; return status and body."""
        connection = self.connection(port)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def signed(self, fields: Any) -> bytes:
        """Return a signed JSON body."""
        text: str = itsdangerous.Serializer(self.token).dumps(fields)
        return text.encode()

    def register(self, digest: str, manifest: Any = None) -> None:
        """Register a digest."""
        fields = {"hash": digest} | ({} if manifest is None else {"manifest": manifest})
        expect(self.ask("POST", "/registermodelhash", self.signed(fields)))

    def host(self, model: bytes, manifest: Any) -> str:
        """Register, upload and sweep a model; return its digest while it is being judged."""
        digest = hashlib.sha256(model).hexdigest()
        self.register(digest, manifest)
        form = FORM_HEAD + model + FORM_TAIL
        headers = {"Content-Type": FORM_TYPE}
        expect(self.ask("POST", "/nodemodeluploads", form, port=self.uploads, headers=headers))
        expect(self.ask("GET", "/hashmodels"))
        return digest

    def wait_for_ready(self, models: int) -> None:
        """Return when so many models have become ready since the start."""
        wait_until(lambda: self.log().count(" model ready ") >= models, f"{models} models ready")

    def prediction(self, digest: str, sound: bytes, *, ext: str) -> bytes:
        """Return the signed body of a prediction."""
        data = base64.b64encode(sound).decode()
        return self.signed({"model_hash": digest, "ext": ext, "data": data})


@contextmanager
def served(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Lend a server that is not started yet; stop it and remove its folder in the end."""
    with tempfile.TemporaryDirectory(prefix="spectrogrampredictor-benchmark-") as folder:
        server = Server(Path(folder), settings)
        try:
            yield server
        finally:
            server.stop()


def expect(answer: tuple[int, bytes]) -> bytes:
    """Return the body of a success; end the benchmark on anything else."""
    if answer[0] != http.client.OK:
        raise SystemExit(f"the server answered {answer[0]}: {answer[1][:500]!r}")
    return answer[1]


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = 300.0) -> None:
    """Return as soon as a condition holds; end the benchmark at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.05)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return []


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in held]
    for sock in held:
        sock.close()
    return ports
