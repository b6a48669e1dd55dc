"""How good a separated part is: the scale-invariant signal-to-distortion ratio.

Source: J. Le Roux and others, "SDR - half-baked or well done?", 2019.
"""

import numpy as np
from numpy.typing import NDArray


def si_sdr(estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Return how far an estimate is from its reference, however loud it is.

    Parameters
    ----------
    estimate, reference : np.ndarray, shape (n,) or (n, channels)
        Samples; channels count together.

    Returns
    -------
    float
        Decibels; infinity for a scaled copy, minus infinity for what has nothing of it.
    """
    found = np.asarray(estimate, np.float64).ravel()
    meant = np.asarray(reference, np.float64).ravel()
    found, meant = found - found.mean(), meant - meant.mean()
    target = meant * (found @ meant / (meant @ meant))
    wrong = found - target
    power, error = float(target @ target), float(wrong @ wrong)
    if not power:
        return -np.inf
    return float(10 * np.log10(power / error)) if error else np.inf
