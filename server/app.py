"""Build every part once, join them, start and stop them: the only place that knows them all.

::

    parts: repository, inference --> sites: API ------> listener 443
                                            uploads --> listener 4443
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from server import allocation, database, privileges
from server.inference.process import remove_stale_folders
from server.parts import Inference, Repository, logged
from server.repository.layout import Layout
from server.repository.sweep import Sweeper, SweepReport
from server.setting_values import Bind
from server.settings import WARN_TOKEN_BYTES, Settings, SettingsFault
from server.signing.identity import Identity, IdentityFault
from server.signing.keyfile import KeyFault, KeyFile
from server.sites import build_sites
from server.web.listener import HTTP1, HTTP2_AND_1, TlsFault, bind, listen, load_tls
from server.web.site import Site

_log = logging.getLogger(__name__)
_DESCRIPTORS = 8192
_GRACE_SHARE = 0.7  # of the grace period is for requests, the rest for ending processes


class Ports:
    """What is taken while the process still has its rights: sockets, certificate and its key.

    The file of keys is opened after them, because it is read again whenever it changes.

    Parameters
    ----------
    settings : Settings
        As read.
    faults : list of str
        Found so far; all that is found here is added before anything is raised.

    Raises
    ------
    SettingsFault
        Naming every fault.
    """

    def __init__(self, settings: Settings, faults: list[str]) -> None:
        self.layout = Layout(settings.models_dir, settings.uploads_dir)
        try:
            self.api_tls = load_tls(settings.certs_dir, HTTP2_AND_1)
            self.upload_tls = load_tls(settings.certs_dir, HTTP1)
        except TlsFault as error:
            faults.append(str(error))
        self.sockets: list[socket.socket] = []
        binds = (("API_BIND", settings.api_bind), ("UPLOAD_BIND", settings.upload_bind))
        for name, address in binds:
            try:
                self.sockets.append(bind(address.host, address.port))
            except OSError as error:
                faults.append(f"{name}={address}: {error.strerror}{_remedy(error)}")
        if not faults:
            owned = [settings.models_dir, settings.uploads_dir]
            faults += privileges.drop(settings.run_as, owned=owned)
        if not privileges.is_pending(settings.run_as):  # root would judge otherwise than the user
            faults += self.layout.faults()
        try:
            self.keys = _keys(settings)
        except KeyFault as error:
            faults.append(f"KEYS_FILE={settings.keys_file}: {error}")
        if not faults:
            faults += self._open_identity()
        if faults:
            raise SettingsFault(faults)

    def _open_identity(self) -> list[str]:
        try:
            self.identity = Identity.open(self.layout.identity)
        except IdentityFault as error:
            return [f"{self.layout.identity}: {error}"]
        return []

    @property
    def addresses(self) -> list[str]:
        """The two base URLs, with the ports that the system chose."""
        names = [sock.getsockname()[:2] for sock in self.sockets]
        return [f"https://{Bind(host, port)}" for host, port in names]


def _keys(settings: Settings) -> KeyFile:
    path = Path(settings.keys_file) if settings.keys_file else None
    return KeyFile(path, settings.signing_tokens)


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"; start as root, or let user {os.geteuid()} bind it (CAP_NET_BIND_SERVICE)"
    return ""


async def serve(settings: Settings, ports: Ports) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight end within the grace period."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().set_exception_handler(_log_unhandled)
    # somebody who opens a file under a lease must not end the server
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    _warn(settings)
    allocation.keep_large_blocks()
    remove_stale_folders()
    with _owned(ports.layout):
        promoted = asyncio.Event()
        repository = _open_repository(settings, ports.layout, promoted.set)
        try:
            await repository.sweeper.reconcile()
            async with asyncio.TaskGroup() as group:
                inference = Inference(settings, repository, group, promoted=promoted)
                scheduler = _schedule(repository.sweeper, settings.sweep_interval_s)
                try:
                    await inference.engines.reconcile()
                    sites = build_sites(settings, ports.keys, ports.identity, repository, inference)
                    allocation.freeze_start()
                    await _listen(settings, ports, sites, stop, inference.intake.stop_waiting)
                finally:
                    scheduler.shutdown(wait=False)
                    await inference.close()
        finally:
            await repository.engine.dispose()
    _log.info("stopped")


@contextmanager
def _owned(layout: Layout) -> Iterator[None]:
    try:
        lock = database.owner_lock(layout.lock)
        with lock:
            yield
    except database.LockUnusable as error:
        raise SettingsFault([f"MODELS_DIR={layout.models}: {error}"]) from error


def _open_repository(
    settings: Settings, layout: Layout, on_promoted: Callable[[], None]
) -> Repository:
    try:
        return Repository(settings, layout, on_promoted=on_promoted)
    except database.DatabaseUnusable as error:
        raise SettingsFault([f"DATABASE_URL={settings.database}: {error}"]) from error


async def _listen(
    settings: Settings,
    ports: Ports,
    sites: tuple[Site, Site],
    stop: asyncio.Event,
    on_stop: Callable[[], None],
) -> None:
    contexts = (ports.api_tls, ports.upload_tls)
    grace = settings.graceful_s * _GRACE_SHARE
    async with asyncio.TaskGroup() as group:
        for site, sock, tls in zip(sites, ports.sockets, contexts, strict=True):
            group.create_task(listen(site, sock, tls, stop=stop.wait, graceful_s=grace))
        api, uploads = ports.addresses
        _log.info("serving", extra={"api": api, "uploads": uploads})
        await stop.wait()
        _log.info("stopping", extra={"grace_s": settings.graceful_s})
        _watch(settings.graceful_s)
        on_stop()


def _watch(grace_s: float) -> None:
    """End the process when the grace is over, whatever still hangs; nothing durable is at stake."""
    timer = threading.Timer(grace_s, os._exit, [0])
    timer.daemon = True
    timer.start()


def _schedule(sweeper: Sweeper, interval_s: float) -> AsyncIOScheduler:
    async def scheduled() -> None:
        await logged(_swept(sweeper))

    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        scheduled,
        "interval",
        seconds=interval_s,
        jitter=min(1.0, interval_s / 10),
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,  # the default of 1 s skips a sweep whenever the loop is busy
    )
    scheduler.start()
    return scheduler


async def _swept(sweeper: Sweeper) -> None:
    await sweeper.sweep()


async def sweep_once(settings: Settings) -> SweepReport:
    """Run one sweep without a server.

    Raises
    ------
    DatabaseInUse
        If a server is running on the same models.
    SettingsFault
        If the folders cannot be used.
    """
    layout = Layout(settings.models_dir, settings.uploads_dir)
    if faults := layout.faults():
        raise SettingsFault(faults)
    with _owned(layout):
        repository = _open_repository(settings, layout, lambda: None)
        try:
            await repository.sweeper.reconcile()
            return await repository.sweeper.sweep()
        finally:
            await repository.engine.dispose()


def _log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task caught; a connection that ended badly is the client's affair."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
    _log.log(
        level, "unhandled in the event loop", exc_info=error, extra={"what": context["message"]}
    )


def _warn(settings: Settings) -> None:
    if any(len(token.encode()) < WARN_TOKEN_BYTES for token in settings.signing_tokens):
        _log.warning("a signing token is shorter than 32 bytes: one message allows guessing it")
    if (version := database.unsafe_sqlite()) is not None:
        _log.warning(
            "this SQLite damages logs that two processes write: only this process may write",
            extra={"sqlite": version},
        )
    _log.warning("no sandbox yet: a model file runs with the rights of the server's user")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _DESCRIPTORS:
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
