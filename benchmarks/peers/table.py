"""The tables of the peers, as Markdown."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import Spell
from benchmarks.measuring import Turn

_HEAD = (
    *("server", "p50 / engine, 1 caller", "CPU ms, 1", "beyond engine, 1"),
    *("rate / engine, 32 callers", "CPU ms, 32", "beyond engine, 32"),
    *("PSS MB, 1", "PSS MB, 32", "start s"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One turn of a server, and the engine's just before it.

    Attributes
    ----------
    form : str
        In which form the tensors were sent.
    callers : int
        How many requests were under way at once.
    turn : Turn
        What the server did.
    spells : dict of int to Spell
        What the engine alone did, by batch.
    pss_mb : float
        Memory of the server's processes after the turn.
    started_s : float
        From the server's start to its first answer.
    answer : np.ndarray, shape (10,), float64
        What it answered to the first of the inputs.
    """

    form: str
    callers: int
    turn: Turn
    spells: dict[int, Spell]
    pss_mb: float
    started_s: float
    answer: NDArray[np.float64]

    @property
    def engine(self) -> Spell:
        """The engine at its best: by single rows where there is one caller."""
        if self.callers == 1:
            return self.spells[1]
        return max(self.spells.values(), key=lambda spell: spell.rate)


def print_tables(measured: Mapping[str, Sequence[Measured]], missing: Mapping[str, str]) -> None:
    """Print one table a form, medians over rounds, and why the others are missing."""
    for form in dict.fromkeys(each.form for several in measured.values() for each in several):
        print(f"\n### {form}\n\n| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}")
        for name, several in measured.items():
            mine = [each for each in several if each.form == form]
            if {each.callers == 1 for each in mine} == {True, False}:
                print(f"| {name} | {' | '.join(_cells(mine))} |")
    for name, reason in missing.items():
        print(f"\n{name} is not measured: {reason}.")


def print_agreement(measured: Mapping[str, Sequence[Measured]]) -> None:
    """Print how far the answers to one input are apart."""
    answers = np.stack([each.answer for several in measured.values() for each in several])
    apart = np.ptp(answers, axis=0).max()
    print(f"\nAnswers to the same tensors are at most {apart:.1e} apart.")


def _cells(several: Sequence[Measured]) -> list[str]:
    one = [each for each in several if each.callers == 1]
    many = [each for each in several if each.callers > 1]
    return [
        _median((each.turn.p50_ms / each.engine.p50_ms for each in one), 2),
        _median((each.turn.cpu_ms for each in one), 1),
        _median((each.turn.cpu_ms - each.engine.cpu_ms for each in one), 1),
        _median((each.turn.rate / each.engine.rate for each in many), 2),
        _median((each.turn.cpu_ms for each in many), 1),
        _median((each.turn.cpu_ms - each.engine.cpu_ms for each in many), 1),
        _median((each.pss_mb for each in one), 0),
        _median((each.pss_mb for each in many), 0),
        _median((each.started_s for each in several), 1),
    ]


def _median(values: Iterable[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f}"
