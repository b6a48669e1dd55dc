"""Notes are those of basic-pitch 0.4.0, from the same posteriorgrams."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.notes.bends import bends
from server.notes.decoder import Options, Span, spans
from tests.notes.made import posteriorgrams

# made by basic-pitch: PYTHON -m benchmarks.notes_peer golden tests/golden/notes.json
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "notes.json").read_text())
OPTIONS = {
    "defaults": Options(),
    "sure": Options(onset_threshold=0.7, frame_threshold=0.45, min_note_ms=58.05),
    "onsets alone": Options(melodia=False, infers_onsets=False),
}


def _theirs_s(frame: int) -> float:
    return frame * 256 / 22_050 - frame // 172 * (256 / 22_050 * (172 - 43_844 / 256) + 0.0018)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("seed", range(3))
def test_notes_are_those_of_basic_pitch(name: str, seed: int) -> None:
    made = posteriorgrams(seed)
    ours = sorted(
        (
            round(_theirs_s(span.start), 6),
            round(_theirs_s(span.stop), 6),
            span.key + 21,
            pytest.approx(span.amplitude, abs=2e-6),
            list(bends(made["contour"][span.start : span.stop], span.key)),
        )
        for span in spans(made["note"], made["onset"], OPTIONS[name])
    )
    assert len(ours) > 10
    assert [list(note) for note in ours] == GOLDEN[name][seed]


def test_the_shortest_note_is_longer_than_eleven_frames() -> None:
    note, onset = np.zeros((60, 88), np.float32), np.zeros((60, 88), np.float32)
    for key, length in ((10, 11), (20, 12)):
        note[5 : 5 + length, key], onset[5, key] = 0.9, 0.9
    assert [(span.start, span.stop, span.key) for span in spans(note, onset, Options())] == [
        (5, 17, 20)
    ]


@pytest.mark.parametrize(("gap", "count"), [(10, 1), (11, 2)])
def test_a_short_gap_is_bridged(gap: int, count: int) -> None:
    note, onset = np.zeros((100, 88), np.float32), np.zeros((100, 88), np.float32)
    note[10:40, 40] = note[40 + gap : 80, 40] = 0.8
    onset[10, 40] = 0.9
    assert len(spans(note, onset, Options(infers_onsets=False))) == count


def test_only_the_keys_of_the_range_are_heard() -> None:
    made = posteriorgrams(1)
    found = spans(made["note"], made["onset"], Options(min_hz=220, max_hz=440))
    assert {span.key for span in found} <= set(range(36, 49))
    assert found


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 12])
def test_silence_has_no_notes(frames: int) -> None:
    empty = np.zeros((frames, 88), np.float32)
    assert spans(empty, empty, Options()) == []


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 300), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_spans_lie_within_the_frames(
    seed: int, frames: int, onset_threshold: float, frame_threshold: float
) -> None:
    made = posteriorgrams(seed, frames)
    options = Options(onset_threshold=onset_threshold, frame_threshold=frame_threshold)
    found = spans(made["note"], made["onset"], options)
    assert found == sorted(found)
    for span in found:
        assert 0 <= span.start < span.stop <= frames
        assert span.stop - span.start > options.min_frames
        assert 0 <= span.key < 88
        assert 0 <= span.amplitude <= 1
    assert not _overlaps(found)


def _overlaps(found: list[Span]) -> bool:
    ends: dict[int, int] = {}
    for span in found:
        if span.start < ends.get(span.key, 0):
            return True
        ends[span.key] = span.stop
    return False


@pytest.mark.parametrize("key", [0, 5, 44, 84, 87])
def test_a_bend_is_read_in_thirds_of_a_semitone(key: int) -> None:
    contour = np.zeros((3, 264), np.float32)
    wanted = [0, 1, 2]
    contour[range(3), [min(263, 3 * key + third) for third in wanted]] = 0.5
    assert list(bends(contour, key)) == wanted
