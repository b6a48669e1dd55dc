"""A child process for the tests of the pool: it does what it is told, for better or worse."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from server.errors import BadModel, SoundTooShort
from server.inference.child import Handler, serve
from server.inference.frames import Message


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    if config.get("refuse"):
        raise BadModel("it is no model", reason="test")
    if config.get("die"):
        os._exit(1)
    return {"pid": os.getpid(), "environment": dict(os.environ), "cwd": os.listdir(".")}, {
        "echo": lambda message: Message({"text": message.fields["text"], "pid": os.getpid()}),
        "die": lambda _: os._exit(3),
        "raise": fail,
        "problem": refuse,
        "hang": hang,
        "nonsense": nonsense,
        "shout": shout,
    }


def fail(_: Message) -> Message:
    raise RuntimeError("a bug")


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


if __name__ == "__main__":
    serve(start)
