"""A sound in blocks gives the notes of the sound as a whole; odd models are refused by axis."""

import numpy as np
import pytest

from server.errors import BadModel
from server.notes.decoder import Options
from server.notes.salience import salience
from server.notes.streaming import Note, NoteStream
from server.notes.windows import FRAMES, KEPT, Windower
from tests.notes.made import Float32, f1, heard, is_sorted, melody


def _in_blocks(y: Float32, *, block: int, context: int) -> list[Note]:
    windower, stream = Windower(), NoteStream(Options(), block=block, context=context)
    notes = []
    for windows in (windower.feed(y), windower.finish()):
        for window in windows:
            notes += stream.add(salience(window[None]))
    return notes + stream.finish(len(y))


def test_blocks_give_the_notes_of_the_whole() -> None:
    y, true = melody(3, count=80, voices=2)
    whole = heard(y)
    blocks = _in_blocks(y, block=6 * KEPT, context=2 * KEPT)
    assert f1(blocks, whole) >= 0.99
    assert f1(blocks, true) >= 0.9
    assert is_sorted(blocks)


def test_a_stream_ends_once() -> None:
    y, _ = melody(4, count=4)
    stream, windower = NoteStream(Options()), Windower()
    for windows in (windower.feed(y), windower.finish()):
        stream.add(salience(windows))
    assert stream.finish(len(y))
    assert stream.finish(len(y)) == []


def test_no_sound_has_no_notes() -> None:
    assert heard(np.zeros(0, np.float32)) == []
    assert heard(np.zeros(50_000, np.float32)) == []


def _outputs() -> dict[str, Float32]:
    return {
        "note": np.zeros((1, FRAMES, 88), np.float32),
        "onset": np.zeros((1, FRAMES, 88), np.float32),
        "contour": np.zeros((1, FRAMES, 264), np.float32),
    }


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("note", (1, 170, 88), "axis 1 must be 172"),
        ("onset", (1, FRAMES, 87), "axis 2 must be 88"),
        ("contour", (1, FRAMES, 88), "axis 2 must be 264"),
        ("contour", (FRAMES, 264), r"the axes \[n, 172, 264\]"),
    ],
)
def test_a_wrong_axis_is_named(name: str, shape: tuple[int, ...], said: str) -> None:
    outputs = _outputs() | {name: np.zeros(shape, np.float32)}
    with pytest.raises(BadModel, match=f"'{name}'.*{said}"):
        NoteStream(Options()).add(outputs)


def test_a_missing_output_is_named() -> None:
    outputs = _outputs()
    del outputs["onset"]
    with pytest.raises(BadModel, match="gives no 'onset'"):
        NoteStream(Options()).add(outputs)


def test_what_is_not_finite_is_refused() -> None:
    outputs = _outputs()
    outputs["note"][0, 20, 3] = np.nan
    with pytest.raises(BadModel, match="'note' holds numbers that are not finite"):
        NoteStream(Options()).add(outputs)
