"""The server as a child process of the tests, and the clients that ask it."""

import base64
import functools
import hashlib
import io
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import httpx
import itsdangerous
import psutil

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a token that only the flow tests use, 0123456789"
START_S = 60.0
_SERVING = re.compile(r"serving api=(https://\S+) uploads=(https://\S+)")
_DEFAULTS = {
    "API_BIND": "127.0.0.1:0",
    "UPLOAD_BIND": "127.0.0.1:0",
    "SIGNING_TOKEN": TOKEN,
    "SWEEP_INTERVAL_S": "3600",  # only /hashmodels sweeps, where a module does not say otherwise
    "DECODERS": "1",
    "RESIDENT_MODELS": "2",
    "READY_WAIT_S": "100",
}


@functools.cache
def sandbox() -> str:
    """Return what SANDBOX must be for models to run on this machine: `off` where it has none."""
    for setting in ("on", "partial"):
        found = subprocess.run(
            [sys.executable, "-m", "server", "sandbox"],
            cwd=ROOT,
            env=os.environ | {"SANDBOX": setting},
            capture_output=True,
            check=False,
        )
        if found.returncode == 0:
            return setting
    return "off"


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = 30.0) -> None:
    """Return as soon as a condition holds; fail when it still does not at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def form(*contents: bytes, field: str = "model") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Return the files of an upload as the original scripts send them."""
    return [(field, ("model", content, "application/octet")) for content in contents]


def fresh_copy(model: Path) -> bytes:
    """Return an HDF5 model under a digest of its own: Keras ignores other attributes."""
    copy = io.BytesIO(model.read_bytes())
    with h5py.File(copy, "r+") as file:
        file.attrs["fresh"] = secrets.token_hex(16)
    return copy.getvalue()


