"""Join the parts with their routes: the two applications.

::

    layout, registry, staging, store -> sweeper -> API site
    decoders, workers -> intake -> predictor --^   upload site
"""

from typing import Any

from quart import Blueprint

from server.parts import Inference
from server.ports import Ports
from server.repository.audit import Audit
from server.repository.nonces import Nonces
from server.repository_parts import Repository
from server.settings import Settings
from server.signing.bearer import PURPOSE, BearerTokens
from server.web import compat
from server.web.audit import audit_routes
from server.web.body import BodyMemory, Pace
from server.web.callers import Callers, Dialect1
from server.web.health import health_routes
from server.web.predictions import v1_prediction_routes
from server.web.receipts import Receipts, receipt_routes
from server.web.signed import SignedBodies
from server.web.site import Site, build_site
from server.web.tokens import token_routes


def build_sites(
    settings: Settings, ports: Ports, repository: Repository, inference: Inference
) -> tuple[Site, Site]:
    """Build the API and the upload site."""
    pace = Pace(settings.body_idle_s, settings.min_upload_rate, settings.upload_grace_s)
    uploads = [
        compat.upload_test_routes(),
        compat.upload_routes(repository.staging, callers=None, sweeper=repository.sweeper),
    ]
    api = _api(settings, ports, repository, inference)
    legacy = settings.legacy_status
    return (
        build_site("api", api, pace=pace, legacy_status=legacy),
        build_site("uploads", uploads, pace=pace, legacy_status=legacy),
    )


def _api(
    settings: Settings, ports: Ports, repository: Repository, inference: Inference
) -> list[Blueprint]:
    tokens = BearerTokens(ports.identity.secret(PURPOSE), ports.keys.ring)
    callers = _callers(settings, ports, repository, tokens)
    bodies = SignedBodies(callers, BodyMemory(settings.max_body_memory))
    audit = Audit(repository.engine)
    predictor, most = inference.predictor, settings.max_prediction_bytes

    def state() -> dict[str, Any]:
        parts = {"keys": ports.keys.state(), "scrub": repository.scrub.counts}
        return {**inference.state(), **ports.state(), **parts}

    return [
        compat.test_routes(),
        compat.model_routes(
            bodies=bodies,
            registry=repository.registry,
            sweeper=repository.sweeper,
            recovery=repository.recovery,
            intake=inference.intake,
            contracts=inference.contracts,
        ),
        compat.upload_routes(repository.staging, callers=callers, sweeper=repository.sweeper),
        compat.prediction_routes(predictor, bodies, max_bytes=most),
        v1_prediction_routes(predictor, bodies, Receipts(ports.identity), max_bytes=most),
        token_routes(bodies, tokens, audit, max_ttl_s=settings.token_max_s),
        audit_routes(bodies, audit),
        receipt_routes(ports.identity),
        health_routes(state),
    ]


def _callers(
    settings: Settings, ports: Ports, repository: Repository, tokens: BearerTokens
) -> Callers:
    return Callers(
        ports.keys.ring,
        tokens,
        Nonces(repository.engine),
        Dialect1(settings.dialect1_paths, settings.dialect1_until.timestamp()),
        max_age_s=settings.signing_max_age_s,
        authorities=settings.authorities,
    )
