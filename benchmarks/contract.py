"""Hold the server to what it says of itself in OpenAPI, by schemathesis and signed requests.

    python -m benchmarks.contract SCHEMATHESIS [--examples N] [--phases P,...] [--seed N]

SCHEMATHESIS is the command (`pip install schemathesis httpx itsdangerous` in an environment of its
own). It asks a real server over TLS, with a file of keys, two models and a song; each request is
signed by `benchmarks.contract_hooks` in dialect 2. Other options are handed on. The bar: no answer
of 500 or above, and none that the description does not tell. Exits with what schemathesis says.
"""

import argparse
import base64
import io
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py

from benchmarks.serving import HOST, ROOT, Server, served
from tests.flows.messages import SCOPES
from tests.flows.sounds import encode, song

_KEY = "contract"
_DEMO = ROOT / "examples" / "demo"
# What a right request may be answered with: a name may stand for nothing, a digest for another
# file, a sound may be none. A wrong one is refused in any of these ways, never as anything else.
_CONFIG = """\
[checks]
positive_data_acceptance.expected-statuses = [
    "2xx", "304", "403", "404", "405", "406", "409", "410", "412", "413", "415", "422", "428", "460"
]
negative_data_rejection.expected-statuses = [
    "400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428", "460"
]
missing_required_header.expected-statuses = ["400", "401", "405", "412"]

[phases.stateful]
max-steps = 20
generation.mode = "positive"

# what their members say together, or a setting (of how long tokens last), no schema tells
[[operations]]
include-name = [
    "POST /v1/uploads/{upload}", "PUT /v1/aliases/{name}", "POST /v1/models/{digest}/predictions",
    "POST /v1/tokens", "POST /v1/frontends/{name}", "POST /v1/jobs"
]
checks.positive_data_acceptance.enabled = false

# the hooks make right requests of what schemathesis takes for wrong ones
[[operations]]
include-path-regex = "^/v1/uploads"
checks.negative_data_rejection.enabled = false
"""


def main() -> int:
    """Start a server, host what can be asked, run schemathesis."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("schemathesis", type=Path, help="the command")
    parser.add_argument("--examples", type=int, default=20, help="of an operation (default 20)")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    asked, more = parser.parse_known_args()
    with served() as server:
        folder = server.ca.parents[1]
        keys, secret = write_keys(folder / "keys.json")
        server.set(KEYS_FILE=str(keys), DECODERS="1")
        server.start()
        told: dict[str, Any] = {"key": _KEY, "secret": secret, "sound": str(folder / "song.wav")}
        (folder / "song.wav").write_bytes(encode(song(2.0)))
        told["models"] = host_models(server)
        (folder / "contract.json").write_text(json.dumps(told))
        return ask(asked, more, server, folder)


def write_keys(path: Path) -> tuple[Path, str]:
    """Write a file of one key that may do everything; return its secret, too."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    entry: dict[str, Any] = {"id": _KEY, "algorithm": "hmac-sha256", "secret": secret}
    entry["scopes"] = {scope: ["*"] for scope in SCOPES}
    path.write_text(json.dumps({"keys": [entry]}))
    path.chmod(0o600)
    return path, secret


def host_models(server: Server) -> list[str]:
    """Host a model of sounds, and the same for tensors, under a digest of its own."""
    model = (_DEMO / "genre.h5").read_bytes()
    copy = io.BytesIO(model)
    with h5py.File(copy, "r+") as file:
        file.attrs["contract"] = "tensors"
    manifest = json.loads((_DEMO / "manifest.json").read_text())
    found = [server.host(model, manifest), server.host(copy.getvalue(), {"task": "tensors"})]
    server.wait_for_ready(2)
    return found


def ask(asked: argparse.Namespace, more: list[str], server: Server, folder: Path) -> int:
    """Run schemathesis in the server's folder."""
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG)
    command = [
        str(asked.schemathesis.absolute()),
        *("--config-file", str(config)),
        *("run", f"https://{HOST}:{server.api}/openapi.json"),
        *("--tls-verify", str(server.ca), "--phases", asked.phases),
        *("--max-examples", str(asked.examples), "--seed", str(asked.seed)),
        *("--continue-on-failure", "--request-timeout", "60", *more),
    ]
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "CONTRACT": str(folder / "contract.json"),
        "SCHEMATHESIS_HOOKS": "benchmarks.contract_hooks",
    }
    status = subprocess.run(command, cwd=folder, env=env, check=False).returncode
    faults = [line for line in server.log().splitlines() if "Traceback" in line]
    print(f"faults in the server's log: {len(faults)}")
    return status or bool(faults)


if __name__ == "__main__":
    sys.exit(main())
