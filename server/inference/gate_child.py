"""The one-shot process that looks at a promoted file before any library that could run it."""

import importlib
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.gate.judge import judge
from server.gate.refusals import refused
from server.gate.sniff import is_onnx
from server.inference.child import Handler, serve

_LEAST_CPU_S, _CPU_S = 4, 120  # the outline of any honest model takes less; unpacking 8 GiB, too
_CPU_BYTES = 2 << 20  # of a file give it one second more
_MEMORY_BYTES = 160 << 20  # above what the process takes before it has seen the file


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Judge the structure of the file at `config["path"]`."""
    path = Path(config["path"])
    with path.open("rb") as file:
        if is_onnx(file):
            importlib.import_module("onnx.checker")  # takes as much as files may, before they may
    _limit(min(_CPU_S, _LEAST_CPU_S + path.stat().st_size // _CPU_BYTES))
    try:
        verdict = judge(path)
    except MemoryError as error:
        raise refused("over-memory", "the file's outline takes too much memory") from error
    return {"format": verdict.format, "gate": verdict.describe()}, {}


def _limit(cpu_s: int) -> None:
    """Let an outline that takes too much memory or time fail in this process, not elsewhere."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY_BYTES, hard))
    used = int(time.process_time())
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_s, hard))


if __name__ == "__main__":
    serve(start)
