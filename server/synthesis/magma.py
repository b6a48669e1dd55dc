"""The colour map "magma" (S. van der Walt and N. Smith, 2015, CC0).

Every fifth of its 256 colours is kept, one line a channel, and lies on straight lines with its
neighbours: no channel is off by more than 1 of 255.
"""

import numpy as np
from numpy.typing import NDArray

_RED = (
    "000205090e141a21293139424a525a626a727981899199a1aab2bac2cad2d9e0"
    "e7ecf1f4f7f9fbfcfdfefefefefefefefdfdfcfc"
)
_GREEN = (
    "000204070b0e101111110f0f101316191c1f2225282b2d303335383b3e42464c"
    "52586069727b858e98a1aab4bdc6cfd8e2ebf4fd"
)
_BLUE = (
    "040b16202b36424e5a656e75797c7e80818182818181807e7d7b7875726f6b67"
    "63605d5c5c5d6064696e747b828a929aa3acb6bf"
)


def _channel(kept: str) -> NDArray[np.float64]:
    values = np.frombuffer(bytes.fromhex(kept), np.uint8)
    return np.interp(np.arange(256), np.arange(0, 256, 5), values)


MAGMA: NDArray[np.uint8] = np.rint(
    np.stack([_channel(kept) for kept in (_RED, _GREEN, _BLUE)], axis=1)
).astype(np.uint8)
