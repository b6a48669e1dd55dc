"""LitServe: an API process in front of one worker; batches; JSON bodies only."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import MAX_ROWS, WAIT_S, Row, from_fields


class Genre(litserve.LitAPI):
    """The worker."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._engine = Engine()

    def decode_request(self, request: dict[str, Any]) -> Row:
        """Read a body."""
        return from_fields(request)

    def batch(self, inputs: list[Row]) -> list[Row]:
        """Leave the rows as they are."""
        return inputs

    def predict(self, x: list[Row]) -> NDArray[np.float32]:
        """Run a batch."""
        return self._engine.run(x)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Give each row its own."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Answer."""
        return {"outputs": output.tolist()}


if __name__ == "__main__":
    api = Genre(max_batch_size=MAX_ROWS, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        num_api_servers=1,
        log_level="warning",
    )
