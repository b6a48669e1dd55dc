"""The certificate that the server shows, and its renewal without a dropped connection.

::

    server.crt, server.key --loaded--> context of a listener --each handshake--> newest context
         ^                                                                            |
         `-- looked at now and then, and at once on SIGHUP: changed? good? -----------'

A handshake begins with the context that the listener was given and goes on with the newest one;
connections that are open keep theirs. A pair that is broken, expired, closed to the server's user
or of no use to clients leaves the one that is in use, which the log and `/readyz` tell.
"""

import asyncio
import logging
import os
import ssl
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

# TLS 1.2 of Mozilla's intermediate profile 5.7, without its DHE suites, which need parameters of
# their own; TLS 1.3 has no others. The curves stand in openssl.cnf.
_CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)

_log = logging.getLogger(__name__)
# a file that is replaced at this moment, or that one of its readers cannot make sense of
_UNUSABLE = (OSError, ValueError, OverflowError, x509.InvalidVersion, UnsupportedAlgorithm)
_Stamp = tuple[tuple[int, int, int], ...]
_Sni = Callable[[ssl.SSLSocket | ssl.SSLObject, str | None, ssl.SSLContext], None]


class TlsFault(Exception):
    """A certificate or key that cannot serve; says why."""


@dataclass(frozen=True, slots=True)
class _Pair:
    contexts: dict[tuple[str, ...], ssl.SSLContext]
    not_before: datetime
    not_after: datetime


class Certificates:
    """The pair in a folder, and a TLS context for each listener.

    Parameters
    ----------
    folder : Path
        Holds `server.crt` and `server.key`.
    *protocols : sequence of str
        What each kind of listener speaks, by the names of ALPN.

    Raises
    ------
    TlsFault
        If a file is missing, unreadable, or the two do not belong together.
    """

    def __init__(self, folder: Path, *protocols: Sequence[str]) -> None:
        self._folder = folder
        self._protocols = [tuple(names) for names in protocols]
        self._stamp = _stamp(folder)
        self._newest = _load(folder, self._protocols)
        self._fault = ""
        self._listening = self._newest.contexts
        for names, context in self._listening.items():
            context.sni_callback = self._handing_over(names)
        if not self._newest.not_before <= datetime.now(UTC) < self._newest.not_after:
            _log.warning("the certificate is not valid now", extra=self._fields())

    def context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """Return the context for a listener; every handshake goes on with the newest."""
        return self._listening[tuple(protocols)]

    def state(self) -> dict[str, str]:
        """Return until when the certificate is good, and whether the files on disk are."""
        return {
            "cert_not_after": _text(self._newest.not_after),
            "cert_reload": "failed" if self._fault else "ok",
        }

    async def watch(self, every_s: float, hurry: asyncio.Event) -> None:
        """Take over changed files, for ever; at once when `hurry` is set."""
        while True:
            try:
                async with asyncio.timeout(every_s):
                    await hurry.wait()
            except TimeoutError:
                pass
            hurried = hurry.is_set()
            hurry.clear()
            await asyncio.to_thread(self.check, always=hurried)

    def check(self, *, always: bool = False) -> None:
        """Take over the files if they have changed and are good; say when they are not."""
        try:
            stamp = _stamp(self._folder)
            if stamp == self._stamp and not self._fault and not always:
                return
            pair = _load(self._folder, self._protocols)
            if not pair.not_before <= datetime.now(UTC) < pair.not_after:
                span = f"from {_text(pair.not_before)} to {_text(pair.not_after)}"
                raise TlsFault(f"the certificate is good {span} only")
        except TlsFault as error:
            if str(error) != self._fault:
                fields = {"reason": str(error), **self._fields()}
                _log.error("the old certificate stays", extra=fields)
            self._fault = str(error)
            return
        self._stamp, self._newest, self._fault = stamp, pair, ""
        _log.info("certificate taken over", extra=self._fields())

    def _handing_over(self, names: tuple[str, ...]) -> _Sni:
        def hand_over(
            connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _asked: ssl.SSLContext
        ) -> None:
            connection.context = self._newest.contexts[names]

        return hand_over

    def _fields(self) -> dict[str, str]:
        return {"not_after": _text(self._newest.not_after)}


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "server.crt", folder / "server.key"


def _stamp(folder: Path) -> _Stamp:
    """Return what changes when a file is written or replaced."""
    try:
        found = [path.stat() for path in _files(folder)]
    except OSError as error:
        raise _unreadable(Path(error.filename), error) from error
    for path, info in zip(_files(folder), found, strict=True):
        if not stat.S_ISREG(info.st_mode):  # a pipe would keep whoever opens it waiting
            raise TlsFault(f"{path} is no file")
    return tuple((info.st_mtime_ns, info.st_ino, info.st_size) for info in found)


def _load(folder: Path, protocols: Sequence[tuple[str, ...]]) -> _Pair:
    certificate, key = _files(folder)
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(path, error) from error
    try:
        pair = _read(certificate, key, protocols)
    except _UNUSABLE as error:
        raise TlsFault(f"{certificate} and {key.name} {_why(error)}") from error
    for context in pair.contexts.values():
        _try(context, certificate)
    return pair


def _read(certificate: Path, key: Path, protocols: Sequence[tuple[str, ...]]) -> _Pair:
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    contexts = {names: _context(certificate, key, names) for names in protocols}
    return _Pair(contexts, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return f"cannot be read: {error.strerror}"
    mismatch = "MISMATCH" in (getattr(error, "reason", "") or "")
    return "do not belong together" if mismatch else "are no usable PEM pair"


def _context(certificate: Path, key: Path, protocols: Sequence[str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(list(protocols))
    context.load_cert_chain(certificate, key, password="")
    return context


def _try(context: ssl.SSLContext, certificate: Path) -> None:
    """Shake hands in memory with a client that trusts everybody.

    Raises
    ------
    TlsFault
        If that fails: OpenSSL loads keys that no client has a use for.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = asking.wrap_bio(to_client, to_server)
    try:
        for side in (theirs, ours) * 3:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        ours.do_handshake()  # nothing, when it is done
    except ssl.SSLError as error:
        raise TlsFault(f"{certificate} can be used by no client ({error.reason})") from error


def _unreadable(path: Path, error: OSError) -> TlsFault:
    if isinstance(error, FileNotFoundError):
        return TlsFault(f"{path} is missing (`python -m server devcert` makes one)")
    remedy = f"; start as root, or let user {os.geteuid()} read it"
    why = f"{error.strerror}{remedy if isinstance(error, PermissionError) else ''}"
    return TlsFault(f"{path} cannot be read: {why}")


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
