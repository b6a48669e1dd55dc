"""Ask for ten times what the server can do, and see what it does meanwhile.

    python -m benchmarks.overload [--seconds S] [--times N] [--rounds R]

First the capacity: callers in a closed loop, so many that no process idles. Then requests arrive at
N times that rate whether or not earlier ones were answered, from several addresses of the loopback
network, and nobody honours `Retry-After`. Then the capacity again, and so on for R rounds: a shared
machine is not as fast all the time, so goodput is held against the mean of the capacities around
it, and the bar against the median of the rounds.

The sounds are short (their features cost as much as those of a whole song, for they are repeated to
its length), the feature cache is off, and the client runs on the same machine, so what it costs is
missing to the server. How much that is stands in a row of its own: goodput over the capacity of the
cores that the client leaves.

Bars: goodput over capacity, and requests without an answer, of all rounds. Exits with 1 if one is
missed.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from benchmarks import bodies
from benchmarks.latency import MANIFEST, MODEL
from benchmarks.loadgen import CLOSES, Target, load, receive
from benchmarks.ours import target
from benchmarks.serving import Server, served

LEAST_GOODPUT = 0.9
_SOUND_S = 2.0
_CAPACITY_CALLERS = 16
_CAPACITY_S = 8.0
_CORES = len(os.sched_getaffinity(0))
_RAMP_S = 2.0  # until the queue is full
_REST_S = 5.0  # until it is empty again
_ADDRESSES = 8
_CALLERS = 112  # the server holds at most 64: these are never all busy
_REFUSALS = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(slots=True)
class Seen:
    """What the callers saw.

    Attributes
    ----------
    done_s : list of float
        When each prediction was answered, from the start.
    refused_s : list of float
        How long each refusal took.
    retry_s : list of int
        When refusals say to come back.
    statuses : Counter
        How often each status came.
    unanswered : list of str
        Why requests got no answer.
    """

    done_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_s: list[int] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)

    def add(self, other: "Seen") -> None:
        """Take over what was seen in another round."""
        self.refused_s += other.refused_s
        self.retry_s += other.retry_s
        self.statuses += other.statuses
        self.unanswered += other.unanswered


def main() -> int:
    """Measure, print the table and return the exit status."""
    options = _options()
    with served({"FEATURE_CACHE_BYTES": "0", "LOG_LEVEL": "WARNING"}) as server:
        server.start()
        digest = server.host(MODEL.read_bytes(), json.loads(MANIFEST.read_text()))
        where = target(server)
        _wait_for_model(where, bodies.Requests(server.token, digest))
        requests = bodies.Requests(server.token, digest).song(bodies.sounds(8, seconds=_SOUND_S))
        load(where, requests, callers=4, seconds=2.0)
        everything, ratios, of_rest = Seen(), [], []
        before, idle_share = _capacity(where, requests)
        for _ in range(options.rounds):
            began_cpu_s, web_cpu_s = time.process_time(), _web_cpu_s(server)
            seen = _overload(where, requests, rate=options.times * before, seconds=options.seconds)
            client_share = (time.process_time() - began_cpu_s) / options.seconds
            web_share = (_web_cpu_s(server) - web_cpu_s) / options.seconds
            time.sleep(_REST_S)
            after, idle_share = _capacity(where, requests)
            steady = [done_s for done_s in seen.done_s if _RAMP_S <= done_s < options.seconds]
            goodput = len(steady) / (options.seconds - _RAMP_S)
            ratios.append(2 * goodput / (before + after))
            of_rest.append(ratios[-1] * (_CORES - idle_share) / (_CORES - client_share))
            print(
                f"capacity {before:.1f} a second before, {after:.1f} after; goodput {goodput:.1f}, "
                f"{ratios[-1]:.2f} of it; web process {web_share:.2f} cores, client "
                f"{client_share:.2f}; {of_rest[-1]:.2f} of what the client leaves",
                flush=True,
            )
            everything.add(seen)
            before = after
    medians = statistics.median(ratios), statistics.median(of_rest)
    return _report(everything, *medians, options.seconds * options.rounds)


def _capacity(where: Target, requests: Sequence[bytes]) -> tuple[float, float]:
    """Return the predictions a second, and the cores that the client takes meanwhile."""
    began_cpu_s = time.process_time()
    rate = load(where, requests, callers=_CAPACITY_CALLERS, seconds=_CAPACITY_S).rate
    return rate, (time.process_time() - began_cpu_s) / _CAPACITY_S


def _web_cpu_s(server: Server) -> float:
    return sum(server.processes()[0].cpu_times()[:2])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--seconds", type=float, default=20.0, help="of overload")
    parser.add_argument("--times", type=float, default=10.0, help="the capacity")
    parser.add_argument("--rounds", type=int, default=1, help="of overload")
    return parser.parse_args()


def _wait_for_model(where: Target, requests: bodies.Requests) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            load(where, requests.song(bodies.sounds(1)), callers=1, at_least=1)
        except SystemExit:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _overload(where: Target, requests: Sequence[bytes], *, rate: float, seconds: float) -> Seen:
    seen = Seen()
    numbers = itertools.count()  # one step of a C iterator: safe between threads
    began = time.perf_counter()

    def call(address: str) -> None:
        connection = None
        while (due := (number := next(numbers)) / rate) < seconds:
            time.sleep(max(0.0, due - (time.perf_counter() - began)))
            try:
                connection = connection or where.connect(address)
                sent = time.perf_counter()
                connection.sendall(requests[number % len(requests)])
                status, head, _ = receive(connection.recv)
            except (OSError, ValueError) as error:
                seen.unanswered.append(repr(error))
                connection = None
                continue
            _note(seen, status, head, sent - began, time.perf_counter() - began)
            if CLOSES in head:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    threads = [
        threading.Thread(target=call, args=(f"127.0.0.{2 + k % _ADDRESSES}",))
        for k in range(_CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _note(seen: Seen, status: int, head: bytes, sent_s: float, done_s: float) -> None:
    seen.statuses[status] += 1
    if status == HTTPStatus.OK:
        seen.done_s.append(done_s)
    elif status in _REFUSALS:
        seen.refused_s.append(done_s - sent_s)
        _, _, rest = head.partition(b"retry-after:")
        seen.retry_s.append(int(rest.split(b"\r\n", 1)[0] or 0))


def _report(seen: Seen, ratio: float, of_rest: float, seconds: float) -> int:
    sent = seen.statuses.total() + len(seen.unanswered)
    refused_ms = sorted(s * 1e3 for s in seen.refused_s)
    odd = {k: n for k, n in seen.statuses.items() if k not in {HTTPStatus.OK, *_REFUSALS}}
    print(f"sent {sent / seconds:.0f} a second; answers: {dict(sorted(seen.statuses.items()))}")
    if refused_ms:
        p50, p99 = statistics.median(refused_ms), refused_ms[len(refused_ms) * 99 // 100]
        print(
            f"refusals took {p50:.1f} ms in the median, {p99:.1f} at p99; "
            f"Retry-After {min(seen.retry_s)} to {max(seen.retry_s)} s"
        )
    for why, times in Counter(seen.unanswered).most_common(3):
        print(f"no answer, {times} times: {why}")
    bars = [
        ("goodput / capacity, median of the rounds", ratio, f">= {LEAST_GOODPUT}"),
        ("the same of the cores that the client leaves", of_rest, ""),
        ("requests without an answer", float(len(seen.unanswered)), "0"),
        ("answers that are neither predictions nor refusals", float(sum(odd.values())), "0"),
    ]
    met = [bars[0][1] >= LEAST_GOODPUT, None, not seen.unanswered, not odd]
    print("\n| row | measured | bar | |\n|---|---|---|---|")
    for (name, value, bar), ok in zip(bars, met, strict=True):
        said = {True: "ok", False: "MISSED", None: ""}[ok]
        print(f"| {name} | {value:.2f} | {bar} | {said} |")
    return 1 if False in met else 0


if __name__ == "__main__":
    sys.exit(main())
