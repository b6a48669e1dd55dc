"""The process that keeps one model loaded and answers for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import Message
from server.inference.keras_engine import KerasEngine


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Load the model at `config["path"]` and warm it up."""
    engine = KerasEngine(Path(config["path"]))
    engine.warm_up()

    def predict(message: Message) -> Message:
        outputs = engine.predict({part.name: to_array(part) for part in message.parts})
        return Message({}, [to_part(name, value) for name, value in outputs.items()])

    return {"engine": "keras"}, {"predict": predict}


if __name__ == "__main__":
    serve(start)
