"""What the children of a pool are, how they are started and how long they serve; a model's too."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from server.inference.sandbox import Rights


@dataclass(frozen=True, slots=True)
class ChildKind:
    """What a pool's children are.

    Attributes
    ----------
    module : str
        Started by `python -m`.
    config : dict
        Sent to each child first.
    start_timeout_s, call_timeout_s : float
        Longest start and longest call, in seconds.
    nice : int
        How much lower than the web process's their priority is.
    max_calls : int
        Calls after which a child is replaced, so that a library's leak stays small.
    keeps_trying : bool
        Whether a first child that does not start is tried again; else the pool fails.
    check : callable or None
        Awaited before every start; what it raises fails the pool.
    in_flight : int
        Calls that a child is given at once, 1 or 2: it runs one after the other, and finds the next
        there when it has answered the first.
    rights : Rights or None
        What a child may use; None: there are no walls around it.
    """

    module: str
    config: dict[str, Any]
    start_timeout_s: float
    call_timeout_s: float
    nice: int = 5
    max_calls: int = 2000
    keeps_trying: bool = False
    check: Callable[[], Awaitable[None]] | None = None
    in_flight: int = 1
    rights: Rights | None = None

    @property
    def name(self) -> str:
        """What its children are called in logs and metrics."""
        return self.module.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Engine:
    """How a model is run.

    Attributes
    ----------
    kind : ChildKind
        How its worker is started.
    max_batch : int
        Most rows at a time.
    expected_bytes : int
        What its worker is thought to take until it has been measured.
    """

    kind: ChildKind
    max_batch: int
    expected_bytes: int
