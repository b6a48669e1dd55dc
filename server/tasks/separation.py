"""Separation: a song taken apart into bass, drums, voice and the rest, which sum to the song.

::

    stft-mask   song --STFT--> magnitudes of some frames --model or baseline--> of each stem
                     `------------- x share of its power ---- inverse STFT --> stems
    waveform    song --windows--> model --cross-faded--> stems

In either form `other` is what the other three leave of the song, so the stems sum to it whatever
the model says. A model of the first form may give some of the stems only: its manifest says which.
"""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import too_short
from server.errors import BadModel
from server.separation.held import Held, with_end
from server.separation.masks import masks
from server.separation.stem_files import CHANNELS, FORMATS, REST, STEMS, Part, StemFiles, with_rest
from server.separation.stft import BINS, SAMPLE_RATE_HZ, Istft, Stft
from server.synthesis.tiles import Joiner
from server.tasks.binding import bind_form
from server.tasks.contract import Artifact, Contract, Form, Parameter, Signature, TensorSpec, Window
from server.tasks.task import Assignment, Step, Task, Tensors

DEMUCS_ORDER = ("drums", "bass", "other", "vocals")
MIN_SECONDS = 0.1
WINDOW = 343_980  # samples, of a model that leaves that open
FRAMES = 256  # of a model that leaves that open
_BLOCK = 256  # frames that the baseline sees at once: 6 s, which its memory and the cache like
_BLOCK_OVERLAP = 32
_OVERLAP = 4  # a quarter of a window is shared with the next
_UNSTATED = 600 * SAMPLE_RATE_HZ
_LEAST = np.float32(1e-20)
_MAGNITUDE = (None, CHANNELS, BINS, None)

