"""The baseline hears one clear voice."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from server.audio.decode import decode
from server.notes.midi_file import midi_file
from server.notes.salience import salience
from server.notes.streaming import WIDTHS, Note
from server.notes.windows import FRAMES, SAMPLE_RATE_HZ, WINDOW
from tests.notes.made import f1, heard, melody
from tests.notes.midi_reader import read


@pytest.mark.parametrize("seed", range(4))
def test_a_melody_is_heard(seed: int) -> None:
    y, notes = melody(seed)
    assert f1(heard(y), notes) >= 0.95


def test_two_voices_are_heard() -> None:
    scores = [f1(heard(y), notes) for y, notes in (melody(k, voices=2) for k in range(4))]
    assert np.mean(scores) >= 0.9


@pytest.mark.parametrize("gain", [0.05, 3.0])
def test_loudness_changes_no_note(gain: float) -> None:
    y, notes = melody(1, noise=0.0)
    assert f1(heard((gain * y).astype(np.float32)), notes) >= 0.95


def test_noise_is_no_music() -> None:
    rng = np.random.default_rng(0)
    y = (0.1 * rng.standard_normal(4 * SAMPLE_RATE_HZ)).astype(np.float32)
    assert len(heard(y)) <= 4


def test_outputs_have_the_shapes_of_the_contract() -> None:
    y, _ = melody(2)
    outputs = salience(np.stack([y[:WINDOW], 0 * y[:WINDOW]])[:, :, None])
    assert {name: value.shape for name, value in outputs.items()} == {
        name: (2, FRAMES, width) for name, width in WIDTHS.items()
    }
    for value in outputs.values():
        assert value.dtype == np.float32
        assert 0 <= value.min() <= value.max() <= 1
        assert not value[1].any()


def test_a_glide_is_a_bend() -> None:
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    semitones = 69 + 0.4 * np.clip(t - 0.8, 0, 1)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((semitones - 69) / 12)) / SAMPLE_RATE_HZ
    y = (0.3 * np.sin(phase) * (t > 0.3)).astype(np.float32)
    (note,) = heard(y)
    assert note.pitch == 69
    assert note.bends[20] == 0
    assert note.bends[-25] == 1


def test_the_lead_of_our_own_song_is_heard(shared: Callable[[str], Path]) -> None:
    with shared("midi/own12s_lead_notes.csv").open() as file:
        rows = list(csv.DictReader(file))
    true = [Note(float(r["start_s"]), float(r["end_s"]), int(r["pitch"]), 0.75) for r in rows]
    y = decode(shared("stems/own12s/vocals.flac").read_bytes()).y
    found = heard(y)
    assert f1(found, true) >= 0.95
    score = read(midi_file(found))
    written = [
        Note(n.start * score.tick_s, n.stop * score.tick_s, n.pitch, n.velocity / 127)
        for n in score.notes
    ]
    assert f1(written, true) >= 0.95
