"""The task `emotion`."""

import os
from pathlib import Path

import numpy as np
import pytest

from server.audio.decode import open_sound
from server.audio.source import Shape
from server.errors import BadModel
from server.sound_errors import SoundTooShort
from server.tasks.arousal import LABELS
from server.tasks.contract import Signature, TensorSpec
from server.tasks.emotion import EMOTION, bind
from server.tasks.task import Tensors
from tests.tasks.working import do, noise, wav

RATE = 16_000
MEL = TensorSpec("mel", (None, 94, 64, 1), "float32")
SPEECH = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "speech"
ANGRY = ("ravdess/03-01-05-02-02-01-02.wav", "emodb/03a01Wa.wav")


def model(tensors: Tensors) -> Tensors:
    """Answer the level of each window, in two numbers."""
    level = tensors["log_mel"].mean(axis=(1, 2, 3))
    return {"probabilities": np.stack([level, -level], axis=1)}


def test_the_answer_is_the_mean_over_windows(tmp_path: Path) -> None:
    sound = noise(8 * RATE)
    sound[5 * RATE :] *= 0.01
    bound = bind(
        Signature((MEL,), (TensorSpec("p", (None, 2), "float32"),)), {"labels": ["a", "b"]}
    )
    result, told = do(
        EMOTION, wav(sound, RATE), tmp_path, model=model, binding=bound, detail="windows"
    )
    each = [row["probabilities"] for row in result["each"]]
    assert [row["start_s"] for row in result["each"]] == [0, 1.5, 3, 4.5, 6]
    assert result["windows"] == 5
    np.testing.assert_allclose(result["probabilities"], np.mean(each, axis=0))
    assert each[0][0] > each[-1][0]
    assert result["best"] == "b"
    assert told == sorted(told)


def test_a_short_sound_is_filled_up(tmp_path: Path) -> None:
    result, _ = do(EMOTION, wav(noise(RATE // 2), RATE), tmp_path)
    assert result["windows"] == 1
    assert sum(result["probabilities"]) == pytest.approx(1, abs=1e-6)
    assert result["labels"] == list(LABELS)


def test_below_a_third_of_a_second_there_is_no_voice(tmp_path: Path) -> None:
    with pytest.raises(SoundTooShort, match="16000 Hz"):
        do(EMOTION, wav(noise(RATE // 10), RATE), tmp_path)


def test_silence_is_answered(tmp_path: Path) -> None:
    result, _ = do(EMOTION, wav(np.zeros(2 * RATE), RATE), tmp_path)
    assert np.isfinite(result["probabilities"]).all()


def test_labels_must_be_as_many_as_the_numbers() -> None:
    output = TensorSpec("p", (None, 7), "float32")
    with pytest.raises(BadModel, match="7 numbers a window and there are 8 labels"):
        bind(Signature((MEL,), (output,)), {})
    assert bind(Signature((MEL,), (output,)), {"labels": list("abcdefg")})["labels"] == [*"abcdefg"]


def test_a_wrong_axis_is_named() -> None:
    wide = TensorSpec("mel", (None, 94, 80, 1), "float32")
    with pytest.raises(BadModel, match="axis 2 must be 64, not 80"):
        bind(Signature((wide,), (TensorSpec("p", (None, 8), "float32"),)), {})


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    def broken(tensors: Tensors) -> Tensors:
        return {"probabilities": np.full((len(tensors["log_mel"]), 8), np.nan, np.float32)}

    with pytest.raises(BadModel, match="finite"):
        do(EMOTION, wav(noise(RATE), RATE), tmp_path, model=broken)


def test_a_minute_takes_as_much_memory_as_ten_seconds(tmp_path: Path) -> None:
    rows: list[int] = []

    def counting(tensors: Tensors) -> Tensors:
        rows.append(len(tensors["log_mel"]))
        return {"probabilities": np.ones((rows[-1], 8), np.float32)}

    do(EMOTION, wav(noise(60 * RATE), RATE), tmp_path, model=counting)
    assert sum(rows) == 39
    assert max(rows) <= 8


def test_a_lively_voice_is_told_from_a_quiet_one(tmp_path: Path) -> None:
    missing = [name for name in ANGRY if not (SPEECH / name).is_file()]
    if missing:
        pytest.skip(f"needs shared data: {', '.join(missing)}")
    for name in ANGRY:
        result, _ = do(EMOTION, (SPEECH / name).read_bytes(), tmp_path)
        assert result["best"] in ("angry", "surprised")


def test_stereo_of_another_rate_is_brought_to_the_tasks(tmp_path: Path) -> None:
    sound = wav(noise(44_100, 2), 44_100)
    source = open_sound(sound, shape=Shape(RATE, 1))
    assert sum(map(len, source.blocks())) == source.expected_samples == RATE
    result, _ = do(EMOTION, sound, tmp_path)
    assert result["windows"] == 1
