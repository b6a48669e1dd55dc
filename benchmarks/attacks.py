"""Attack a server in the ways that cost an attacker little, and see how long others wait meanwhile.

    python -m benchmarks.attacks [--seconds S] [--only NAME ...]

Others ask at a steady pace all the while: `GET /test`, and predictions of a model that takes
tensors. Each attack runs in a process of its own at the lowest priority, so that what others lose
is lost in the server and not to the attacker's own work; it goes on as fast as it is let, from an
address of its own. Before each attack the others are measured without it: a ratio is made of
neighbours.

Bar: the p99 of predictions and of `GET /test` under attack is below twice that without. Exits with
1 if it is missed.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks import bodies, ours
from benchmarks.attackers import ATTACKS
from benchmarks.engine import make_model
from benchmarks.loadgen import HOST, Target, receive
from benchmarks.serving import served

MOST = 2.0
_PACE_S = 0.02
_PREDICTIONS = 2  # of so many requests one is a prediction
_SETTLE_S = 1.0
_NICE = 19


def main() -> int:
    """Attack, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each attack")
    parser.add_argument("--only", action="append", choices=sorted(ATTACKS), help="repeatable")
    options = parser.parse_args()
    rows = []
    with served() as server:
        model = make_model(server.models.parent / "model")
        server.start()
        requests = ours.host_tensors(server, model)
        for name in options.only or ATTACKS:
            others = Others(ours.target(server), requests)
            others.ask(_SETTLE_S)
            before = others.ask(options.seconds)
            with _attack(name, server.api, server.ca) as went_on:
                time.sleep(_SETTLE_S)
                during = others.ask(options.seconds)
                rounds = went_on()
            rows.append((name, before, during, rounds))
            print(f"{name}: {rounds} rounds", flush=True)
    return _report(rows)


class Others:
    """Somebody who asks at a steady pace.

    Parameters
    ----------
    where : Target
        The server.
    requests : Requests
        Make predictions.
    """

    def __init__(self, where: Target, requests: bodies.Requests) -> None:
        self._where = where
        self._predictions = requests.raw(bodies.tensors(8))
        self._test = f"GET /test HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()

    def ask(self, seconds: float) -> dict[str, list[float]]:
        """Ask for some seconds; return what each kind of answer took, in milliseconds."""
        took: dict[str, list[float]] = {"GET /test": [], "predictions": []}
        threads = [
            threading.Thread(target=self._go_on, args=(seconds, [self._test], took["GET /test"])),
            threading.Thread(
                target=self._go_on, args=(seconds, self._predictions, took["predictions"])
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took

    def _go_on(self, seconds: float, requests: list[bytes], took: list[float]) -> None:
        connection = self._where.connect()
        began = time.perf_counter()
        number = 0
        while (due := number * _PACE_S * _PREDICTIONS) < seconds:
            time.sleep(max(0.0, began + due - time.perf_counter()))
            sent = time.perf_counter()
            connection.sendall(requests[number % len(requests)])
            status, _, answer = receive(connection.recv)
            if status != 200:
                raise SystemExit(f"somebody else was answered {status}: {answer[:200]!r}")
            took.append((time.perf_counter() - sent) * 1e3)
            number += 1
        connection.close()


@contextmanager
def _attack(name: str, port: int, ca: Path) -> Iterator[Callable[[], int]]:
    """Attack while the block runs; what is lent returns how many rounds there were."""
    context = multiprocessing.get_context("spawn")
    over, rounds = context.Event(), context.Value("q", 0)
    process = context.Process(target=_go_on, args=(name, port, str(ca), over, rounds))
    process.start()
    try:
        yield lambda: int(rounds.value)
    finally:
        over.set()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _go_on(name: str, port: int, ca: str, over: Event, rounds: "Synchronized[int]") -> None:
    os.nice(_NICE)
    attack = ATTACKS[name](port, ca)
    while not over.is_set():
        attack()
        with rounds.get_lock():
            rounds.value += 1


def _p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100]


def _report(
    rows: list[tuple[str, dict[str, list[float]], dict[str, list[float]], int]],
) -> int:
    print("\n| attack | others ask for | p50 ms before | during | p99 before | during | ratio | |")
    print("|---|---|---|---|---|---|---|---|")
    met = True
    for name, before, during, _ in rows:
        for kind in before:
            ratio = _p99(during[kind]) / _p99(before[kind])
            met = met and ratio < MOST
            print(
                f"| {name} | {kind} | {statistics.median(before[kind]):.1f} "
                f"| {statistics.median(during[kind]):.1f} | {_p99(before[kind]):.1f} "
                f"| {_p99(during[kind]):.1f} | {ratio:.2f} | {'ok' if ratio < MOST else 'MISSED'} |"
            )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
