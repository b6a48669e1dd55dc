"""Measure predictions end to end beside the engine alone and beside the original's way, in one run.

    python -m benchmarks.predict [--folder DIR] [--only ROW ...] [--rounds N] [--seconds S]

The server runs over TLS with the feature cache off; every request is signed, and songs differ from
request to request. The original's way is a Quart handler with librosa, matplotlib and
`model.predict`, over TLS with the same requests; its environment (matplotlib, 200 MB) is made in
DIR, a temporary folder without one. The engine alone is ONNX Runtime in a process of its own, with
the options of our model workers. All take turns, round by round; a ratio is made within a round,
and the table shows medians over rounds. The client is on the same machine.

Rows: song, csv, raw, one, base64, json, memory, restart, test. Exits with 1 if a bar is missed.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies, latency, ours
from benchmarks.engine import Model, make_model, median_spell
from benchmarks.measuring import Turn, median_turn, take_turn
from benchmarks.serving import served
from benchmarks.stage import BATCHES, MANY, Beside, Stage, stage
from benchmarks.usage import cpu_s, pss_mb

ROWS = ("song", "csv", "raw", "one", "base64", "json", "memory", "restart", "test")
# a song keeps a decoder and the worker busy in turns: two callers keep both
CALLERS = {"song": 2, "song raw": 2, "csv": 2, "csv raw": 2, "one": 1}
_STAGED = ("song", "csv", "raw", "one", "base64", "json")
_REQUESTS = 200
_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured value and its limit.

    Attributes
    ----------
    name : str
        What was measured.
    value : float
        The measured value.
    limit : float
        What it must reach, or stay below.
    at_least : bool
        Which of the two.
    """

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the bar is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "ok" if self.met else "MISSED"
        return f"| {self.name} | {self.value:.2f} | {sign} {self.limit:g} | {verdict} |"


@dataclass(slots=True)
class Rounds:
    """What all rounds have shown, by the name of the turn."""

    ours: dict[str, list[Beside]]
    original: dict[str, list[Turn]]
    frontend_ms: list[float]


def main() -> int:
    """Measure the rows that are asked for, print the tables and return the exit status."""
    options = _options()
    rows = options.only or ROWS
    bars: list[Bar] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        model = make_model((options.folder or Path(scratch)) / "model")
        if staged := [row for row in _STAGED if row in rows]:
            with stage(model, options.folder or Path(scratch)) as running:
                rounds = _rounds(running, staged, options.rounds, options.seconds)
            _print_turns(rounds)
            bars += _bars(rounds)
        bars += _alone(model, rows)
    if "test" in rows:
        bars += [
            Bar(f"ms, {bar.name}", bar.value, bar.limit) for bar in latency.measure_predictions()
        ]
    print("\n| row | measured | bar | |\n|---|---|---|---|")
    print(*bars, sep="\n")
    return 0 if all(bar.met for bar in bars) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict")
    parser.add_argument("--folder", type=Path, help="keeps the environment and the model")
    parser.add_argument("--only", action="append", choices=ROWS, help="repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn")
    return parser.parse_args()


def _rounds(running: Stage, rows: Sequence[str], many: int, seconds: float) -> Rounds:
    seen = Rounds(defaultdict(list), defaultdict(list), [])
    for number in range(1, many + 1):
        for name in _turns(rows):
            callers = CALLERS.get(name, MANY)
            print(f"round {number} of {many}: {name}", flush=True)
            beside = running.beside_engine(name, callers=callers, seconds=seconds)
            seen.ours[name].append(beside)
            if name in ("song", "base64") and running.has_original:
                least = 1 if name == "song" else MANY
                seen.original[name].append(running.original(name, callers=least, seconds=seconds))
        if "csv" in rows:
            seen.frontend_ms.append(running.frontend_ms())
    return seen


def _turns(rows: Sequence[str]) -> Iterator[str]:
    for row in rows:
        yield row
        if row in ("song", "csv"):
            yield f"{row} raw"


