"""Measure other servers beside ours: the same model, the same engine, one run.

    python -m benchmarks.peers --folder DIR [--only NAME ...] [--rounds N] [--seconds S]

The first run makes the peers' environments in DIR (about 2.4 GB, by pip). In every round each
server is started anew and takes turns with the engine alone: raw tensors, JSON with nested lists,
JSON with base64, each from 1 and from 32 callers. Ours is measured as it is, over TLS and with
signed requests; no peer has either here. All run ONNX Runtime on the same file with the same
options, but for the original's way, which is `model.predict` in the handler; peers that batch take
up to 8 rows, and wait 1 ms for them where they must wait.

Columns: median latency of one caller, and requests a second of 32, over the engine alone; CPU ms a
request of all of the server's processes, and what of it is beyond the engine's; memory (PSS) of all
of its processes; seconds from the start to the first answer. The engine is taken at its best batch,
for one caller at 1.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ours
from benchmarks.bodies import answered, tensors
from benchmarks.engine import Engine, Model, engine_alone, make_model
from benchmarks.loadgen import Target
from benchmarks.measuring import Contestant, take_turn
from benchmarks.peers.contestants import BASE64, NESTED, NOT_MEASURED, PEERS, RAW, Peer
from benchmarks.peers.environments import Unavailable
from benchmarks.peers.forms import Form
from benchmarks.peers.running import running
from benchmarks.peers.table import Measured, print_agreement, print_tables
from benchmarks.serving import free_ports, served
from benchmarks.usage import family, pss_mb

OURS = "ours (TLS, signed)"
CALLERS = (1, 32)
BATCHES = (1, 8)
_INPUTS = 12
_ENGINE_S = 1.0


def main() -> int:
    """Measure all, print the tables and return the exit status."""
    options = _options()
    folder: Path = options.folder
    model = make_model(folder / "model")
    measured: dict[str, list[Measured]] = defaultdict(list)
    missing = dict(NOT_MEASURED)
    with engine_alone(model) as engine:
        for number in range(1, options.rounds + 1):
            for name in _chosen(options.only):
                print(f"round {number} of {options.rounds}: {name}", flush=True)
                try:
                    with _opened(name, folder, model) as opened:
                        measured[name] += _measure(opened, engine, options.seconds)
                except (Unavailable, SystemExit) as reason:  # a peer's failure is a finding
                    if name == OURS:
                        raise
                    missing[name] = str(reason)
                    print(f"  not measured: {reason}", flush=True)
    print_tables(measured, missing)
    print_agreement(measured)
    return 0


def _chosen(only: list[str] | None) -> list[str]:
    return [OURS, *(peer.name for peer in PEERS if not only or peer.name in only)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--folder", type=Path, required=True, help="keeps the environments")
    parser.add_argument("--only", action="append", help="this peer beside ours; repeatable")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class _Opened:
    contestant: Contestant
    started_s: float
    forms: Mapping[str, Form]


@contextmanager
def _opened(name: str, folder: Path, model: Model) -> Iterator[_Opened]:
    if name == OURS:
        with _ours(model) as opened:
            yield opened
        return
    (peer,) = (peer for peer in PEERS if peer.name == name)
    with _peer(peer, folder, model) as opened:
        yield opened


@contextmanager
def _ours(model: Model) -> Iterator[_Opened]:
    with served() as server:
        server.start()
        requests = ours.host_tensors(server, model)
        started_s = ours.restart(server, requests.raw(tensors(1))[0])
        server.wait_for_decoders()
        forms = {RAW: requests.raw, NESTED: requests.nested, BASE64: requests.base64}
        yield _Opened(ours.contestant(server), started_s, forms)


@contextmanager
def _peer(peer: Peer, folder: Path, model: Model) -> Iterator[_Opened]:
    programs = peer.environment.make(folder)
    port = free_ports(1)[0]
    first = next(iter(peer.forms.values()))(tensors(1))[0]
    environment = {
        "MODEL_ONNX": str(model.onnx),
        "MODEL_KERAS": str(model.keras),
        "SIGNING_TOKEN": "not used",
        "BENTOML_DO_NOT_TRACK": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peer-")))
        command = peer.command(port, scratch)
        log = scratch / "log"
        contestant, started_s = stack.enter_context(
            running(programs, command, Target(port), first, environment=environment, log=log)
        )
        yield _Opened(contestant, started_s, peer.forms)


def _measure(opened: _Opened, engine: Engine, seconds: float) -> Iterator[Measured]:
    inputs = tensors(_INPUTS)
    for form, make in opened.forms.items():
        requests = make(inputs)
        first = take_turn(opened.contestant, requests[:1], callers=1, at_least=1)
        for callers in CALLERS:
            # memory, code and connections are warm then
            take_turn(opened.contestant, requests, callers=callers, at_least=2 * callers)
            spells = {batch: engine.run(batch, _ENGINE_S) for batch in BATCHES}
            turn = take_turn(
                opened.contestant, requests, callers=callers, seconds=seconds, at_least=callers
            )
            members = family(opened.contestant.root, opened.contestant.family)
            yield Measured(
                form=form,
                callers=callers,
                turn=turn,
                spells=spells,
                pss_mb=pss_mb(members),
                started_s=opened.started_s,
                answer=answered(first.answer),
            )


if __name__ == "__main__":
    sys.exit(main())
