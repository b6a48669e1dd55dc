"""A model worker that does not predict: it tries what no child may, from inside the sandbox.

The operation `try` answers with what the kernel said to each act: ``done``, or the name of the
error; with `early` in its configuration it has tried them while it loaded, too. `predict` does the
act that its configuration names for a row with a negative number, and doubles every other.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import BadModel
from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import Message
from server.inference.sandbox_calls import machine

TEN_GIB = "take 10 GiB"
ALONE = {"hold 90 MiB", "loop", "call by the numbers of x32"}
# numbers on x86_64 and on aarch64 of calls that no child has a use for, and some arguments
_RAW = {
    "ptrace": (101, 117, 16),
    "process_vm_readv": (310, 270, 1),
    "kcmp": (312, 272, 1),
    "pidfd_open": (434, 434, 1),
    "pidfd_getfd": (438, 438, 0),
    "io_uring_setup": (425, 425, 1),
    "bpf": (321, 280, 0),
    "perf_event_open": (298, 241, 0),
    "userfaultfd": (323, 282, 0),
    "mount": (165, 40, 0),
    "unshare": (272, 97, 0x10000000),
    "setns": (308, 268, 0),
    "chroot": (161, 51, 0),
    "add_key": (248, 217, 0),
    "keyctl": (250, 219, 0),
    "name_to_handle_at": (303, 264, 0),
    "open_by_handle_at": (304, 265, 0),
    "memfd_create": (319, 279, 0),
    "setuid": (105, 146, 0),
    "capset": (126, 91, 0),
    "setpriority": (141, 140, 0),
    "chmod": (90, 53, 0),
    "setxattr": (188, 5, 0),
    "mknod": (133, 33, 0),
    "shmget": (29, 194, 0),
    "personality": (135, 92, 0),
    "init_module": (175, 105, 0),
    "reboot": (169, 142, 0),
    "execveat": (322, 281, 0),
    "a call that does not exist yet": (1000, 1000, 0),
}


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    acts = _acts(config)

    def attempt(_: Message) -> Message:
        return Message(
            {"said": {name: _said(act) for name, act in acts.items() if name not in ALONE}}
        )

    def predict(message: Message) -> Message:
        x = to_array(message.parts[0])
        if (x < 0).any():
            try:
                acts[config["act"]]()
            except (OSError, RuntimeError, MemoryError, ImportError) as error:
                raise BadModel(f"the model cannot be run: {type(error).__name__}") from error
        return Message({}, [to_part("y", (2 * x).astype(np.float32))])

    never = {TEN_GIB, *ALONE}
    early = {k: act for k, act in acts.items() if config["early"] and k not in never}
    said = {name: _said(act) for name, act in early.items()}
    return {"pid": os.getpid(), "said": said}, {
        "try": attempt,
        "predict": predict,
    }


def _said(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    except (RuntimeError, MemoryError, ImportError, ValueError) as error:
        return type(error).__name__
    return "done"


def _acts(config: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    parent, files = os.getppid(), [Path(path) for path in config["files"]]
    acts: dict[str, Callable[[], object]] = {
        **{f"read {path}": path.read_bytes for path in files},
        **{f"change {path}": partial(path.open, "ab") for path in files},
        **{f"rename {path}": partial(path.rename, f"{path}.x") for path in files},
        **{f"remove {path}": path.unlink for path in files},
        "read /etc/passwd": Path("/etc/passwd").read_bytes,
        "list /": lambda: os.listdir("/"),
        "list the models": lambda: os.listdir(files[0].parent),
        "read the server's environment": Path(f"/proc/{parent}/environ").read_bytes,
        "read the server's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "write in its folder": lambda: Path("left").write_bytes(b"x"),
        "write in the temporary folder": lambda: Path(config["elsewhere"], "x").write_bytes(b"x"),
        "link a secret into its folder": lambda: os.link(files[0], "linked"),
        "open a TCP socket": lambda: socket.socket().close(),
        "open a UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "open a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "open a packet socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "fork": _fork,
        "run a program": lambda: _exec(config["program"]),
        "run a program beside": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "signal the server": lambda: os.kill(parent, 0),
        "wake the server": lambda: os.kill(parent, signal.SIGCONT),
        "end every process": lambda: os.kill(-1, 0),
        "raise its limits": _raise_limits,
        "be root again": lambda: os.setuid(0),
        "change its mode": lambda: os.chmod(files[0], 0o777),
        "start a thread": _thread,
        "dump itself": lambda: _prctl(4, 1),
        "outlive the server": lambda: _prctl(1, 0),
        TEN_GIB: lambda: np.ones(10 << 30, np.uint8),
        "hold 90 MiB": _hold,
        "loop": _loop,
        "call by the numbers of x32": lambda: ctypes.CDLL(None).syscall(0x40000000 + 39),
        "import something new": lambda: __import__("wave"),
        "make a temporary file": lambda: tempfile.TemporaryFile().close(),
    }
    return acts | {name: partial(_raw, *call) for name, call in _RAW.items()}


def _fork() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _exec(path: str) -> None:
    """Run a file that is no program: where it may be run, that is what the kernel finds."""
    try:
        os.execv(path, [path])
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise


def _raise_limits() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _hold() -> None:
    held = b"x" * (90 << 20)
    while held:
        pass


def _loop() -> None:
    while True:
        pass


def _thread() -> None:
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "refused")


def _raw(x86_64: int, aarch64: int, argument: int) -> None:
    """Make a call that fails for its arguments where the sandbox lets it through."""
    here = machine()
    number = aarch64 if here is not None and not here.first_foreign else x86_64
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, ctypes.c_long(argument), *[ctypes.c_long(0)] * 5) < 0:
        raise OSError(ctypes.get_errno(), "refused")


if __name__ == "__main__":
    serve(start)
