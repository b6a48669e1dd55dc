"""The statistics extension: what each model has done since the server began.

::

    GET /v2/models/stats                       of all that whoever asks may read about
    GET /v2/models/{name}[/versions/1]/stats

A call is counted once; queue and the parts of computing are counted for each row of it.
"""

from typing import Any, cast

from quart import Blueprint, Response, request

from server.inference.statistics import ModelStatistics, Spell
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.v2.models import VERSION, Parts


def statistics_routes(parts: Parts) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v2_statistics", __name__)

    @bp.get("/v2/models/stats")
    async def every() -> Response:
        principal = await parts.reader(cast(StreamedRequest, request))
        told = [
            _told(digest.hex, seen)
            for digest, seen in parts.statistics
            if principal.allows(Scope.READ, digest)
        ]
        return json_response({"model_stats": told})

    @bp.get("/v2/models/<name>/stats")
    @bp.get("/v2/models/<name>/versions/<version>/stats")
    async def one(name: str, version: str | None = None) -> Response:
        model = await parts.readable(cast(StreamedRequest, request), name, version)
        seen = parts.statistics.known(model.digest)
        return json_response({"model_stats": [_told(name, seen)]})

    return bp


def _told(name: str, seen: ModelStatistics) -> dict[str, Any]:
    nothing = Spell()
    return {
        "name": name,
        "version": VERSION,
        "last_inference": seen.last_ms,
        "inference_count": seen.infer.count,
        "execution_count": seen.runs,
        "inference_stats": {
            "success": _spell(seen.success),
            "fail": _spell(seen.failure),
            "queue": _spell(seen.queue),
            "compute_input": _spell(seen.inputs),
            "compute_infer": _spell(seen.infer),
            "compute_output": _spell(seen.outputs),
            "cache_hit": _spell(nothing),
            "cache_miss": _spell(nothing),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _spell(nothing),
                "compute_infer": _spell(spell),
                "compute_output": _spell(nothing),
            }
            for rows, spell in sorted(seen.batches.items())
        ],
        "memory_usage": [],
    }


def _spell(spell: Spell) -> dict[str, int]:
    return {"count": spell.count, "ns": spell.ns}
