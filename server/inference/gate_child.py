"""The one-shot process that looks at a promoted file before any library that could run it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.gate.sniff import sniff
from server.inference.child import Handler, serve


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Judge the outline of the file at `config["path"]`."""
    return {"format": sniff(Path(config["path"]))}, {}


if __name__ == "__main__":
    serve(start)
