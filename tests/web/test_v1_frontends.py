"""The files of NumPy that server/web/v1/frontends.py writes, read by NumPy."""

import io

import numpy as np
import pytest

from server.web.v1.frontends import npy


@pytest.mark.parametrize("shape", [(58,), (235, 335, 1), (1,), (1024, 1024, 1)])
def test_numpy_reads_what_was_written(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype("<f4")
    written = npy(shape, values.tobytes())
    assert (len(written) - values.nbytes) % 64 == 0
    read = np.load(io.BytesIO(written), allow_pickle=False)
    np.testing.assert_array_equal(read, values)
