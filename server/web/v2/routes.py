"""Every route of `/v2`."""

from collections.abc import Callable
from typing import Any

from quart import Blueprint

from server.web.body import BodyMemory
from server.web.direct import DirectRoutes
from server.web.receipts import Receipts
from server.web.v2.health import health_routes_v2
from server.web.v2.inference import inference_routes
from server.web.v2.metadata import metadata_routes
from server.web.v2.models import Parts
from server.web.v2.repository import repository_routes
from server.web.v2.statistics import statistics_routes


def v2_routes(
    parts: Parts,
    memory: BodyMemory,
    receipts: Receipts,
    state: Callable[[], dict[str, Any]],
    *,
    max_bytes: int,
) -> list[Blueprint | DirectRoutes]:
    """Build the routes of the Open Inference Protocol."""
    return [
        inference_routes(parts, memory, receipts, max_bytes=max_bytes),
        health_routes_v2(parts, state),
        metadata_routes(parts),
        statistics_routes(parts),
        repository_routes(parts),
    ]
