"""Starting and stopping a peer, in a family of processes of its own."""

import os
import subprocess
import sysconfig
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.loadgen import Target, load
from benchmarks.measuring import Contestant
from benchmarks.peers.environments import Unavailable
from benchmarks.serving import ROOT
from benchmarks.usage import FAMILY, members

_START_S = 180.0
_RETRY_S = 0.05
_STOP_S = 10.0


@contextmanager
def running(
    programs: Path,
    command: Sequence[str],
    target: Target,
    first: bytes,
    *,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[tuple[Contestant, float]]:
    """Start a peer; lend it, with the seconds until it answered its first request.

    Parameters
    ----------
    programs : Path
        The folder of programs of its environment.
    command : sequence of str
        A program of that folder and its arguments.
    target : Target
        Where it will listen.
    first : bytes
        The request that it must answer.
    environment : mapping
        On top of a plain one.
    log : Path
        Gets what it prints.

    Raises
    ------
    Unavailable
        If it does not answer.
    """
    name = uuid.uuid4().hex
    plain = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(log.parent),
        "PYTHONPATH": str(ROOT),
        # servers that embed Python look for its library
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR") or ""),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        FAMILY: name,
    }
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(programs / command[0]), *command[1:]],
            env=plain | dict(environment),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait(process, target, first, log)
            started_s = time.perf_counter() - began
            yield Contestant(target, psutil.Process(process.pid), name), started_s
        finally:
            _stop(process, name)


def _wait(process: subprocess.Popen[bytes], target: Target, first: bytes, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    fault = ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            load(target, [first], callers=1, at_least=1)
        except (SystemExit, OSError) as error:
            fault = str(error)
            time.sleep(_RETRY_S)
        else:
            return
    said = log.read_text("utf-8", "replace")[-1000:]
    raise Unavailable(f"it did not start ({fault[:200]}): {said}")


def _stop(process: subprocess.Popen[bytes], name: str) -> None:
    """Stop it as an operator would, then end what of its family is left."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(members(name), timeout=_STOP_S)
    for member in alive:
        member.kill()
