"""The main job in one go: start a server, host a model, ask it for the genre of a song.

``./scripts/demo`` runs this after the set-up. It does what a model owner does, over TLS and signed:
test, register, upload, sweep, predict.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import itsdangerous

HERE = Path(__file__).parent
MODEL = HERE / "demo" / "genre.h5"
MANIFEST = HERE / "demo" / "manifest.json"
SONG = HERE / "demo" / "own12s.flac"
_SERVING = re.compile(r" serving api=(\S+) uploads=(\S+)")
_START_S = 60.0
_STOP_S = 15.0
_BAR = 32


class DemoServer:
    """A server of the demo's own: its folder, process and addresses."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spectrogrampredictor-demo-"))
        self.token = secrets.token_hex(32)
        self.ca_file = self.folder / "certs" / "ca.pem"
        self.log = self.folder / "server.log"
        command = [sys.executable, "-m", "server"]
        root = HERE.parent
        subprocess.run(
            [*command, "devcert", str(self.folder / "certs")],
            check=True,
            cwd=root,
            stdout=subprocess.DEVNULL,
        )
        environment = os.environ | {
            "SIGNING_TOKEN": self.token,
            "CERTS_DIR": str(self.folder / "certs"),
            "MODELS_DIR": str(self.folder / "models"),
            "UPLOADS_DIR": str(self.folder / "uploads_tmp"),
            "API_BIND": "127.0.0.1:0",
            "UPLOAD_BIND": "127.0.0.1:0",
        }
        environment |= _sandbox([*command, "sandbox"])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "serve"],
                cwd=root,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.api, self.uploads = self._addresses()

    def _addresses(self) -> tuple[str, str]:
        deadline = time.monotonic() + _START_S
        while (found := _SERVING.search(self.log.read_text())) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        return found[1], found[2]

    def stop(self) -> None:
        """Stop the server as an operator would, and remove its folder."""
        self.process.terminate()
        code = self.process.wait(_STOP_S)
        shutil.rmtree(self.folder)
        step(f"server stopped (exit code {code})")


def _sandbox(question: list[str]) -> dict[str, str]:
    """Return the setting that lets the demo's own model run on a machine without a sandbox."""
    if "SANDBOX" in os.environ or not (missing := _refused(question, "on")):
        return {}
    setting = "off" if _refused(question, "partial") else "partial"
    print(f"  !!  {missing}: the demo's own model runs with SANDBOX={setting}")
    return {"SANDBOX": setting}


def _refused(question: list[str], setting: str) -> str:
    """Return why models are refused here under a setting; nothing where they are not."""
    environment = os.environ | {"SANDBOX": setting}
    asked = subprocess.run(
        question, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode else ""


def step(text: str) -> None:
    """Print one finished step."""
    print(f"  ok  {text}", flush=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something slow is under way."""
    done = threading.Event()

    def show_seconds() -> None:
        seconds = 0
        while not done.wait(2):
            seconds += 2
            print(f"  ..  {text}, {seconds} s", flush=True)

    print(f"  ..  {text}", flush=True)
    thread = threading.Thread(target=show_seconds, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def walk(server: DemoServer) -> None:
    """Do the whole workflow and print each step."""
    serializer = itsdangerous.Serializer(server.token)
    trust = ssl.create_default_context(cafile=server.ca_file)
    with httpx.Client(verify=trust, timeout=120) as http:

        def call(method: str, url: str, **arguments: object) -> httpx.Response:
            answer = http.request(method, url, **arguments)  # type: ignore[arg-type]  # httpx's own
            while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                time.sleep(int(answer.headers["Retry-After"]))
                answer = http.request(method, url, **arguments)  # type: ignore[arg-type]
            if answer.is_error:
                raise SystemExit(f"{method} {url} -> {answer.status_code}: {answer.text}")
            return answer

        for url in (server.api, server.uploads):
            step(f"GET {url}/test -> {call('GET', url + '/test').text}")

        model = MODEL.read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        manifest = json.loads(MANIFEST.read_text())
        signed = serializer.dumps({"hash": digest, "manifest": manifest})
        answer = call("POST", server.api + "/registermodelhash", content=signed)
        step(f"register {digest[:12]}... -> {answer.text}")

        files = [("model", (MODEL.name, model))]
        answer = call("POST", server.uploads + "/nodemodeluploads", files=files)
        step(f"upload {len(model):,} bytes -> {answer.text}")

        promoted = call("GET", server.api + "/hashmodels").json()["hashes"]
        step(f"sweep -> {len(promoted)} promoted")

        song = {
            "model_hash": digest,
            "ext": SONG.suffix[1:],
            "data": base64.b64encode(SONG.read_bytes()).decode(),
        }
        started = time.monotonic()
        with waiting("predict: the model is judged and loaded first"):
            answer = call("POST", server.api + "/prediction", content=serializer.dumps(song))
        step(f"predict {SONG.name} -> {time.monotonic() - started:.1f} s, the first time")
        started = time.monotonic()
        answer = call("POST", server.api + "/prediction", content=serializer.dumps(song))
        step(f"predict again -> {(time.monotonic() - started) * 1000:.0f} ms")
        show(answer, digest, manifest["labels"])


def show(answer: httpx.Response, digest: str, labels: list[str]) -> None:
    """Print the probabilities as bars."""
    (row,) = answer.json()["array"]
    print()
    for label, probability in zip(labels, row, strict=True):
        bar = "#" * round(probability * _BAR)
        print(f"  {label:<10}{probability:7.4f}  {bar}")
    print(f"\n  model      {digest}")
    for name in ("Prediction-Frontends", "Prediction-Window", "Prediction-Features"):
        print(f"  {name.split('-')[1].lower():<10} {answer.headers[name]}")
    print("  For demonstration only: see examples/demo/MODEL_CARD.md.\n", flush=True)


def keep(server: DemoServer) -> None:
    """Say how to go on by hand with the server that is left running."""
    print(f"""The server is left running. To try it by hand:

export BASE_URL={server.api} UPLOAD_URL={server.uploads}
export CA_FILE={server.ca_file}
export SIGNING_TOKEN={server.token}
export MODEL={MODEL} SONG={SONG}
curl --cacert $CA_FILE $BASE_URL/test
{sys.executable} {HERE / "original" / "predict.py"}

kill {server.process.pid}; rm -r {server.folder}    # when you are done""")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    options = parser.parse_args()
    print("A model server for audio: from nothing to a prediction\n", flush=True)
    server = DemoServer()
    done = False
    try:
        step(f"server started, its log is {server.log}")
        walk(server)
        done = True
    finally:
        if not (options.keep and done):
            server.stop()
    if options.keep:
        keep(server)


if __name__ == "__main__":
    main()