CONTRACT = Contract(
    name="separation",
    sample_rate_hz=SAMPLE_RATE_HZ,
    min_seconds=MIN_SECONDS,
    frontends=(),
    summary="A song taken apart into bass, drums, voice and the rest, which sum to the song.",
    answers="job",
    channels=CHANNELS,
    forms=(
        Form(
            name="stft-mask",
            inputs=(TensorSpec("mixture", _MAGNITUDE, "float32"),),
            outputs=tuple(TensorSpec(stem, _MAGNITUDE, "float32") for stem in STEMS),
        ),
        Form(
            name="waveform",
            inputs=(TensorSpec("mix", (None, CHANNELS, None), "float32"),),
            outputs=(TensorSpec("stems", (None, len(STEMS), CHANNELS, None), "float32"),),
            window=Window(WINDOW, WINDOW - WINDOW // _OVERLAP, "overlap_add"),
        ),
    ),
    parameters=(
        Parameter(
            "format",
            "Of the files: wav has floats, flac 24 bits (what is beyond full scale is cut), mp3.",
            "choice",
            "wav",
            choices=FORMATS,
        ),
    ),
    artifacts=tuple(
        Artifact(stem, f"The {what}, at 44.1 kHz in stereo.", FORMATS)
        for stem, what in zip(STEMS, ("bass", "drums", "rest", "voice"), strict=True)
    ),
    baseline="dsp-baseline",
)


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor of a model is which stem.

    Raises
    ------
    BadModel
        Naming the axis that is wrong, or stems that there are not.
    """
    masked, waveform = CONTRACT.forms
    named = [entry.get("as") for entry in manifest.get("outputs", {}).values()]
    if named and set(named) <= set(STEMS):
        wanted = tuple(spec for spec in masked.outputs if spec.name in named)
        masked = replace(masked, outputs=wanted)
    bound = bind_form(replace(CONTRACT, forms=(masked, waveform)), signature, manifest)
    if bound["form"] == "waveform":
        order = list(manifest.get("order", DEMUCS_ORDER))
        if sorted(order) != sorted(STEMS):
            raise BadModel(f"`order` must name each of {list(STEMS)} once")
        bound["order"] = order
    return bound


def work(job: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    """Take a song apart.

    Raises
    ------
    SoundTooShort
        Below a tenth of a second.
    BadModel
        If an output is not as its input, or not finite.
    """
    parts = _by_masks(job) if job.form == "stft-mask" else _by_windows(job)
    samples = 0
    with StemFiles(job.files, job.parameters["format"]) as files:
        outputs: Tensors | None = None
        while True:
            try:
                part = next(parts) if outputs is None else parts.send(outputs)
            except StopIteration as ended:
                samples = ended.value
                break
            outputs = {}
            if isinstance(part, Step):
                outputs = yield part
            else:
                files.write(part)
    if samples < MIN_SECONDS * SAMPLE_RATE_HZ:
        least = round(MIN_SECONDS * SAMPLE_RATE_HZ)
        raise too_short(samples, least, what="the task", rate_hz=SAMPLE_RATE_HZ)
    return {
        "duration_s": round(samples / SAMPLE_RATE_HZ, 3),
        "stems": files.describe(),
    }


Parts = Generator[Step | Part, Tensors, int]


def _by_masks(job: Assignment) -> Parts:
    """Separate by each stem's share of the power of each cell."""
    size, overlap, is_fixed = _frames(job.binding)
    stft, spectra, mix, samples = Stft(CHANNELS), Held(1), Held(0), 0
    kept = Held(1)  # frames whose masks are not whole yet
    stems = [stem for stem in _given(job.binding) if stem != REST]
    inverse = {stem: Istft(CHANNELS) for stem in stems}
    joiner = Joiner(size - overlap)
    expected = job.sound.expected_samples or _UNSTATED

    def parted(joined: NDArray[np.float32]) -> Part:
        shares = joined.transpose(0, 1, 3, 2)  # as spectra are
        frames = kept.take(shares.shape[2])
        made = {
            stem: inverse[stem].feed(frames * share)
            for stem, share in zip(stems, shares, strict=True)
        }
        return with_rest(made, mix)

    seen = False
    for block, is_last in with_end(job.sound.blocks()):
        samples += len(block)
        mix.put(block)
        frames = stft.feed(block) if not is_last else stft.finish()
        spectra.put(frames)
        kept.put(frames)
        while len(spectra) >= size or (is_last and len(spectra) > (overlap if seen else 0)):
            window = spectra.look(size)
            count = window.shape[1]
            tensors = {"mixture": _magnitudes(window, size if is_fixed else count)}
            outputs = yield Step(min(0.98, samples / expected), tensors)
            of = _shares if job.binding else _shares_of_baseline
            shares = of(outputs, stems, tensors["mixture"])[..., :count]
            spectra.take(min(count, size - overlap) if count == size else count)
            seen = True
            yield parted(joiner.add(shares))
            if count < size:
                break
    if seen and (rest := joiner.finish()) is not None and rest.shape[-1]:
        yield parted(rest)
    yield with_rest({stem: inverse[stem].finish(samples) for stem in stems}, mix)
    return samples


def _frames(binding: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Return how many frames a model sees at once, how many it sees twice, and if it must."""
    if not binding:
        return _BLOCK, _BLOCK_OVERLAP, False
    fixed = binding["inputs"][0]["shape"][3]
    size = fixed or FRAMES
    return size, size // _OVERLAP, fixed is not None


def _given(binding: Mapping[str, Any]) -> list[str]:
    if not binding:
        return list(STEMS)
    return [item["as"] for item in binding["outputs"]]


def _magnitudes(window: NDArray[np.complex64], frames: int) -> NDArray[np.float32]:
    """Return the row [1, channels, bins, frames] of a window, filled up with silence."""
    if window.shape[1] == frames:  # a view: the baseline wants frames as rows
        return np.abs(window).transpose(0, 2, 1)[None]
    row = np.zeros((1, CHANNELS, BINS, frames), np.float32)
    row[0, :, :, : window.shape[1]] = np.abs(window).transpose(0, 2, 1)
    return row


def _shares(
    outputs: Tensors, stems: list[str], mixture: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each stem's share of the power of each cell, shape (stems, channels, bins, frames).

    Where a model does not say how much of a cell is the rest, that is what the stems that it gives
    leave of the mixture's magnitude: otherwise a model of one stem would be given the whole song.
    """
    for stem, value in outputs.items():
        if value.shape != mixture.shape or not np.isfinite(value).all():
            raise BadModel(f"the model's {stem!r} is not as its input, or not finite")
    powers = {stem: np.square(value[0]) for stem, value in outputs.items()}
    total = sum(powers.values()) + _LEAST
    if REST not in powers:
        left = mixture[0] - sum(np.abs(value[0]) for value in outputs.values())
        total += np.square(np.maximum(left, 0))
    return np.stack([powers[stem] / total for stem in stems])


def _shares_of_baseline(
    outputs: Tensors, stems: list[str], _mixture: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what `baseline` says, in the memory order of frames as rows."""
    rows = np.stack([outputs[stem][0].transpose(0, 2, 1) for stem in stems])
    return rows.transpose(0, 1, 3, 2)


def _by_windows(job: Assignment) -> Parts:
    """Separate window by window, and fade from each to the next."""
    size = job.binding["inputs"][0]["shape"][2] or WINDOW
    hop = size - size // _OVERLAP
    order, waiting, mix, samples = job.binding["order"], Held(0), Held(0), 0
    joiner, seen = Joiner(hop), False
    expected = job.sound.expected_samples or _UNSTATED
    for block, is_last in with_end(job.sound.blocks()):
        samples += len(block)
        mix.put(block)
        waiting.put(block)
        while len(waiting) >= size or (is_last and len(waiting) > (size - hop if seen else 0)):
            window = waiting.look(size)
            row = np.zeros((1, CHANNELS, size), np.float32)
            row[0, :, : len(window)] = window.T
            outputs = yield Step(min(0.98, samples / expected), {"mix": row})
            stems = _stems(outputs["stems"], (1, len(STEMS), CHANNELS, size))
            is_end = len(window) < size
            waiting.take(len(window) if is_end else hop)
            seen = True
            yield _part(joiner.add(stems[0]), order, mix)
            if is_end:
                break
    if seen and (rest := joiner.finish()) is not None:
        yield _part(rest, order, mix)
    return samples


def _stems(value: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if value.shape != shape or not np.isfinite(value).all():
        raise BadModel("the model's stems are not as its input, or not finite")
    return value


def _part(stems: NDArray[np.float32], order: list[str], mix: Held) -> Part:
    """Return the stems by name, as far as the song goes."""
    count = min(stems.shape[-1], len(mix))
    made = {
        stem: np.ascontiguousarray(stems[k, :, :count].T)
        for k, stem in enumerate(order)
        if stem != "other"
    }
    return with_rest(made, mix)


def baseline(tensors: Tensors, _parameters: Mapping[str, Any]) -> Tensors:
    """Separate by masks without a model; see `masks`.

    Not magnitudes: the shares of the power themselves, [1, 1, bins, frames], for both channels.
    """
    power = np.square(tensors["mixture"][0].mean(axis=0)).T
    found = masks(np.ascontiguousarray(power))
    return {stem: share.T[None, None] for stem, share in found.items()}


SEPARATION = Task(CONTRACT, bind, work=work, baseline=baseline)
