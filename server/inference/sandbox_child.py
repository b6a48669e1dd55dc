"""The process that tries from inside whether the walls hold, when the server starts.

It does what a hostile model would: read a key, leave a file, call somebody, run a program, end the
server. It answers with what it could do while a child loads, and, when it is asked again, with what
it could do while a child runs; nothing it does would harm if it could.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.inference.child import Handler, serve
from server.inference.frames import Message

Acts = dict[str, Callable[[], object]]


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Try everything once; `config["secrets"]` are paths that no child may read."""
    files, calls = _with_files([Path(path) for path in config["secrets"]]), _with_calls()

    def again(_: Message) -> Message:
        return Message({"files": _done(files), "calls": _done(calls | {"start a thread": _thread})})

    return {"files": _done(files), "calls": _done(calls)}, {"try": again}


def _done(acts: Acts) -> list[str]:
    """Return the names of the acts that were not refused."""
    done = []
    for name, act in acts.items():
        try:
            act()
        except (OSError, RuntimeError):  # what the kernel refuses; a thread raises the second
            continue
        done.append(name)
    return done


def _with_files(secrets: list[Path]) -> Acts:
    environment = Path(f"/proc/{os.getppid()}/environ")
    return {
        "read a secret": lambda: _read_any(secrets),
        "read /etc/passwd": lambda: _read(Path("/etc/passwd")),
        "read the server's environment": lambda: _read(environment),
        "write a file": lambda: Path("written").write_bytes(b"x"),
    }


def _with_calls() -> Acts:
    parent = os.getppid()
    return {
        "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "start a process": _fork,
        "run a program": _exec,
        "signal the server": lambda: os.kill(parent, 0),
    }


def _read(path: Path) -> None:
    with path.open("rb") as file:
        file.read(1)


def _read_any(paths: list[Path]) -> None:
    for path in paths:
        try:
            _read(path)
        except OSError:
            continue
        return
    raise PermissionError("none can be read")


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _exec() -> None:
    try:
        os.execv("/nowhere/nothing", ["nothing"])  # noqa: S606 - that is the question
    except FileNotFoundError:
        return  # it was looked for


def _thread() -> None:
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()


if __name__ == "__main__":
    serve(start)
