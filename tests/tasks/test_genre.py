"""server/tasks/genre.py: which model is fed with what, and what is refused."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from server.audio.feature_names import FEATURE_NAMES
from server.audio.frontends import FRONTENDS, PictureFrontend, RowFrontend
from server.errors import BadModel
from server.sound_errors import BadFeatureRow, EmptySound, SoundTooShort
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import LABELS, bind, frontend, reply
from server.tasks.task import Call

ROW = TensorSpec("row", (None, 58), "float32")
PICTURE = TensorSpec("picture", (None, 235, 335, 1), "float32")
OUT = TensorSpec("genre", (None, 10), "float32")
RATE_HZ = 22_050


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (OUT,)) -> Signature:
    return Signature(inputs, outputs)


def wav(seconds: float) -> bytes:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    y = 0.3 * np.sin(2 * np.pi * 220 * t * (1 + 0.1 * t)) + 0.05 * np.sin(2 * np.pi * 3 * t)
    file = io.BytesIO()
    soundfile.write(file, y.astype(np.float32), RATE_HZ, format="WAV", subtype="FLOAT")
    return file.getvalue()


def client_row() -> bytes:
    header = ",".join(["", *FEATURE_NAMES])
    row = ",".join(["7", *(str(k) for k in range(58))])
    return f"{header}\n{row}\n".encode()


def frontends_of(binding: dict[str, Any]) -> dict[str, str]:
    return {item["tensor"]: item["frontend"] for item in binding["inputs"]}


def test_without_a_manifest_the_rank_says_which_input_is_which() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    assert frontends_of(binding) == {"row": "gtzan-58@1", "picture": "kaggle-gtzan@1"}
    assert binding["labels"] == list(LABELS)


@pytest.mark.parametrize("spec", [ROW, PICTURE])
def test_one_input_alone_is_a_genre_model(spec: TensorSpec) -> None:
    assert len(bind(signature(spec), {})["inputs"]) == 1


@pytest.mark.parametrize(("height", "width"), [(235, 335), (200, 335), (217, 334), (64, 64)])
def test_height_and_width_come_from_the_model(height: int, width: int) -> None:
    spec = TensorSpec("p", (None, height, width, 1), "float32")
    (item,) = bind(signature(spec), {})["inputs"]
    assert (item["height"], item["width"]) == (height, width)


def test_an_open_height_and_width_become_235_by_335() -> None:
    spec = TensorSpec("p", (None, None, None, 1), "float32")
    (item,) = bind(signature(spec), {})["inputs"]
    assert item["shape"] == [1, 235, 335, 1]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (TensorSpec("p", (None, 235, 335, 3), "float32"), "axis 3 has 3 channels"),
        (TensorSpec("p", (None, 60), "float32"), "axis 1 must be 58"),
        (TensorSpec("p", (None, 130, 13, 1), "float32"), "axis 2 is too small"),
        (TensorSpec("p", (None, 2, 3, 4, 5), "float32"), "axis 1 must be 58|axes"),
        (TensorSpec("p", (None, 58), "int32"), "takes int32"),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_its_axis(spec: TensorSpec, says: str) -> None:
    with pytest.raises(BadModel, match=says):
        bind(signature(spec), {})


def test_another_number_of_outputs_is_refused_with_its_axis() -> None:
    eight = TensorSpec("genre", (None, 8), "float32")
    with pytest.raises(BadModel, match="axis 1 must be 10"):
        bind(signature(ROW, outputs=(eight,)), {})


def test_labels_in_the_manifest_allow_another_number_of_outputs() -> None:
    eight = TensorSpec("genre", (None, 8), "float32")
    labels = [f"class {k}" for k in range(8)]
    assert bind(signature(ROW, outputs=(eight,)), {"labels": labels})["labels"] == labels


def test_one_of_several_outputs_must_be_named() -> None:
    other = TensorSpec("embedding", (None, 64), "float32")
    with pytest.raises(BadModel, match="must name one output"):
        bind(signature(ROW, outputs=(OUT, other)), {})
    assert bind(signature(ROW, outputs=(OUT, other)), {"output": "genre"})["output"] == "genre"


def test_columns_in_the_manifest_allow_fewer_features() -> None:
    columns = [name for name in FEATURE_NAMES if name != "length"]
    spec = TensorSpec("row", (None, 57), "float32")
    (item,) = bind(signature(spec), {"inputs": {"row": {"columns": columns}}})["inputs"]
    assert item["columns"] == columns


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"inputs": {"elsewhere": {}}}, "elsewhere"),
        ({"inputs": {"row": {"frontend": "mel-235x335@1"}}}, "axes"),
        ({"inputs": {"row": {"frontend": "nothing@9"}}}, "unknown frontend"),
        ({"inputs": {"row": {"columns": ["loudness"]}}}, "no columns"),
        ({"inputs": {"row": {"mean": [1.0, 2.0]}}}, "has 2 numbers"),
        ({"labels": ["a", "b"]}, "axis 1 must be 2"),
    ],
)
def test_a_manifest_that_does_not_fit_the_model_is_refused(
    manifest: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadModel, match=says):
        bind(signature(ROW), manifest)


def test_tensors_are_what_the_frontends_make_of_the_window() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    prepared = frontend(Call(wav(30.1), "wav", b""), binding)
    tensors, told = prepared.tensors, prepared.told
    y = np.asarray(soundfile.read(io.BytesIO(wav(30.1)), dtype="float32")[0])
    row, picture = FRONTENDS["gtzan-58@1"], FRONTENDS["kaggle-gtzan@1"]
    assert isinstance(row, RowFrontend)
    assert isinstance(picture, PictureFrontend)
    np.testing.assert_allclose(tensors["row"][0], row.compute(y), rtol=1e-6)
    np.testing.assert_array_equal(tensors["picture"][0], picture.compute(y, 235, 335))
    assert told["features"] == "derived"
    assert told["window"]["repeated"] is False


def test_a_scaler_is_applied_to_every_column() -> None:
    mean, scale = [float(k) for k in range(58)], [0.5 + k for k in range(58)]
    plain = bind(signature(ROW), {})
    scaled = bind(signature(ROW), {"inputs": {"row": {"mean": mean, "scale": scale}}})
    call = Call(wav(2.0), None, b"")
    expected = (frontend(call, plain).tensors["row"] - np.array(mean)) / np.array(scale)
    np.testing.assert_allclose(frontend(call, scaled).tensors["row"], expected, rtol=1e-5)


def test_a_short_sound_is_repeated_to_thirty_seconds() -> None:
    prepared = frontend(Call(wav(12.0), "wav", b""), bind(signature(ROW), {}))
    assert prepared.tensors["row"][0, FEATURE_NAMES.index("length")] == 661_794
    assert prepared.told["window"] == {
        "start_s": 0.0,
        "stop_s": 12.0,
        "of_s": 12.0,
        "repeated": True,
    }


def test_a_sound_under_a_second_says_how_long_it_must_be() -> None:
    with pytest.raises(SoundTooShort, match=r"22,?050"):
        frontend(Call(wav(0.5), "wav", b""), bind(signature(ROW), {}))


def test_a_csv_takes_the_place_of_the_features() -> None:
    prepared = frontend(Call(wav(2.0), "wav", client_row()), bind(signature(ROW), {}))
    assert prepared.tensors["row"][0].tolist() == list(range(58))
    assert prepared.told["features"] == "client"


def test_every_input_names_the_raw_value_that_it_needs() -> None:
    values = [item["value"] for item in bind(signature(ROW, PICTURE), {})["inputs"]]
    assert values == ["gtzan-58@1", "kaggle-gtzan@1 235x335"]


def test_raw_values_are_those_before_columns_and_scaler() -> None:
    columns = list(FEATURE_NAMES[:3])
    declared = {"columns": columns, "mean": 5.0, "scale": 2.0}
    spec = TensorSpec("row", (None, 3), "float32")
    few = bind(signature(spec), {"inputs": {"row": declared}})
    call = Call(wav(2.0), None, b"")
    made = frontend(call, few).made["gtzan-58@1"]
    np.testing.assert_array_equal(made, frontend(call, bind(signature(ROW), {})).made["gtzan-58@1"])


def test_known_values_and_their_window_need_no_sound() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    first = frontend(Call(wav(2.0), None, b""), binding)
    again = frontend(Call(b"", None, b"", first.told["window"], first.made), binding)
    assert again.told == first.told
    assert not again.made
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_a_value_that_is_not_known_is_made_beside_one_that_is() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    known = {"gtzan-58@1": np.arange(58.0)}
    prepared = frontend(Call(wav(2.0), None, b"", None, known), binding)
    assert prepared.tensors["row"][0].tolist() == list(range(58))
    assert list(prepared.made) == ["kaggle-gtzan@1 235x335"]


def test_a_known_value_without_its_window_still_needs_the_sound() -> None:
    binding = bind(signature(ROW), {})
    known = {"gtzan-58@1": np.arange(58.0)}
    prepared = frontend(Call(wav(2.0), None, b"", None, known), binding)
    assert prepared.told["window"]["of_s"] == 2.0
    assert not prepared.made
    with pytest.raises(EmptySound):
        frontend(Call(b"", None, b"", None, known), binding)


def test_a_row_of_the_client_needs_no_value() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    first = frontend(Call(wav(2.0), None, client_row()), binding)
    assert list(first.made) == ["kaggle-gtzan@1 235x335"]
    again = frontend(Call(b"", None, client_row(), first.told["window"], first.made), binding)
    assert again.tensors["row"][0].tolist() == list(range(58))


def test_a_row_of_the_client_is_checked_even_where_all_is_known() -> None:
    binding = bind(signature(ROW, PICTURE), {})
    known = {"kaggle-gtzan@1 235x335": np.zeros((235, 335, 1), np.float32)}
    with pytest.raises(BadFeatureRow):
        frontend(Call(b"", None, b"a,b\n1,2\n", {"start_s": 0.0}, known), binding)


def test_a_csv_without_a_column_names_it() -> None:
    names = [name for name in FEATURE_NAMES if name != "tempo"]
    text = f"{','.join(names)}\n{','.join('1' for _ in names)}\n".encode()
    with pytest.raises(BadFeatureRow, match="tempo"):
        frontend(Call(wav(2.0), "wav", text), bind(signature(ROW), {}))


def test_probabilities_are_answered_with_their_labels() -> None:
    values = np.linspace(0.05, 0.15, 10, dtype=np.float32)[None]
    answer = reply({"genre": values}, bind(signature(ROW), {}))
    assert answer["labels"] == list(LABELS)
    assert answer["array"] == [values[0].tolist()]
    assert answer["saturated"] is False


def test_a_one_hot_answer_is_called_saturated() -> None:
    values = np.eye(10, dtype=np.float32)[:1]
    assert reply({"genre": values}, bind(signature(ROW), {}))["saturated"] is True


@pytest.mark.parametrize("values", [np.full((1, 10), np.nan), np.zeros((1, 9)), np.zeros((2, 10))])
def test_an_answer_that_is_no_row_of_numbers_is_refused(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(BadModel):
        reply({"genre": values}, bind(signature(ROW), {}))


def test_a_small_picture_is_taken_when_its_owner_names_its_frontend() -> None:
    spec = TensorSpec("p", (None, 130, 13, 1), "float32")
    manifest = {"inputs": {"p": {"frontend": "mel-235x335@1"}}}
    assert bind(signature(spec), manifest)["inputs"][0]["width"] == 13
