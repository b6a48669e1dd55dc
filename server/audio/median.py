"""The sliding median of 31 values, bit-exact, as a fixed network of minima and maxima.

Sixteen neighbouring windows of 31 share the 16 values in their middle::

    window 0    |---------------31---------------|
    window 15                  |---------------31---------------|
    core                       |-------16-------|

The core is sorted once. Then the sixteen windows are split 16 -> 8 -> 4 -> 2 -> 1; each half adds
the few values that all of its windows hold (sorted, then merged by Batcher's odd-even merge) and
keeps only the ranks that can still be the median. That makes 550 minima and maxima for 16 medians,
34 each; sorting each window would need 304. Every step works on whole rows of an array, so NumPy
runs it at memory speed.

Source: K. E. Batcher, "Sorting networks and their applications", 1968.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH = 31
OUTPUTS = 16
_INPUTS = WIDTH + OUTPUTS - 1
_HALF = WIDTH // 2
# Columns that are filtered together: about 40 live rows of 81 x 256 floats fit the caches
# (measured 20 % faster).
_COLUMNS = 256


class _Step(NamedTuple):
    is_max: bool
    out: int
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Network:
    """Straight-line code over registers; registers 0.._INPUTS-1 hold the input.

    Attributes
    ----------
    steps : tuple
        Minima and maxima in the order in which they run.
    outputs : tuple of int
        The registers that end with the medians, first window first.
    last_use : dict of int to int
        For each register, the index of the last step that reads it.
    """

    steps: tuple[_Step, ...]
    outputs: tuple[int, ...]
    last_use: dict[int, int]


def median31(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter by the sliding median of 31 along axis 0, with mirrored borders.

    Parameters
    ----------
    rows : np.ndarray, shape (t, f), float32
        Finite values; t >= 1. Contiguous along axis 1 for speed.

    Returns
    -------
    np.ndarray, shape (t, f), float32
        Bit for bit ``scipy.ndimage.median_filter(rows, size=(31, 1), mode="reflect")``, but for two
        and three rows, which SciPy 1.17.1 mirrors wrongly.
    """
    count, width = rows.shape
    out = np.empty((OUTPUTS * -(-count // OUTPUTS), width), np.float32)
    for first in range(0, width, _COLUMNS):
        columns = slice(first, first + _COLUMNS)
        _run(_mirrored(rows[:, columns]), out[:, columns])
    return out[:count]


def _mirrored(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `rows` with 15 mirrored rows at both ends and zeros up to a whole number of lanes."""
    count = len(rows)
    padded = np.zeros((OUTPUTS * -(-count // OUTPUTS) + 2 * OUTPUTS, rows.shape[1]), np.float32)
    source = np.pad(np.arange(count), _HALF, mode="symmetric")  # mirrors again when count < 15
    padded[_HALF : _HALF + count] = rows
    padded[:_HALF] = rows[source[:_HALF]]
    padded[_HALF + count : 2 * _HALF + count] = rows[source[_HALF + count :]]
    return padded


def _run(padded: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Run the network on every 16th row at once."""
    lanes = len(out) // OUTPUTS
    span = OUTPUTS * (lanes - 1) + 1
    value = {k: padded[k : k + span : OUTPUTS] for k in range(_INPUTS)}
    lane_of = {register: lane for lane, register in enumerate(_NETWORK.outputs)}
    pool: list[NDArray[np.float32]] = []
    for i, step in enumerate(_NETWORK.steps):
        if step.out in lane_of:
            target = out[lane_of[step.out] :: OUTPUTS]
        else:
            target = pool.pop() if pool else np.empty((lanes, out.shape[1]), np.float32)
        operation = np.maximum if step.is_max else np.minimum
        operation(value[step.a], value[step.b], out=target)
        value[step.out] = target
        for register in {step.a, step.b}:
            if _NETWORK.last_use[register] == i and register >= _INPUTS and register not in lane_of:
                pool.append(value.pop(register))


def odd_even_merge(a: list[int], b: list[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Merge two sorted runs of slots by Batcher's odd-even merge.

    Parameters
    ----------
    a, b : list of int
        Slots whose values ascend along the list.

    Returns
    -------
    tuple of list of (int, int) and list of int
        Comparators (slot of the smaller, slot of the larger) in order, and the slots in ascending
        order afterwards.
    """
    if not a or not b:
        return [], a or b
    if len(a) == len(b) == 1:
        return [(a[0], b[0])], [a[0], b[0]]
    even_comparators, even = odd_even_merge(a[0::2], b[0::2])
    odd_comparators, odd = odd_even_merge(a[1::2], b[1::2])
    last = list(zip(odd, even[1:], strict=False))
    order = [even[0]] + [slot for pair in last for slot in pair]
    rest = odd[len(last) :] or even[1 + len(last) :]
    return even_comparators + odd_comparators + last, order + rest


class _Builder:
    """Registers and steps while the network is laid out."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.medians: dict[int, int] = {}

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        """Merge two ascending lists of registers into one."""
        registers = a + b
        left, right = list(range(len(a))), list(range(len(a), len(registers)))
        comparators, order = odd_even_merge(left, right)
        for low, high in comparators:
            operands = registers[low], registers[high]
            for is_max, slot in ((False, low), (True, high)):
                registers[slot] = _INPUTS + len(self.steps)
                self.steps.append(_Step(is_max, registers[slot], *operands))
        return [registers[slot] for slot in order]

    def sort(self, registers: list[int]) -> list[int]:
        """Sort registers by merging halves."""
        if len(registers) == 1:
            return registers
        half = len(registers) // 2
        return self.merge(self.sort(registers[:half]), self.sort(registers[half:]))

    def split(self, first: int, count: int, core: list[int]) -> None:
        """Find the medians of `count` windows from `first`, whose candidates `core` holds."""
        if count == 1:
            self.medians[first] = core[0]
            return
        half = count // 2
        only_left = list(range(first + half - 1, first + count - 1))
        only_right = list(range(first + WIDTH, first + half + WIDTH))
        for start, new in ((first, only_left), (first + half, only_right)):
            merged = self.merge(core, self.sort(new))
            self.split(start, half, merged[half : 2 * half])  # the rest can no longer be the median


def build_network() -> Network:
    """Lay out the network for 16 medians of 31 and drop the steps that nobody reads.

    Returns
    -------
    Network
        550 steps.
    """
    builder = _Builder()
    builder.split(0, OUTPUTS, builder.sort(list(range(OUTPUTS - 1, WIDTH))))
    needed = set(builder.medians.values())
    kept: list[_Step] = []
    for step in reversed(builder.steps):
        if step.out in needed:
            kept.append(step)
            needed |= {step.a, step.b}
    steps = tuple(reversed(kept))
    last_use = {register: i for i, step in enumerate(steps) for register in (step.a, step.b)}
    return Network(steps, tuple(builder.medians[k] for k in range(OUTPUTS)), last_use)


_NETWORK = build_network()
