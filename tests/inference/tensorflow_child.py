"""A model worker whose graph reads and writes files, as a SavedModel's can."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from server.inference.child import Handler, serve
from server.inference.frames import Message


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    read, written = config["read"], config["written"]

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def graph() -> Any:
        return tf.io.read_file(read)

    @tf.function  # type: ignore[untyped-decorator]  # as above
    def leave() -> Any:
        tf.io.write_file(written, "x")
        return tf.constant("done")

    def attempt(_: Message) -> Message:
        # not `leave`: TensorFlow looks for a folder above the root for ever when it may not look
        return Message({"said": [_said(graph)]})

    return {"said": [_said(graph), _said(leave)]}, {"try": attempt}


def _said(run: Any) -> str:
    try:
        return str(run().numpy().decode())
    except tf.errors.OpError as error:
        return type(error).__name__


if __name__ == "__main__":
    serve(start)
