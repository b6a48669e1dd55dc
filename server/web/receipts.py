"""Receipts beside predictions, and the public key that verifies them.

::

    POST .../predictions?receipt=1                     the answer carries `Prediction-Receipt`,
    POST /prediction?receipt=1, /v2/.../infer?receipt=1    and theirs do
    GET  /.well-known/spectrogrampredictor-receipts    the public key, as a JWK set
"""

import hashlib
from datetime import UTC, datetime

from quart import Blueprint, Response

from server.digest import Digest
from server.errors import MalformedRequest
from server.inference.prediction import Prediction
from server.inference.predictor import ReadyModel
from server.signing.encoding import canonical_json
from server.signing.identity import Identity
from server.signing.receipts import Claims, issue
from server.web.connection import StreamedRequest
from server.web.problems import json_response

HEADER = "Prediction-Receipt"
OPTION = "receipt"


def receipt_routes(identity: Identity) -> Blueprint:
    """Build the route of the public key."""
    bp = Blueprint("receipts", __name__)

    @bp.get("/.well-known/spectrogrampredictor-receipts")
    async def keys() -> Response:
        return json_response({"keys": [identity.jwk]}, media_type="application/jwk-set+json")

    return bp


def is_wanted(asked: StreamedRequest) -> bool:
    """Tell whether a request asks for a receipt; the query need not be signed for it.

    Raises
    ------
    MalformedRequest
        If it says so in another way than `receipt=1`.
    """
    values = asked.args.getlist(OPTION) if asked.query_string else []
    if len(values) > 1:
        raise MalformedRequest(f"the query names `{OPTION}` twice")
    if values and values[0] not in ("0", "1"):
        raise MalformedRequest(f"`{OPTION}` is 1 or 0")
    return values == ["1"]


class Receipts:
    """Signs what was predicted.

    Parameters
    ----------
    identity : Identity
        The server's key.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def add(
        self,
        response: Response,
        model: ReadyModel,
        *,
        given: Digest,
        csv: bytes,
        prediction: Prediction | None,
    ) -> Response:
        """Put a receipt into the head of an answer.

        Parameters
        ----------
        response : Response
            The answer, whole.
        model : ReadyModel
            Has answered.
        given : Digest
            Of the request's body.
        csv : bytes
            The feature row that came with it; empty when there was none.
        prediction : Prediction or None
            What was made of a sound; None for tensors.
        """
        told = model.describe()
        claims = Claims(
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            input=given.hex,
            csv=hashlib.sha256(csv).hexdigest() if csv else None,
            model=model.digest.hex,
            manifest=_digest_of(model),
            frontends=prediction.frontends if prediction else [],
            window=prediction.window if prediction else None,
            engine=told["engine"],
            precision=told["precision"],
            output=hashlib.sha256(await response.get_data(as_text=False)).hexdigest(),
        )
        response.headers[HEADER] = issue(self._identity, claims)
        return response


def _digest_of(model: ReadyModel) -> str | None:
    if model.manifest is None:
        return None
    return hashlib.sha256(canonical_json(model.manifest)).hexdigest()
