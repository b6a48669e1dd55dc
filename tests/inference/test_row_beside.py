"""server/inference/row_beside.py, with the decoder's own functions behind it."""

import io
import math
import struct
from typing import Any

import numpy as np
import pytest
import soundfile

from server.audio.feature_names import FEATURE_NAMES
from server.errors import WorkerFailed
from server.inference.decoder_child import frontend
from server.inference.frames import Message, Part
from server.inference.preparation import Prepared
from server.inference.row_beside import take_row, with_row
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import bind

ROW = TensorSpec("row", (None, 3), "float32")
PICTURE = TensorSpec("picture", (None, 235, 335, 1), "float32")
GENRE = (TensorSpec("genre", (None, 10), "float32"),)
COLUMNS = ["tempo", "length", "mfcc20_var"]
MANIFEST = {"inputs": {"row": {"columns": COLUMNS, "mean": 1.0, "scale": 2.0}}}
CSV = b"tempo,length,mfcc20_var\n120,661794,3.5\n"


@pytest.fixture(scope="module")
def sound() -> Part:
    y = 0.1 * np.random.default_rng(0).standard_normal(2 * 22_050)
    file = io.BytesIO()
    soundfile.write(file, y, 22_050, format="WAV")
    return Part("sound", file.getvalue())


def prepared(binding: Any, *parts: Part) -> Prepared:
    made = frontend(Message({"binding": binding, "ext": None}, list(parts)))
    return Prepared(made.parts[: len(binding["inputs"])], "", None)


def test_a_picture_gets_the_row_of_the_same_sound(sound: Part) -> None:
    binding = bind(Signature((PICTURE,), GENRE), {})
    wide = with_row(binding, FEATURE_NAMES, is_given=False)
    taken = take_row(prepared(wide, sound), wide)
    assert [part.name for part in taken.tensors] == ["picture"]
    assert taken.row is not None
    assert tuple(taken.row) == FEATURE_NAMES
    assert taken.row["length"] == 661_794


def test_the_row_is_not_scaled_and_has_every_feature(sound: Part) -> None:
    binding = bind(Signature((ROW,), GENRE), MANIFEST)
    wide = with_row(binding, FEATURE_NAMES, is_given=False)
    taken = take_row(prepared(wide, sound), wide)
    assert taken.row is not None
    assert len(taken.row) == 58
    fed = np.frombuffer(taken.tensors[0].data, np.float32)
    expected = [(taken.row[name] - 1) / 2 for name in COLUMNS]
    np.testing.assert_allclose(fed, expected, rtol=1e-6)


def test_a_row_that_the_caller_brought_has_what_the_model_takes(sound: Part) -> None:
    binding = bind(Signature((ROW,), GENRE), MANIFEST)
    wide = with_row(binding, FEATURE_NAMES, is_given=True)
    taken = take_row(prepared(wide, sound, Part("csv", CSV)), wide)
    assert taken.row == {"tempo": 120.0, "length": 661_794.0, "mfcc20_var": 3.5}


def test_a_model_that_calls_its_input_as_the_row_is_called_keeps_it(sound: Part) -> None:
    name = "row beside x"
    binding = bind(Signature((TensorSpec(name, (None, 58), "float32"),), GENRE), {})
    wide = with_row(binding, FEATURE_NAMES, is_given=False)
    assert [part.name for part in take_row(prepared(wide, sound), wide).tensors] == [name]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_no_number_is_not_believed(value: float) -> None:
    wide = with_row({"inputs": []}, ["tempo"], is_given=False)
    row = Part("row beside ", struct.pack("<f", value), "float32", (1, 1))
    with pytest.raises(WorkerFailed):
        take_row(Prepared([row], "", None), wide)
