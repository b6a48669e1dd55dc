"""Somebody else's requests while a test attacks the server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.flows.running import Server


class Bystander:
    """Asks `GET /test` again and again on one connection.

    Attributes
    ----------
    seconds : list of float
        How long each answer took.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.done = threading.Event()

    def ask(self, server: Server) -> None:
        """Ask until it is told to stop."""
        with server.client(timeout_s=30) as http:
            while not self.done.is_set():
                begun = time.monotonic()
                assert http.get("/test").status_code == 200
                self.seconds.append(time.monotonic() - begun)

    @property
    def p99_s(self) -> float:
        """What 99 of 100 answers took at most."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


@contextmanager
def bystander(server: Server) -> Iterator[Bystander]:
    """Have somebody ask all the while; it fails when they were not answered."""
    one = Bystander()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            one.ask(server)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield one
    finally:
        one.done.set()
        thread.join()
    if failed:
        raise failed[0]
    assert len(one.seconds) > 1
    assert one.p99_s < 2, "others had to wait"
