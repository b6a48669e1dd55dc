"""A child that has started a thread before the walls of the sandbox close."""

import threading
from typing import Any

from server.inference.child import Handler, serve


def start(_config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Handler]]:
    return {}, {}


if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    serve(start)
