"""Let a server work for an hour while one request in a hundred goes wrong, and see what stays.

    python -m benchmarks.soak [--minutes M] [--faults SHARE] [--seed N]

A server over TLS is asked for all that it does: predictions in every form over HTTP/1.1 and HTTP/2,
registrations, uploads that are registered and not, models that are none, sweeps. A share of the
requests is a fault: cut, left, altered, damaged, or a child process of the server is killed. The
load is moderate: what is looked for is what grows or stays behind, not speed.

Bars: growth of the web process's resident memory, from the median of the minutes after the first
tenth to the median of the last tenth; requests that should have been answered and were not, or with
a status that nobody expects; work that has not ended a while after the last request. Exits with 1
if one is missed.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil

from benchmarks.engine import Model, make_model
from benchmarks.serving import Server, served
from benchmarks.soak_turns import Outcome, Turns
from benchmarks.stage import variant
from benchmarks.usage import pss_mb

MOST_GROWTH = 0.02
_THREADS = 6
_LOOK_S = 5.0
_MB = 1e6
_AT_REST = ("predictions", "decoder_queue", "models_running")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the web process at one moment.

    Attributes
    ----------
    at_s : float
        Since the start.
    rss_mb : float
        Its resident memory.
    fds : int
        Its open descriptors.
    """

    at_s: float
    rss_mb: float
    fds: int


@dataclass(slots=True)
class Seen:
    """What the callers saw, counted; every thread adds to it."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: Outcome) -> None:
        """Count one."""
        with self.lock:
            self.outcomes[outcome.turn, outcome.said] += 1
            if outcome.is_wrong:
                self.wrong.append(f"{outcome.turn}: {outcome.said}")


def main() -> int:
    """Soak, print the tables and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--faults", type=float, default=0.01, help="share of the requests")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with served() as server:
        model = make_model(server.models.parent / "model")
        server.start()
        seen = Seen()
        turns = Turns(server, _host(server, model), faults=options.faults, seed=options.seed)
        looks = _soak(server, turns, seen, options.minutes * 60)
        _print_outcomes(seen)
        left = _left_behind(server)
        log = server.log()
    return _report(looks, seen, left, log.count("unexpected error"))


def _host(server: Server, model: Model) -> tuple[str, str]:
    """Host the model as one that takes tensors, and a copy of it as one of genre."""
    tensors = server.host(model.keras.read_bytes(), {"task": "tensors"})
    genre = server.host(variant(model), None)
    server.wait_for_ready(2)
    server.wait_for_decoders()
    return tensors, genre


def _soak(server: Server, turns: Turns, seen: Seen, seconds: float) -> list[Look]:
    began = time.monotonic()
    threads = [
        threading.Thread(target=_work, args=(turns, seen, k, began + seconds))
        for k in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    looks: list[Look] = []
    web = server.web
    print("| minute | requests | wrong | web RSS MB | all PSS MB | descriptors | threads |")
    print("|---|---|---|---|---|---|---|")
    told = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(_LOOK_S)
        at_s = time.monotonic() - began
        looks.append(Look(at_s, web.memory_info().rss / _MB, web.num_fds()))
        if at_s // 60 > told:
            told = int(at_s // 60)
            _print_minute(told, seen, looks[-1], server, web)
    return looks


def _work(turns: Turns, seen: Seen, number: int, until: float) -> None:
    caller = turns.caller(number)
    while time.monotonic() < until:
        seen.note(caller.take_turn())
        time.sleep(caller.pause_s())
    caller.close()


def _print_minute(minute: int, seen: Seen, look: Look, server: Server, web: psutil.Process) -> None:
    print(
        f"| {minute} | {seen.outcomes.total()} | {len(seen.wrong)} | {look.rss_mb:.1f} "
        f"| {pss_mb(server.processes()):.0f} | {look.fds} | {web.num_threads()} |",
        flush=True,
    )


def _print_outcomes(seen: Seen) -> None:
    print("\n| request | answers |\n|---|---|")
    for turn in sorted({turn for turn, _ in seen.outcomes}):
        said = {text: many for (name, text), many in seen.outcomes.items() if name == turn}
        listed = ", ".join(f"{text} {many}" for text, many in sorted(said.items()))
        print(f"| {turn} | {listed} |")


def _left_behind(server: Server) -> list[str]:
    """Return what has not ended a while after the last request."""
    deadline = time.monotonic() + 60
    while True:
        state = json.loads(server.ask("GET", "/readyz")[1])
        left = [f"{name} {state[name]}" for name in _AT_REST if state[name]]
        if state["connections"] > 1:  # the one that asks
            left.append(f"connections {state['connections']}")
        if staged := [path.name for path in server.staging.iterdir() if path.name[0] != "."]:
            left.append(f"staged uploads {len(staged)}")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


def _growth(looks: list[Look]) -> float:
    """Return by how much the memory has grown, as a share."""
    end_s = looks[-1].at_s
    early = [look.rss_mb for look in looks if 0.1 <= look.at_s / end_s <= 0.25]
    late = [look.rss_mb for look in looks if look.at_s / end_s >= 0.9]
    before, after = statistics.median(early), statistics.median(late)
    print(f"\nresident memory of the web process: {before:.1f} MB early, {after:.1f} MB at the end")
    return after / before - 1


def _report(looks: list[Look], seen: Seen, left: list[str], faults: int) -> int:
    growth = _growth(looks)
    for text, many in Counter(seen.wrong).most_common(8):
        print(f"wrong, {many} times: {text}")
    if left:
        print(f"left behind: {', '.join(left)}")
    rows = [
        (
            "growth of resident memory, %",
            growth * 100,
            f"< {MOST_GROWTH:.0%}",
            growth < MOST_GROWTH,
        ),
        ("requests answered wrongly or not at all", len(seen.wrong), "0", not seen.wrong),
        ("kinds of work left behind", len(left), "0", not left),
        ("faults of ours in the log", faults, "0", not faults),
    ]
    print("\n| row | measured | bar | |\n|---|---|---|---|")
    for name, value, bar, met in rows:
        print(f"| {name} | {value:.2f} | {bar} | {'ok' if met else 'MISSED'} |")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
