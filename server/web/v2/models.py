"""A model as `/v2` names it, and who asks about it.

::

    /v2/models/{name}[/versions/{version}]    a name is a digest or an alias; every model has the
                                              version 1
"""

from dataclasses import dataclass

from server.digest import Digest
from server.errors import BadDigest, ModelNotFound
from server.inference.predictor import Predictor
from server.inference.statistics import Statistics
from server.inference.workers import ModelWorkers
from server.repository.aliases import Aliases
from server.repository.registry import Model, Registry
from server.signing.principal import Principal, Scope
from server.web.connection import StreamedRequest
from server.web.naming import model_named
from server.web.signed import SignedBodies

VERSION = "1"
MAX_BYTES = 64 << 10  # of a request that carries no tensors


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes of `/v2` ask.

    Attributes
    ----------
    registry : Registry
        Lists the models.
    aliases : Aliases
        Their other names.
    predictor : Predictor
        Answers calls.
    workers : ModelWorkers
        Run the models.
    bodies : SignedBodies
        Read requests, and find out who sends them.
    """

    registry: Registry
    aliases: Aliases
    predictor: Predictor
    workers: ModelWorkers
    bodies: SignedBodies

    @property
    def statistics(self) -> Statistics:
        """What each model has done."""
        return self.workers.statistics

    async def reader(self, asked: StreamedRequest) -> Principal:
        """Return who asks to read; which models they may read is not judged yet.

        Raises
        ------
        ServerError
            If nobody says who it is, or they may read nothing.
        """
        async with self.bodies.open_raw(asked, MAX_BYTES, Scope.READ) as raw:
            return raw.principal

    async def readable(self, asked: StreamedRequest, name: str, version: str | None) -> Model:
        """Return a model that whoever asks may read about.

        Raises
        ------
        ServerError
            If they may not, or there is no such model.
        """
        principal = await self.reader(asked)
        return await self.known(self.digest_of(name, principal, Scope.READ, version))

    def digest_of(
        self, name: str, principal: Principal, scope: Scope, version: str | None = None
    ) -> Digest:
        """Return the digest that a name stands for, to one who may do this with the model.

        Raises
        ------
        ModelNotFound, AliasNotFound
            If it is no name of a model that they may know, or the model has no such version.
        ScopeMissing
            If they may not do this with the model.
        """
        if version not in (None, VERSION):
            raise ModelNotFound(f"a model has the version {VERSION} and no other")
        try:
            return model_named(self.aliases, name, principal, scope)
        except BadDigest as error:
            raise ModelNotFound("a model is named by its digest, or by an alias") from error

    async def known(self, digest: Digest) -> Model:
        """Return what is known of a digest.

        Raises
        ------
        ModelNotFound
            If it was never registered.
        """
        model = await self.registry.get(digest)
        if model is None:
            raise ModelNotFound
        return model
