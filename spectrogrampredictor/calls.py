"""What a client does, step by step, without doing it.

A call is a generator: it yields what is to be asked, waited for or worked out, and is sent what
came of it. `Line` takes the steps one after the other, `AsyncLine` awaits them; what a call means
stands here, once.
"""

import json
import os
import secrets
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from spectrogrampredictor.answers import (
    Model,
    Page,
    Prediction,
    Sweep,
    Token,
)
from spectrogrampredictor.files import FileBody, Progress
from spectrogrampredictor.frontends import Frontend, FrontendTensor
from spectrogrampredictor.problems import ModelDisabled, ModelRejected, ScopeMissing
from spectrogrampredictor.steps import Ask, Pause, Steps, Work
from spectrogrampredictor.uploads import BYTES, Memory, is_held, send

ModelName = str | Model
Manifest = Mapping[str, Any] | str | os.PathLike[str]
Windows = Literal["middle", "mean"]
Sound = bytes | str | os.PathLike[str]
Rows = Iterable[str | os.PathLike[str] | None] | None
RECEIPT = "Prediction-Receipt"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


def register(digest: str, manifest: Manifest | None) -> Steps[Model]:
    """Say that a digest may become a model."""
    fields: dict[str, Any] = {"digest": digest}
    if manifest is not None:
        fields["manifest"] = yield Work(lambda: _manifest(manifest))
    answer = yield Ask("POST", "/v1/models", fields=fields, headers=once())
    return Model.of(answer.json())


def push(
    path: str | os.PathLike[str],
    manifest: Manifest | None,
    *,
    wait_s: float,
    progress: Progress | None,
    memory: Memory | None,
) -> Steps[Model]:
    """Register a file and send it, unless the server has it."""
    file: FileBody = yield Work(lambda: FileBody.of(path, progress))
    model = yield from register(file.sha256, manifest)
    if (yield from is_held(file.sha256)):
        file.tell(file.size)
    else:
        yield from send(file, memory)
    try:
        return (yield from wait(model, wait_s) if wait_s else one(model))
    except ScopeMissing:  # a key that may not read sees no more
        return model


def wait(model: ModelName, wait_s: float) -> Steps[Model]:
    """Wait until a model is ready."""
    pause_s, waited_s = _FIRST_PAUSE_S, 0.0
    while not (found := (yield from one(model))).is_settled:
        if waited_s >= wait_s:
            raise TimeoutError(f"the model is still {found.state} after {waited_s:.0f} s")
        yield Pause(pause_s)
        waited_s += pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    if found.state == "rejected":
        raise ModelRejected(422, ModelRejected.slug, "The model was rejected", found.reason or "")
    if found.state == "disabled":
        raise ModelDisabled(409, ModelDisabled.slug, "The model is disabled", found.reason or "")
    return found


def one(model: ModelName) -> Steps[Model]:
    """Look a model up."""
    answer = yield Ask("GET", path_of(model))
    return Model.of(answer.json())


def page(*, limit: int, after: str | None, state: str | None) -> Steps[Page]:
    """Look through the models."""
    query = {"limit": str(limit), "after": after, "state": state}
    given = {name: value for name, value in query.items() if value is not None}
    answer = yield Ask("GET", "/v1/models", query=given)
    return Page.of(answer.json())


def switch(model: ModelName, state: str, reason: str | None) -> Steps[Model]:
    """Switch a model on or off."""
    fields = {"state": state} if reason is None else {"state": state, "reason": reason}
    answer = yield Ask("PATCH", path_of(model), fields=fields)
    return Model.of(answer.json())


def remove(model: ModelName) -> Steps[None]:
    """Remove a model with its files."""
    yield Ask("DELETE", path_of(model))


