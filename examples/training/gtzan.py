"""The GTZAN tables that the demo model is trained on; they are not part of this project.

::

    FOLDER/features_30_sec.csv          1000 rows: filename, 58 features, label
    FOLDER/pictures_235x335_u8.npz      `pictures` (999, 235, 335) uint8 and `names`; the box
                                        55, 35, 390, 270 of each Kaggle picture as grey
    FOLDER/split/*_filtered.txt         train, valid, test: no artist in two lists, faults left out

There is no picture of jazz.00054, so it is left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

GENRES = [
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips of one list.

    Attributes
    ----------
    features : np.ndarray, shape (n, 58), float32
        In the order of the published table, `length` first.
    pictures : np.ndarray, shape (n, 235, 335, 1), uint8
        Low frequencies at the bottom, 17 or 18 white rows below them.
    labels : np.ndarray, shape (n,), int
        Places in `GENRES`.
    """

    features: NDArray[np.float32]
    pictures: NDArray[np.uint8]
    labels: NDArray[np.intp]


def load_clips(folder: Path, which: str) -> Clips:
    """Read the clips of one list.

    Parameters
    ----------
    folder : Path
        As drawn above.
    which : str
        ``train``, ``valid`` or ``test``.

    Returns
    -------
    Clips
        In the list's order.
    """
    table = pd.read_csv(folder / "features_30_sec.csv").set_index("filename")
    with np.load(folder / "pictures_235x335_u8.npz") as archive:
        pictures = archive["pictures"]
        place = {Path(str(name)).stem: k for k, name in enumerate(archive["names"])}
    listed = (folder / "split" / f"{which}_filtered.txt").read_text().split()
    files = [Path(line).name for line in listed]
    files = [file for file in files if _picture_name(file) in place]
    rows = table.loc[files]
    return Clips(
        features=rows.drop(columns="label").to_numpy(np.float32),
        pictures=pictures[[place[_picture_name(file)] for file in files]][..., None],
        labels=np.array([GENRES.index(label) for label in rows["label"]], np.intp),
    )


def _picture_name(file: str) -> str:
    """Return ``blues00012`` for ``blues.00012.wav``."""
    return file.removesuffix(".wav").replace(".", "")
