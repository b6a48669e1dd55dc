"""Windows of a sound that comes piece by piece."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.audio.stretches import Stretches


@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_windows_cover_every_sample(samples: int, size: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, size))
    cuts = sorted(data.draw(st.lists(st.integers(0, samples), max_size=4)))
    y = np.arange(1, samples + 1, dtype=np.float32)
    stretches = Stretches(size, hop)
    made = [stretches.feed(piece) for piece in np.split(y, cuts)]
    windows = np.concatenate([*made, stretches.finish()])
    count = 0 if not samples else 1 + max(0, -(-(samples - size) // hop))
    padded = np.pad(y, (0, size + count * hop))
    expected = [padded[k * hop : k * hop + size] for k in range(count)]
    assert windows.tolist() == [window.tolist() for window in expected]
    assert stretches.samples == samples
