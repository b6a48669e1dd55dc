"""What basic-pitch 0.4.0 answers, for `benchmarks.notes` and for the golden notes of the tests.

    PYTHON -m benchmarks.notes_peer golden tests/golden/notes.json
    PYTHON -m benchmarks.notes_peer sounds FOLDER SOUND...

Runs in an environment of its own, which must have basic-pitch 0.4.0 (by pip's ``--no-deps``: it
pins an old TensorFlow), onnxruntime, librosa, mir_eval, pretty_midi, resampy, ``setuptools<81``.
`golden` decodes posteriorgrams that the tests make; `sounds` writes for each sound its samples at
22,050 Hz (`.npy`) and its notes (`.json`).
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import basic_pitch
import librosa
import numpy as np
from basic_pitch.inference import Model, run_inference
from basic_pitch.note_creation import model_output_to_notes

from tests.notes.made import posteriorgrams

GOLDEN: dict[str, dict[str, Any]] = {
    "defaults": {},
    "sure": {"onset_thresh": 0.7, "frame_thresh": 0.45, "min_note_len": 5},
    "onsets alone": {"melodia_trick": False, "infer_onsets": False},
}


def main() -> None:
    """Do what the command line says."""
    logging.disable(logging.CRITICAL)
    what, target, *sounds = sys.argv[1:]
    if what == "golden":
        golden = {
            name: [_notes(posteriorgrams(seed), **options) for seed in range(3)]
            for name, options in GOLDEN.items()
        }
        Path(target).write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        return
    model = Model(str(basic_pitch.ICASSP_2022_MODEL_PATH))
    for sound in map(Path, sounds):
        y, _ = librosa.load(str(sound), sr=22_050, mono=True)
        np.save(Path(target) / f"{sound.stem}.npy", y)
        notes = _notes(run_inference(sound, model))
        (Path(target) / f"{sound.stem}.json").write_text(json.dumps(notes))
        print(sound.name, flush=True)


def _notes(outputs: dict[str, Any], **options: Any) -> list[list[Any]]:
    """Return start and end in seconds, pitch, amplitude and bends of each note."""
    defaults: dict[str, Any] = {"onset_thresh": 0.5, "frame_thresh": 0.3, "min_note_len": 11}
    _, events = model_output_to_notes(outputs, **(defaults | options))
    return [
        [
            round(float(start), 6),
            round(float(end), 6),
            int(pitch),
            round(float(amplitude), 6),
            [int(bend) for bend in bends or []],
        ]
        for start, end, pitch, amplitude, bends in sorted(events)
    ]


if __name__ == "__main__":
    main()