class Server:
    """A server in a folder of its own; started again it finds what it left there.

    Parameters
    ----------
    folder : Path
        Holds models, staging, temporary files and logs.
    certificates : Path
        Holds `ca.pem`, `server.crt` and `server.key`.
    settings : mapping
        Environment on top of the defaults of the tests; an empty value takes one away.
    """

    def __init__(
        self, folder: Path, certificates: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.uploads_tmp = folder / "uploads_tmp"
        self.scratch = folder / "tmp"
        self.ca = certificates / "ca.pem"
        self.settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CERTS_DIR": str(certificates),
            "MODELS_DIR": str(self.models),
            "UPLOADS_DIR": str(self.uploads_tmp),
            "TMPDIR": str(self.scratch),
            **_DEFAULTS,
            "SANDBOX": sandbox(),
            **(settings or {}),
        }
        self.arguments: list[str] = []  # of the command
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._log_path = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._read_from = 0
        self.api = ""
        self.uploads = ""

    # the process

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in self.settings.items() if value}

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "server", "serve", *self.arguments]

    def launch(self) -> Self:
        """Start the process without waiting for it."""
        self._read_from = self._log_path.stat().st_size if self._log_path.exists() else 0
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def start(self) -> Self:
        """Start the process and wait until both ports answer."""
        process = self.launch().process
        wait_until(
            lambda: _SERVING.search(self.log()) or process.poll() is not None,
            "the ports are served",
            deadline_s=START_S,
        )
        found = _SERVING.search(self.log())
        assert found is not None, self.log()
        self.api, self.uploads = found.groups()
        wait_until(self._listens, "the announced ports accept connections")
        return self

    def _listens(self) -> bool:
        try:
            for url in (self.api, self.uploads):
                address = httpx.URL(url)
                socket.create_connection((address.host, address.port or 443), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was never started"
        return self._process

    def log(self) -> str:
        """Return what the running process has logged so far."""
        with self._log_path.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode("utf-8", "replace")

    def wait_for_log(self, text: str, *, deadline_s: float = 60.0) -> None:
        wait_until(lambda: text in self.log(), f"{text!r} is logged", deadline_s=deadline_s)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the server with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "server", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        if self.process.poll() is None:
            self.terminate()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(timeout=60)

    def close(self) -> None:
        """End it however it takes."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()

    def children(self, module: str = "") -> list[psutil.Process]:
        """Return the living children that were started for a module."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.status() != psutil.STATUS_ZOMBIE and module in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def tree_rss(self) -> int:
        """Return the resident bytes of the process and its children."""
        total = 0
        for process in [psutil.Process(self.process.pid), *self.children()]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    # what lies on disk

    def stored(self) -> set[str]:
        """Return the names of model files."""
        return {path.name for path in self.models.iterdir() if len(path.name) == 64}

    def staged(self) -> list[str]:
        """Return the names in staging, hidden ones too."""
        return sorted(os.listdir(self.uploads_tmp))

    def writing(self) -> list[str]:
        """Return the files in staging that the process holds open without a name."""
        found = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:
                continue
            if target.startswith(str(self.uploads_tmp)) and target.endswith("(deleted)"):
                found.append(target)
        return found

    def left_over(self) -> list[str]:
        """Return every file below the folder for temporary files."""
        return [str(path) for path in self.scratch.rglob("*") if not path.is_dir()]

    # asking it

    def connect(
        self, url: str = "", *, alpn: Sequence[str] = (), source: str = ""
    ) -> ssl.SSLSocket:
        """Open a TLS connection for requests that no client would send, from a local address."""
        trust = self.tls()
        if alpn:
            trust.set_alpn_protocols(list(alpn))
        plain = self.connect_plain(url, source)
        return trust.wrap_socket(plain, server_hostname=httpx.URL(url or self.api).host)

    def connect_plain(self, url: str = "", source: str = "") -> socket.socket:
        """Open a connection without TLS."""
        address = httpx.URL(url or self.api)
        return socket.create_connection(
            (address.host, address.port or 443), timeout=60, source_address=(source, 0)
        )

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def client(self, *, http2: bool = False, timeout_s: float = 110.0) -> httpx.Client:
        """Return a client of the API port; absolute URLs reach the other one."""
        return httpx.Client(
            base_url=self.api, verify=self.tls(), http2=http2, http1=not http2, timeout=timeout_s
        )

    def get(self, path: str) -> httpx.Response:
        with self.client() as http:
            return http.get(path)

    def post(self, path: str, content: bytes | str) -> httpx.Response:
        """Send a body to the API port as it is."""
        with self.client() as http:
            return http.post(path, content=content)

    def post_signed(self, path: str, fields: Any) -> httpx.Response:
        return self.post(path, sign_payload(fields))

    def register(self, digest: str, manifest: Any = None) -> httpx.Response:
        fields = {"hash": digest} if manifest is None else {"hash": digest, "manifest": manifest}
        return self.post_signed("/registermodelhash", fields)

    def upload(self, *contents: bytes) -> httpx.Response:
        """Send unsigned files to the upload port."""
        with self.client() as http:
            return http.post(self.uploads + "/nodemodeluploads", files=form(*contents))

    def upload_signed(self, *contents: bytes, path: str = "/uploadmodel") -> httpx.Response:
        with self.client() as http:
            return http.post(path, files=form(*(sign_file(content) for content in contents)))

    def sweep(self) -> list[str]:
        answer = self.get("/hashmodels")
        assert answer.status_code == 200, answer.text
        hashes: list[str] = answer.json()["hashes"]
        return hashes

    def host(self, model: bytes, manifest: Any = None) -> str:
        """Register and upload a model as a notebook does; return its digest."""
        digest = digest_of(model)
        assert self.register(digest, manifest).status_code == 200
        assert self.upload(model).status_code == 200
        self.sweep()
        assert digest in self.stored()
        return digest

    def predict(
        self, digest: str, sound: bytes, *, ext: str | None = "wav", csv: bytes | None = None
    ) -> httpx.Response:
        """Ask for a prediction."""
        return self.post("/prediction", prediction_body(digest, sound, ext=ext, csv=csv))


def prediction_body(
    digest: str, sound: bytes, *, ext: str | None = "wav", csv: bytes | None = None
) -> str:
    """Return the signed body of a prediction."""
    fields = {"model_hash": digest, "data": base64.b64encode(sound).decode()}
    if ext is not None:
        fields["ext"] = ext
    if csv is not None:
        fields["csv"] = base64.b64encode(csv).decode()
    return sign_payload(fields)


def sign_payload(fields: Any, *, token: str = TOKEN) -> str:
    signed = itsdangerous.Serializer(token).dumps(fields)
    return signed if isinstance(signed, str) else signed.decode()


def once_at(path: str) -> dict[str, Any]:
    """Return the fields that bind a payload of dialect 1 to a path, a time and one use."""
    return {"_path": path, "_ts": time.time(), "_nonce": secrets.token_urlsafe(16)}


def sign_text(text: str | bytes, *, token: str = TOKEN) -> bytes:
    """Sign a payload whose JSON was written by hand."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return itsdangerous.Signer(token, salt=b"itsdangerous").sign(raw)


def sign_file(content: bytes, *, token: str = TOKEN) -> bytes:
    return itsdangerous.Signer(token).sign(content)


def probabilities(answer: httpx.Response, *, tolerance: float = 1e-5) -> list[float]:
    """Return the ten numbers of a prediction, whose whole form is checked."""
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["array"]
    (row,) = answer.json()["array"]
    assert len(row) == 10
    assert abs(sum(row) - 1) < tolerance
    return [float(value) for value in row]


def difference(one: list[float], two: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, two, strict=True))


def multipart(*parts: bytes, boundary: str = "edge", ending: bytes = b"--\r\n") -> bytes:
    """Join parts, each with its headers and its empty line, to a form."""
    edge = b"--" + boundary.encode()
    return b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts) + edge + ending


def file_part(content: bytes, *, field: str = "model", filename: str = "model") -> bytes:
    head = f'Content-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: application/octet\r\n\r\n" + content


def request_head(path: str, length: int, *, content_type: str) -> bytes:
    """Return the head of a POST in HTTP/1.1."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


FORM_TYPE = "multipart/form-data; boundary=edge"


def problem_of(answer: httpx.Response, status: int) -> str:
    """Return the slug of a problem, whose form is checked."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.content)
    assert body["status"] == status
    assert set(body) >= {"type", "title", "status", "detail", "instance"}
    return str(body["type"]).removeprefix("/problems/")
