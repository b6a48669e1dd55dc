"""server/inference/keras_model.py: files of Keras 2, repaired, give the numbers that they gave."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.inference.child import to_array, to_part
from server.inference.frames import Message
from server.inference.process import Child
from tests.inference.conftest import Judged

pytestmark = pytest.mark.timeout(400)
REPAIRS = {
    "lost-conv.h5": ["Sequential: input shape"],
    "lost-dense.h5": ["Sequential: input shape"],
    "nested-first.h5": ["Sequential: input shape"],
    "list-form.h5": ["Sequential: list form", "Sequential: input shape"],
    "time-major.h5": ["LSTM: time_major"],
    "time-major-zip.keras": ["LSTM: time_major"],
    "one-group.h5": ["DepthwiseConv2D: groups"],
    "old-gru.h5": ["GRU: reset_after"],
    "hard-sigmoid.h5": ["LSTM: hard_sigmoid of Keras 2"],
    "hard-sigmoid-zip.keras": ["LSTM: hard_sigmoid of Keras 2"],
}


@pytest.mark.parametrize("name", REPAIRS)
def test_an_old_file_gives_the_numbers_that_it_gave(judged: Judged, name: str) -> None:
    found = judged.old[name]
    assert found.get("refused") is None
    assert found["repairs"] == REPAIRS[name]
    np.testing.assert_allclose(found["answer"], found["meant"], atol=1e-6)


def test_a_dense_first_layer_keeps_its_rank(judged: Judged) -> None:
    assert judged.old["lost-dense.h5"]["shape"] == [None, 5]


async def judge(path: Path, tmp_path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    with open(tmp_path / "model.onnx", "w+b") as file:
        config = {"path": str(path), "manifest": manifest}
        child = await Child.start(
            "server.inference.intake_child",
            config,
            timeout_s=120,
            nice=0,
            files={"output": file.fileno()},
        )
    await child.end()
    record: dict[str, Any] = child.ready["record"]
    assert record["engine"]["name"] == "onnxruntime"
    return record


async def predictions(tmp_path: Path, calls: list[dict[str, Any]]) -> list[Any]:
    config = {"path": str(tmp_path / "model.onnx"), "threads": 1, "max_batch": 8, "apart": False}
    child = await Child.start("server.inference.onnx_child", config, timeout_s=60, nice=0)
    found = []
    try:
        for tensors in calls:
            parts = [to_part(name, values) for name, values in tensors.items()]
            answer = await child.call(Message({"op": "predict"}, parts), timeout_s=60)
            found.append(to_array(answer.parts[0])[0])
    finally:
        await child.end()
    return found


async def test_the_speech_commands_model_knows_its_own_words(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shared("models/musikalkemist_speech_commands.h5")
    record = await judge(path, tmp_path, {"task": "tensors"})
    assert record["repairs"] == ["Sequential: input shape"]
    (given,) = record["binding"]["inputs"]
    assert given["shape"] == [None, 44, 13, 1]
    clips = [np.load(shared(f"models/musikalkemist_{word}_mfcc.npy")) for word in ("down", "left")]
    down, left = await predictions(tmp_path, [{given["tensor"]: clip} for clip in clips])
    assert down[0] > 0.99
    assert left[8] > 0.99


@pytest.mark.parametrize("name", ["lumenalux_genre_58features", "sahi08960_genre_58features"])
async def test_genre_models_of_others_are_served(
    shared: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    await judge(shared(f"models/{name}.h5"), tmp_path, {"task": "genre"})


async def test_a_model_on_cepstra_is_served_on_tensors(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    record = await judge(shared("models/sriram49_genre_mfcc.h5"), tmp_path, {"task": "tensors"})
    assert record["binding"]["inputs"][0]["shape"] == [None, 130, 13, 1]


async def test_the_converted_two_input_model_gives_its_saved_answers(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    await judge(shared("models/two_input_gtzan_seed1.h5"), tmp_path, {})
    with open(shared("models/two_input_gtzan_seed1_expected.csv")) as file:
        expected = list(csv.DictReader(file))
    with open(shared("gtzan/features_30_sec.csv")) as file:
        table = {row["filename"]: row for row in csv.DictReader(file)}
    pictures = np.load(shared("gtzan/pictures_235x335_u8.npz"))
    index = {str(name): k for k, name in enumerate(pictures["names"])}
    drawn = pictures["pictures"]
    calls = []
    for row in expected:
        clip = row["filename"]
        values = [float(v) for k, v in table[clip].items() if k not in ("filename", "label")]
        picture = drawn[index[clip.removesuffix(".wav").replace(".", "")]].astype(np.float32)
        calls.append(
            {"features": np.array([values], np.float32), "spectrogram": picture[None, :, :, None]}
        )
    found = await predictions(tmp_path, calls)
    labels = [key for key in expected[0] if key not in ("filename", "predicted")]
    meant = [[float(row[label]) for label in labels] for row in expected]
    np.testing.assert_allclose(found, meant, atol=1e-4)
