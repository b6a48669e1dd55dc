"""Notes of a sound of any length, while the model is still hearing it.

Frames are kept until there are `BLOCK` and twice `CONTEXT` of them, which is decoded as one; the
notes that begin in its inner part are told, and the block is dropped but for the context of the
next one::

    |context|------------- block -------------|context|
                                      |context|------------- block ---
    tell:   |<------------------------------->|<------------------------

A sound of up to 5 min 12 s is decoded at once and gives exactly what the whole method gives. In a
longer one, a note that sounds on for more than `CONTEXT` (13 s) after its block is cut there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import BadModel
from server.notes.bends import BINS_PER_KEY, bends
from server.notes.decoder import KEYS, LOWEST_PITCH, Options, Span, spans
from server.notes.windows import FRAMES, KEPT, TRIM, frame_count, frame_time_s

WIDTHS = {"note": KEYS, "onset": KEYS, "contour": BINS_PER_KEY * KEYS}
BLOCK = 182 * KEPT
CONTEXT = 8 * KEPT


@dataclass(frozen=True, slots=True)
class Note:
    """A note that was heard.

    Attributes
    ----------
    start_s, end_s : float
        Seconds from the sound's start.
    pitch : int
        MIDI number, 21 to 108; 69 is A4.
    amplitude : float
        How sure the model was on average, in [0, 1]; made the velocity of the MIDI file.
    bends : tuple of int
        Thirds of a semitone above `pitch`, evenly spaced over the note's time; may be empty.
    """

    start_s: float
    end_s: float
    pitch: int
    amplitude: float
    bends: tuple[int, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the note as JSON values, times to the millisecond."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "pitch": self.pitch,
            "amplitude": round(self.amplitude, 4),
            "bends": list(self.bends),
        }


class NoteStream:
    """Takes a model's outputs window by window and tells the notes, earliest first.

    Parameters
    ----------
    options : Options
        Thresholds and range.
    block, context : int
        Frames that are told together, and that are looked at on both sides of them; the one more
        than twice the other.
    """

    def __init__(self, options: Options, *, block: int = BLOCK, context: int = CONTEXT) -> None:
        self._options = options
        self._block, self._context = block, context
        self._waiting: list[dict[str, NDArray[np.float32]]] = []
        self._frames = 0  # that wait
        self._first = 0  # the place of the first that waits
        self._told = 0  # notes that begin before this frame are told

    def add(self, outputs: Mapping[str, NDArray[np.float32]]) -> list[Note]:
        """Take the outputs of the next windows.

        Parameters
        ----------
        outputs : mapping of str to np.ndarray, float32
            ``note`` and ``onset`` (n, 172, 88), ``contour`` (n, 172, 264), in [0, 1].

        Returns
        -------
        list of Note
            Those that are certain now; most calls give none.

        Raises
        ------
        BadModel
            If an output is missing, has another shape or is not finite; names the axis.
        """
        self._waiting.append({name: _trimmed(outputs, name) for name in WIDTHS})
        self._frames += len(self._waiting[-1]["note"])
        if self._frames < self._block + 2 * self._context:
            return []
        until = self._first + self._frames - self._context
        found = self._decode(until)
        kept = 2 * self._context
        self._waiting = [{name: value[-kept:].copy() for name, value in self._waiting[0].items()}]
        self._first += self._frames - kept
        self._frames = kept
        return found

    def finish(self, samples: int) -> list[Note]:
        """Tell what is left.

        Parameters
        ----------
        samples : int
            Length of the sound at 22,050 Hz; frames after its end are not looked at.

        Returns
        -------
        list of Note
            The last notes.
        """
        if not self._frames:
            return []
        self._join()
        self._frames = 0
        kept = max(0, frame_count(samples, whole=self._options.whole) - self._first)
        self._waiting = [{name: value[:kept] for name, value in self._waiting[0].items()}]
        return self._decode(self._first + kept + 1)

    def _join(self) -> None:
        if len(self._waiting) > 1:
            self._waiting = [
                {name: np.concatenate([part[name] for part in self._waiting]) for name in WIDTHS}
            ]

    def _decode(self, until: int) -> list[Note]:
        """Return the notes of what waits that begin before a frame and are not told yet."""
        self._join()
        held = self._waiting[0]
        found = [
            self._note(span, held["contour"])
            for span in spans(held["note"], held["onset"], self._options)
            if self._told <= span.start + self._first < until
        ]
        self._told = until
        return found

    def _note(self, span: Span, contour: NDArray[np.float32]) -> Note:
        return Note(
            frame_time_s(self._first + span.start),
            frame_time_s(self._first + span.stop),
            span.key + LOWEST_PITCH,
            span.amplitude,
            bends(contour[span.start : span.stop], span.key),
        )


def _trimmed(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Check one output and join what is left of its windows."""
    if name not in outputs:
        raise BadModel(f"the model gives no {name!r}; it gives {sorted(outputs)}")
    value, width = outputs[name], WIDTHS[name]
    shape = list(value.shape)
    if len(shape) != 3:
        raise BadModel(f"output {name!r} is {shape}: it must have the axes [n, {FRAMES}, {width}]")
    for axis, wanted in ((1, FRAMES), (2, width)):
        if shape[axis] != wanted:
            raise BadModel(f"output {name!r} is {shape}: axis {axis} must be {wanted}")
    if not np.isfinite(value).all():
        raise BadModel(f"output {name!r} holds numbers that are not finite")
    return value[:, TRIM:-TRIM].astype(np.float32).reshape(-1, width)
