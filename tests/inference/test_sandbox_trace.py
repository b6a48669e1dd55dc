"""What warm children call while they work, as strace sees it: nothing outside the list."""

import asyncio
import io
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server.errors import ServerError, WorkerFailed
from server.inference.child import to_part
from server.inference.frames import PREDICT, SPARING, Message, Part
from server.inference.process import Child
from server.inference.sandbox_calls import RUNNING
from server.tasks.contract import Signature, TensorSpec
from server.tasks.genre import bind
from tests.inference.conftest import Judged
from tests.inference.odd_models import until
from tests.inference.walls import GIB, HERE, needs_sandbox

pytestmark = [
    needs_sandbox,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)$", re.M)
# libsndfile looks for one beside a file that it does not know; here no file has a name
RESOURCE_FORK = tuple(f'AT_FDCWD, "{name}' for name in (".AppleDouble/", "._", "/..namedfork/"))
SIGNATURE = Signature(
    (
        TensorSpec("row", (None, 58), "float32"),
        TensorSpec("picture", (None, 235, 335, 1), "float32"),
    ),
    (TensorSpec("genre", (None, 10), "float32"),),
)


@dataclass(slots=True)
class Traced:
    """What was called while a trace ran: calls by name, and those that were refused."""

    names: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


@asynccontextmanager
async def traced(pid: int, log: Path) -> AsyncIterator[Traced]:
    """Trace every thread of a process while the block runs."""
    seen = Traced()
    command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        await until(lambda: tracer.poll() is not None or is_traced(pid))
        if tracer.poll() is not None:
            pytest.skip("needs the right to trace (root, and ptrace in the container)")
        yield seen
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        await asyncio.to_thread(tracer.communicate)
    for name, rest in CALL.findall(log.read_text(errors="replace")):
        if rest.startswith(RESOURCE_FORK):
            continue
        seen.names.add(name)
        if rest.endswith((" EPERM (Operation not permitted)", " EACCES (Permission denied)")):
            seen.refused.append(f"{name}({rest}")


def is_traced(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


def check(seen: Traced) -> None:
    assert seen.names & {"recvfrom", "sendto"} == {"recvfrom", "sendto"}  # the method sees calls
    assert seen.names - RUNNING == set()
    assert seen.refused == []


async def ask(child: Child, fields: dict[str, Any], parts: Sequence[Part]) -> ServerError | None:
    try:
        await child.call(Message(fields, parts), timeout_s=60)
    except WorkerFailed:
        raise
    except ServerError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("kind", "apart"),
    [("onnx", False), ("onnx", True), ("keras", False)],
    ids=["onnx", "onnx, rows apart", "keras"],
)
async def test_a_prediction_calls_nothing_outside_the_list(
    judged: Judged, tmp_path: Path, kind: str, apart: bool
) -> None:
    path = judged.folder / ("conv2d.onnx" if kind == "onnx" else "conv2d.keras")
    child = await Child.start(
        f"server.inference.{kind}_child",
        {
            "path": str(path),
            "threads": len(os.sched_getaffinity(0)),
            "max_batch": 8,
            "apart": apart,
        },
        timeout_s=120,
        nice=0,
        rights=HERE.rights(memory_bytes=GIB, read=[path], writes_bytes=GIB),
    )
    name = judged.families["conv2d"]["inputs"][0]
    try:
        async with traced(child.pid, tmp_path / "log") as seen:
            for op, rows in product((PREDICT, SPARING), (1, 8, 3, 1, 32)):
                x = to_part(name, np.ones((rows, 24, 20, 1), np.float32))
                assert await ask(child, {"op": op}, [x]) is None
            wrong = to_part(name, np.ones((1, 3, 3, 1), np.float32))
            assert await ask(child, {"op": "predict"}, [wrong]) is not None
    finally:
        await child.end()
    check(seen)


@pytest.mark.parametrize(
    ("ending", "subtype"),
    [("wav", None), ("flac", None), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)],
)
async def test_decoding_calls_nothing_outside_the_list(
    decoder: Child, tmp_path: Path, ending: str, subtype: str | None
) -> None:
    whole = sound(ending, subtype)
    fields = {"op": "frontend", "binding": bind(SIGNATURE, {}), "ext": ending}
    async with traced(decoder.pid, tmp_path / "log") as seen:
        assert await ask(decoder, fields, [Part("sound", whole)]) is None
        for broken in (b"", whole[:64], whole[: len(whole) // 2], b"RIFF" + bytes(64)):
            assert await ask(decoder, fields, [Part("sound", broken)]) is not None
    check(seen)


async def test_a_feature_row_calls_nothing_outside_the_list(decoder: Child, tmp_path: Path) -> None:
    fields = {"op": "frontend", "binding": bind(SIGNATURE, {}), "ext": "wav"}
    wav = Part("sound", sound("wav", None))
    async with traced(decoder.pid, tmp_path / "log") as seen:
        for csv in (
            b"tempo\n1\n",
            b"\xff\xfe",
            "t\u00e9mpo\n1\n".encode("latin-1"),
            b"\xef\xbb\xbf",
        ):
            assert await ask(decoder, fields, [wav, Part("csv", csv)]) is not None
        genre = to_part("genre", np.full((1, 10), 0.1, np.float32))
        decode = {"op": "decode", "binding": bind(SIGNATURE, {})}
        assert await ask(decoder, decode, [genre]) is None
    check(seen)


def sound(ending: str, subtype: str | None) -> bytes:
    """Return two seconds in stereo, at a rate that has to be changed."""
    y = (0.1 * np.random.default_rng(0).standard_normal((96_000, 2))).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, y, 48_000, format=ending.upper(), subtype=subtype)
    return file.getvalue()


@pytest.fixture
async def decoder() -> AsyncIterator[Child]:
    child = await Child.start(
        "server.inference.decoder_child",
        {},
        timeout_s=60,
        nice=0,
        rights=HERE.rights(memory_bytes=2 * GIB),
    )
    yield child
    await child.end()
