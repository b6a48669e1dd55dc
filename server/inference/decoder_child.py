"""The process that turns sounds into tensors and tensors into replies.

When it starts it describes the tasks and frontends, so that the web process knows them without
importing them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from server.audio.frontends import FRONTENDS, RowFrontend, describe_frontends
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import Message
from server.tasks import TASKS
from server.tasks.contract import Call


def start(_config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Describe what can be predicted, with every table of the frontends built."""
    _warm_up()
    described = {
        "tasks": {name: asdict(task.contract) for name, task in TASKS.items()},
        "frontends": describe_frontends(),
    }
    return described, {"frontend": frontend, "decode": decode}


def frontend(message: Message) -> Message:
    """Make a model's tensors from a call."""
    binding = message.fields["binding"]
    sound, csv = message.part("sound"), message.part("csv")
    call = Call(
        sound=bytes(sound.data) if sound else b"",
        ext=message.fields["ext"],
        csv=bytes(csv.data) if csv else b"",
    )
    tensors, told = TASKS[binding["task"]].frontend(call, binding)
    return Message({"told": told}, [to_part(name, value) for name, value in tensors.items()])


def decode(message: Message) -> Message:
    """Make a reply from a model's outputs."""
    binding = message.fields["binding"]
    outputs = {part.name: to_array(part) for part in message.parts}
    return Message({"reply": TASKS[binding["task"]].decode(outputs, binding)})


def _warm_up() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_HZ).astype(np.float32)
    for entry in FRONTENDS.values():
        if isinstance(entry, RowFrontend):
            entry.compute(noise)
        else:
            entry.compute(noise, min(235, entry.heights[1]), 335)


if __name__ == "__main__":
    serve(start)
