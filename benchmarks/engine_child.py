"""The process with nothing but the engine: `python -m benchmarks.engine_child MODEL.onnx`.

The session is the one of our model workers, with all cores. Reads lines ``batch seconds`` and
answers each with a line of JSON: rows a second, CPU milliseconds a row, the median of a run in
milliseconds.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bodies import PICTURE, ROW, tensors
from server.inference.onnx_engine import OnnxEngine

_MOST_ROWS = 32


def main(path: str) -> None:
    """Answer until the input ends."""
    engine = OnnxEngine(Path(path), threads=os.cpu_count() or 1)
    rows = tensors(_MOST_ROWS)
    pictures, features = np.stack([r.picture for r in rows]), np.stack([r.row for r in rows])
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        fed = {PICTURE: pictures[:batch], ROW: features[:batch]}
        print(json.dumps(timed(partial(engine.predict, fed), batch, seconds)), flush=True)


def timed(run: Callable[[], object], batch: int, seconds: float) -> dict[str, float]:
    """Run again and again for some seconds, after a first run that settles memory."""
    run()
    times = []
    began_cpu_s, began = time.process_time(), time.perf_counter()
    while (started := time.perf_counter()) - began < seconds:
        run()
        times.append(time.perf_counter() - started)
    rows = batch * len(times)
    return {
        "rate": rows / (time.perf_counter() - began),
        "cpu_ms": (time.process_time() - began_cpu_s) / rows * 1e3,
        "p50_ms": statistics.median(times) * 1e3,
    }


if __name__ == "__main__":
    main(sys.argv[1])
