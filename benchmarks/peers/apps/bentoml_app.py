"""BentoML: one service, batches; JSON bodies only, a list of rows in each."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

from typing import Any

import bentoml
from pydantic import BaseModel

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import MAX_ROWS, from_fields


class Inputs(BaseModel):
    """One row, nested lists or base64."""

    spectrogram: Any
    features: Any


@bentoml.service(workers=1, traffic={"timeout": 120}, metrics={"enabled": False})
class Genre:
    """The service."""

    def __init__(self) -> None:
        self._engine = Engine()

    @bentoml.api(batchable=True, max_batch_size=MAX_ROWS, max_latency_ms=60_000, route="/json")
    def predict(self, rows: list[Inputs]) -> list[list[float]]:
        """Run a batch."""
        values: list[list[float]] = self._engine.run(
            [from_fields({"spectrogram": r.spectrogram, "features": r.features}) for r in rows]
        ).tolist()
        return values
