"""Measure the notes: the baseline on melodies whose notes are known, the decoder, one hour.

    python -m benchmarks.notes [--melodies 20] [--hours 1]
        [--peer PYTHON --model nmp.onnx SOUND...]

With `--peer`, an environment that has basic-pitch (see `benchmarks.notes_peer`), and its model
file: our notes of the sounds named, by that model in our windows, stitching and decoder, beside
the package's own notes. Exits with 1 if a bar is missed.
"""

import os

os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from server.audio.decode import decode
from server.notes.bends import bends
from server.notes.decoder import Options, spans
from server.notes.salience import salience
from server.notes.streaming import Note, NoteStream
from server.notes.windows import SAMPLE_RATE_HZ, Windower
from tests.notes.made import f1, heard, melody, posteriorgrams

LEAST_BASELINE = 0.95  # one voice
MOST_DECODE_S = 0.2  # 30 s of sound
MOST_HOUR_MB = 300
LEAST_F1 = 0.99
_FRAMES_30_S = 2598
_OUTPUTS = {"note": 1, "onset": 2, "contour": 0}


def main() -> int:
    """Run what is asked for, print the figures and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.notes")
    parser.add_argument("--melodies", type=int, default=20)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--peer")
    parser.add_argument("--model")
    parser.add_argument("sounds", nargs="*")
    asked = parser.parse_args()
    good = [_baseline(asked.melodies), _decoder(), _long(asked.hours)]
    _own_song()
    if asked.peer:
        good.append(_beside_peer(asked.peer, asked.model, asked.sounds))
    return 0 if all(good) else 1


def _baseline(count: int) -> bool:
    scores = []
    for voices in (1, 2, 3):
        made = [melody(seed, voices=voices) for seed in range(count)]
        each = [f1(heard(y), notes) for y, notes in made]
        scores.append(float(np.mean(each)))
        print(f"baseline, {voices} voices: F1 {scores[-1]:.3f}, least {min(each):.3f}", flush=True)
    return scores[0] >= LEAST_BASELINE


def _own_song() -> None:
    default = Path(__file__).parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("SHARED_DATA", default))
    if not (root / "midi" / "own12s_lead_notes.csv").exists():
        return
    with (root / "midi" / "own12s_lead_notes.csv").open() as file:
        rows = list(csv.DictReader(file))
    true = [Note(float(r["start_s"]), float(r["end_s"]), int(r["pitch"]), 1.0) for r in rows]
    for stem in ("vocals", "mixture"):
        y = decode((root / "stems" / "own12s" / f"{stem}.flac").read_bytes()).y
        print(f"baseline, lead of own12s in its {stem}: F1 {f1(heard(y), true):.3f}")


def _decoder() -> bool:
    made = posteriorgrams(0, _FRAMES_30_S)
    spent = []
    for _ in range(5):
        started = time.process_time()
        found = spans(made["note"], made["onset"], Options())
        for span in found:
            bends(made["contour"][span.start : span.stop], span.key)
        spent.append(time.process_time() - started)
    print(f"decoder, 30 s with {len(found)} notes: {np.median(spent) * 1e3:.0f} CPU ms")
    return float(np.median(spent)) <= MOST_DECODE_S


def _long(hours: float) -> bool:
    """Let the baseline hear melodies again and again, and see how much memory that takes."""
    y = np.concatenate([melody(seed)[0] for seed in range(6)])
    heard(y)
    before, started = _peak_mb(), time.process_time()
    windower, stream, notes = Windower(), NoteStream(Options()), 0
    for _ in range(round(hours * 3600 * SAMPLE_RATE_HZ / len(y))):
        for first in range(0, len(y), 10 * SAMPLE_RATE_HZ):
            part = windower.feed(y[first : first + 10 * SAMPLE_RATE_HZ])
            notes += len(stream.add(salience(part)))
    stream.add(salience(windower.finish()))
    notes += len(stream.finish(windower.samples))
    grown, spent = _peak_mb() - before, time.process_time() - started
    print(f"baseline, {hours:g} h: {notes} notes, {spent:.1f} CPU s, {grown:.0f} MB more at most")
    return grown <= MOST_HOUR_MB


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _beside_peer(python: str, model: str, sounds: list[str]) -> bool:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    least, matched, counted = 1.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "benchmarks.notes_peer", "sounds", folder, *sounds]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for sound in sounds:
            stem = Path(folder) / Path(sound).stem
            y = np.load(f"{stem}.npy")
            rows = json.loads(Path(f"{stem}.json").read_text())
            theirs = [Note(row[0], row[1], row[2], row[3]) for row in rows]
            whole, cut = (_by_model(session, y, Options(whole=whole)) for whole in (True, False))
            score, same = f1(whole, theirs), f1(cut, theirs)
            least = min(least, same)
            matched += score * (len(whole) + len(theirs))
            counted += len(whole) + len(theirs)
            print(
                f"basic-pitch, {Path(sound).name}: {len(theirs)} notes; F1 {same:.4f} over what it "
                f"hears, {score:.4f} to the end ({len(whole)} notes)"
            )
    print(f"basic-pitch, all to the end together: F1 {matched / counted:.4f}")
    return min(least, matched / counted) >= LEAST_F1


def _by_model(
    session: onnxruntime.InferenceSession, y: NDArray[np.float32], options: Options
) -> list[Note]:
    windower, stream = Windower(), NoteStream(options)
    notes: list[Note] = []
    for windows in (windower.feed(y), windower.finish()):
        for window in windows:
            names = [f"StatefulPartitionedCall:{k}" for k in _OUTPUTS.values()]
            outputs = session.run(names, {"serving_default_input_2:0": window[None]})
            notes += stream.add(dict(zip(_OUTPUTS, outputs, strict=True)))
    return notes + stream.finish(len(y))


if __name__ == "__main__":
    sys.exit(main())
