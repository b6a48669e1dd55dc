"""MIDI: the notes of a sound, as JSON and as a MIDI file.

::

    sound --windows of 43,844--> model or baseline --note, onset, contour--> NoteStream --> notes

Models of the basic-pitch contract fit; two of its outputs have one shape, so a manifest says which
is which. Without a model `server.notes.salience` answers.
"""

import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import too_short
from server.notes.decoder import Options
from server.notes.midi_file import midi_file
from server.notes.salience import salience
from server.notes.streaming import WIDTHS, Note, NoteStream
from server.notes.windows import FRAMES, SAMPLE_RATE_HZ, WINDOW, WINDOW_HOP, Windower
from server.tasks.binding import bind_form
from server.tasks.contract import Artifact, Contract, Form, Parameter, Signature, TensorSpec, Window
from server.tasks.task import Assignment, Step, Task, Tensors

MIN_SECONDS = 0.1
_WINDOWS_AT_ONCE = 8
_LISTED = 5000  # notes in the result; the file `notes.json` has all
_UNBOUNDED_S = 600.0  # what progress is measured against where a header states no length

CONTRACT = Contract(
    name="midi",
    sample_rate_hz=SAMPLE_RATE_HZ,
    min_seconds=MIN_SECONDS,
    frontends=(),
    summary="The notes of a sound, as JSON and as a MIDI file.",
    answers="job",
    forms=(
        Form(
            name="frames",
            inputs=(TensorSpec("audio", (None, WINDOW, 1), "float32"),),
            outputs=tuple(
                TensorSpec(name, (None, FRAMES, width), "float32") for name, width in WIDTHS.items()
            ),
            window=Window(WINDOW, WINDOW_HOP, "trim"),
        ),
    ),
    parameters=(
        Parameter("onset_threshold", "Least onset that begins a note.", "number", 0.5, 0.01, 0.99),
        Parameter("frame_threshold", "Least `note` that keeps it.", "number", 0.3, 0.01, 0.99),
        Parameter("min_note_ms", "Shorter notes are left out.", "number", 127.7, 0, 10_000),
        Parameter("min_hz", "Lowest note; 0: the lowest there is.", "number", 0.0, 0, 20_000),
        Parameter("max_hz", "Highest note; 0: the highest there is.", "number", 0.0, 0, 20_000),
        Parameter(
            "end",
            "`heard`: to the sound's end; `dropped`: without the last 0.7 %, as basic-pitch 0.4.0; "
            "`auto`: `dropped` with a model, `heard` without.",
            "choice",
            "auto",
            choices=("auto", "heard", "dropped"),
        ),
        Parameter(
            "tempo_bpm", "Of the MIDI file; notes sound when they do.", "number", 120, 4, 1000
        ),
        Parameter("program", "General MIDI program, from 0.", "integer", 4, 0, 127),
        Parameter(
            "bends",
            "`single`: of notes that sound alone; `all`: each such note on a channel of its own.",
            "choice",
            "single",
            choices=("single", "all"),
        ),
    ),
    artifacts=(
        Artifact("notes", "Standard MIDI File.", ("mid",)),
        Artifact("list", "Every note with its times, pitch, amplitude and bends.", ("json",)),
    ),
    baseline="salience-baseline",
    version=2,
)


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor of a model is which; see `bind_form`."""
    return bind_form(CONTRACT, signature, manifest)


def work(job: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    """Write the notes of a sound.

    Raises
    ------
    SoundTooShort
        Below a tenth of a second.
    BadModel
        If an output is not finite.
    """
    windower, stream = Windower(), NoteStream(_options(job))
    expected = job.sound.expected_samples or _UNBOUNDED_S * SAMPLE_RATE_HZ
    notes: list[Note] = []
    for rows in _rows(job, windower):
        outputs = yield Step(min(0.98, windower.samples / expected), {"audio": rows})
        notes += stream.add(outputs)
    if windower.samples < MIN_SECONDS * SAMPLE_RATE_HZ:
        raise too_short(windower.samples, round(MIN_SECONDS * SAMPLE_RATE_HZ), what="the task")
    notes += stream.finish(windower.samples)
    yield Step(0.99)
    return _written(notes, windower.samples, job)


def _rows(job: Assignment, windower: Windower) -> Iterator[NDArray[np.float32]]:
    for block in job.sound.blocks():
        yield from _portions(windower.feed(block))
    yield from _portions(windower.finish())


def _portions(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(rows), _WINDOWS_AT_ONCE):
        yield rows[first : first + _WINDOWS_AT_ONCE]


def _options(job: Assignment) -> Options:
    parameters = job.parameters
    automatic = "dropped" if job.binding else "heard"  # a model's notes are those of its package
    end = automatic if parameters["end"] == "auto" else parameters["end"]
    return Options(
        onset_threshold=parameters["onset_threshold"],
        frame_threshold=parameters["frame_threshold"],
        min_note_ms=parameters["min_note_ms"],
        min_hz=parameters["min_hz"] or None,
        max_hz=parameters["max_hz"] or None,
        whole=end == "heard",
    )


def _written(notes: list[Note], samples: int, job: Assignment) -> dict[str, Any]:
    """Write both files, and tell what is in them."""
    parameters = job.parameters
    file = midi_file(
        notes,
        tempo_bpm=parameters["tempo_bpm"],
        program=parameters["program"],
        channel_per_note=parameters["bends"] == "all",
    )
    _write(job.files["notes"], [file])
    listed = (json.dumps(note.describe()) for note in notes)
    _write(job.files["list"], _json_list(listed))
    return {
        "duration_s": round(samples / SAMPLE_RATE_HZ, 3),
        "count": len(notes),
        "notes": [note.describe() | {"bends": []} for note in notes[:_LISTED]],
    }


def _json_list(texts: Iterable[str]) -> Iterator[bytes]:
    """Put JSON texts into a list, one a line."""
    separator = "[\n"
    for text in texts:
        yield f"{separator}{text}".encode()
        separator = ",\n"
    yield b"[]\n" if separator == "[\n" else b"\n]\n"


def _write(fd: int, pieces: Iterable[bytes]) -> None:
    with os.fdopen(fd, "wb", closefd=False) as file:
        for piece in pieces:
            file.write(piece)


def baseline(tensors: Tensors, _parameters: Mapping[str, Any]) -> Tensors:
    """Hear harmonics; see `salience`."""
    return salience(tensors["audio"])


MIDI = Task(CONTRACT, bind, work=work, baseline=baseline)
