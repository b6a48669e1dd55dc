"""Grey values of the colour maps that old training pictures were drawn with.

Both are indexed by a level 0..255 and give the grey value that is left when the picture is turned
into one channel (luma, 0.299 R + 0.587 G + 0.114 B).
"""

import numpy as np
from numpy.typing import NDArray

# The grey anchors of ColorBrewer's "Greys", linear in between: index 0 is white, 255 black.
_GREY_ANCHORS = (255, 240, 217, 189, 150, 115, 82, 37, 0)

GREYS: NDArray[np.uint8] = np.rint(
    np.interp(np.arange(256) / 255, np.linspace(0, 1, 9), _GREY_ANCHORS)
).astype(np.uint8)

# The luma of "magma" (S. van der Walt and N. Smith, 2015, CC0) rises almost evenly from 0 to 245,
# so the steps from each index to the next are kept: 0, 1 or 2, two bits each, four to the byte.
_MAGMA_STEPS = bytes.fromhex(
    "0444848555555488545454451145151545548552155154611548514851485215"
    "1184554551555546195558959655965659625962658965599559596259595962"
)

MAGMA: NDArray[np.uint8] = np.cumsum(
    np.frombuffer(_MAGMA_STEPS, np.uint8)[:, None] >> np.array([6, 4, 2, 0], np.uint8) & 3
).astype(np.uint8)
