"""How a child process comes to run: its command, its surroundings and the socket to it."""

import asyncio
import os
import socket
import sys
from pathlib import Path

from server.inference import surroundings
from server.inference.channel import BUFFER_BYTES
from server.inference.frames import SOCKET_FD

_WORDS_BYTES = 8192
# Before any library is imported: on Linux the child is made to end with its parent, even by kill
# -9; what a terminal or systemd sends to all processes is for the parent, which needs the child to
# end well; its priority goes down, and its socket moves to a fixed number.
_PR_SET_PDEATHSIG = 1
_BOOT = (
    "import ctypes, os, runpy, signal, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl({death}, signal.SIGKILL); "
    "os.getppid() == int(sys.argv[3]) or os._exit(1); "
    "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]; "
    "os.nice({nice}); os.dup2(int(sys.argv[2]), {fd}); "
    "sys.argv[2] == '{fd}' or os.close(int(sys.argv[2])); "
    "runpy.run_module(sys.argv[1], run_name='__main__')"
)


class Output(asyncio.SubprocessProtocol):
    """Keeps the end of what a process writes to standard error, and notices when it has ended.

    Attributes
    ----------
    said : bytes
        The end of what it wrote.
    ended : asyncio.Event
        Set when it has ended.
    """

    def __init__(self) -> None:
        self.said = b""
        self.ended = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep the last of it."""
        # a hostile process may write without end
        self.said = (self.said + data)[-_WORDS_BYTES:]

    def process_exited(self) -> None:
        """Tell those who wait."""
        self.ended.set()


async def spawn(
    module: str, fd: int, folder: Path, *, nice: int, given: list[int]
) -> tuple[asyncio.SubprocessTransport, Output]:
    """Start `python -m module` in its folder, with its end of the socket and what it is given."""
    boot = _BOOT.format(nice=nice, fd=SOCKET_FD, death=_PR_SET_PDEATHSIG)
    command = [sys.executable, "-P", "-c", boot, module, str(fd), str(os.getpid())]
    return await asyncio.get_running_loop().subprocess_exec(
        Output,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=[fd, *given],
        cwd=folder,
        env=surroundings.environment(folder),
        process_group=0,  # no Ctrl-C of ours; in a session of its own `nice` would not count
    )


async def connect(
    sock: socket.socket, process: tuple[asyncio.SubprocessTransport, Output]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the parent's end of the socket as streams."""
    sock.setblocking(False)
    try:
        return await asyncio.open_connection(sock=sock, limit=BUFFER_BYTES)
    except BaseException:
        process[0].close()
        raise
