"""How often each model was asked, and how long the parts of its predictions took.

::

    request: |-- input: sound to tensors --|-- queue --|-- infer: a batch --|-- output --|
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.digest import Digest
from server.metrics import PREDICTION_SECONDS


@dataclass(slots=True)
class Spell:
    """Something that was done a number of times, and how long that took in all.

    Attributes
    ----------
    count : int
        How often.
    ns : int
        Nanoseconds.
    """

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count once more."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class ModelStatistics:
    """What one model has done since the server began.

    Attributes
    ----------
    success, failure : Spell
        Predictions, from their place to their answer.
    inputs, queue, infer, outputs : Spell
        Rows of them: making tensors, waiting, running, reading what came out.
    batches : dict
        From a number of rows to the runs with so many.
    last_ms : int
        When it was asked last, in milliseconds since 1970; 0: never.
    """

    success: Spell = field(default_factory=Spell)
    failure: Spell = field(default_factory=Spell)
    inputs: Spell = field(default_factory=Spell)
    queue: Spell = field(default_factory=Spell)
    infer: Spell = field(default_factory=Spell)
    outputs: Spell = field(default_factory=Spell)
    batches: defaultdict[int, Spell] = field(default_factory=lambda: defaultdict(Spell))
    last_ms: int = 0

    @property
    def runs(self) -> int:
        """How many batches were run."""
        return sum(spell.count for spell in self.batches.values())


class Statistics:
    """The statistics of every model that was asked."""

    def __init__(self) -> None:
        self._models: dict[Digest, ModelStatistics] = {}

    def of(self, model: Digest) -> ModelStatistics:
        """Return those of a model that is ready."""
        return self._models.setdefault(model, ModelStatistics())

    def known(self, model: Digest) -> ModelStatistics:
        """Return those of any model; empty ones when it was never asked."""
        return self._models.get(model) or ModelStatistics()

    def forget(self, model: Digest) -> None:
        """Drop those of a model that is gone."""
        self._models.pop(model, None)

    def __iter__(self) -> Iterator[tuple[Digest, ModelStatistics]]:
        return iter(list(self._models.items()))


@contextmanager
def timed(spell: Spell) -> Iterator[None]:
    """Count a block that comes to its end."""
    began_ns = time.monotonic_ns()
    yield
    spell.add(time.monotonic_ns() - began_ns)


@contextmanager
def ending(counted: ModelStatistics) -> Iterator[None]:
    """Count a call as a success or a failure."""
    began_ns, end = time.monotonic_ns(), counted.failure
    counted.last_ms = time.time_ns() // 1_000_000
    try:
        yield
        end = counted.success
    finally:
        took_ns = time.monotonic_ns() - began_ns
        end.add(took_ns)
        PREDICTION_SECONDS.observe(took_ns / 1e9)
