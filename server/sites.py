"""Join the parts with their routes: the two applications.

::

    layout, registry, staging, store -> sweeper -> API site
    decoders, workers -> intake -> predictor --^   upload site
"""

from typing import Any

from quart import Blueprint

from server.job_parts import Jobs
from server.parts import Inference
from server.ports import Ports
from server.repository.audit import Audit
from server.repository.catalog import Catalog
from server.repository.kept_answers import KeptAnswers
from server.repository.nonces import Nonces
from server.repository_parts import Repository
from server.settings import Settings
from server.signing.bearer import PURPOSE, BearerTokens
from server.web import compat
from server.web.body import BodyMemory, Pace
from server.web.callers import Callers, Dialect1
from server.web.demonstration import Demonstration
from server.web.direct import DirectRoutes
from server.web.health import health_routes
from server.web.metrics import MetricsAccess, Watched, metrics_routes
from server.web.quotas import Quotas
from server.web.receipts import Receipts, receipt_routes
from server.web.signed import SignedBodies
from server.web.site import Site, build_site
from server.web.spec2spec import spec2spec_routes
from server.web.v1.aliases import alias_changes, alias_routes
from server.web.v1.audit import audit_routes
from server.web.v1.files import file_routes
from server.web.v1.frontends import frontend_routes
from server.web.v1.job_access import JobAccess
from server.web.v1.job_artifacts import job_artifact_routes
from server.web.v1.job_events import job_event_routes
from server.web.v1.job_requests import JobRequests
from server.web.v1.jobs import job_routes
from server.web.v1.models import Models, change_routes, model_routes
from server.web.v1.once import SEALING, Once
from server.web.v1.openapi import openapi_routes
from server.web.v1.predictions import Predictions, v1_prediction_routes
from server.web.v1.resumable import Resumable, resumable_routes
from server.web.v1.sweeps import sweep_routes
from server.web.v1.tasks import task_routes
from server.web.v1.tokens import token_routes
from server.web.v2.models import Parts as V2Parts
from server.web.v2.routes import v2_routes


def build_sites(
    settings: Settings,
    ports: Ports,
    repository: Repository,
    inference: Inference,
    jobs: Jobs,
    *,
    demo: Demonstration | None,
) -> tuple[Site, Site]:
    """Build the API and the upload site, and the demonstration where there is one."""
    pace = Pace(settings.body_idle_s, settings.min_upload_rate, settings.upload_grace_s)
    uploads: list[Blueprint | DirectRoutes] = [
        compat.upload_test_routes(),
        compat.upload_routes(repository.staging, callers=None, sweeper=repository.sweeper),
    ]
    api = _api(settings, ports, repository, inference, jobs)
    if demo is not None:
        api.append(spec2spec_routes(demo))
    legacy = settings.legacy_status
    return (
        build_site("api", api, pace=pace, legacy_status=legacy),
        build_site("uploads", uploads, pace=pace, legacy_status=legacy),
    )


def _api(
    settings: Settings, ports: Ports, repository: Repository, inference: Inference, jobs: Jobs
) -> list[Blueprint | DirectRoutes]:
    tokens = BearerTokens(ports.identity.secret(PURPOSE), ports.keys.ring)
    callers = _callers(settings, ports, repository, tokens)
    memory = BodyMemory(settings.max_body_memory)
    bodies = SignedBodies(callers, memory)
    audit, receipts = Audit(repository.engine), Receipts(ports.identity)
    once = Once(KeptAnswers(repository.engine, ports.identity.secret(SEALING)))
    predictor, most = inference.predictor, settings.max_prediction_bytes

    def state() -> dict[str, Any]:
        parts = {"keys": ports.keys.state(), "scrub": repository.scrub.counts}
        parts["partial_uploads"] = repository.partials.unfinished
        return {**inference.state(), **jobs.state(), **ports.state(), **parts}

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
        compat.prediction_routes(predictor, bodies, receipts, max_bytes=most),
        v1_prediction_routes(
            Predictions(predictor, repository.aliases, bodies, inference.contracts, max_bytes=most),
            receipts,
        ),
        frontend_routes(predictor, inference.contracts, bodies, max_bytes=most),
        *_models(repository, inference, bodies, once),
        *_jobs(jobs, repository, inference, bodies),
        *v2_routes(
            V2Parts(repository.registry, repository.aliases, predictor, inference.workers, bodies),
            memory,
            receipts,
            state,
            max_bytes=most,
        ),
        token_routes(bodies, tokens, audit, once, max_ttl_s=settings.token_max_s),
        audit_routes(bodies, audit),
        receipt_routes(ports.identity),
        health_routes(state),
        openapi_routes(inference.contracts),
        metrics_routes(
            Watched(state, inference.workers.statistics, inference.workers.memory_of_each),
            bodies,
            MetricsAccess(settings.metrics_open, settings.metrics_token),
        ),
    ]


def _models(
    repository: Repository, inference: Inference, bodies: SignedBodies, once: Once
) -> list[Blueprint]:
    models = Models(
        repository.registry,
        Catalog(repository.engine),
        repository.aliases,
        repository.recovery,
        inference.intake,
        inference.workers,
        inference.contracts,
    )
    return [
        model_routes(models, bodies, once),
        change_routes(models, bodies),
        file_routes(models, repository.staging, repository.sweeper, bodies),
        resumable_routes(
            Resumable(
                repository.partials, repository.appending, repository.staging, repository.registry
            ),
            bodies,
        ),
        sweep_routes(repository.sweeper, bodies, once),
        alias_routes(repository.aliases, bodies),
        alias_changes(repository.aliases, bodies, once),
    ]


def _jobs(
    jobs: Jobs, repository: Repository, inference: Inference, bodies: SignedBodies
) -> list[Blueprint]:
    access = JobAccess(jobs.desk, bodies)
    requests = JobRequests(inference.contracts, repository.aliases, inference.predictor)
    return [
        job_routes(jobs.desk, requests, access, bodies),
        job_event_routes(jobs.desk, access),
        job_artifact_routes(jobs.desk, access),
        task_routes(inference.contracts, access),
    ]


def _callers(
    settings: Settings, ports: Ports, repository: Repository, tokens: BearerTokens
) -> Callers:
    return Callers(
        ports.keys.ring,
        tokens,
        Nonces(repository.engine),
        Dialect1(settings.dialect1_paths, settings.dialect1_until.timestamp()),
        Quotas(),
        max_age_s=settings.signing_max_age_s,
        authorities=settings.authorities,
    )
