"""The measure of separated parts."""

import numpy as np
import pytest

from server.separation.si_sdr import si_sdr
from tests.tasks.working import noise


def test_how_loud_it_is_does_not_matter() -> None:
    y = noise(1000, 2)
    assert si_sdr(3 * y, y) > 100


@pytest.mark.parametrize("decibels", [0, 10, 30])
def test_added_noise_counts_by_its_power(decibels: int) -> None:
    y, error = noise(50_000), noise(50_000, seed=1)
    error -= y * (error @ y / (y @ y))
    error *= np.linalg.norm(y) / np.linalg.norm(error) * 10 ** (-decibels / 20)
    assert si_sdr(y + error, y) == pytest.approx(decibels, abs=0.05)


def test_what_has_nothing_of_it_is_worth_nothing() -> None:
    y = noise(100)
    assert si_sdr(np.zeros(100), y) == -np.inf