def _bars(rounds: Rounds) -> Iterator[Bar]:
    for name, original in rounds.original.items():
        pairs = list(zip(original, rounds.ours[name], strict=True))
        if name == "song":
            ratio = _median(theirs.cpu_ms / each.turn.cpu_ms for theirs, each in pairs)
            yield Bar("signed WAV: CPU of the original's way / ours", ratio, 12, at_least=True)
        else:
            ratio = _median(each.turn.rate / theirs.rate for theirs, each in pairs)
            yield Bar("base64 JSON, 32 callers: rate / the original's", ratio, 8, at_least=True)
    for name in ("csv", "csv raw"):
        if seen := rounds.ours.get(name):
            beyond = _median(
                each.turn.cpu_ms - each.engine[1].cpu_ms - frontend_ms
                for each, frontend_ms in zip(seen, rounds.frontend_ms, strict=True)
            )
            what = "signed WAV with CSV" if name == "csv" else "the same, as a raw body"
            yield Bar(f"{what}: CPU ms beyond engine and spectrogram", beyond, 8)
    if seen := rounds.ours.get("raw"):
        ratio = _median(each.turn.rate / each.best.rate for each in seen)
        yield Bar("raw tensors, 32 callers: rate / engine", ratio, 0.9, at_least=True)
        yield Bar("raw tensors, 32 callers: CPU ms beyond engine", _beyond(seen), 1.5)
    if seen := rounds.ours.get("one"):
        ratio = _median(each.turn.p50_ms / each.engine[1].p50_ms for each in seen)
        yield Bar("raw tensors, one caller: p50 / engine", ratio, 1.2)
    if seen := rounds.ours.get("json"):
        yield Bar("JSON tensors, 32 callers: CPU ms beyond engine", _beyond(seen), 6)


def _beyond(seen: Sequence[Beside]) -> float:
    return _median(each.turn.cpu_ms - each.best.cpu_ms for each in seen)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _print_turns(rounds: Rounds) -> None:
    """Print what each turn cost whom, and the engine beside all of them."""
    turns = {name: median_turn([each.turn for each in seen]) for name, seen in rounds.ours.items()}
    turns |= {f"original's way: {name}": median_turn(t) for name, t in rounds.original.items()}
    print("\n| turn | callers | requests/s | p50 ms | CPU ms | of which | client |")
    print("|---|---|---|---|---|---|---|")
    for name, turn in turns.items():
        callers = CALLERS.get(name, 1 if name.endswith(": song") else MANY)
        print(
            f"| {name} | {callers} | {turn.rate:.1f} | {turn.p50_ms:.1f} | {turn.cpu_ms:.1f} "
            f"| {_roles(turn.roles_ms)} | {turn.client_ms:.1f} |"
        )
    for batch in BATCHES:
        spells = [each.engine[batch] for seen in rounds.ours.values() for each in seen]
        spell = median_spell(spells)
        print(
            f"| engine alone, batch {batch} | | {spell.rate:.1f} | {spell.p50_ms:.1f} "
            f"| {spell.cpu_ms:.1f} | | |"
        )
    if rounds.frontend_ms:
        print(f"| decoding and picture alone | | | | {_median(rounds.frontend_ms):.1f} | | |")


def _roles(spent: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {value:.2f}" for role, value in spent.items() if value > 0.05)


def _alone(model: Model, rows: Sequence[str]) -> Iterator[Bar]:
    """Measure what a server with this one model takes."""
    if not {"memory", "restart"} & set(rows):
        return
    with served() as server:
        server.start()
        requests = ours.host_tensors(server, model)
        inputs = bodies.tensors(12)
        if "restart" in rows:
            request = requests.raw(inputs[:1])[0]
            seconds = []
            for _ in range(_RESTARTS):
                seconds.append(ours.restart(server, request))
                spent = cpu_s(server.web)
                print(
                    f"restart: {seconds[-1]:.2f} s, CPU s by process: {_roles(spent)}", flush=True
                )
            yield Bar("s from a restart to the first prediction", _median(seconds), 2)
            server.wait_for_decoders()
        if "memory" in rows:
            for callers, limit in ((1, 500), (MANY, 650)):
                take_turn(
                    ours.contestant(server),
                    requests.raw(inputs),
                    callers=callers,
                    at_least=_REQUESTS,
                )
                used_mb = pss_mb(server.processes())
                name = f"MB (PSS) of all processes after 200 requests, {callers} at once"
                yield Bar(name, used_mb, limit)


if __name__ == "__main__":
    sys.exit(main())
