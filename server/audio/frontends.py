"""The table of frontends: what a model may be fed with, by a name that never changes its meaning.

A name ends in a version. Numbers behind a name are fixed by golden vectors (tests/golden); a
change that moves them gets the next version, and the old name stays.

================  =======  ========  ===============================================================
name              kind     values    what
================  =======  ========  ===============================================================
gtzan-58@1        row      floats    the 58 features of the published GTZAN table
mel-235x335@1     picture  0..1      mel spectrogram of the first 30 s; for new models
kaggle-gtzan@1    picture  0..255    the Kaggle set's PNG; for models that were trained on them
cs467-crop@1      picture  0..255    the 2020 server's crop, 200 x 335 only; for its models
================  =======  ========  ===============================================================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from server.audio import cs467, gtzan58
from server.audio.analysis import Analysis
from server.audio.feature_names import FEATURE_NAMES
from server.audio.kaggle import kaggle_picture
from server.audio.spectrogram import MAX_HEIGHT, mel_spectrogram
from server.errors import UnusableInput

_MAX_SIDE = 1024
HEIGHT, WIDTH = 235, 335  # where nobody asks for others


@dataclass(frozen=True, slots=True)
class RowFrontend:
    """A frontend that turns a sound into named numbers.

    Attributes
    ----------
    name : str
        With its version.
    names : tuple of str
        The numbers' names in order.
    min_samples : int
        Fewer samples at 22,050 Hz are refused with `SoundTooShort`.
    read : callable
        A sound to float64 (len(names),).
    text : str
        What it is, in a sentence.
    """

    name: str
    names: tuple[str, ...]
    min_samples: int
    read: Callable[[Analysis], NDArray[np.float64]]
    text: str

    def compute(self, y: NDArray[np.float32]) -> NDArray[np.float64]:
        """Compute the row of mono samples at 22,050 Hz that no other frontend needs."""
        return self.read(Analysis(y))

    def describe(self) -> dict[str, object]:
        """Return what another process needs to know, as JSON values."""
        return {
            "id": self.name,
            "kind": "row",
            "text": self.text,
            "shape": [len(self.names)],
            "names": list(self.names),
            "min_samples": self.min_samples,
        }


@dataclass(frozen=True, slots=True)
class PictureFrontend:
    """A frontend that turns a sound into a picture of the model's height and width.

    Attributes
    ----------
    name : str
        With its version.
    heights, widths : tuple of int
        Smallest and largest side that can be drawn.
    values : tuple of float
        Smallest and largest value.
    min_samples : int
        Fewer samples at 22,050 Hz are refused with `SoundTooShort`.
    draw : callable
        A sound, height and width to float32 (height, width, 1).
    text : str
        What it is, in a sentence.
    """

    name: str
    heights: tuple[int, int]
    widths: tuple[int, int]
    values: tuple[float, float]
    min_samples: int
    draw: Callable[[Analysis, int, int], NDArray[np.float32]]
    text: str

    def allows(self, height: int, width: int) -> bool:
        """Tell whether a picture of this size can be drawn."""
        low, high = self.heights
        left, right = self.widths
        return low <= height <= high and left <= width <= right

    def compute(self, y: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """Draw the picture of mono samples at 22,050 Hz that no other frontend needs."""
        return self.read(Analysis(y), height, width)

    def read(self, sound: Analysis, height: int, width: int) -> NDArray[np.float32]:
        """Draw the picture.

        Parameters
        ----------
        sound : Analysis
            Mono samples at 22,050 Hz, and what other frontends have left with them.
        height, width : int
            From the model.

        Returns
        -------
        np.ndarray, shape (height, width, 1), float32
            Within `values`; low frequencies in the bottom row.

        Raises
        ------
        UnusableInput
            If the frontend has no picture of this size; names the axis.
        SoundTooShort
            If there are fewer than `min_samples` samples.
        """
        self._check("height", height, self.heights)
        self._check("width", width, self.widths)
        return self.draw(sound, height, width)

    def _check(self, axis: str, size: int, limits: tuple[int, int]) -> None:
        low, high = limits
        if not low <= size <= high:
            allowed = f"{low}" if low == high else f"{low} to {high}"
            raise UnusableInput(
                f"The frontend {self.name} draws no {axis} of {size}; it must be {allowed}.",
                axis=axis,
                allowed=[low, high],
            )

    def describe(self) -> dict[str, object]:
        """Return what another process needs to know, as JSON values."""
        return {
            "id": self.name,
            "kind": "picture",
            "text": self.text,
            "shape": [_within(HEIGHT, self.heights), _within(WIDTH, self.widths), 1],
            "heights": list(self.heights),
            "widths": list(self.widths),
            "values": list(self.values),
            "min_samples": self.min_samples,
        }


Frontend = RowFrontend | PictureFrontend

_TABLE: tuple[Frontend, ...] = (
    RowFrontend(
        "gtzan-58@1",
        FEATURE_NAMES,
        gtzan58.MIN_SAMPLES,
        gtzan58.gtzan58,
        "The 58 features of the published GTZAN table.",
    ),
    PictureFrontend(
        "mel-235x335@1",
        heights=(1, MAX_HEIGHT),
        widths=(2, _MAX_SIDE),
        values=(0, 1),
        min_samples=1,
        draw=lambda sound, height, width: mel_spectrogram(sound.y, height, width),
        text="A mel spectrogram, for new models.",
    ),
    PictureFrontend(
        "kaggle-gtzan@1",
        heights=(1, _MAX_SIDE),
        widths=(1, _MAX_SIDE),
        values=(0, 255),
        min_samples=1,
        draw=kaggle_picture,
        text="The picture of the Kaggle set, for models that were trained on it.",
    ),
    PictureFrontend(
        "cs467-crop@1",
        heights=(cs467.HEIGHT, cs467.HEIGHT),
        widths=(cs467.WIDTH, cs467.WIDTH),
        values=(0, 255),
        min_samples=1,
        draw=lambda sound, height, width: cs467.cs467_picture(sound.y, height, width),
        text="The picture of the server of 2020, for models that were trained on it.",
    ),
)

FRONTENDS: Mapping[str, Frontend] = MappingProxyType({entry.name: entry for entry in _TABLE})


def describe_frontends() -> list[dict[str, object]]:
    """Describe all frontends for a process that does not import them.

    Returns
    -------
    list of dict
        One JSON object a frontend: ``id``, ``kind``, ``text``, ``shape`` where nobody asks for
        another, ``min_samples``, and ``names`` of a row or ``heights``, ``widths`` and ``values``
        of a picture.
    """
    return [frontend.describe() for frontend in FRONTENDS.values()]


def _within(size: int, limits: tuple[int, int]) -> int:
    return min(max(size, limits[0]), limits[1])
