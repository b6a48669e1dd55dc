"""Which samples of a sound a model looks at.

A model saw clips of about 30 s and one of its features is the length, so longer and shorter sounds
are brought to that length before any frontend runs::

    samples                       used
    below min_samples             refused
    below whole_min               all, again and again up to `length`
    whole_min to whole_max        all, as they are
    above whole_max               the middle `length`

Who asks for all windows of a longer sound gets as few of `length` as cover it, spread evenly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import SAMPLE_RATE_HZ, too_short


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How many samples at 22,050 Hz a task takes, and what it does with more or fewer.

    The defaults hold every clip of the published GTZAN table whole and bring all else to its usual
    length.

    Attributes
    ----------
    min_samples : int
        Fewer are refused; 1 s.
    whole_min, whole_max : int
        From the one to the other, both included, a sound is used as it is.
    length : int
        What a longer sound is cut to and a shorter one repeated to.
    """

    min_samples: int = SAMPLE_RATE_HZ
    whole_min: int = 659_295
    whole_max: int = 676_935
    length: int = 661_794


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a sound that is used, in samples at 22,050 Hz.

    Attributes
    ----------
    start, stop : int
        Samples ``start <= k < stop`` of the sound.
    length : int
        Samples that come out; more than ``stop - start`` when the part is repeated.
    """

    start: int
    stop: int
    length: int

    @property
    def is_repeated(self) -> bool:
        """Whether the sound is shorter than what comes out, and therefore heard more than once."""
        return self.length > self.stop - self.start


def window_of(samples: int, rule: WindowRule | None) -> Window:
    """Choose the part of a sound that is used.

    Parameters
    ----------
    samples : int
        Samples of the sound at 22,050 Hz.
    rule : WindowRule or None
        None takes any sound whole.

    Returns
    -------
    Window
        The part, and the length that it is brought to.

    Raises
    ------
    SoundTooShort
        If the rule asks for more samples; says how many.

    Examples
    --------
    >>> window_of(1_000_000, WindowRule())
    Window(start=169103, stop=830897, length=661794)
    """
    if rule is None:
        return Window(0, samples, samples)
    if samples < rule.min_samples:
        raise too_short(samples, rule.min_samples, what="the task")
    if samples > rule.whole_max:
        start = (samples - rule.length) // 2
        return Window(start, start + rule.length, rule.length)
    return Window(0, samples, samples if samples >= rule.whole_min else rule.length)


def windows_of(samples: int, rule: WindowRule) -> list[Window]:
    """Cover a sound with windows: the first begins where it begins, the last ends where it ends.

    Parameters
    ----------
    samples : int
        Samples of the sound at 22,050 Hz.
    rule : WindowRule
        How long a window is.

    Returns
    -------
    list of Window
        As few as cover every sample, spread evenly, so that neighbours may overlap; for a sound
        that is not cut the one of `window_of`.

    Raises
    ------
    SoundTooShort
        As `window_of`.

    Examples
    --------
    >>> [(w.start, w.stop) for w in windows_of(1_000_000, WindowRule())]
    [(0, 661794), (338206, 1000000)]
    """
    if samples <= rule.whole_max:
        return [window_of(samples, rule)]
    count = -(-samples // rule.length)
    starts = [k * (samples - rule.length) // (count - 1) for k in range(count)]
    return [Window(start, start + rule.length, rule.length) for start in starts]


def repeat(y: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Repeat the samples of a window until it is full.

    Parameters
    ----------
    y : np.ndarray, shape (window.stop - window.start,), float32
        The used part; not empty.
    window : Window
        As chosen by `window_of`.

    Returns
    -------
    np.ndarray, shape (window.length,), float32
        `y` again and again, the last time perhaps in part.
    """
    return np.resize(y, window.length) if window.is_repeated else y
