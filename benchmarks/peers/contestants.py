"""The peers: what they need, how they are started, and in which forms they take tensors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import environments, forms
from benchmarks.peers.environments import Environment
from benchmarks.peers.forms import Form

RAW, NESTED, BASE64 = "raw", "json", "base64"
_APPS = "benchmarks.peers.apps"
_ROUTES: Mapping[str, Form] = {
    RAW: forms.raw,
    NESTED: forms.nested("/json"),
    BASE64: forms.in_base64("/json"),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to be measured beside ours.

    Attributes
    ----------
    name : str
        As in the table.
    environment : Environment
        What it needs.
    command : callable
        Takes a free port and an empty folder; returns the program and its arguments.
    forms : mapping of str to callable
        How each form of the tensors is sent to it.
    """

    name: str
    environment: Environment
    command: Callable[[int, Path], list[str]]
    forms: Mapping[str, Form] = field(default_factory=lambda: _ROUTES)


def quart_command(port: int, _folder: Path) -> list[str]:
    """Start the original's way under Hypercorn."""
    options = ["--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    return ["python", "-m", "hypercorn", *options, f"{_APPS}.quart_predict:app"]


def _module(name: str) -> Callable[[int, Path], list[str]]:
    return lambda port, _folder: ["python", "-m", f"{_APPS}.{name}", str(port)]


def _fastapi(port: int, _folder: Path) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return ["uvicorn", *options, "--no-access-log", f"{_APPS}.fastapi_app:app"]


def _mosec(port: int, _folder: Path) -> list[str]:
    options = ["--address", "127.0.0.1", "--port", str(port)]
    limits = ["--timeout", "60000", "--log-level", "error"]
    return ["python", "-m", f"{_APPS}.mosec_app", *options, *limits]


def _bentoml(port: int, _folder: Path) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--timeout", "120"]
    return ["bentoml", "serve", f"{_APPS}.bentoml_app:Genre", *options]


def _ray(port: int, folder: Path) -> list[str]:
    return ["python", "-m", f"{_APPS}.ray_app", str(port), str(folder)]


def _mlserver(port: int, folder: Path) -> list[str]:
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 1,
        "debug": False,
    }
    model = {
        "name": "genre",
        "implementation": f"{_APPS}.mlserver_app.Genre",
        "max_batch_size": 8,
        "max_batch_time": 0.001,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return ["mlserver", "start", str(folder)]


PEERS = (
    Peer("Quart, model.predict", environments.ORIGINAL, quart_command),
    Peer(
        "mosec",
        environments.MOSEC,
        _mosec,
        {RAW: forms.raw, NESTED: forms.nested("/raw"), BASE64: forms.in_base64("/raw")},
    ),
    Peer("FastAPI", environments.FASTAPI, _fastapi),
    Peer(
        "LitServe",
        environments.LITSERVE,
        _module("litserve_app"),
        {NESTED: forms.nested("/predict"), BASE64: forms.in_base64("/predict")},
    ),
    Peer(
        "BentoML",
        environments.BENTOML,
        _bentoml,
        {NESTED: forms.nested_list, BASE64: forms.base64_list},
    ),
    Peer("Ray Serve", environments.RAY, _ray),
    Peer("MLServer", environments.MLSERVER, _mlserver, {NESTED: forms.v2_json}),
    Peer(
        "Triton (pytriton)",
        environments.TRITON,
        _module("triton_app"),
        {RAW: forms.v2_binary, NESTED: forms.v2_json},
    ),
)
NOT_MEASURED = {
    "TensorFlow Serving": "pip has its client only; the server is an apt package or an image",
}
