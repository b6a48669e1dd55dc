"""One contestant's turn: send requests, and see what they cost whom."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks.loadgen import Target, load
from benchmarks.usage import Cpu


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server.

    Attributes
    ----------
    target : Target
        Where it listens.
    root : psutil.Process
        The process that was started.
    family : str
        What its processes are named by in their environment; empty: descendants are all.
    """

    target: Target
    root: psutil.Process
    family: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn has shown.

    Attributes
    ----------
    rate : float
        Requests a second.
    p50_ms : float
        The median latency.
    roles_ms : dict of str to float
        CPU milliseconds a request by role, of the server alone.
    client_ms : float
        CPU milliseconds a request of the client.
    answer : bytes
        The body of some answer.
    """

    rate: float
    p50_ms: float
    roles_ms: dict[str, float]
    client_ms: float
    answer: bytes = b""

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a request of the whole server."""
        return sum(self.roles_ms.values())


def take_turn(
    contestant: Contestant,
    requests: Sequence[bytes],
    *,
    callers: int,
    seconds: float = 0.0,
    at_least: int = 0,
) -> Turn:
    """Send requests for some seconds, and at least so many."""
    cpu = Cpu(contestant.root, contestant.family)
    seen = load(contestant.target, requests, callers=callers, seconds=seconds, at_least=at_least)
    spent = cpu.since()
    return Turn(
        rate=seen.rate,
        p50_ms=seen.p50_s * 1e3,
        roles_ms={role: s / seen.requests * 1e3 for role, s in sorted(spent.items())},
        client_ms=seen.client_cpu_s / seen.requests * 1e3,
        answer=seen.answer,
    )


def median_turn(turns: Sequence[Turn]) -> Turn:
    """Return the medians of several turns, each number by itself."""
    roles = sorted({role for turn in turns for role in turn.roles_ms})
    return Turn(
        rate=statistics.median(turn.rate for turn in turns),
        p50_ms=statistics.median(turn.p50_ms for turn in turns),
        roles_ms={
            role: statistics.median(turn.roles_ms.get(role, 0.0) for turn in turns)
            for role in roles
        },
        client_ms=statistics.median(turn.client_ms for turn in turns),
        answer=turns[-1].answer,
    )
