"""Measure what the sandbox costs a child process: CPU seconds of a call with it and without.

    python -m benchmarks.sandbox_pairs [--rounds N] [--blocks N]

Requests a second on a shared machine differ by more than the sandbox could cost. So two children of
one kind, one behind walls, are given the same calls in turns of a few, in the other order each
time, and the kernel says in nanoseconds how long each has computed: what disturbs one disturbs the
other a moment later. The ratio of each pair of turns is taken, and its median over a round; every
round has new processes, for two of them differ by where their memory happens to lie.

Exits with 1 if a median over rounds is below the bar: CPU without over CPU with the sandbox.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import bodies
from benchmarks.engine import make_model
from server.inference import sandbox_level
from server.inference.child import to_part
from server.inference.frames import PREDICT, Message, Part
from server.inference.process import Child
from server.inference.sandbox_level import OFF, Sandbox
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import bind

BAR = 0.98
_CALLS = 5  # of one turn
_WARM_UPS = 12
_THREADS = 2
_GIB = 1 << 30


def main() -> int:
    """Measure, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox_pairs")
    parser.add_argument("--rounds", type=int, default=5, help="of new processes")
    parser.add_argument("--blocks", type=int, default=60, help="pairs of turns in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        model = make_model(Path(scratch) / "model").onnx
        kinds = {"model worker": (_worker(model), _tensors()), "decoder": (_decoder(), _songs())}
        return asyncio.run(_measure(kinds, rounds=options.rounds, blocks=options.blocks))


def _worker(model: Path) -> tuple[str, dict[str, Any], list[Path]]:
    config = {"path": str(model.resolve()), "threads": _THREADS, "max_batch": 8, "apart": False}
    return "server.inference.onnx_child", config, [model.resolve()]


def _decoder() -> tuple[str, dict[str, Any], list[Path]]:
    return "server.inference.decoder_child", {}, []


def _tensors() -> list[Message]:
    return [
        Message(
            {"op": PREDICT},
            [to_part("spectrogram", row.picture[None]), to_part("features", row.row[None])],
        )
        for row in bodies.tensors(_CALLS)
    ]


def _songs() -> list[Message]:
    picture = TensorSpec("spectrogram", (None, *bodies.PICTURE_SHAPE), "float32")
    row = TensorSpec("features", (None, *bodies.ROW_SHAPE), "float32")
    scores = TensorSpec("scores", (None, 10), "float32")
    binding = bind(Signature((picture, row), (scores,)), {})
    fields = {"op": "frontend", "binding": binding, "ext": "wav", "window": None}
    return [Message(fields, [Part("sound", song), Part("csv", b"")]) for song in bodies.sounds(2)]


async def _measure(
    kinds: dict[str, tuple[tuple[str, dict[str, Any], list[Path]], list[Message]]],
    *,
    rounds: int,
    blocks: int,
) -> int:
    walls = await sandbox_level.find([])
    print(f"sandbox: {walls.describe()}", flush=True)
    print(
        "| calls to | CPU ms without | with | without / with, median | of each round | middle half "
        "of all turns | bar |\n|---|---|---|---|---|---|---|"
    )
    missed = 0
    for name, (kind, calls) in kinds.items():
        turns = [await _round(kind, calls, walls, blocks=blocks) for _ in range(rounds)]
        medians = [statistics.median(plain / walled for plain, walled in turn) for turn in turns]
        every = [pair for turn in turns for pair in turn]
        low, _, high = statistics.quantiles([plain / walled for plain, walled in every], n=4)
        ratio = statistics.median(medians)
        plain_ms, walled_ms = (statistics.median(spent) for spent in zip(*every, strict=True))
        print(
            f"| {name} | {plain_ms:.3f} | {walled_ms:.3f} | {ratio:.4f} "
            f"| {', '.join(f'{median:.3f}' for median in medians)} "
            f"| {low:.3f} to {high:.3f} | >= {BAR} |",
            flush=True,
        )
        missed += ratio < BAR
    return 1 if missed else 0


async def _round(
    kind: tuple[str, dict[str, Any], list[Path]],
    calls: Sequence[Message],
    walls: Sandbox,
    *,
    blocks: int,
) -> list[tuple[float, float]]:
    """Return the CPU milliseconds of a call in each pair of turns: without walls, and with."""
    module, config, read = kind
    both = [
        await Child.start(
            module,
            dict(config),
            timeout_s=120,
            nice=0,
            rights=sandbox.rights(memory_bytes=2 * _GIB, read=read),
        )
        for sandbox in (OFF, walls)
    ]
    try:
        for child in both:
            for k in range(_WARM_UPS):
                await child.call(calls[k % len(calls)], timeout_s=60)
        pairs = []
        for block in range(blocks):
            spent = [0.0, 0.0]
            for k in (0, 1) if block % 2 else (1, 0):
                began_ms = _cpu_ms(both[k].pid)
                for message in calls:
                    await both[k].call(message, timeout_s=60)
                spent[k] = (_cpu_ms(both[k].pid) - began_ms) / len(calls)
            pairs.append((spent[0], spent[1]))
        return pairs
    finally:
        for child in both:
            await child.end()


def _cpu_ms(pid: int) -> float:
    """Return what all threads of a process have computed, as the scheduler counts it."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


if __name__ == "__main__":
    sys.exit(main())
