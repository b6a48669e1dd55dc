"""Join the parts with their routes: the two applications.

::

    layout, registry, staging, store -> sweeper -> API site
    decoders, workers -> intake -> predictor --^   upload site
"""

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
    keys, identity = ports.keys, ports.identity
    tokens = BearerTokens(identity.secret(PURPOSE), keys.ring)
    audit = Audit(repository.engine)
    callers = Callers(
        keys.ring,
        tokens,
        Nonces(repository.engine),
        Dialect1(settings.dialect1_paths, settings.dialect1_until.timestamp()),
        max_age_s=settings.signing_max_age_s,
        authorities=settings.authorities,
    )
    bodies = SignedBodies(callers, BodyMemory(settings.max_body_memory))
    pace = Pace(settings.body_idle_s, settings.min_upload_rate, settings.upload_grace_s)
    api = build_site(
        "api",
        [
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
            compat.prediction_routes(
                inference.predictor, bodies, max_bytes=settings.max_prediction_bytes
            ),
            v1_prediction_routes(
                inference.predictor,
                bodies,
                Receipts(identity),
                max_bytes=settings.max_prediction_bytes,
            ),
            token_routes(bodies, tokens, audit, max_ttl_s=settings.token_max_s),
            audit_routes(bodies, audit),
            receipt_routes(identity),
            health_routes(
                lambda: {
                    **inference.state(),
                    **ports.state(),
                    "keys": keys.state(),
                    "scrub": repository.scrub.counts,
                }
            ),
        ],
        pace=pace,
        legacy_status=settings.legacy_status,
    )
    uploads = build_site(
        "uploads",
        [
            compat.upload_test_routes(),
            compat.upload_routes(repository.staging, callers=None, sweeper=repository.sweeper),
        ],
        pace=pace,
        legacy_status=settings.legacy_status,
    )
    return api, uploads
