"""The task `spec2spec`."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from server.errors import BadModel
from server.sound_errors import SoundTooShort
from server.synthesis.mel_tile import mel_power
from server.tasks.contract import Signature, TensorSpec
from server.tasks.spec2spec import SPEC2SPEC, bind
from server.tasks.task import Tensors
from tests.audio.conftest import _melody as melody
from tests.tasks.working import do, noise, wav

RATE = 22_050
TILE = 130_977
PICTURE = TensorSpec("input_image", (None, 256, 256, 1), "float32")
MADE = TensorSpec("tanh", (None, 256, 256, 1), "float32")
BOUND = bind(Signature((PICTURE,), (MADE,)), {})


def same(tensors: Tensors) -> Tensors:
    return {"mel": tensors["mel"]}


def made(folder: Path) -> NDArray[np.float32]:
    y, rate_hz = soundfile.read(folder / "out.wav", dtype="float32")
    assert rate_hz == RATE
    samples: NDArray[np.float32] = y
    return samples


def level_error(y: NDArray[np.float32], of: NDArray[np.float32]) -> float:
    """Return how far the mel magnitudes of a sound are from those of another, relatively."""
    wanted = np.sqrt(mel_power(of))
    return float(np.linalg.norm(np.sqrt(mel_power(y)) - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("seconds", [1.0, 5.94, 60.0])
def test_a_sound_of_any_length_keeps_its_length(tmp_path: Path, seconds: float) -> None:
    y = melody(seconds)
    result, told = do(SPEC2SPEC, wav(y, RATE), tmp_path, iterations=2)
    assert len(made(tmp_path)) == len(y)
    assert result["duration_s"] == pytest.approx(seconds, abs=1e-3)
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] <= 1
    for name in ("inspec.png", "outspec.png"):
        with Image.open(tmp_path / name) as image:
            image.load()


@pytest.mark.parametrize("seconds", [1.0, 8.0])
def test_the_first_extent_is_one_tile(tmp_path: Path, seconds: float) -> None:
    result, _ = do(SPEC2SPEC, wav(melody(seconds), RATE), tmp_path, extent="first", iterations=2)
    assert len(made(tmp_path)) == TILE
    assert result["tiles"] == 1
    with soundfile.SoundFile(tmp_path / "out.wav") as file:
        assert (file.format, file.subtype, file.channels) == ("WAV", "PCM_24", 1)


def test_a_model_that_changes_nothing_leaves_the_sound(tmp_path: Path) -> None:
    y = melody(3)
    do(SPEC2SPEC, wav(y, RATE), tmp_path, model=same, binding=BOUND, phase="input", iterations=8)
    assert level_error(made(tmp_path), y) < 0.1
    correlation = np.corrcoef(made(tmp_path), y)[0, 1]
    assert correlation > 0.95  # its phase is the input's


def test_griffin_lim_finds_a_phase_by_itself(tmp_path: Path) -> None:
    y = melody(3)
    do(SPEC2SPEC, wav(y, RATE), tmp_path, model=same, binding=BOUND)
    assert level_error(made(tmp_path), y) < 0.1


def test_tiles_fade_into_each_other_without_a_gap(tmp_path: Path) -> None:
    y = noise(int(17 * RATE))
    do(SPEC2SPEC, wav(y, RATE), tmp_path, model=same, binding=BOUND)
    power = mel_power(made(tmp_path)).sum(axis=0) / mel_power(y).sum(axis=0)
    for first in (230, 460):
        fade = power[first + 3 : first + 23].mean()
        assert fade == pytest.approx(power[first + 40 : first + 220].mean(), rel=0.25)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    sound = wav(melody(7), RATE)
    written = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        folder = tmp_path / name
        folder.mkdir()
        do(SPEC2SPEC, sound, folder, iterations=1, seed=seed)
        written.append(files(folder))
    assert written[0] == written[1]
    assert written[0]["out.wav"] != written[2]["out.wav"]
    assert written[0]["outspec.png"] == written[2]["outspec.png"]


def test_the_baseline_tilts_the_sound(tmp_path: Path) -> None:
    y = noise(2 * RATE)
    do(SPEC2SPEC, wav(y, RATE), tmp_path, phase="input", iterations=0)
    gain = mel_power(made(tmp_path)).mean(axis=1) / mel_power(y).mean(axis=1)
    bands = [30, 110, 170]  # 430, 1310 and 3180 Hz
    found = 10 * np.log10([gain[band - 5 : band + 6].mean() for band in bands])
    wanted = 3 * np.log2(np.array([401, 1437, 3386]) / 1000)
    np.testing.assert_allclose(found, wanted, atol=1.5)


def test_a_model_is_fed_what_its_manifest_says(tmp_path: Path) -> None:
    seen: list[NDArray[np.float32]] = []

    def model(tensors: Tensors) -> Tensors:
        seen.append(tensors["mel"])
        return {"mel": np.full((1, 256, 256, 1), 0.5, np.float32)}

    sound = wav(melody(1), RATE)
    for manifest in (
        {},
        {"inputs": {"input_image": {"mean": 10, "scale": 2}}},
        {
            "inputs": {"input_image": {"mean": 10, "scale": 2}},
            "outputs": {"tanh": {"mean": 0, "scale": 1}},
        },
    ):
        bound = bind(Signature((PICTURE,), (MADE,)), manifest)
        do(SPEC2SPEC, sound, tmp_path, model=model, binding=bound, iterations=0, extent="first")
    power = mel_power(np.pad(melody(1), (0, TILE - RATE)))
    np.testing.assert_allclose(seen[0][0, :, :, 0], (power - 127.5) / 127.5, rtol=1e-4)
    np.testing.assert_allclose(seen[1][0, :, :, 0], (power - 10) / 2, rtol=1e-4, atol=1e-5)
    assert bound["input_scaling"] == [10, 2]
    assert bound["output_scaling"] == [0, 1]
    assert bind(Signature((PICTURE,), (MADE,)), {})["output_scaling"] == [127.5, 127.5]


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (np.full((1, 256, 256, 1), np.nan, np.float32), "finite"),
        (np.zeros((1, 256, 255, 1), np.float32), "256 by 256"),
    ],
)
def test_what_is_no_picture_is_refused(
    tmp_path: Path, answer: NDArray[np.float32], named: str
) -> None:
    def model(_: Tensors) -> Tensors:
        return {"mel": answer}

    with pytest.raises(BadModel, match=named):
        do(SPEC2SPEC, wav(melody(1), RATE), tmp_path, model=model, binding=BOUND)


def test_negative_power_is_silence(tmp_path: Path) -> None:
    def model(_: Tensors) -> Tensors:
        return {"mel": np.full((1, 256, 256, 1), -2, np.float32)}

    do(SPEC2SPEC, wav(melody(1), RATE), tmp_path, model=model, binding=BOUND, iterations=1)
    assert not made(tmp_path).any()


def test_what_is_too_loud_is_cut_and_counted(tmp_path: Path) -> None:
    def model(_: Tensors) -> Tensors:
        return {"mel": np.full((1, 256, 256, 1), 1e9, np.float32)}

    sound = wav(melody(1), RATE)
    result, _ = do(SPEC2SPEC, sound, tmp_path, model=model, binding=BOUND, iterations=1)
    assert result["clipped_samples"] > 0
    assert np.abs(made(tmp_path)).max() <= 1


def test_below_a_tenth_of_a_second_there_is_no_music(tmp_path: Path) -> None:
    for extent in ("whole", "first"):
        with pytest.raises(SoundTooShort):
            do(SPEC2SPEC, wav(melody(0.05), RATE), tmp_path, extent=extent)


def test_silence_is_answered(tmp_path: Path) -> None:
    do(SPEC2SPEC, wav(np.zeros(RATE), RATE), tmp_path)
    assert not made(tmp_path).any()


@pytest.mark.parametrize(
    ("taken", "given", "named"),
    [
        ((None, 128, 256, 1), (None, 256, 256, 1), "axis 1 must be 256, not 128"),
        ((None, 256, 256, 3), (None, 256, 256, 1), "axis 3 must be 1, not 3"),
        ((None, 256, 256, 1), (None, 256, 128, 1), "axis 2 must be 256, not 128"),
        ((None, 256, 256), (None, 256, 256, 1), "4 axes"),
    ],
)
def test_a_wrong_axis_is_named(
    taken: tuple[int | None, ...], given: tuple[int | None, ...], named: str
) -> None:
    with pytest.raises(BadModel, match=named):
        bind(
            Signature((TensorSpec("x", taken, "float32"),), (TensorSpec("y", given, "float32"),)),
            {},
        )


def test_a_picture_has_one_scale() -> None:
    with pytest.raises(BadModel, match="one number each"):
        bind(Signature((PICTURE,), (MADE,)), {"inputs": {"input_image": {"scale": [1, 2]}}})


def pix2pix(depth: int = 2, width: int = 4) -> Callable[[Tensors], Tensors]:
    """Make a small U-Net with the published signature, in ONNX, and return what runs it.

    Down by convolutions of 4 x 4 with stride 2, up by their transposes with a skip at each level,
    a hyperbolic tangent at the end; random weights; channels last outside.
    """
    rng = np.random.default_rng(1)
    nodes = [helper.make_node("Transpose", ["input_image"], ["d0"], perm=[0, 3, 1, 2])]
    weights = []

    def layer(kind: str, taken: str, shape: tuple[int, ...], given: str) -> None:
        weight = 0.1 * rng.standard_normal((*shape, 4, 4)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w_{given}"))
        sides: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node(kind, [taken, f"w_{given}"], [f"c_{given}"], **sides))
        nodes.append(helper.make_node("LeakyRelu", [f"c_{given}"], [given], alpha=0.2))

    channels = [1, *(width * 2**k for k in range(depth))]
    for k in range(depth):
        layer("Conv", f"d{k}", (channels[k + 1], channels[k]), f"d{k + 1}")
    below, size = f"d{depth}", channels[depth]
    for k in range(depth - 1, -1, -1):
        layer("ConvTranspose", below, (size, channels[k]), f"u{k}")
        nodes.append(helper.make_node("Concat", [f"u{k}", f"d{k}"], [f"s{k}"], axis=1))
        below, size = f"s{k}", 2 * channels[k]
    weights.append(numpy_helper.from_array(np.full((1, size, 1, 1), 0.5, np.float32), "w_last"))
    nodes += [
        helper.make_node("Conv", [below, "w_last"], ["last"]),
        helper.make_node("Tanh", ["last"], ["nchw"]),
        helper.make_node("Transpose", ["nchw"], ["tanh"], perm=[0, 2, 3, 1]),
    ]
    shape: list[str | int | None] = ["n", 256, 256, 1]
    graph = helper.make_graph(
        nodes,
        "pix2pix",
        [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("tanh", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    file = io.BytesIO()
    onnx.save(model, file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])

    def run(tensors: Tensors) -> Tensors:
        (made,) = session.run(["tanh"], {"input_image": tensors["mel"]})
        return {"mel": made}

    return run


def test_a_generator_of_the_published_signature_makes_a_sound(tmp_path: Path) -> None:
    sound = wav(melody(7), RATE)
    result, _ = do(SPEC2SPEC, sound, tmp_path, model=pix2pix(), binding=BOUND, iterations=2)
    y = made(tmp_path)
    assert len(y) == 7 * RATE
    assert np.isfinite(y).all()
    assert np.abs(y).max() > 0
    assert result["tiles"] == 2
