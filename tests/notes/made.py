"""Melodies, posteriorgrams and scores that tests and benchmarks make alike."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from server.notes.decoder import Options
from server.notes.salience import salience
from server.notes.streaming import Note, NoteStream
from server.notes.windows import SAMPLE_RATE_HZ, Windower

Float32 = NDArray[np.float32]


def melody(
    seed: int, *, count: int = 24, voices: int = 1, noise: float = 0.001
) -> tuple[Float32, list[Note]]:
    """Make plucked and sustained notes of known times, with five harmonics each.

    Returns the samples at 22,050 Hz and the notes: 0.25 to 0.6 s long, a gap of 0 to 0.1 s between
    them, pitches 48 to 84, in `voices` parts that begin independently.
    """
    rng = np.random.default_rng(seed)
    notes = []
    for voice in range(voices):
        at_s, low = 0.3 + 0.11 * voice, 48 + 36 * voice // voices
        for _ in range(count):
            length_s = rng.uniform(0.25, 0.6)
            pitch = int(rng.integers(low, low + 36 // voices + 1))
            notes.append(Note(at_s, at_s + length_s, pitch, rng.uniform(0.4, 1.0)))
            at_s += length_s + rng.uniform(0, 0.1)
    total = int((max(note.end_s for note in notes) + 0.5) * SAMPLE_RATE_HZ)
    y = noise * rng.standard_normal(total)
    for note in notes:
        start, stop = (int(t * SAMPLE_RATE_HZ) for t in (note.start_s, note.end_s))
        t = np.arange(stop - start) / SAMPLE_RATE_HZ
        envelope = np.minimum(1, t / 0.008) * np.exp(-rng.uniform(0, 3) * t)
        envelope *= np.minimum(1, t[::-1] / 0.02)
        hz = 440 * 2 ** ((note.pitch - 69) / 12)
        for h in range(1, 6):
            part = np.sin(2 * np.pi * h * hz * t + rng.uniform(0, 6))
            y[start:stop] += 0.2 / voices * note.amplitude * envelope * part / h**1.2
    return y.astype(np.float32), notes


def heard(y: Float32, options: Options | None = None) -> list[Note]:
    """Return the notes that the baseline hears."""
    windower, stream = Windower(), NoteStream(options or Options())
    notes = []
    for first in range(0, len(y), SAMPLE_RATE_HZ):
        notes += stream.add(salience(windower.feed(y[first : first + SAMPLE_RATE_HZ])))
    notes += stream.add(salience(windower.finish()))
    return notes + stream.finish(len(y))


def f1(found: Sequence[Note], true: Sequence[Note], *, onset_s: float = 0.05) -> float:
    """Return the F measure of notes matched one to one: same pitch, beginnings within 50 ms."""
    if not found or not true:
        return float(not found and not true)
    fits = [
        [a.pitch == b.pitch and abs(a.start_s - b.start_s) <= onset_s for b in true] for a in found
    ]
    matched = maximum_bipartite_matching(csr_array(np.array(fits, np.int8)), perm_type="column")
    return 2 * int((matched >= 0).sum()) / (len(found) + len(true))


def posteriorgrams(seed: int, frames: int = 800) -> dict[str, Float32]:
    """Make what a model might answer: notes with noise, weak onsets, missing onsets, neighbours."""
    rng = np.random.default_rng(seed)
    note = rng.uniform(0, 0.25, (frames, 88))
    onset = rng.uniform(0, 0.3, (frames, 88))
    contour = rng.uniform(0, 0.3, (frames, 264))
    for _ in range(frames // 12):
        start, length = int(rng.integers(0, frames - 5)), int(rng.integers(3, 90))
        key, stop = int(rng.integers(0, 88)), min(frames, start + length)
        level = rng.uniform(0.25, 1)
        note[start:stop, key] += level * rng.uniform(0.6, 1, stop - start)
        if key < 87:
            note[start:stop, key + 1] += 0.5 * level
        if rng.uniform() < 0.7:
            onset[start, key] += rng.uniform(0.2, 1)
        bent = np.clip(3 * key + rng.integers(-4, 5, stop - start), 0, 263)
        contour[np.arange(start, stop), bent] += level
    made = {"note": note, "onset": onset, "contour": contour}
    return {name: np.clip(value, 0, 1).astype(np.float32) for name, value in made.items()}


def is_sorted(notes: Sequence[Note]) -> bool:
    """Tell whether no note begins before the one in front of it."""
    return all(a.start_s <= b.start_s for a, b in pairwise(notes))
