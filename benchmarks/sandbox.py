"""Measure what the sandbox costs: predictions with it beside predictions without, in one run.

    python -m benchmarks.sandbox [--only ROW ...] [--rounds N] [--seconds S]

Two servers run side by side, one as it starts by itself and one with ``SANDBOX=off``, both with the
feature cache off. They take turns, in the other order every round; a ratio is made within a round,
and the table shows medians over rounds. Exits with 1 if a row is below the bar.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies, ours
from benchmarks.bodies import Requests
from benchmarks.engine import Model, make_model
from benchmarks.measuring import Turn, median_turn, take_turn
from benchmarks.serving import Server, served
from benchmarks.stage import variant

BAR = 0.98
# one caller waits for each call alone; a song keeps a decoder and the worker busy in turns
CALLERS = {"tensors, one caller": 1, "tensors, 32 callers": 32, "songs": 2}
_SONGS, _TENSORS = 12, 12


@dataclass(slots=True)
class Contender:
    """One of the two servers, with what it is asked."""

    server: Server
    tensors: Requests
    songs: Requests

    def turn(self, row: str, seconds: float) -> Turn:
        """Let it answer requests of one row for some seconds, after some that warm it up."""
        if row == "songs":
            requests = self.songs.song(bodies.sounds(_SONGS))
        else:
            requests = self.tensors.raw(bodies.tensors(_TENSORS))
        callers, contestant = CALLERS[row], ours.contestant(self.server)
        take_turn(contestant, requests, callers=callers, at_least=2 * callers)
        return take_turn(contestant, requests, callers=callers, seconds=seconds)


def main() -> int:
    """Measure, print the table and return the exit status."""
    options = _options()
    rows = options.only or list(CALLERS)
    seen: dict[str, tuple[list[Turn], list[Turn]]] = {row: ([], []) for row in rows}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        model = make_model(scratch / "model")
        both = [_start(stack, model, setting) for setting in ("on", "off")]
        for number in range(options.rounds):
            for row, turns in seen.items():
                print(f"round {number + 1} of {options.rounds}: {row}", flush=True)
                order = (0, 1) if number % 2 else (1, 0)
                for k in order:
                    turns[k].append(both[k].turn(row, options.seconds))
    return _judge(seen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox")
    parser.add_argument("--only", action="append", choices=list(CALLERS), help="repeatable")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    return parser.parse_args()


def _start(stack: ExitStack, model: Model, setting: str) -> Contender:
    server = stack.enter_context(served({"SANDBOX": setting, "FEATURE_CACHE_BYTES": "0"}))
    server.start()
    print(f"SANDBOX={setting}: {json.loads(server.ask('GET', '/readyz')[1])['sandbox']}")
    tensors = server.host(model.keras.read_bytes(), {"task": "tensors"})
    server.wait_for_ready(1)
    songs = server.host(variant(model), None)
    server.wait_for_ready(2)
    server.wait_for_decoders()
    return Contender(server, Requests(server.token, tensors), Requests(server.token, songs))


def _judge(seen: dict[str, tuple[list[Turn], list[Turn]]]) -> int:
    print(
        "\n| predictions | callers | a second, with | without | ratio | bar | CPU ms, with |",
        end="",
    )
    print(" without | workers' CPU, with / without |\n|---|---|---|---|---|---|---|---|---|")
    ratios = []
    for row, (walled, plain) in seen.items():
        ratios.append(_ratio(walled, plain, lambda turn: turn.rate))
        inner = _ratio(walled, plain, _children_ms)
        one, two = median_turn(walled), median_turn(plain)
        print(
            f"| {row} | {CALLERS[row]} | {one.rate:.1f} | {two.rate:.1f} | {ratios[-1]:.3f} "
            f"| >= {BAR} | {one.cpu_ms:.2f} | {two.cpu_ms:.2f} | {inner:.3f} |"
        )
    return 0 if min(ratios) >= BAR else 1


def _ratio(one: Sequence[Turn], two: Sequence[Turn], of: Callable[[Turn], float]) -> float:
    return statistics.median(of(a) / of(b) for a, b in zip(one, two, strict=True))


def _children_ms(turn: Turn) -> float:
    return sum(spent for role, spent in turn.roles_ms.items() if role != "web")


if __name__ == "__main__":
    sys.exit(main())
