"""Good inputs for each target, from which a fuzzer begins."""

import hashlib
from collections.abc import Iterable
from typing import Any

import itsdangerous
import numpy as np

from server.audio.feature_names import FEATURE_NAMES
from server.signing.message import FIELDS
from server.signing.principal import Scope
from tests.flows.sounds import encode, song
from tests.fuzz.targets import BOUNDARY, NOW, SECRET, TOKEN, TOKENS
from tests.gate.files import given, h5_file, keras_file, layer, sequential
from tests.gate.onnx_files import honest, written
from tests.signing.messages import Request, hmac_signer, signed

_DIGEST = hashlib.sha256(b"a song").hexdigest()


def seeds(target: str) -> list[bytes]:
    """Return the good inputs of a target."""
    return list(_SEEDS[target]())


def _gate() -> Iterable[bytes]:
    dense = layer("Dense", "dense", units=3, activation="softmax")
    config = sequential(given(4), dense)
    yield keras_file(config, (4, 3), (3,))
    yield h5_file()
    yield written(honest())
    yield b"\x89HDF\r\n\x1a\n" + bytes(40)


def _multipart() -> Iterable[bytes]:
    part = (
        b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    end = b"\r\n--" + BOUNDARY + b"--\r\n"
    for size in (b"\x00", b"\x05", b"\x1b"):
        yield size + part + b"some bytes" + end
        yield size + part + b"\r\n--edg" + b"\r\n" + part + b"more" + end + b"epilogue"
        yield size + b"preamble\r\n" + part + end


def _signature() -> Iterable[bytes]:
    serializer: Any = itsdangerous.Serializer(TOKEN)
    bound = {"sha256": _DIGEST, "_path": "/p", "_ts": int(NOW) - 5, "ext": "wav", "_nonce": "n" * 9}
    yield b"\x00" + serializer.dumps(bound).encode()
    yield b"\x01" + itsdangerous.Signer(TOKEN).sign(
        b"a file of some bytes, which goes on for a while"
    )
    yield b"\x02" + serializer.dumps({"hash": _DIGEST, "manifest": {"task": "genre"}}).encode()
    timed: Any = itsdangerous.TimedSerializer(TOKEN)
    yield b"\x02" + timed.dumps({"hash": _DIGEST}).encode()
    request = signed(Request(authority="here", path="/p"), hmac_signer("shared", SECRET), now=NOW)
    lines = [request.headers.get(name, "") for name in FIELDS]
    yield b"\x03" + "\n".join(lines).encode()
    granted = {Scope.PREDICT: ("*",)}
    minted = TOKENS.mint("shared", granted, ttl_s=60, max_bytes=1000, material=SECRET)
    yield b"\x04" + minted.text.encode()


def _fields() -> Iterable[bytes]:
    yield b'{"model_hash": "00", "ext": "wav", "data": "UklGRg==", "csv": ""}'
    yield b'{"hash": "00", "manifest": {"task": "genre", "labels": ["a", "b"], "n": [1, 2.5e3]}}'
    yield b'{"_path": "/p", "_ts": 1, "inputs": {"x": [[1, 2], [3, -4.5e-7]]}}'
    yield b'{"inputs": {"x": {"shape": [2, 2], "base64": "AAAAAA=="}}}'


def _audio() -> Iterable[bytes]:
    y = song(0.05)
    for fmt in ("WAV", "AIFF", "AU", "FLAC", "OGG"):
        yield encode(y, fmt=fmt)
    yield encode(np.stack([y, y], axis=1), 44_100, subtype="FLOAT")
    yield encode(song(0.2), fmt="MP3")
    yield encode(y, 48_000, fmt="OGG", subtype="OPUS")


def _row() -> Iterable[bytes]:
    numbers = ",".join("0.5" for _ in FEATURE_NAMES)
    yield f"{','.join(FEATURE_NAMES)}\n{numbers}\n".encode()
    yield f",{','.join(FEATURE_NAMES)}\n0,{numbers}\n".encode()


def _http() -> Iterable[bytes]:
    for size in (b"\x00", b"\x06", b"\x3f"):
        yield size + b"GET /test HTTP/1.1\r\nHost: h\r\n\r\nGET /readyz HTTP/1.1\r\nHost: h\r\n\r\n"
        yield size + b"POST /p?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
        chunks = b"5;x=y\r\nhello\r\n3\r\nyou\r\n0\r\nX-Trailer: t\r\n\r\n"
        yield size + b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        yield size + b"PUT https://h/p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n"


_SEEDS = {
    "gate": _gate,
    "multipart": _multipart,
    "signature": _signature,
    "fields": _fields,
    "audio": _audio,
    "row": _row,
    "http": _http,
}
