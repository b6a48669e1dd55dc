"""A client that waits for each answer."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spectrogrampredictor import calls, many, names
from spectrogrampredictor.answers import (
    Alias,
    Model,
    Prediction,
    Sweep,
    Token,
)
from spectrogrampredictor.calls import Manifest, ModelName, Rows, Sound, Windows
from spectrogrampredictor.connected import Connected
from spectrogrampredictor.connection import READY_S, memory_of
from spectrogrampredictor.files import Progress
from spectrogrampredictor.frontends import Frontend, FrontendTensor
from spectrogrampredictor.job_clients import Jobs
from spectrogrampredictor.many import Answered

_PAGE = 500


class Client(Connected):
    """Asks a server; good in several threads.

    It takes the parameters of `Connected`: a `url`, and the `auth` that says who asks.

    Examples
    --------
    >>> with Client("https://models.example", SigningToken(token)) as client:  # doctest: +SKIP
    ...     model = client.push("genre.h5")
    ...     print(client.predict(model, "song.mp3").best)
    """

    # models

    def register(self, digest: str, manifest: Manifest | None = None) -> Model:
        """Say that the file with this SHA-256 may become a model.

        Parameters
        ----------
        digest : str
            In hexadecimal digits.
        manifest : mapping, str or PathLike, optional
            What belongs to the file; or where it lies, as JSON.
        """
        return self._line.run(calls.register(digest, manifest))

    def push(
        self,
        path: str | os.PathLike[str],
        manifest: Manifest | None = None,
        *,
        wait_s: float = READY_S,
        progress: Progress | None = None,
        resume_in: str | os.PathLike[str] | None = None,
    ) -> Model:
        """Register a model's file, send it unless the server has it, and wait until it is ready.

        Parameters
        ----------
        path : str or PathLike
            The file; it is streamed.
        wait_s : float
            How long to wait for the server's verdict; 0 does not.
        progress : callable, optional
            Told how many bytes are sent, and of how many.
        resume_in : str or PathLike, optional
            A folder in which large uploads are written down, so that a later call goes on with one
            that was stopped.

        Raises
        ------
        ModelRejected
            If the server will not serve it; says why.
        TimeoutError
            If it has not made up its mind in that time.
        """
        return self._line.run(
            calls.push(
                *(path, manifest),
                wait_s=wait_s,
                progress=progress,
                memory=memory_of(resume_in, self._line.http.base_url),
            )
        )

    def model(self, model: ModelName) -> Model:
        """Look a model up by its digest or its name."""
        return self._line.run(calls.one(model))

    def models(self, *, state: str | None = None) -> Iterator[Model]:
        """Look through all models, in the order of their digests."""
        after: str | None = None
        while True:
            page = self._line.run(calls.page(limit=_PAGE, after=after, state=state))
            yield from page.models
            if (after := page.next) is None:
                return

    def wait(self, model: ModelName, *, wait_s: float = READY_S) -> Model:
        """Wait until a model is ready; otherwise as `push`."""
        return self._line.run(calls.wait(model, wait_s))

    def disable(self, model: ModelName, reason: str | None = None) -> Model:
        """Switch a model off."""
        return self._line.run(calls.switch(model, "disabled", reason))

    def enable(self, model: ModelName) -> Model:
        """Switch a model on again."""
        return self._line.run(calls.switch(model, "enabled", None))

    def remove(self, model: ModelName) -> None:
        """Remove a model with its files."""
        self._line.run(calls.remove(model))

    @property
    def jobs(self) -> Jobs:
        """Work that outlives its request."""
        return Jobs(self._line)

    # predictions

    def predict(
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
        """Ask a model about a sound.

        Parameters
        ----------
        model : str or Model
            Its digest or its name.
        sound : bytes, str or PathLike
            A sound file, or where it lies.
        csv : str or PathLike, optional
            A feature row as text, or the path of its file; it is computed where it is left out.
        ext : str, optional
            The format that the sound must have.
        features : bool
            Whether to tell the features that the model was given.
        receipt : bool
            Whether the server is to sign what it says.
        windows : {"middle", "mean"}, optional
            Of a sound longer than 30 s: its middle, or the mean over as many windows of 30 s as
            cover it, each with a feature row of its own.
        """
        return self._line.run(
            calls.predict(
                *(model, sound),
                csv=csv,
                ext=ext,
                features=features,
                receipt=receipt,
                windows=windows,
            )
        )

    def predict_many(
        self,
        model: ModelName,
        sounds: Iterable[Sound],
        *,
        csv: Rows = None,
        features: bool = False,
        windows: Windows | None = None,
    ) -> Iterator[Answered]:
        """Ask a model about several sounds, many of them in one request; each fails alone.

        Parameters
        ----------
        sounds : iterable of bytes, str or PathLike
            Sound files, or where they lie; up to 64, or 16 MB, are read and sent at a time.
        csv : iterable of str, PathLike or None, optional
            A feature row for each sound, in their order: as text, the path of its file, or None
            where it is to be computed.

        Yields
        ------
        Answered
            A prediction or a problem for each sound, in their order. What is wrong with the model
            or the request is raised, as by `predict`.
        """
        for form in many.forms(sounds, csv):
            steps = many.predict_form(model, form, features=features, windows=windows)
            yield from self._line.run(steps)

    def predict_tensors(
        self, model: ModelName, inputs: Mapping[str, Any], *, receipt: bool = False
    ) -> Prediction:
        """Ask a model of the task `tensors`; otherwise as `predict`.

        Parameters
        ----------
        inputs : mapping
            Each input tensor of one row, without the batch axis: nested lists or a numpy array.
        """
        return self._line.run(calls.predict_tensors(model, inputs, receipt=receipt))

    def frontends(self) -> list[Frontend]:
        """List what turns sounds into the numbers that models are fed with."""
        return self._line.run(calls.frontends())

    def compute(
        self, frontend: str, sound: Sound, *, height: int | None = None, width: int | None = None
    ) -> FrontendTensor:
        """Have a frontend turn a sound into numbers; the size is for pictures."""
        return self._line.run(calls.compute(frontend, sound, height=height, width=width))

    def receipt_keys(self) -> dict[str, Any]:
        """Fetch the public keys that receipts are verified by; keep them."""
        return self._line.run(calls.receipt_keys())

    # names

    def aliases(self) -> list[Alias]:
        """List all names for models."""
        return self._line.run(names.every())

    def alias(self, name: str) -> Alias:
        """Look a name up, with the version that it must have to be moved."""
        return self._line.run(names.one(name))

    def set_alias(self, name: str, model: ModelName, *, seen: Alias | None = None) -> Alias:
        """Give a name to a model; a name that is there already is moved from where it was seen.

        Raises
        ------
        PreconditionFailed
            If somebody else has moved it meanwhile, or it is there and was not seen.
        """
        return self._line.run(names.put(name, model, seen))

    def roll_back_alias(self, name: str) -> Alias:
        """Lead a name back to the model before."""
        return self._line.run(names.roll_back(name))

    def remove_alias(self, seen: Alias) -> None:
        """Take a name away."""
        self._line.run(names.remove(seen))

    # the rest

    def mint_token(
        self,
        scopes: Sequence[str],
        *,
        models: str | None = None,
        ttl_s: int | None = None,
        max_bytes: int | None = None,
    ) -> Token:
        """Make a bearer token for some of what one may do oneself.

        Parameters
        ----------
        scopes : sequence of str
            Such as ``predict``.
        models : str, optional
            A pattern of digests with `*` and `?`.
        ttl_s : int, optional
            How many seconds it is good.
        max_bytes : int, optional
            Of a body.
        """
        return self._line.run(
            calls.mint_token(scopes, models=models, ttl_s=ttl_s, max_bytes=max_bytes)
        )

    def sweep(self) -> Sweep:
        """Promote and discard what lies in staging now."""
        return self._line.run(calls.sweep())
