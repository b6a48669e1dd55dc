"""A child process for the tests of pools, batches and workers: it does what it is told.

`frontend` answers what it was configured to. `predict` doubles the rows of the tensor ``x``; a row
whose first number is one of `Mark` does something else, for better or worse.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from server.errors import BadModel
from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import PREDICT, SPARING, Message, Part
from server.sound_errors import SoundTooShort


class Mark(IntEnum):
    """What a row asks for with its first number."""

    REFUSE = -1  # the model finds the row unusable
    DIE = -2  # the process ends
    HOLD = -3  # wait until the pipe `gate` is closed by its writer
    RAISE = -4  # an error that nobody foresaw
    SHORT = -5  # fewer rows come out than went in
    WIDE = -6  # the output is float64
    NOTHING = -7  # no output at all
    FLAT = -8  # an output without axes
    TWICE = -9  # one output twice


_held: list[bytes] = []


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    _tell(config, "start")
    if (pipe := config.get("start_gate")) is not None:
        _wait(pipe)
    if config.get("refuse"):
        raise BadModel("it is no model", reason="test")
    if config.get("die"):
        os._exit(1)
    for _ in range(config.get("threads", 0)):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if config.get("spin"):
        threading.Thread(target=_spin, daemon=True).start()
    if config.get("hold"):
        threading.Event().wait()
    if number := config.get("die_by"):
        os.kill(os.getpid(), number)
    if "answer" in config:
        raise _Answer(config["answer"])
    if size := config.get("allocate_mb"):
        _held.append(b"x" * (size << 20))
    return {"pid": os.getpid(), "environment": dict(os.environ), "cwd": os.listdir(".")}, {
        "echo": lambda message: Message({"text": message.fields["text"], "pid": os.getpid()}),
        "die": lambda _: os._exit(3),
        "raise": fail,
        "rave": rave,
        "problem": refuse,
        "hang": hang,
        "nonsense": nonsense,
        "shout": shout,
        PREDICT: lambda message: predict(message, config),
        SPARING: lambda message: predict(message, config),
        "frontend": lambda message: answer_frontend(message, config),
        "windows": lambda message: answer_frontend(message, config),
    }


class _Answer(BadModel):
    """A problem with whatever members a test wants a parent to be told."""

    def __init__(self, members: dict[str, object]) -> None:
        super().__init__("it is no model")
        self.members = members


def fail(_: Message) -> Message:
    raise RuntimeError("a bug")


def rave(_: Message) -> Message:
    sys.stderr.write("y\n" * 100_000)
    sys.stderr.flush()
    os._exit(3)


def refuse(_: Message) -> Message:
    raise SoundTooShort("too short", needed=22050)


def hang(_: Message) -> Message:
    time.sleep(60)
    return Message({})


def nonsense(_: Message) -> Message:
    os.write(3, b"\xff" * 64)
    return Message({})


def shout(_: Message) -> Message:
    sys.stderr.write("x" * 10_000_000)
    return Message({"shouted": True})


def predict(message: Message, config: dict[str, Any]) -> Message:
    """Double every row; config: log (a file of the batches seen), gate (a pipe), name."""
    tensors = {part.name: to_array(part) for part in message.parts}
    x = tensors["x"]
    firsts = x.reshape(len(x), -1)[:, 0].tolist()
    if (log := config.get("log")) is not None:
        op = message.fields["op"]
        _append(
            log,
            {"op": op, "rows": len(x), "shape": x.shape, "dtype": str(x.dtype), "firsts": firsts},
        )
    marks = set(firsts)
    if Mark.HOLD in marks:
        _wait(config["gate"])
        _tell(config, "released")
    if Mark.REFUSE in marks:
        raise BadModel("the model cannot be run on this row")
    if Mark.DIE in marks:
        os.kill(os.getpid(), signal.SIGKILL)
    if Mark.RAISE in marks:
        raise RuntimeError("a bug")
    y = (2 * x).astype(np.float32)
    if Mark.SHORT in marks:
        return Message({}, [to_part("y", y[1:])])
    if Mark.WIDE in marks:
        return Message({}, [to_part("y", y.astype(np.float64))])
    if Mark.NOTHING in marks:
        return Message({})
    if Mark.FLAT in marks:
        return Message({}, [Part("y", bytes(4), "float32", ())])
    if Mark.TWICE in marks:
        return Message({}, [to_part("y", y), to_part("y", y)])
    if size := config.get("grow_mb"):
        _held.append(b"x" * (size << 20))
    parts = [to_part("y", y), to_part("sum", y.reshape(len(y), -1).sum(1))]
    return Message({"name": config.get("name")}, parts)


def answer_frontend(message: Message, config: dict[str, Any]) -> Message:
    """Answer what `fields` and `tensors` (name, dtype, shape) say, whatever the sound."""
    names = [part.name for part in message.parts]
    _append(config["log"], {"parts": names, "window": message.fields.get("window")})
    parts = [
        to_part(name, np.arange(np.prod(shape)).reshape(shape).astype(dtype))
        for name, dtype, shape in config["tensors"]
    ]
    return Message(config["fields"], parts)


def _tell(config: dict[str, Any], event: str) -> None:
    if (events := config.get("events")) is not None:
        _append(events, {"event": event, "name": config.get("name"), "pid": os.getpid()})


def _append(path: str, line: dict[str, Any]) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def _spin() -> None:
    while True:
        pass


def _wait(pipe: str) -> None:
    with open(pipe, "rb") as file:
        file.read()


if __name__ == "__main__":
    serve(start)