def predict(
    model: ModelName,
    sound: Sound,
    *,
    csv: str | os.PathLike[str] | None,
    ext: str | None,
    features: bool,
    receipt: bool,
    windows: Windows | None = None,
) -> Steps[Prediction]:
    """Ask a model about a sound."""
    data: bytes = yield Work(lambda: content_of(sound))
    wanted = {"receipt": receipt, "features": features}
    query = {name: "1" for name, asked in wanted.items() if asked}
    if ext is not None:
        query["ext"] = ext
    if windows is not None:
        query["windows"] = windows
    if csv is not None:
        query["csv"] = yield Work(lambda: row_of(csv))
    answer = yield Ask(
        *("POST", f"{path_of(model)}/predictions"),
        query=query,
        body=data,
        headers={"Content-Type": BYTES},
    )
    return _prediction(answer)


def predict_tensors(
    model: ModelName, inputs: Mapping[str, Any], *, receipt: bool
) -> Steps[Prediction]:
    """Ask a model about its own input tensors."""
    lists = {name: _lists(value) for name, value in inputs.items()}
    answer = yield Ask(
        *("POST", f"{path_of(model)}/predictions"),
        query={"receipt": "1"} if receipt else {},
        fields={"inputs": lists},
    )
    return _prediction(answer)


def frontends() -> Steps[list[Frontend]]:
    """List what models may be fed with."""
    answer = yield Ask("GET", "/v1/frontends")
    return [Frontend.of(said) for said in answer.json()["frontends"]]


def compute(
    frontend: str, sound: Sound, *, height: int | None, width: int | None
) -> Steps[FrontendTensor]:
    """Have a frontend work on a sound."""
    data: bytes = yield Work(lambda: content_of(sound))
    sides = {"height": height, "width": width}
    answer = yield Ask(
        *("POST", f"/v1/frontends/{named(frontend)}"),
        query={axis: str(side) for axis, side in sides.items() if side is not None},
        body=data,
        headers={"Content-Type": BYTES},
    )
    return FrontendTensor.of(answer.json())


def mint_token(
    scopes: Sequence[str], *, models: str | None, ttl_s: int | None, max_bytes: int | None
) -> Steps[Token]:
    """Make a bearer token."""
    told = {"models": models, "ttl_s": ttl_s, "max_bytes": max_bytes}
    fields = {"scopes": list(scopes)} | {k: v for k, v in told.items() if v is not None}
    answer = yield Ask("POST", "/v1/tokens", fields=fields, headers=once())
    said = answer.json()
    return Token(said["token"], said["expires"])


def sweep() -> Steps[Sweep]:
    """Promote and discard uploads now."""
    said = (yield Ask("POST", "/v1/sweeps", fields={}, headers=once())).json()
    return Sweep(tuple(said["promoted"]), said["discarded"], said["left"])


def receipt_keys() -> Steps[dict[str, Any]]:
    """Fetch the keys that verify receipts."""
    answer = yield Ask("GET", "/.well-known/spectrogrampredictor-receipts")
    keys: dict[str, Any] = answer.json()
    return keys


def once() -> dict[str, str]:
    """Return what makes a request count once, however often it is sent."""
    return {"Idempotency-Key": secrets.token_urlsafe(16)}


def named(text: str) -> str:
    """Return a name as a part of a path."""
    return urllib.parse.quote(text, safe="")


def path_of(model: ModelName) -> str:
    """Return the path of a model."""
    return f"/v1/models/{named(model if isinstance(model, str) else model.digest)}"


def _prediction(answer: Any) -> Prediction:
    receipt = answer.headers.get(RECEIPT)
    return Prediction.of(answer.json(), receipt=receipt, body=answer.content)


def _manifest(manifest: Manifest) -> Mapping[str, Any]:
    if isinstance(manifest, Mapping):
        return manifest
    read: Mapping[str, Any] = json.loads(Path(manifest).read_bytes())
    return read


def content_of(sound: Sound) -> bytes:
    """Return the bytes of a sound."""
    return sound if isinstance(sound, bytes) else Path(sound).read_bytes()


def row_of(csv: str | os.PathLike[str]) -> str:
    """Return the text of a feature row."""
    return csv if isinstance(csv, str) else Path(csv).read_text()


def _lists(value: Any) -> Any:
    """Return nested lists; an array of numpy's becomes such."""
    return value.tolist() if hasattr(value, "tolist") else value
