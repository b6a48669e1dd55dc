"""The task `separation`: its baseline, and models of both forms."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from server.errors import BadModel
from server.separation.si_sdr import si_sdr
from server.separation.stem_files import STEMS
from server.sound_errors import SoundTooShort
from server.tasks.contract import Signature, TensorSpec
from server.tasks.separation import DEMUCS_ORDER, SEPARATION, bind
from server.tasks.task import Tensors
from tests.tasks.working import do, noise, wav

RATE = 44_100
OWN = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "stems" / "own12s"
N = None


def stems_of(folder: Path, ending: str = "wav") -> dict[str, NDArray[np.float32]]:
    return {stem: soundfile.read(folder / f"{stem}.{ending}", dtype="float32")[0] for stem in STEMS}


def umx(*stems: str, frames: int | None = N) -> tuple[Signature, dict[str, Any]]:
    """Return the signature of Open-Unmix, one output for each stem, and a manifest."""
    shape = (N, 2, 2049, frames)
    outputs = tuple(TensorSpec(f"out_{stem}", shape, "float32") for stem in stems)
    named = {f"out_{stem}": {"as": stem} for stem in stems}
    return Signature((TensorSpec("mag", shape, "float32"),), outputs), {"outputs": named}


def demucs(samples: int | None = 343_980) -> Signature:
    return Signature(
        (TensorSpec("mix", (1, 2, samples), "float32"),),
        (TensorSpec("stems", (1, 4, 2, samples), "float32"),),
    )


@pytest.mark.parametrize("seconds", [0.2, 1.0, 5.9, 6.1, 20.0])
def test_stems_sum_to_the_mix(tmp_path: Path, seconds: float) -> None:
    sound = noise(int(seconds * RATE), 2)
    result, told = do(SEPARATION, wav(sound, RATE), tmp_path)
    stems = stems_of(tmp_path)
    assert {len(y) for y in stems.values()} == {len(sound)}
    np.testing.assert_allclose(sum(stems.values()), sound, atol=1e-6)
    assert result["duration_s"] == pytest.approx(seconds, abs=1e-3)
    assert told == sorted(told)
    for stem, y in stems.items():
        assert result["stems"][stem]["peak"] == pytest.approx(np.abs(y).max(), abs=1e-6)


@pytest.mark.parametrize(("ending", "tolerance"), [("flac", 1e-6), ("mp3", 0.2)])
def test_files_of_other_formats(tmp_path: Path, ending: str, tolerance: float) -> None:
    sound = noise(2 * RATE, 2)
    do(SEPARATION, wav(sound, RATE), tmp_path, format=ending)
    stems = stems_of(tmp_path, ending)
    whole = np.sum([y[: len(sound)] for y in stems.values()], axis=0)
    assert np.abs(whole[: len(sound)] - sound[: len(whole)]).mean() < tolerance


def test_mono_becomes_stereo(tmp_path: Path) -> None:
    sound = noise(RATE)
    do(SEPARATION, wav(sound, RATE), tmp_path)
    total = sum(stems_of(tmp_path).values())
    np.testing.assert_allclose(total, np.stack([sound, sound], axis=1), atol=1e-6)


def test_below_a_tenth_of_a_second_there_is_no_song(tmp_path: Path) -> None:
    with pytest.raises(SoundTooShort, match="44100 Hz"):
        do(SEPARATION, wav(noise(RATE // 20, 2), RATE), tmp_path)


def test_a_model_of_masks_is_given_windows_of_its_own_length(tmp_path: Path) -> None:
    signature, manifest = umx(*STEMS, frames=100)
    seen: list[tuple[int, ...]] = []

    def model(tensors: Tensors) -> Tensors:
        """Say that the drums are three quarters of the power, the voice the rest."""
        mixture = tensors["mixture"]
        seen.append(mixture.shape)
        nothing = np.zeros_like(mixture)
        half = mixture * np.float32(0.5)
        return {"drums": mixture * np.float32(0.75**0.5), "vocals": half} | dict.fromkeys(
            ("bass", "other"), nothing
        )

    sound = noise(5 * RATE, 2)
    bound = bind(signature, manifest)
    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound)
    stems = stems_of(tmp_path)
    assert set(seen) == {(1, 2, 2049, 100)}
    np.testing.assert_allclose(stems["drums"], 0.75 * sound, atol=1e-5)
    np.testing.assert_allclose(stems["vocals"], 0.25 * sound, atol=1e-5)
    np.testing.assert_allclose(sum(stems.values()), sound, atol=1e-6)


def test_a_model_may_give_one_stem_and_the_rest_is_other(tmp_path: Path) -> None:
    signature, manifest = umx("vocals", "other")
    bound = bind(signature, manifest)
    assert [item["as"] for item in bound["outputs"]] == ["other", "vocals"]

    def model(tensors: Tensors) -> Tensors:
        mixture = tensors["mixture"]
        return {"vocals": mixture * np.float32(0.6), "other": mixture * np.float32(0.8)}

    sound = noise(3 * RATE, 2)
    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound)
    stems = stems_of(tmp_path)
    np.testing.assert_allclose(stems["vocals"], 0.36 * sound, atol=1e-5)
    np.testing.assert_allclose(stems["other"], 0.64 * sound, atol=1e-5)
    assert not stems["bass"].any()


@pytest.mark.parametrize("given", [("vocals",), ("bass", "vocals"), ("bass", "drums", "vocals")])
def test_what_is_left_of_the_magnitude_is_the_rest(tmp_path: Path, given: tuple[str, ...]) -> None:
    bound = bind(*umx(*given))
    assert [item["as"] for item in bound["outputs"]] == list(given)
    part = np.float32(0.75 / len(given))

    def model(tensors: Tensors) -> Tensors:
        return dict.fromkeys(given, tensors["mixture"] * part)

    sound = noise(3 * RATE, 2)
    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound)
    stems = stems_of(tmp_path)
    share = part**2 / (len(given) * part**2 + 0.25**2)
    for stem in STEMS:
        meant = share if stem in given else 1 - len(given) * share if stem == "other" else 0
        np.testing.assert_allclose(stems[stem], meant * sound, atol=1e-5)


def test_a_model_that_says_nothing_leaves_the_song_as_the_rest(tmp_path: Path) -> None:
    bound = bind(*umx("vocals"))
    sound = noise(RATE, 2)
    nothing = {"vocals": np.zeros((1, 2, 2049, 256), np.float32)}

    def model(tensors: Tensors) -> Tensors:
        return {"vocals": nothing["vocals"][..., : tensors["mixture"].shape[3]]}

    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound)
    np.testing.assert_allclose(stems_of(tmp_path)["other"], sound, atol=1e-6)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_the_same_song_gives_the_same_bytes_at_another_time(tmp_path: Path, ending: str) -> None:
    sound = wav(noise(RATE // 2, 2), RATE)
    made = []
    for _ in range(2):
        do(SEPARATION, sound, tmp_path, format=ending)
        made.append([(tmp_path / f"{stem}.{ending}").read_bytes() for stem in STEMS])
        second = int(time.time())
        while int(time.time()) == second:  # a file may hold the time in seconds
            pass
    assert made[0] == made[1]


def test_a_model_of_waveforms_is_faded_from_window_to_window(tmp_path: Path) -> None:
    bound = bind(demucs(20_000), {})
    assert (bound["form"], bound["order"]) == ("waveform", [*DEMUCS_ORDER])
    calls = 0

    def model(tensors: Tensors) -> Tensors:
        nonlocal calls
        calls += 1
        shares = np.array([0.1, 0.2, 0.3, 0.4], np.float32)[None, :, None, None]
        return {"stems": shares * tensors["mix"][:, None]}

    sound = noise(RATE, 2)
    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound, form="waveform")
    stems = stems_of(tmp_path)
    assert calls == 3
    for stem, part in zip(DEMUCS_ORDER, (0.1, 0.2, 0.3, 0.4), strict=True):
        np.testing.assert_allclose(stems[stem], part * sound, atol=1e-5)


def test_what_a_model_leaves_out_is_other(tmp_path: Path) -> None:
    bound = bind(demucs(None), {"order": ["vocals", "drums", "bass", "other"]})

    def model(tensors: Tensors) -> Tensors:
        stems = np.zeros((1, 4, *tensors["mix"].shape[1:]), np.float32)
        stems[:, 0] = tensors["mix"] / 2
        return {"stems": stems}

    sound = noise(RATE, 2)
    do(SEPARATION, wav(sound, RATE), tmp_path, model=model, binding=bound, form="waveform")
    stems = stems_of(tmp_path)
    np.testing.assert_allclose(stems["vocals"], sound / 2, atol=1e-6)
    np.testing.assert_allclose(stems["other"], sound / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("signature", "manifest", "said"),
    [
        (umx(*STEMS)[0], {}, "say which in the manifest"),
        (
            Signature((TensorSpec("m", (N, 2, 1025, N), "float32"),), umx(*STEMS)[0].outputs),
            umx(*STEMS)[1],
            "axis 2 must be 2049, not 1025",
        ),
        (demucs(), {"order": ["a", "b", "c", "d"]}, "`order` must name each"),
        (demucs(), {"order": list(STEMS[:3])}, "`order` must name each"),
    ],
)
def test_what_does_not_fit_is_named(
    signature: Signature, manifest: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadModel, match=said):
        bind(signature, manifest)


@pytest.mark.parametrize("form", ["stft-mask", "waveform"])
@pytest.mark.parametrize("fault", ["nan", "shape"])
def test_nonsense_of_a_model_is_refused(tmp_path: Path, form: str, fault: str) -> None:
    bound = bind(*umx(*STEMS)) if form == "stft-mask" else bind(demucs(), {})

    def model(tensors: Tensors) -> Tensors:
        (value,) = tensors.values()
        made = np.stack([value] * 4, axis=1) if form == "waveform" else value
        wrong = made * np.float32(np.nan) if fault == "nan" else made[..., 1:]
        return {"stems": wrong} if form == "waveform" else dict.fromkeys(STEMS, wrong)

    with pytest.raises(BadModel, match="not as its input"):
        do(
            SEPARATION,
            wav(noise(RATE, 2), RATE),
            tmp_path,
            model=model,
            binding=bound,
            form=form,
        )


def test_the_baseline_is_better_than_the_mix_itself(tmp_path: Path) -> None:
    if not (OWN / "mixture.flac").is_file():
        pytest.skip(f"needs shared data: {OWN / 'mixture.flac'}")
    do(SEPARATION, (OWN / "mixture.flac").read_bytes(), tmp_path)
    mix, _ = soundfile.read(OWN / "mixture.flac", dtype="float32")
    for stem, y in stems_of(tmp_path).items():
        meant, _ = soundfile.read(OWN / f"{stem}.flac", dtype="float32")
        assert si_sdr(y, meant) > si_sdr(mix, meant) + 3, stem
