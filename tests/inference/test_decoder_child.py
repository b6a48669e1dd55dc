"""What the decoder (server/inference/decoder_child.py) answers for keeping, and takes again."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from server.inference.child import to_array
from server.inference.decoder_child import frontend
from server.inference.frames import Message, Part
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import bind

ROW = TensorSpec("row", (None, 58), "float32")
PICTURE = TensorSpec("picture", (None, 235, 335, 1), "float32")
SIGNATURE = Signature((ROW, PICTURE), (TensorSpec("genre", (None, 10), "float32"),))
VALUE = "kaggle-gtzan@1 235x335"


@pytest.fixture(scope="module")
def sound() -> Part:
    y = 0.1 * np.random.default_rng(0).standard_normal(2 * 22_050)
    file = io.BytesIO()
    soundfile.write(file, y, 22_050, format="WAV")
    return Part("sound", file.getvalue())


def ask(binding: dict[str, Any], *parts: Part, **fields: object) -> Message:
    return frontend(
        Message({"op": "frontend", "binding": binding, "ext": None, **fields}, list(parts))
    )


def names(message: Message) -> list[str]:
    return [part.name for part in message.parts]


def test_a_raw_value_that_is_a_tensor_is_named_instead_of_sent_twice(sound: Part) -> None:
    answer = ask(bind(SIGNATURE, {}), sound)
    assert names(answer) == ["row", "picture", "value:gtzan-58@1"]
    assert answer.fields["same"] == {VALUE: "picture"}


def test_a_raw_value_that_was_scaled_is_sent_beside_its_tensor(sound: Part) -> None:
    scaled = bind(SIGNATURE, {"inputs": {"picture": {"scale": 255.0}}})
    answer = ask(scaled, sound)
    value, tensor = answer.part(f"value:{VALUE}"), answer.part("picture")
    assert value is not None
    assert tensor is not None
    assert answer.fields["same"] == {}
    np.testing.assert_allclose(to_array(value).ravel() / 255, to_array(tensor).ravel(), rtol=1e-6)


def test_values_that_were_answered_are_taken_in_place_of_the_sound(sound: Part) -> None:
    binding = bind(SIGNATURE, {})
    first = ask(binding, sound)
    sent = {part.name.removeprefix("value:"): part for part in first.parts}
    kept = sent | {value: sent[tensor] for value, tensor in first.fields["same"].items()}
    known = [
        Part(f"known:{item['value']}", part.data, part.dtype, part.shape)
        for item in binding["inputs"]
        for part in [kept[item["value"]]]
    ]
    again = ask(binding, *known, window=first.fields["told"]["window"])
    assert again.fields == {"told": first.fields["told"], "same": {}}
    assert names(again) == ["row", "picture"]
    assert [bytes(p.data) for p in again.parts] == [bytes(p.data) for p in first.parts[:2]]
