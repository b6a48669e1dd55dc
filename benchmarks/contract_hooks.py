"""What schemathesis is told about the server: who asks, and names and bodies that mean something.

Loaded by schemathesis, in an environment of its own: see `benchmarks.contract`.
"""

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import requests
import schemathesis  # type: ignore[import-not-found]  # it is not in the project's environment
from hypothesis import strategies as st

from spectrogrampredictor.auth import HmacKey

_TOLD = json.loads(Path(os.environ["CONTRACT"]).read_text())
_SOUND = Path(_TOLD["sound"]).read_bytes()
_FILES: dict[str, bytes] = {
    hashlib.sha256(data).hexdigest(): data
    for data in (b"a file that is no model, number %d" % number for number in range(8))
}
_UPLOADS: dict[str, tuple[int, bytes]] = {}  # where each stands, and what it will be
_HOSTED: list[str] = _TOLD["models"]  # one takes sounds, one tensors
_FRONTENDS = ["gtzan-58@1", "kaggle-gtzan@1", "mel-235x335@1"]
_ALIASES = ["best", "other"]
_FILE, _PART = "application/octet-stream", "application/offset+octet-stream"
_CHANGING = {"DELETE", "PATCH"}


class Signed(requests.auth.AuthBase):
    """Signs what is sent in dialect 2, with the authentication of our client."""

    def __init__(self, key: HmacKey) -> None:
        self._key = key

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is complete."""
        request = httpx.Request(
            prepared.method or "",
            prepared.url or "",
            headers=list(prepared.headers.items()),
            content=prepared.body,
        )
        signed = next(self._key.sync_auth_flow(request))
        for name in ("Content-Type", "Content-Digest", "Signature-Input", "Signature"):
            if name in signed.headers:
                prepared.headers[name] = signed.headers[name]
        return prepared


def _lot(value: Any) -> int:
    """Draw a number from a value: the same one each time, as shrinking wants it."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _metadata(digest: str) -> str:
    return f"sha256 {base64.b64encode(digest.encode()).decode()}"


_TOLD_AS = {_metadata(digest): data for digest, data in _FILES.items()}


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{64}", value) is not None


def _names_for(method: str, path: str) -> list[str]:
    if path.startswith("/v1/aliases"):
        return _ALIASES
    if path.startswith("/v1/frontends"):
        return _FRONTENDS
    if method in _CHANGING or path.endswith("/file"):  # the hosted ones are to stay
        return list(_FILES)
    return _HOSTED if path.endswith("/predictions") else [*_HOSTED, *_FILES]


def known_path(context: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Have half of the paths name something that there is."""
    if not parameters:
        return parameters
    method, path = context.operation.method.upper(), context.operation.path
    key = "digest" if "{digest}" in path else "name"
    lot = _lot(parameters)
    if lot % 2 or not isinstance(parameters.get(key), str):
        return parameters
    names = _names_for(method, path)
    return parameters | {key: names[lot // 2 % len(names)]}


def known_body(context: Any, body: Any) -> Any:
    """Have most bodies that name a digest name one that there may be."""
    lot = _lot(body)
    if not isinstance(body, dict) or not _is_digest(body.get("digest")) or lot % 4 == 0:
        return body
    known = _HOSTED if "aliases" in context.operation.path else list(_FILES)
    return body | {"digest": known[lot // 4 % len(known)]}


def right_file(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Send the file that a path names, half of the time."""
    name = (case.path_parameters or {}).get("name")
    if case.media_type == _FILE and name in _FILES and _lot(case.id) % 2:
        case.body = _FILES[name]


def right_upload(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Begin an upload of a file that is registered, or go on with one that was begun."""
    path, method, lot = case.operation.path, case.operation.method.upper(), _lot(case.id)
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative  # and is to stay so
    if not path.startswith("/v1/uploads") or lot % 4 == 0 or not case.headers or is_wrong:
        return
    if path == "/v1/uploads":
        digest = list(_FILES)[lot // 4 % len(_FILES)]
        case.headers["Upload-Length"] = str(len(_FILES[digest]))
        case.headers["Upload-Metadata"] = _metadata(digest)
        if case.media_type == _PART:
            case.body = _FILES[digest][: lot // 4 % 40]
    elif _UPLOADS:
        upload = list(_UPLOADS)[lot // 4 % len(_UPLOADS)]
        case.path_parameters["upload"] = upload
        at, whole = _UPLOADS[upload]
        if method != "DELETE" and case.media_type == _PART:
            case.headers["Upload-Offset"] = str(at)
            case.body = whole[at : at + 1 + lot % 40]


def learnt_upload(_context: Any, case: Any, response: Any) -> None:
    """Remember where uploads stand."""
    if not case.operation.path.startswith("/v1/uploads"):
        return
    said = {name.lower(): values[0] for name, values in response.headers.items()}
    named = str((case.headers or {}).get("Upload-Metadata", ""))
    if "location" in said and (file := _TOLD_AS.get(named)) is not None:
        _UPLOADS[said["location"].rpartition("/")[2]] = int(said["upload-offset"]), file
    upload = (case.path_parameters or {}).get("upload")
    if upload in _UPLOADS and "upload-offset" in said:
        _UPLOADS[upload] = int(said["upload-offset"]), _UPLOADS[upload][1]


def as_they_are(_context: Any, value: Any) -> dict[str, bytes]:
    """Send bytes as they are, and anything else as its JSON."""
    if isinstance(value, bytes):
        return {"data": value}
    if hasattr(value, "data"):  # schemathesis' own kind of bytes
        return {"data": value.data}
    return {"data": (value if isinstance(value, str) else json.dumps(value)).encode()}


def first_line(_context: Any, response: Any) -> Any:
    """Return the first of some lines of JSON, for the schema of each."""
    return json.loads(response.content.partition(b"\n")[0])


schemathesis.auth.set_from_requests(Signed(HmacKey(_TOLD["key"], _TOLD["secret"])))
schemathesis.hook("map_path_parameters")(known_path)
schemathesis.hook("map_body")(known_body)
schemathesis.hook("before_call")(right_file)
schemathesis.hook("before_call")(right_upload)
schemathesis.hook("after_call")(learnt_upload)
schemathesis.openapi.media_type(
    "audio/*",
    st.binary(max_size=256) | st.just(_SOUND) | st.integers(1, 99).map(_SOUND.__getitem__),
)
schemathesis.openapi.media_type(_PART, st.binary(max_size=256), aliases=[_FILE])
schemathesis.deserializer("application/x-ndjson")(first_line)
schemathesis.serializer(_PART, _FILE, "audio/*")(as_they_are)
