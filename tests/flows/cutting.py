"""A proxy that cuts the line again and again, as bad networks do."""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

_PIECE = 1 << 16
_RESET = struct.pack("ii", 1, 0)  # closing sends a reset: nobody says goodbye on a cut line


class CuttingProxy:
    """Passes bytes on, and cuts the line whenever so many more came from clients.

    Parameters
    ----------
    target : tuple of str and int
        Where to.
    cut_after : int
        Bytes from one cut to the next, whatever connections they came by.
    cuts : int
        How often; then the line holds.

    Attributes
    ----------
    port : int
        Of 127.0.0.1, where clients connect to.
    cuts : int
        Cuts that are still to come.
    """

    def __init__(self, target: tuple[str, int], *, cut_after: int, cuts: int) -> None:
        self._target = target
        self._cut_after = cut_after
        self.cuts = cuts
        self._passed = 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # it is being started again
                client.close()
                continue
            for work in (self._up, self._down):
                thread = threading.Thread(target=work, args=(client, server))
                self._threads.append(thread)
                thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while piece := client.recv(_PIECE):
                server.sendall(piece)
                if self._is_cut(len(piece)):
                    for line in (client, server):
                        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        line.shutdown(socket.SHUT_RDWR)
                        line.close()
                    return
            server.shutdown(socket.SHUT_WR)
        except OSError:
            _end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while piece := server.recv(_PIECE):
                client.sendall(piece)
        except OSError:
            pass
        _end(client, server)

    def _is_cut(self, more: int) -> bool:
        with self._lock:
            self._passed += more
            if not self.cuts or self._passed < self._cut_after:
                return False
            self.cuts -= 1
            self._passed = 0
            return True


def _end(*lines: socket.socket) -> None:
    for line in lines:
        line.close()
