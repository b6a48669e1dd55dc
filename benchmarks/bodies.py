"""The requests of the benchmarks, made before they are sent; no other file knows their forms."""

import base64
import hashlib
import io
import json
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import itsdangerous
import numpy as np
from numpy.typing import NDArray

from benchmarks.loadgen import post
from server.audio.feature_names import FEATURE_NAMES

PICTURE, ROW = "spectrogram", "features"
PICTURE_SHAPE, ROW_SHAPE = (235, 335, 1), (58,)
JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}
_RATE_HZ = 22_050
_SAMPLES = 661_794


@dataclass(frozen=True, slots=True)
class Tensors:
    """The inputs of one row of the benchmark's model.

    Attributes
    ----------
    picture : np.ndarray, shape (235, 335, 1), float32
    row : np.ndarray, shape (58,), float32
    """

    picture: NDArray[np.float32]
    row: NDArray[np.float32]

    @property
    def raw(self) -> bytes:
        """Both, little-endian, one after the other."""
        return self.picture.tobytes() + self.row.tobytes()

    @property
    def nested(self) -> dict[str, Any]:
        """Both as nested lists."""
        return {PICTURE: self.picture.tolist(), ROW: self.row.tolist()}

    @property
    def base64(self) -> dict[str, Any]:
        """Both as base64 with their shapes."""
        named = {PICTURE: self.picture, ROW: self.row}
        return {
            name: {
                "shape": list(tensor.shape),
                "base64": base64.b64encode(tensor.tobytes()).decode(),
            }
            for name, tensor in named.items()
        }


def tensors(count: int) -> list[Tensors]:
    """Return different inputs."""
    rng = np.random.default_rng(1)
    return [
        Tensors(
            rng.random(PICTURE_SHAPE, dtype=np.float32),
            rng.standard_normal(ROW_SHAPE, dtype=np.float32),
        )
        for _ in range(count)
    ]


def sounds(count: int, *, seconds: float | None = None) -> list[bytes]:
    """Return different sounds: WAV files of 30 s, or shorter, 22,050 Hz, mono, 16 bit."""
    length = _SAMPLES if seconds is None else int(seconds * _RATE_HZ)
    rng = np.random.default_rng(2)
    time_s = np.arange(_SAMPLES) / _RATE_HZ
    y = 0.02 * rng.standard_normal(_SAMPLES)
    for hz in rng.uniform(100, 4000, 16):
        beat_s = rng.uniform(0.2, 1.0)
        y += 0.04 * np.exp(-5 * np.mod(time_s, beat_s)) * np.sin(2 * np.pi * hz * time_s)
    samples = np.rint(y * 32_000).astype("<i2")
    return [_wav(np.roll(samples, 9973 * k)[:length].tobytes()) for k in range(count)]


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(_RATE_HZ)
        writer.writeframes(samples)
    return file.getvalue()


def csv() -> str:
    """Return some feature row, as the original scripts write it."""
    row = np.random.default_rng(3).standard_normal(len(FEATURE_NAMES))
    numbers = ",".join(f"{value:.9f}" for value in row)
    return f",{','.join(FEATURE_NAMES)}\n0,{numbers}\n"


class Requests:
    """Makes whole requests, signed with a token, for a model.

    Parameters
    ----------
    token : str
        The signing token.
    digest : str
        The model.
    """

    def __init__(self, token: str, digest: str) -> None:
        self._serializer = itsdangerous.Serializer(token)
        self._digest = digest
        self._path = f"/v1/models/{digest}/predictions"

    def original(self, songs: Sequence[bytes], *, csv: str = "") -> list[bytes]:
        """Return songs as base64 in signed JSON, on the original path."""
        fields = {"model_hash": self._digest, "ext": "wav"}
        if csv:
            fields["csv"] = base64.b64encode(csv.encode()).decode()
        return [
            post(
                "/prediction",
                self._signed(fields | {"data": base64.b64encode(song).decode()}),
                JSON,
            )
            for song in songs
        ]

    def song(self, songs: Sequence[bytes], *, csv: str = "") -> list[bytes]:
        """Return songs as raw bodies, signed by their digest in a header."""
        fields = {"ext": "wav"} | ({"csv": csv} if csv else {})
        return [self._by_digest(song, "audio/wav", fields) for song in songs]

    def raw(self, inputs: Sequence[Tensors]) -> list[bytes]:
        """Return tensors as raw bodies, signed by their digest in a header."""
        return [self._by_digest(each.raw, OCTETS["Content-Type"], {}) for each in inputs]

    def nested(self, inputs: Sequence[Tensors]) -> list[bytes]:
        """Return tensors as nested lists in signed JSON."""
        return [self._json(each.nested) for each in inputs]

    def base64(self, inputs: Sequence[Tensors]) -> list[bytes]:
        """Return tensors as base64 in signed JSON."""
        return [self._json(each.base64) for each in inputs]

    def _json(self, inputs: dict[str, Any]) -> bytes:
        return post(self._path, self._signed(self._stamp() | {"inputs": inputs}), JSON)

    def _by_digest(self, body: bytes, kind: str, fields: dict[str, Any]) -> bytes:
        signed = self._signed({"sha256": hashlib.sha256(body).hexdigest()} | self._stamp() | fields)
        return post(self._path, body, {"Content-Type": kind, "Signed-Request": signed.decode()})

    def _stamp(self) -> dict[str, Any]:
        return {"_path": self._path, "_ts": int(time.time())}

    def _signed(self, fields: dict[str, Any]) -> bytes:
        text: str = self._serializer.dumps(fields)
        return text.encode()


def answered(body: bytes) -> NDArray[np.float64]:
    """Return the ten numbers of an answer, whichever server gave it."""
    found = json.loads(body)
    while not _are_numbers(found):
        if isinstance(found, dict):
            found = next(found[key] for key in ("outputs", "genre", "data") if key in found)
        else:
            found = found[0]
    return np.asarray(found, np.float64)


def _are_numbers(found: Any) -> bool:
    return isinstance(found, list) and isinstance(found[0], int | float)
