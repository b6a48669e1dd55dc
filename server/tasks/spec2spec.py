"""Spectrogram to spectrogram: music made into other music by a pix2pix generator.

::

    sound --tiles of 5.94 s--> mel power [256, 256] --scaled--> model or baseline
    model's mel --unscaled--> inverse --> Griffin-Lim, or the input's phase --> cross-fade --> wav
    both mels --> pictures

A model is fed ``(mel - mean) / scale`` and its answer is ``scale * answer + mean``; without a
manifest that says otherwise both are 127.5. The baseline is fed the mel power itself. A tile of a
long sound begins with the phase in which the last one ends, so that the two do not cancel each
other while one fades into the other.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.audio.mel import mel_frequencies
from server.audio.spectrum import HOP_LENGTH, SAMPLE_RATE_HZ, too_short
from server.audio.stretches import Stretches
from server.errors import BadModel
from server.synthesis.griffin_lim import griffin_lim, random_phase, stft
from server.synthesis.inverse import magnitudes
from server.synthesis.mel_tile import BANDS, FRAMES, TILE, mel_power
from server.synthesis.picture import Strip
from server.synthesis.tiles import FRAME_HOP, TILE_HOP, Joiner
from server.tasks.binding import bind_form
from server.tasks.contract import Artifact, Contract, Form, Parameter, Signature, TensorSpec, Window
from server.tasks.task import Assignment, Step, Task, Tensors

MIN_SECONDS = 0.1
SCALE = 127.5
_UNSTATED = 600 * SAMPLE_RATE_HZ  # what progress is measured against where a header says nothing
_WARM_FRAMES = (TILE - TILE_HOP) // HOP_LENGTH - 1  # that lie whole within what tiles share
_MOST_POWER = np.float32(1e12)  # louder than any sound, and its square root's sums are finite
_TILT_DB_PER_OCTAVE = 3.0
_TILT_FROM_HZ, _PIVOT_HZ = 62.5, 1000.0

_MEL = TensorSpec("mel", (None, BANDS, FRAMES, 1), "float32")

CONTRACT = Contract(
    name="spec2spec",
    sample_rate_hz=SAMPLE_RATE_HZ,
    min_seconds=MIN_SECONDS,
    frontends=(),
    summary="Music made into other music, as a sound and as pictures of both spectrograms.",
    answers="job",
    forms=(Form("mel", (_MEL,), (_MEL,), Window(TILE, TILE_HOP, "overlap_add")),),
    parameters=(
        Parameter(
            "extent",
            "`whole`: all of the sound; `first`: its first 5.94 s, with silence behind if shorter.",
            "choice",
            "whole",
            choices=("whole", "first"),
        ),
        Parameter(
            "phase",
            "Where it begins: `griffin-lim`: at random; `input`: with the input's.",
            "choice",
            "griffin-lim",
            choices=("griffin-lim", "input"),
        ),
        Parameter("iterations", "Of Griffin-Lim.", "integer", 32, 0, 128),
        Parameter("seed", "Of the random phase.", "integer", 0, 0, 2**31 - 1),
    ),
    artifacts=(
        Artifact("out", "The sound that was made: 22,050 Hz, 24 bits, mono.", ("wav",)),
        Artifact("inspec", "The spectrogram of the input.", ("png",)),
        Artifact("outspec", "The spectrogram that was made of it.", ("png",)),
    ),
    baseline="tilt-baseline",
)


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor of a model is which, and how its numbers are scaled.

    Raises
    ------
    BadModel
        If it fits no form, or is scaled by lists.
    """
    bound = bind_form(CONTRACT, signature, manifest)
    taken = _scaling(manifest, "inputs", bound["inputs"][0]["tensor"], (SCALE, SCALE))
    given = _scaling(manifest, "outputs", bound["outputs"][0]["tensor"], taken)
    return {**bound, "input_scaling": list(taken), "output_scaling": list(given)}


def _scaling(
    manifest: Mapping[str, Any], side: str, tensor: str, default: tuple[float, float]
) -> tuple[float, float]:
    declared = manifest.get(side, {}).get(tensor, {})
    mean, scale = declared.get("mean", default[0]), declared.get("scale", default[1])
    if isinstance(mean, list) or isinstance(scale, list):
        raise BadModel(f"mean and scale of {tensor!r} must be one number each: it is a picture")
    return float(mean), float(scale)


