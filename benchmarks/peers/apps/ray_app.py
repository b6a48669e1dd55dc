"""Ray Serve: a proxy, a controller and one replica; batches."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

import sys
import time
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import MAX_ROWS, WAIT_S, Row, from_fields, from_raw


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
class Genre:
    """The replica."""

    def __init__(self) -> None:
        self._engine = Engine()

    @serve.batch(max_batch_size=MAX_ROWS, batch_wait_timeout_s=WAIT_S)
    async def predict(self, rows: list[Row]) -> list[Any]:
        """Run a batch."""
        values: list[Any] = self._engine.run(rows).tolist()
        return values

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer a request."""
        raw = request.url.path == "/raw"
        row = from_raw(await request.body()) if raw else from_fields(await request.json())
        return {"outputs": await self.predict(row)}


if __name__ == "__main__":
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        _temp_dir=sys.argv[2],
        logging_level="ERROR",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Genre.bind())
    while True:
        time.sleep(1)
