"""Mosec: a Rust server in front of one Python worker; batches."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

from typing import Any

from mosec import Runtime, Server, Worker

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import MAX_ROWS, WAIT_S, Row, from_body


class Genre(Worker):
    """The worker."""

    def __init__(self) -> None:
        self._engine = Engine()

    def deserialize(self, data: bytes) -> Row:
        """Read a body."""
        return from_body(data)

    def forward(self, data: list[Row]) -> list[Any]:
        """Run a batch."""
        return [{"outputs": values} for values in self._engine.run(data).tolist()]


if __name__ == "__main__":
    server = Server()
    worker = Runtime(
        Genre, num=1, max_batch_size=MAX_ROWS, max_wait_time=round(WAIT_S * 1e3), timeout=120
    )
    server.register_runtime({"/raw": [worker]})
    server.run()
