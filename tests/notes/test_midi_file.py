"""What is written as MIDI is read back as the notes that were meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.notes.midi_file import midi_file
from server.notes.streaming import Note
from tests.notes.midi_reader import Heard, read

_times = st.floats(0, 4000, allow_nan=False)
_bends = st.lists(st.integers(-25, 25), max_size=12).map(tuple)
NOTES = st.lists(
    st.builds(
        lambda start, length, pitch, amplitude, bends: Note(
            start, start + length, pitch, amplitude, bends
        ),
        _times,
        st.floats(0.01, 20),
        st.integers(21, 108),
        st.floats(0, 1),
        _bends,
    ),
    max_size=30,
)


def _key(note: Heard) -> tuple[int, int]:
    return note.start, note.pitch


@given(NOTES, st.floats(4, 1000), st.integers(0, 127), st.booleans())
def test_any_notes_make_a_well_formed_file(
    notes: list[Note], tempo: float, program: int, apart: bool
) -> None:
    score = read(midi_file(notes, tempo_bpm=tempo, program=program, channel_per_note=apart))
    assert set(score.programs.values()) == {program}
    assert set(score.bend_ranges.values()) == {2}
    assert 9 not in score.programs
    assert score.microseconds == pytest.approx(60e6 / tempo, abs=0.5)
    assert len(score.notes) <= len(notes)
    assert all(value == 0 for value in score.last_bends.values())
    if not apart:
        assert {note.channel for note in score.notes} <= {0}


@given(NOTES, st.booleans())
def test_notes_of_different_pitch_come_back(notes: list[Note], apart: bool) -> None:
    one_each = list({note.pitch: note for note in notes}.values())
    score = read(midi_file(one_each, channel_per_note=apart))
    expected = sorted(one_each, key=lambda note: (round(note.start_s / score.tick_s), note.pitch))
    for got, note in zip(sorted(score.notes, key=_key), expected, strict=True):
        assert got.pitch == note.pitch
        assert got.velocity == max(1, round(127 * note.amplitude))
        assert got.start * score.tick_s == pytest.approx(note.start_s, abs=score.tick_s)
        assert got.stop * score.tick_s == pytest.approx(note.end_s, abs=score.tick_s)


@given(st.floats(20, 300), st.lists(st.integers(-6, 5), min_size=1, max_size=8))
def test_the_bends_of_a_lone_note_come_back(tempo: float, thirds: list[int]) -> None:
    score = read(midi_file([Note(1.0, 3.0, 60, 0.5, tuple(thirds))], tempo_bpm=tempo))
    (note,) = score.notes
    inside = {at: value for at, value in note.bends if at < note.stop}
    now, heard = 0, []
    length = note.stop - note.start
    for k in range(len(thirds)):
        now = inside.get(note.start + length * k // len(thirds), now)
        heard.append(now)
    assert heard == [round(third * 4096 / 3) for third in thirds]


def test_a_bend_beyond_two_semitones_is_cut() -> None:
    (note,) = read(midi_file([Note(0, 1, 60, 1, (25, -25))])).notes
    assert [value for _, value in note.bends][:2] == [8191, -8192]


def test_notes_that_sound_together_go_without_bends() -> None:
    notes = [
        Note(0, 2, 60, 1, (1, 2)),
        Note(0.2, 0.4, 61, 1, (1, 2)),
        Note(1, 1.5, 64, 1, (1, 2)),
        Note(2, 3, 67, 1, (1, 2)),
    ]
    score = read(midi_file(notes))
    assert [bool(note.bends) for note in score.notes] == [False, False, False, True]


def test_with_a_channel_each_they_keep_them() -> None:
    notes = [Note(0, 2, 60 + k, 1, (1, k)) for k in range(15)]
    score = read(midi_file(notes, channel_per_note=True))
    assert len({note.channel for note in score.notes}) == 15
    assert all(note.bends for note in score.notes)


def test_a_sixteenth_note_goes_without_bends() -> None:
    notes = [Note(0.01 * k, 2, 60 + k, 1, (3,)) for k in range(16)]
    score = read(midi_file(notes, channel_per_note=True))
    assert len(score.notes) == 16
    assert len(score.last_bends) == 15


def test_a_note_ends_where_the_next_of_its_pitch_begins() -> None:
    score = read(midi_file([Note(0, 2, 60, 1), Note(1, 3, 60, 1)]))
    assert [(note.start, note.stop) for note in score.notes] == [(0, 960), (960, 2880)]


def test_a_note_that_follows_at_once_begins_with_its_own_bend() -> None:
    score = read(midi_file([Note(0, 1, 60, 1, (2,)), Note(1, 2, 62, 1, (-2,))]))
    assert score.notes[1].bends[0] == (960, round(-2 * 4096 / 3))


@pytest.mark.parametrize(("tempo", "program"), [(3.9, 0), (1001, 0), (120, -1), (120, 128)])
def test_what_no_file_can_say_is_refused(tempo: float, program: int) -> None:
    with pytest.raises(ValueError, match="tempo"):
        midi_file([], tempo_bpm=tempo, program=program)


def test_the_bytes_of_one_note() -> None:
    expected = (
        "4d546864 00000006 0000 0001 01e0"
        "4d54726b 0000002b 00ff5103 07a120"
        "00c000 00b06500 00b06400 00b00602 00b02600"
        "00904540 8740804500 00ff2f00"
    )
    data = midi_file([Note(0, 1, 69, 0.5)], program=0)
    assert data[22:] == bytes.fromhex(expected.replace(" ", ""))[22:]
    assert data[:18] == bytes.fromhex(expected.replace(" ", ""))[:18]
