"""Models by their digests: registered, looked through, switched and removed.

::

    GET    /v1/models?limit=100&after=<digest>&state=ready    a page
    POST   /v1/models                  {"digest", "manifest"?}
    GET    /v1/models/{model}          one, with an ETag
    PATCH  /v1/models/{model}          {"state": "enabled" | "disabled", "reason"?}
    DELETE /v1/models/{model}          with its file
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from quart import Blueprint, Response, request

from server.digest import Digest
from server.errors import MalformedRequest, ModelNotFound, ModelState
from server.inference.contracts import Contracts
from server.inference.intake import Intake
from server.inference.workers import ModelWorkers
from server.repository.aliases import Aliases
from server.repository.audit import actor
from server.repository.catalog import MAX_LISTED, Catalog, Listed
from server.repository.manifest import check_manifest
from server.repository.recovery import Recovery
from server.repository.registry import Registry
from server.repository.registry import State as Stands
from server.repository.switching import Change, disabling, enabling, removing
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.connection import StreamedRequest
from server.web.naming import model_named
from server.web.signed import SignedBodies, query_fields
from server.web.v1.once import Once
from server.web.v1.schemas import (
    ModelChange,
    ModelInfo,
    ModelPage,
    ModelRegistration,
    answer,
    instant,
    instant_or_none,
    number,
    take,
)

CREATED = 201
_LIMIT = 100
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Models:
    """What models are kept in and run by.

    Attributes
    ----------
    registry : Registry
        Changes them.
    catalog : Catalog
        Lists them.
    aliases : Aliases
        Names them.
    recovery : Recovery
        Finds and removes their files.
    intake : Intake
        Judges them.
    workers : ModelWorkers
        Run them.
    contracts : callable
        Returns what can be predicted.
    """

    registry: Registry
    catalog: Catalog
    aliases: Aliases
    recovery: Recovery
    intake: Intake
    workers: ModelWorkers
    contracts: Callable[[], Awaitable[Contracts]]

    async def find(self, digest: Digest) -> Listed:
        """Return a model that was registered.

        Raises
        ------
        ModelNotFound
            If it was not.
        """
        found = await self.catalog.find(digest)
        if found is None:
            raise ModelNotFound
        return found


def model_routes(models: Models, bodies: SignedBodies, once: Once) -> Blueprint:
    """Build what lists and registers."""
    bp = Blueprint("v1_models", __name__)

    @bp.get("/v1/models")
    async def page() -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            fields = take_fields(
                raw.fields | query_fields(_asked()),  # in dialect 1 the header need not hold them
                required={},
                optional={"limit": str, "after": str, "state": str},
            )
        listed = await models.catalog.page(**(wanted := _page(fields)))
        shown = [one for one in listed if raw.principal.allows(Scope.READ, one.model.digest)]
        following = listed[-1].model.digest.hex if len(listed) == wanted["limit"] else None
        names = models.aliases.by_model()
        return answer(ModelPage(models=[told(one, names) for one in shown], next=following))

    @bp.post("/v1/models")
    async def register() -> Response:
        async with bodies.open(_asked(), _MAX_BYTES, Scope.REGISTER, bound=True) as opened:
            wanted = take(opened.fields, ModelRegistration)
        digest = Digest.parse(wanted.digest)
        opened.principal.require(Scope.REGISTER, digest)
        manifest = None
        if wanted.manifest is not msgspec.UNSET:
            manifest = wanted.manifest
            (await models.contracts()).check(check_manifest(manifest))

        async def register_now() -> Response:
            is_new = await models.registry.get(digest) is None
            if await models.registry.register(digest, manifest):
                models.intake.wake()
            await models.recovery.adopt_stored(digest)
            return _told_once(await models.find(digest), models.aliases, CREATED if is_new else 200)

        return await once.answer(opened, register_now)

    @bp.get("/v1/models/<name>")
    async def one(name: str) -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            take_fields(raw.fields, required={})
        digest = model_named(models.aliases, name, raw.principal, Scope.READ)
        return _told_once(await models.find(digest), models.aliases)

    return bp


def change_routes(models: Models, bodies: SignedBodies) -> Blueprint:
    """Build the routes of administrators."""
    bp = Blueprint("v1_model_changes", __name__)

    @bp.patch("/v1/models/<name>")
    async def change(name: str) -> Response:
        async with bodies.open(_asked(), _MAX_BYTES, Scope.ADMIN, once=True) as opened:
            wanted = take(opened.fields, ModelChange)
        digest = model_named(models.aliases, name, opened.principal, Scope.ADMIN)
        switching = enabling if wanted.state == "enabled" else _disabling(wanted.reason)
        await models.find(digest)
        if await models.registry.apply(digest, switching(digest, at=time.time(), by=actor())):
            models.intake.wake()
            if wanted.state == "disabled":
                models.workers.retire(digest)
        found = await models.find(digest)
        if (found.model.state is Stands.DISABLED) is not (wanted.state == "disabled"):
            raise ModelState(f"a model that is {found.model.state} cannot be {wanted.state}")
        return _told_once(found, models.aliases)

    @bp.delete("/v1/models/<name>")
    async def remove(name: str) -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.ADMIN, once=True) as raw:
            take_fields(raw.fields, required={})
        digest = model_named(models.aliases, name, raw.principal, Scope.ADMIN)
        gone = removing(digest, at=time.time(), by=actor())
        if not await models.recovery.remove(digest, gone):
            raise ModelNotFound
        models.workers.retire(digest)
        models.workers.statistics.forget(digest)
        return Response(status=204)

    return bp


def told(listed: Listed, names: Mapping[Digest, list[str]]) -> ModelInfo:
    """Say what is known of a model."""
    model = listed.model
    record: dict[str, Any] = model.record or {}
    binding, engine = record.get("binding", {}), record.get("engine", {})
    return ModelInfo(
        digest=model.digest.hex,
        state=model.state.value,
        reason=model.reason,
        task=binding.get("task") or (model.manifest or {}).get("task"),
        engine=f"{engine['name']} {engine['version']}" if engine else None,
        precision=engine.get("precision"),
        bytes=listed.size,
        labels=binding.get("labels"),
        frontends=[item["frontend"] for item in binding.get("inputs", []) if "frontend" in item],
        aliases=names.get(model.digest, []),
        manifest=model.manifest,
        registered=instant(listed.registered_at),
        promoted=instant_or_none(listed.promoted_at),
        ready=instant_or_none(listed.ready_at),
    )


def _told_once(listed: Listed, aliases: Aliases, status: int = 200) -> Response:
    """Answer with one model and its ETag; only with that when the client has the model already."""
    info = told(listed, aliases.by_model())
    response = answer(info, status)
    tag = hashlib.sha256(msgspec.json.encode(info)).hexdigest()[:32]
    if request.method == "GET" and request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    response.set_etag(tag)
    if status == CREATED:
        response.headers["Location"] = f"/v1/models/{listed.model.digest.hex}"
    return response


def _asked() -> StreamedRequest:
    return cast(StreamedRequest, request)


def _disabling(reason: str) -> Callable[..., Change]:
    def change(digest: Digest, *, at: float, by: str) -> Change:
        return disabling(digest, reason, at=at, by=by)

    return change


def _page(fields: dict[str, Any]) -> dict[str, Any]:
    """Read which models a page shows."""
    state = fields.get("state")
    if state is not None and state not in set(Stands):
        raise MalformedRequest(f"`state` is one of {', '.join(Stands)}")
    return {
        "limit": number(fields, "limit", MAX_LISTED) or _LIMIT,
        "after": Digest.parse(fields["after"]) if "after" in fields else None,
        "state": None if state is None else Stands(state),
    }
