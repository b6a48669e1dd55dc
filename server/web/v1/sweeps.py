"""A sweep for those who may ask for one: `POST /v1/sweeps`."""

from typing import cast

from quart import Blueprint, Response, request

from server.repository.sweep import Sweeper
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies
from server.web.v1.once import Once
from server.web.v1.schemas import SweepReport, answer

_MAX_BYTES = 4096


def sweep_routes(sweeper: Sweeper, bodies: SignedBodies, once: Once) -> Blueprint:
    """Build the route."""
    bp = Blueprint("v1_sweeps", __name__)

    @bp.post("/v1/sweeps")
    async def sweep() -> Response:
        asked = cast(StreamedRequest, request)
        async with bodies.open(asked, _MAX_BYTES, Scope.SWEEP, bound=True) as opened:
            take_fields(opened.fields, required={})
        return await once.answer(opened, sweep_now)

    async def sweep_now() -> Response:
        report = await sweeper.sweep()
        promoted = [digest.hex for digest in report.promoted]
        return answer(SweepReport(promoted=promoted, discarded=report.discarded, left=report.left))

    return bp
