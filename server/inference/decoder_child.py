"""The process that turns sounds into tensors and tensors into replies.

When it starts it describes the tasks and frontends, so that the web process knows them without
importing them. What it makes of a sound can be kept and given again, see `frontend`; nothing is
kept here.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.audio.decode import decode as decode_sound
from server.audio.feature_names import FEATURE_NAMES
from server.audio.feature_row import parse_feature_row
from server.audio.frontends import FRONTENDS, RowFrontend, describe_frontends
from server.audio.spectrum import SAMPLE_RATE_HZ
from server.errors import UnusableInput
from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import Message
from server.inference.malloc import keep_memory
from server.tasks.table import TASKS
from server.tasks.task import Call

_KNOWN, _VALUE = "known:", "value:"


def start(_config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Describe what can be predicted, with every table of the frontends built."""
    keep_memory()
    _warm_up()
    described = {
        "tasks": {name: asdict(task.contract) for name, task in TASKS.items()},
        "frontends": describe_frontends(),
    }
    return described, {"frontend": frontend, "windows": windows, "decode": decode}


def frontend(message: Message) -> Message:
    """Make a model's tensors from a call.

    ::

        asked     fields  binding, ext, window: what was told of it before, or null
                  parts   sound, csv, known:<value name> ...
        answered  fields  told: window, features; same: {value name: tensor name}
                  parts   the tensors in the binding's order, then value:<value name> ...

    A raw value that was made in this call is answered for keeping, as a part of its own or, where
    its numbers are those of a tensor, by that tensor's name. With every value known that the
    binding needs, and the window, the sound may be left out.
    """
    fields = message.fields
    binding, sound, csv = fields["binding"], message.part("sound"), message.part("csv")
    call = Call(
        sound=bytes(sound.data) if sound else b"",
        ext=fields["ext"],
        csv=bytes(csv.data) if csv else b"",
        window=fields.get("window"),
        known={
            part.name.removeprefix(_KNOWN): to_array(part)
            for part in message.parts
            if part.name.startswith(_KNOWN)
        },
    )
    prepared = TASKS[binding["task"]].frontend(call, binding)
    tensors, same = prepared.tensors, {}
    parts = [to_part(name, tensor) for name, tensor in tensors.items()]
    for name, value in prepared.made.items():
        twin = next((key for key, tensor in tensors.items() if _is_same(tensor, value)), None)
        if twin is None:
            parts.append(to_part(_VALUE + name, value))
        else:
            same[name] = twin
    return Message({"told": prepared.told, "same": same}, parts)


def windows(message: Message) -> Message:
    """Make a model's tensors of some windows of a sound.

    ::

        asked     fields  binding, ext, first: a window, most: how many
                  parts   sound
        answered  fields  told: window (of all), features, count: the windows of the whole sound
                  parts   the tensors in the binding's order, a row for each window
    """
    fields = message.fields
    sound, task = message.part("sound"), TASKS[fields["binding"]["task"]]
    if task.windows is None:
        raise UnusableInput("the model takes tensors, not a sound")
    call = Call(bytes(sound.data) if sound else b"", fields["ext"], b"")
    made = task.windows(call, fields["binding"], fields["first"], fields["most"])
    parts = [to_part(name, tensor) for name, tensor in made.tensors.items()]
    return Message({"told": made.told}, parts)


def _is_same(tensor: NDArray[Any], value: NDArray[Any]) -> bool:
    return tensor.dtype == value.dtype and np.array_equal(tensor.ravel(), value.ravel())


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
    _read_once(noise)


def _read_once(noise: NDArray[np.float32]) -> None:
    """Read a sound and a row: what libraries look up at first use cannot be opened later."""
    file = io.BytesIO()
    soundfile.write(file, noise, SAMPLE_RATE_HZ, format="WAV")
    decode_sound(file.getvalue())
    header, row = ",".join(FEATURE_NAMES), ",".join("0" for _ in FEATURE_NAMES)
    parse_feature_row(f"{header}\n{row}\n".encode(), FEATURE_NAMES)


if __name__ == "__main__":
    serve(start)
