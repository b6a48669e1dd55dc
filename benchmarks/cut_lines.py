"""Have stock tus clients upload a model through a line that is cut twenty times.

    python -m benchmarks.cut_lines [--mb SIZE] [--cuts N] [--node DIR] [--kill]

tuspy, and with `--node DIR` also tus-js-client (`npm install tus-js-client` there), upload through
a proxy that resets the connection again and again. With `--kill` the server is killed once, in the
middle, and started again. The bar: each upload ends, and the stored file has the digest that was
registered. Exits with 1 if one does not.
"""

import argparse
import hashlib
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from tusclient.client import TusClient

from benchmarks.serving import HOST, Server
from tests.flows.cutting import CuttingProxy

_SCRIPT = Path(__file__).with_name("tus_upload.mjs")
_RETRIES = 60
_RETRY_S = 1
_TIMEOUT_S = 300.0
_LOOK_S = 0.05
Upload = Callable[[str, Path, str], None]


def main() -> int:
    """Upload with each client and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=300, help="size of the model (default 300)")
    parser.add_argument("--cuts", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--node", type=Path, help="a folder that has tus-js-client")
    parser.add_argument("--kill", action="store_true", help="kill -9 the server in the middle")
    asked = parser.parse_args()
    clients = ["tuspy", *(["tus-js-client"] if asked.node else [])]
    print("| client | MB | cuts | kill -9 | seconds | digest equal |\n|---|---|---|---|---|---|")
    missed = False
    for seed, name in enumerate(clients):
        with tempfile.TemporaryDirectory() as folder:
            made = random.Random(seed)
            data = b"".join(made.randbytes(1_000_000) for _ in range(asked.mb))
            began = time.monotonic()
            cuts, kills, is_equal = upload_through_cuts(
                Path(folder), data, name, asked.cuts, asked.node, is_killed=asked.kill
            )
            took = time.monotonic() - began
        word = "yes" if is_equal else "NO"
        print(f"| {name} | {asked.mb} | {cuts} | {kills} | {took:.0f} | {word} |", flush=True)
        missed |= not is_equal or cuts != asked.cuts or kills != asked.kill
    return int(missed)


def upload_through_cuts(
    folder: Path, data: bytes, name: str, cuts: int, node: Path | None, *, is_killed: bool
) -> tuple[int, int, bool]:
    """Upload once; return the cuts and kills that came, and whether the model is stored whole."""
    digest = hashlib.sha256(data).hexdigest()
    source = folder / "model"
    source.write_bytes(data)
    server = Server(folder)
    server.start()
    try:
        server.register(digest)
        proxy = CuttingProxy((HOST, server.api), cut_after=len(data) // (cuts + 2), cuts=cuts)
        bearer = token(server)
        with proxy, killed_in_the_middle(server, len(data), is_killed) as kills:
            endpoint = f"https://{HOST}:{proxy.port}/v1/uploads"
            if name == "tuspy":
                with_tuspy(server, endpoint, source, digest, bearer)
            else:
                command = [str(_SCRIPT), endpoint, str(source), digest]
                with_node(server, command, bearer, node or Path())
        stored = server.models / digest
        is_equal = stored.exists() and hashlib.sha256(stored.read_bytes()).hexdigest() == digest
        return cuts - proxy.cuts, len(kills), is_equal
    finally:
        server.stop()


def token(server: Server) -> str:
    """Have a token minted that may upload."""
    asked = {"scopes": ["upload"], "_path": "/v1/tokens", "_ts": int(time.time())}
    asked["_nonce"] = secrets.token_urlsafe(16)
    status, body = server.ask("POST", "/v1/tokens", server.signed(asked))
    assert status == 200, body
    return str(json.loads(body)["token"])


def with_tuspy(server: Server, endpoint: str, source: Path, digest: str, bearer: str) -> None:
    """Upload with tuspy."""
    os.environ["REQUESTS_CA_BUNDLE"] = str(server.ca)
    headers = {"Authorization": f"Bearer {bearer}"}
    uploader = TusClient(endpoint, headers=headers).uploader(
        str(source), metadata={"sha256": digest}, retries=_RETRIES, retry_delay=_RETRY_S
    )
    uploader.upload()


def with_node(server: Server, command: list[str], bearer: str, node: Path) -> None:
    """Upload with tus-js-client."""
    env = os.environ | {"BEARER": bearer, "NODE_EXTRA_CA_CERTS": str(server.ca)}
    subprocess.run(["node", *command], cwd=node, env=env, check=True, timeout=_TIMEOUT_S)


@contextmanager
def killed_in_the_middle(server: Server, size: int, is_killed: bool) -> Iterator[list[int]]:
    """Kill the server once when half of the bytes have come, and start it again."""
    over, kills = threading.Event(), list[int]()

    def kill() -> None:
        while is_killed and not over.wait(_LOOK_S):
            if received(server) > size // 2:
                process = server.web
                process.kill()
                psutil.wait_procs([process], timeout=20)
                server.start()
                kills.append(process.pid)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield kills
    finally:
        over.set()
        thread.join()


def received(server: Server) -> int:
    """Return how many bytes lie in staging."""
    return sum(file.stat().st_size for file in server.staging.rglob("*") if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
