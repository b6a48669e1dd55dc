"""A model's file that is fetched from a URL at the start, and pinned by its digest.

What comes is written and hashed like any upload, and is a model only if it is the file that the
operator named. `urllib` in a thread does it: the web process needs no client library for one file,
and a command of its own could not write where a running server stages uploads.
"""

import asyncio
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from server.digest import Digest
from server.errors import DigestMismatch, ServerError, WorkerFailed
from server.repository.recovery import Recovery
from server.repository.registry import Registry, State
from server.repository.staging import Staging
from server.repository.sweep import Sweeper

_log = logging.getLogger(__name__)
_PIECE = 1 << 20
_TIMEOUT_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


class Fetching:
    """Fetches the file of a model.

    Parameters
    ----------
    registry : Registry
        Where the model is listed.
    staging : Staging
        Where its file is written.
    sweeper : Sweeper
        Stores it.
    recovery : Recovery
        Finds a file that is here although the registry does not know.
    wake : callable
        Called where a model that is here must be judged again.
    tls : ssl.SSLContext, optional
        Whom to trust; whom the system trusts without it.
    """

    def __init__(
        self,
        registry: Registry,
        staging: Staging,
        sweeper: Sweeper,
        recovery: Recovery,
        *,
        wake: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._registry = registry
        self._staging = staging
        self._sweeper = sweeper
        self._recovery = recovery
        self._wake = wake
        self._opener = _opener(tls or ssl.create_default_context())

    async def run(self, url: str, digest: Digest, manifest: dict[str, Any]) -> None:
        """Fetch a model until it is here: at once, then after pauses that grow to five minutes."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self.fetch(url, digest, manifest)
            except ServerError as error:
                fields = {"digest": digest.short, "reason": error.detail, "again_s": pause_s}
                _log.error("model not fetched", extra=fields)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def fetch(self, url: str, digest: Digest, manifest: dict[str, Any]) -> None:
        """Register a model, and fetch its file unless it is here.

        Parameters
        ----------
        url : str
            ``https:`` or ``file:``; so is whatever it leads on to, ``https:`` alone.
        digest : Digest
            Of the file.
        manifest : dict
            For the model where nobody has declared one.

        Raises
        ------
        DigestMismatch
            If another file came; nothing of it is kept.
        ServerError
            If none could be fetched or stored.
        """
        known = await self._registry.get(digest)
        if known is None or known.manifest is None:
            if await self._registry.register(digest, manifest):
                self._wake()
            await self._recovery.adopt_stored(digest)
            known = await self._registry.get(digest)
        if known is not None and known.state is not State.REGISTERED:
            return
        async with self._staging.admit(None) as room:
            chunks = self._chunks(url)
            async with self._staging.receive(chunks, room) as upload:
                if upload.digest != digest:
                    raise DigestMismatch(f"what the URL gave hashes to {upload.digest.hex}")
                await self._sweeper.settle(upload)
        _log.info("model fetched", extra={"digest": digest.short, "bytes": upload.size})

    async def _chunks(self, url: str) -> AsyncIterator[bytes]:
        try:
            answer = await asyncio.to_thread(self._open, url)
            try:
                while piece := await asyncio.to_thread(answer.read, _PIECE):
                    yield piece
            finally:
                await asyncio.to_thread(answer.close)
        except (OSError, urllib.error.URLError, ValueError) as error:
            raise WorkerFailed(f"the URL could not be read: {_reason(error)}") from error

    def _open(self, url: str) -> IO[bytes]:
        if not url.startswith(("https://", "file:///")):
            raise ValueError("only https and file are fetched")
        answer: IO[bytes] = self._opener.open(url, timeout=_TIMEOUT_S)
        return answer


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows to https alone: from there nobody is led to a plain line or to a file."""

    def redirect_request(self, *asked: Any) -> urllib.request.Request | None:
        """Refuse what is no https; the last argument says where it leads."""
        if not str(asked[-1]).startswith("https://"):
            raise urllib.error.URLError("it leads to something that is not https")
        return super().redirect_request(*asked)


def _opener(tls: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """Join the handlers of two schemes; `build_opener` would add plain http, ftp and data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=tls),
        urllib.request.FileHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _OnlyHttps(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: Exception) -> str:
    """Say what is wrong without the URL, which may hold a password."""
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)[:200]
    return type(error).__name__ if isinstance(error, OSError) else str(error)
