"""Print the CPU milliseconds of decoding a song of 30 s and drawing its picture.

python -m benchmarks.frontend_alone
"""

import statistics
import time

from benchmarks.bodies import PICTURE_SHAPE, sounds
from server.audio.analysis import Analysis
from server.audio.decode import decode
from server.audio.kaggle import kaggle_picture
from server.audio.window import WindowRule

_WARM, _RUNS = 2, 10


def main() -> None:
    """Decode and draw different songs; the first ones build tables and are not counted."""
    spent = []
    for song in sounds(_WARM + _RUNS):
        began_s = time.process_time()
        y = decode(song, ext="wav", rule=WindowRule()).y
        kaggle_picture(Analysis(y), *PICTURE_SHAPE[:2])
        spent.append(time.process_time() - began_s)
    print(f"{statistics.median(spent[_WARM:]) * 1e3:.2f}")


if __name__ == "__main__":
    main()
