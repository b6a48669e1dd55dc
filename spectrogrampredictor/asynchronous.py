"""A client for asynchronous code: `Client` with `await`."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Self

import httpx

from spectrogrampredictor import calls, many, names
from spectrogrampredictor.answers import (
    Alias,
    Model,
    Prediction,
    Sweep,
    Token,
)
from spectrogrampredictor.calls import Manifest, ModelName, Rows, Sound, Windows
from spectrogrampredictor.connection import READY_S, TIMEOUT, memory_of, trust
from spectrogrampredictor.environment import read_settings
from spectrogrampredictor.files import Progress
from spectrogrampredictor.frontends import Frontend, FrontendTensor
from spectrogrampredictor.job_clients import AsyncJobs
from spectrogrampredictor.line import AsyncLine
from spectrogrampredictor.many import Answered
from spectrogrampredictor.retries import Retries

_PAGE = 500


class AsyncClient:
    """Asks a server; good in several tasks.

    Parameters and methods are those of `Client`.
    """

    def __init__(
        self,
        url: str,
        auth: httpx.Auth | None = None,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        retries: Retries = Retries(),  # noqa: B008  # it never changes
        timeout: httpx.Timeout = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(
            auth=auth,
            base_url=url,
            verify=trust(ca_file),
            timeout=timeout,
            transport=transport,
        )
        self._line = AsyncLine(http, retries)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Ask the server that the environment names: see `spectrogrampredictor.environment`."""
        found = read_settings()
        return cls(found.url, found.auth, ca_file=found.ca_file, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._line.http.aclose()

    # models

    async def register(self, digest: str, manifest: Manifest | None = None) -> Model:
        """Say that the file with this SHA-256 may become a model."""
        return await self._line.run(calls.register(digest, manifest))

    async def push(
        self,
        path: str | os.PathLike[str],
        manifest: Manifest | None = None,
        *,
        wait_s: float = READY_S,
        progress: Progress | None = None,
        resume_in: str | os.PathLike[str] | None = None,
    ) -> Model:
        """Register a file, send it unless the server has it, and wait: as `Client.push`."""
        return await self._line.run(
            calls.push(
                *(path, manifest),
                wait_s=wait_s,
                progress=progress,
                memory=memory_of(resume_in, self._line.http.base_url),
            )
        )

    async def model(self, model: ModelName) -> Model:
        """Look a model up by its digest or its name."""
        return await self._line.run(calls.one(model))

    async def models(self, *, state: str | None = None) -> AsyncIterator[Model]:
        """Look through all models, in the order of their digests."""
        after: str | None = None
        while True:
            page = await self._line.run(calls.page(limit=_PAGE, after=after, state=state))
            for model in page.models:
                yield model
            if (after := page.next) is None:
                return

    async def wait(self, model: ModelName, *, wait_s: float = READY_S) -> Model:
        """Wait until a model is ready; otherwise as `push`."""
        return await self._line.run(calls.wait(model, wait_s))

    async def disable(self, model: ModelName, reason: str | None = None) -> Model:
        """Switch a model off."""
        return await self._line.run(calls.switch(model, "disabled", reason))

    async def enable(self, model: ModelName) -> Model:
        """Switch a model on again."""
        return await self._line.run(calls.switch(model, "enabled", None))

    async def remove(self, model: ModelName) -> None:
        """Remove a model with its files."""
        await self._line.run(calls.remove(model))

    @property
    def jobs(self) -> AsyncJobs:
        """Work that outlives its request."""
        return AsyncJobs(self._line)

    # predictions

    async def predict(
        self,
        model: ModelName,
        sound: Sound,
        *,
        csv: str | os.PathLike[str] | None = None,
        ext: str | None = None,
        features: bool = False,
        receipt: bool = False,
        windows: Windows | None = None,
    ) -> Prediction:
        """Ask a model about a sound: as `Client.predict`."""
        return await self._line.run(
            calls.predict(
                *(model, sound),
                csv=csv,
                ext=ext,
                features=features,
                receipt=receipt,
                windows=windows,
            )
        )

    async def predict_many(
        self,
        model: ModelName,
        sounds: Iterable[Sound],
        *,
        csv: Rows = None,
        features: bool = False,
        windows: Windows | None = None,
    ) -> AsyncIterator[Answered]:
        """Ask a model about several sounds: as `Client.predict_many`."""
        for form in many.forms(sounds, csv):
            steps = many.predict_form(model, form, features=features, windows=windows)
            for one in await self._line.run(steps):
                yield one

    async def predict_tensors(
        self, model: ModelName, inputs: Mapping[str, Any], *, receipt: bool = False
    ) -> Prediction:
        """Ask a model of the task `tensors`: as `Client.predict_tensors`."""
        return await self._line.run(calls.predict_tensors(model, inputs, receipt=receipt))

    async def frontends(self) -> list[Frontend]:
        """List what turns sounds into the numbers that models are fed with."""
        return await self._line.run(calls.frontends())

    async def compute(
        self, frontend: str, sound: Sound, *, height: int | None = None, width: int | None = None
    ) -> FrontendTensor:
        """Have a frontend turn a sound into numbers; the size is for pictures."""
        return await self._line.run(calls.compute(frontend, sound, height=height, width=width))

    async def receipt_keys(self) -> dict[str, Any]:
        """Fetch the public keys that receipts are verified by; keep them."""
        return await self._line.run(calls.receipt_keys())

    # names

    async def aliases(self) -> list[Alias]:
        """List all names for models."""
        return await self._line.run(names.every())

    async def alias(self, name: str) -> Alias:
        """Look a name up, with the version that it must have to be moved."""
        return await self._line.run(names.one(name))

    async def set_alias(self, name: str, model: ModelName, *, seen: Alias | None = None) -> Alias:
        """Give a name to a model, or move it from where it was seen: as `Client.set_alias`."""
        return await self._line.run(names.put(name, model, seen))

    async def roll_back_alias(self, name: str) -> Alias:
        """Lead a name back to the model before."""
        return await self._line.run(names.roll_back(name))

    async def remove_alias(self, seen: Alias) -> None:
        """Take a name away."""
        await self._line.run(names.remove(seen))

    # the rest

    async def mint_token(
        self,
        scopes: Sequence[str],
        *,
        models: str | None = None,
        ttl_s: int | None = None,
        max_bytes: int | None = None,
    ) -> Token:
        """Make a bearer token for some of what one may do: as `Client.mint_token`."""
        return await self._line.run(
            calls.mint_token(scopes, models=models, ttl_s=ttl_s, max_bytes=max_bytes)
        )

    async def sweep(self) -> Sweep:
        """Promote and discard what lies in staging now."""
        return await self._line.run(calls.sweep())
