"""What both clients make their requests of."""

import os
import ssl
from pathlib import Path
from typing import Any

import httpx

from spectrogrampredictor.auth import SHA256
from spectrogrampredictor.files import FileBody
from spectrogrampredictor.steps import Ask
from spectrogrampredictor.uploads import Memory

TIMEOUT = httpx.Timeout(60, connect=10, read=150)
READY_S = 600.0


def trust(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext | bool:
    """Return whom to believe."""
    return True if ca_file is None else ssl.create_default_context(cafile=os.fspath(ca_file))


def memory_of(folder: str | os.PathLike[str] | None, server: httpx.URL) -> Memory | None:
    """Return what remembers uploads; nothing where no folder is named."""
    return None if folder is None else Memory(Path(folder), str(server))


def options_of(ask: Ask, content: Any) -> dict[str, Any]:
    """Return what httpx makes a request of.

    Parameters
    ----------
    ask : Ask
        What is asked.
    content : iterable or asynchronous iterable of bytes
        The pieces of its file, where it has one.
    """
    options: dict[str, Any] = {"params": ask.query or None, "headers": dict(ask.headers)}
    if ask.fields is not None:
        options["json"] = ask.fields
    elif isinstance(ask.body, FileBody):
        options["content"] = content
        options["headers"]["Content-Length"] = str(ask.body.size)
        options["extensions"] = {SHA256: ask.body.sha256}
    elif ask.body is not None:
        options["content"] = ask.body
    return options