def work(job: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    """Make a sound of a sound.

    Raises
    ------
    SoundTooShort
        Below a tenth of a second.
    BadModel
        If an answer of the model is no picture, or not finite.
    """
    stretches = Stretches(TILE, TILE_HOP)
    is_first = job.parameters["extent"] == "first"
    expected = TILE if is_first else job.sound.expected_samples or _UNSTATED
    taken = job.binding.get("input_scaling", (0.0, 1.0))
    given = job.binding.get("output_scaling", (0.0, 1.0))
    voice, inspec, outspec = _Voice(job.parameters), _Picture(), _Picture()
    count = 0
    with _open_wav(job.files["out"]) as file:
        output = _Output(file)
        for tile in _tiles(job, stretches, is_first=is_first):
            limit = TILE if is_first else stretches.samples
            mel = mel_power(tile)
            row = (mel - np.float32(taken[0])) / np.float32(taken[1])
            done = min(0.98, (count * TILE_HOP + TILE) / max(expected, TILE))
            outputs = yield Step(done, {"mel": row[None, :, :, None]})
            answer = _unscaled(outputs["mel"], given)
            inspec.add(mel, limit)
            outspec.add(answer, limit)
            output.add(voice.sing(answer, tile), limit)
            count += 1
        least = round(MIN_SECONDS * SAMPLE_RATE_HZ)
        if stretches.samples < least:
            raise too_short(stretches.samples, least, what="the task")
        limit = TILE if is_first else stretches.samples
        output.finish(limit)
    yield Step(0.99)
    _write(job.files["inspec"], inspec.png(limit))
    _write(job.files["outspec"], outspec.png(limit))
    return {
        "duration_s": round(limit / SAMPLE_RATE_HZ, 3),
        "tiles": count,
        "clipped_samples": output.clipped,
    }


def _tiles(
    job: Assignment, stretches: Stretches, *, is_first: bool
) -> Iterator[NDArray[np.float32]]:
    """Cut the sound, or its beginning."""
    for block in job.sound.blocks():
        yield from stretches.feed(block[: TILE - stretches.samples] if is_first else block)
        if is_first and stretches.samples == TILE:
            return
    yield from stretches.finish()


def _unscaled(mel: NDArray[np.float32], scaling: tuple[float, float]) -> NDArray[np.float32]:
    """Return mel power, which is never negative, whatever a model says."""
    if mel.shape != (1, BANDS, FRAMES, 1) or not np.isfinite(mel).all():
        raise BadModel(f"the model answered no finite picture of {BANDS} by {FRAMES}")
    mean, scale = scaling
    power: NDArray[np.float32] = mel[0, :, :, 0] * np.float32(scale) + np.float32(mean)
    return power.clip(0, _MOST_POWER)


class _Voice:
    """Makes samples of mel power, tile after tile."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._count = 0
        self._shared: NDArray[np.float32] | None = None  # the end of the last tile

    def sing(self, mel: NDArray[np.float32], tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the samples of the next tile."""
        if self._parameters["phase"] == "input":
            start = stft(tile)
        else:
            start = random_phase(FRAMES, [self._parameters["seed"], self._count])
            if self._shared is not None:
                start[:_WARM_FRAMES] = stft(self._shared)[:_WARM_FRAMES]
        iterations = self._parameters["iterations"]
        y = griffin_lim(magnitudes(mel), start, iterations=iterations, length=TILE)
        self._count += 1
        self._shared = y[TILE_HOP:]
        return y


class _Output:
    """The samples, joined and written."""

    def __init__(self, file: soundfile.SoundFile) -> None:
        self.clipped = 0
        self._file = file
        self._joiner = Joiner(TILE_HOP)
        self._written = 0

    def add(self, y: NDArray[np.float32], limit: int) -> None:
        """Take the next tile; no more than `limit` samples are written in all."""
        self._write(self._joiner.add(y), limit)

    def finish(self, limit: int) -> None:
        """Write what is left."""
        if (tail := self._joiner.finish()) is not None:
            self._write(tail, limit)

    def _write(self, y: NDArray[np.float32], limit: int) -> None:
        part = y[: limit - self._written]
        self._written += len(part)
        self.clipped += int(np.count_nonzero(np.abs(part) > 1))
        self._file.write(np.clip(part, -1, 1))


class _Picture:
    """A spectrogram, joined and drawn."""

    def __init__(self) -> None:
        self._strip = Strip()
        self._joiner = Joiner(FRAME_HOP)
        self._taken = 0

    def add(self, mel: NDArray[np.float32], limit: int) -> None:
        """Take the next tile; what lies after `limit` samples is not drawn."""
        self._draw(self._joiner.add(mel), limit)

    def png(self, limit: int) -> bytes:
        """Return the picture's file."""
        if (tail := self._joiner.finish()) is not None:
            self._draw(tail, limit)
        return self._strip.png()

    def _draw(self, mel: NDArray[np.float32], limit: int) -> None:
        part = mel[:, : 1 + limit // HOP_LENGTH - self._taken]
        self._taken += part.shape[1]
        self._strip.add(part)


def _open_wav(fd: int) -> soundfile.SoundFile:
    return soundfile.SoundFile(
        fd, "w", SAMPLE_RATE_HZ, channels=1, subtype="PCM_24", format="WAV", closefd=False
    )


def _write(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)


def baseline(tensors: Tensors, _parameters: Mapping[str, Any]) -> Tensors:
    """Make a sound brighter: each octave 3 dB louder than the one below."""
    return {"mel": tensors["mel"] * _tilt()[None, :, None, None]}


def _tilt() -> NDArray[np.float32]:
    """Return what the power of each band is multiplied by: 1 at 1 kHz."""
    centres = np.maximum(mel_frequencies(BANDS + 2)[1:-1], _TILT_FROM_HZ)
    gain = 10 ** (_TILT_DB_PER_OCTAVE / 10 * np.log2(centres / _PIVOT_HZ))
    return gain.astype(np.float32)


SPEC2SPEC = Task(CONTRACT, bind, work=work, baseline=baseline)
