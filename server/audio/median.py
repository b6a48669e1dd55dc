"""The sliding median of 31 values, bit-exact, as a fixed network of minima and maxima.

Sixteen neighbouring windows of 31 share the 16 values in their middle::

    block      0               1               2
    rows       |-------16------|-------16------|-------16------|
    window 0    |---------------31-------------|
    window 15                  |---------------31-------------|
    core                       |-------16------|

Every block is sorted once, in runs of 2, 4, 8 and 16 that are all kept: a block is the core of its
own sixteen windows, and its runs are what the windows of both neighbours lack. So the sixteen
windows are split 16 -> 8 -> 4 -> 2 -> 1; each half merges in the run that all of its windows hold
(Batcher's odd-even merge) and keeps only the ranks that can still be the median. That makes 418
minima and maxima for 16 medians, 26 each; sorting each window would need 304. Every step works on
many blocks at once, so NumPy runs it at the speed of the cache.

Source: K. E. Batcher, "Sorting networks and their applications", 1968.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH = 31
HALF = WIDTH // 2
BLOCK = 16  # rows that are sorted together, and windows that share them


class Run(NamedTuple):
    """A register as an operand.

    Attributes
    ----------
    register : int
        Registers 0 to 15 hold the rows of each block.
    block : int or None
        0 the block before, 1 the block itself, 2 the block behind; None while blocks are sorted.
    """

    register: int
    block: int | None


class Step(NamedTuple):
    """The smaller or the larger of two registers, written into a third."""

    is_max: bool
    out: int
    a: Run
    b: Run


@dataclass(frozen=True, slots=True)
class Network:
    """Straight-line code over registers.

    Attributes
    ----------
    sorting, choosing : tuple of Step
        What is done for each block, and then for each block with both neighbours.
    medians : tuple of int
        The registers that end with the medians, first window first.
    """

    sorting: tuple[Step, ...]
    choosing: tuple[Step, ...]
    medians: tuple[int, ...]


class SlidingMedian:
    """Medians along the rows of arrays of one shape, with memory that is used again.

    The steps are bound to that memory once: with as many rows and columns as stay in the cache, a
    third of the time would go into cutting arrays.

    Parameters
    ----------
    blocks : int
        Of 16 rows each.
    columns : int
        Filtered independently.

    Attributes
    ----------
    rows : np.ndarray, shape (blocks + 2, 16, columns), float32
        To be filled: row k of the array is row 16 + k here; around it the 15 rows to either side.
        Rows that nothing depends on may hold anything.
    medians : np.ndarray, shape (blocks, 16, columns), float32
        Filled by `run`.
    """

    def __init__(self, blocks: int, columns: int) -> None:
        inputs = np.zeros((BLOCK, blocks + 2, columns), np.float32)
        outputs = np.empty((BLOCK, blocks, columns), np.float32)
        self.rows = inputs.transpose(1, 0, 2)
        self.medians = outputs.transpose(1, 0, 2)
        spare: list[NDArray[np.float32]] = []
        whole = {k: inputs[k].reshape(-1) for k in range(BLOCK)}
        size = blocks * columns
        steps = (*_NETWORK.sorting, *_NETWORK.choosing)
        last_use = {operand.register: i for i, step in enumerate(steps) for operand in step[2:]}
        self._bound = []
        for i, step in enumerate(steps):
            if step.out in _NETWORK.medians:
                out = outputs[_NETWORK.medians.index(step.out)].reshape(-1)
            else:
                whole[step.out] = spare.pop() if spare else np.empty_like(whole[0])
                out = whole[step.out][: None if step.a.block is None else size]
            a, b = (_cut(whole[run.register], run.block, columns, size) for run in step[2:])
            self._bound.append((np.maximum if step.is_max else np.minimum, a, b, out))
            for register in {step.a.register, step.b.register}:
                if last_use[register] == i and register >= BLOCK:
                    spare.append(whole.pop(register))

    def run(self) -> NDArray[np.float32]:
        """Compute and return `medians`, which the next run overwrites."""
        for operation, a, b, out in self._bound:
            operation(a, b, out=out)
        return self.medians


def _cut(
    whole: NDArray[np.float32], block: int | None, columns: int, size: int
) -> NDArray[np.float32]:
    """Return a register as each block sees it: its own, or that of a neighbour."""
    return whole if block is None else whole[block * columns : block * columns + size]


def median31(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter by the sliding median of 31 along axis 0, with mirrored borders.

    Parameters
    ----------
    rows : np.ndarray, shape (t, f), float32
        Finite values; t >= 1.

    Returns
    -------
    np.ndarray, shape (t, f), float32
        Bit for bit ``scipy.ndimage.median_filter(rows, size=(31, 1), mode="reflect")``, but for two
        and three rows, which SciPy 1.17.1 mirrors wrongly.
    """
    count, columns = rows.shape
    median = SlidingMedian(-(-count // BLOCK), columns)
    padded = np.zeros((median.rows.shape[0] * BLOCK, columns), np.float32)
    padded[BLOCK : BLOCK + count] = rows
    mirror(padded, count)
    median.rows[...] = padded.reshape(median.rows.shape)
    return median.run().reshape(-1, columns)[:count]


def mirror(padded: NDArray[np.float32], count: int) -> None:
    """Fill the 15 rows before and behind rows 16 to 16 + `count` with their mirror image."""
    before, behind = _mirrored(count)
    padded[BLOCK - HALF : BLOCK] = padded[before]
    padded[BLOCK + count : BLOCK + count + HALF] = padded[behind]


@functools.lru_cache(maxsize=64)
def _mirrored(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    source = BLOCK + np.pad(np.arange(count), HALF, mode="symmetric")  # again when count < 15
    return source[:HALF], source[HALF + count :]


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
        self.steps: list[Step] = []
        self.medians: dict[int, int] = {}
        # ascending, by the first row of the block that they hold and their length
        self.runs = {(row, 1): [Run(row, None)] for row in range(BLOCK)}

    def merge(self, a: list[Run], b: list[Run], block: int | None) -> list[Run]:
        """Merge two ascending lists of registers into one that belongs to `block`."""
        runs = a + b
        left, right = list(range(len(a))), list(range(len(a), len(runs)))
        comparators, order = odd_even_merge(left, right)
        for low, high in comparators:
            operands = runs[low], runs[high]
            for is_max, slot in ((False, low), (True, high)):
                register = BLOCK + len(self.steps)
                self.steps.append(Step(is_max, register, *operands))
                runs[slot] = Run(register, block)
        return [runs[slot] for slot in order]

    def sort(self, row: int, count: int) -> list[Run]:
        """Sort rows of a block by merging halves, and keep every run on the way."""
        if (row, count) not in self.runs:
            half = count // 2
            halves = self.sort(row, half), self.sort(row + half, half)
            self.runs[row, count] = self.merge(*halves, None)
        return self.runs[row, count]

    def seen(self, row: int, count: int) -> list[Run]:
        """Return the sorted run from a row of three blocks on."""
        return [Run(run.register, row // BLOCK) for run in self.runs[row % BLOCK, count]]

    def split(self, first: int, count: int, core: list[Run]) -> None:
        """Find the medians of `count` windows from `first`, whose candidates `core` holds."""
        if count == 1:
            self.medians[first] = core[0].register
            return
        half = count // 2
        # window k holds the rows k + 1 to k + 31 of the three blocks
        for start, only in ((first, first + half), (first + half, first + WIDTH + 1)):
            merged = self.merge(core, self.seen(only, half), 0)
            self.split(start, half, merged[half : 2 * half])  # the rest can no longer be the median


def build_network() -> Network:
    """Lay out the network for 16 medians of 31 and drop the steps that nobody reads.

    Returns
    -------
    Network
        418 steps.
    """
    builder = _Builder()
    builder.sort(0, BLOCK)
    sorting = len(builder.steps)
    builder.split(0, BLOCK, builder.seen(BLOCK, BLOCK))
    needed = set(builder.medians.values())
    kept: list[Step] = []
    for step in reversed(builder.steps):
        if step.out in needed:
            kept.append(step)
            needed |= {step.a.register, step.b.register}
    return Network(
        tuple(step for step in reversed(kept) if step.out < BLOCK + sorting),
        tuple(step for step in reversed(kept) if step.out >= BLOCK + sorting),
        tuple(builder.medians[k] for k in range(BLOCK)),
    )


_NETWORK = build_network()
