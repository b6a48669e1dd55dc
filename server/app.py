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
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from server import allocation, database
from server.demo_parts import Demo
from server.inference.surroundings import remove_stale_folders
from server.job_parts import Jobs
from server.parts import Inference, find_sandbox, logged
from server.ports import Ports
from server.repository_parts import Repository, open_repository, owned, usable
from server.settings import WARN_TOKEN_BYTES, Settings
from server.sites import build_sites
from server.web.listener import HTTP1, HTTP2_AND_1, listen
from server.web.site import Site

_log = logging.getLogger(__name__)
_DESCRIPTORS = 8192
_GRACE_SHARE = 0.7  # of the grace period is for requests, the rest for ending processes


async def serve(settings: Settings, ports: Ports) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight end within the grace period.

    SIGHUP has the certificate looked at.
    """
    stop, renewed = asyncio.Event(), asyncio.Event()
    signals = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: renewed}
    for number, event in signals.items():
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    asyncio.get_running_loop().set_exception_handler(_log_unhandled)
    sys.unraisablehook = _log_unraisable
    # somebody who opens a file under a lease must not end the server
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    _warn(settings)
    allocation.keep_large_blocks()
    remove_stale_folders()
    with owned(ports.layout):
        promoted = asyncio.Event()
        repository = open_repository(settings, ports.layout, promoted.set)
        try:
            with usable(settings):
                await repository.aliases.load()
                await repository.recovery.reconcile()
                await repository.partials.load()
            async with asyncio.TaskGroup() as group:
                sandbox = await find_sandbox(settings)
                inference = Inference(
                    settings, repository, group, sandbox=sandbox, promoted=promoted
                )
                jobs = Jobs(settings, ports.layout, repository, inference, group)
                await jobs.desk.load()
                demo = Demo(settings, repository, inference, jobs, group)
                scheduler = _schedule(repository, jobs, settings.sweep_interval_s)
                scrubbing = group.create_task(logged(repository.scrub.run()))
                try:
                    await inference.engines.reconcile()
                    await demo.start()
                    jobs.start()
                    parts = (settings, ports, repository, inference, jobs)
                    sites = build_sites(*parts, demo=demo.surface)
                    allocation.freeze_start()
                    await _listen(
                        *(settings, ports, sites, stop, renewed),
                        on_stop=[inference.intake.stop_waiting, jobs.stop],
                    )
                finally:
                    scheduler.remove_all_jobs()
                    await repository.sweeper.finish()  # the database closes after it
                    scheduler.shutdown(wait=False)
                    scrubbing.cancel()
                    demo.close()
                    await jobs.close()
                    await inference.close()
        finally:
            await repository.engine.dispose()
    _log.info("stopped")


async def _listen(
    settings: Settings,
    ports: Ports,
    sites: tuple[Site, Site],
    stop: asyncio.Event,
    renewed: asyncio.Event,
    *,
    on_stop: Sequence[Callable[[], None]],
) -> None:
    contexts = [ports.certificates.context(spoken) for spoken in (HTTP2_AND_1, HTTP1)]
    grace = settings.graceful_s * _GRACE_SHARE
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(ports.certificates.watch(settings.cert_check_s, renewed))
        for site, sock, tls in zip(sites, ports.sockets, contexts, strict=True):
            group.create_task(
                listen(site, sock, tls, doors=ports.doors, stop=stop.wait, graceful_s=grace)
            )
        api, uploads = ports.addresses
        _log.info("serving", extra={"api": api, "uploads": uploads})
        await stop.wait()
        _log.info("stopping", extra={"grace_s": settings.graceful_s})
        _watch(settings.graceful_s)
        watch.cancel()
        for each in on_stop:
            each()


def _watch(grace_s: float) -> None:
    """End the process when the grace is over, whatever still hangs; nothing durable is at stake."""
    timer = threading.Timer(grace_s, os._exit, [0])
    timer.daemon = True
    timer.start()


def _schedule(repository: Repository, jobs: Jobs, interval_s: float) -> AsyncIOScheduler:
    async def scheduled() -> None:
        with suppress(asyncio.CancelledError):  # at a stop, after the sweep has ended
            await logged(_swept(repository, jobs))

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
    scheduler.add_job(  # in a thread
        allocation.give_back, "interval", seconds=allocation.GIVE_BACK_S, max_instances=1
    )
    scheduler.start()
    return scheduler


async def _swept(repository: Repository, jobs: Jobs) -> None:
    await repository.sweeper.sweep()
    await repository.partials.expire()
    await jobs.desk.expire()


def _log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task caught; a connection that ended badly is the client's affair."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
    _log.log(
        level, "unhandled in the event loop", exc_info=error, extra={"what": context["message"]}
    )


def _log_unraisable(told: "sys.UnraisableHookArgs") -> None:
    """Log what nobody could catch; a handshake that names no ASCII is its client's affair."""
    error = told.exc_value
    level = logging.DEBUG if isinstance(error, UnicodeDecodeError) else logging.ERROR
    what = told.err_msg or type(told.object).__name__
    _log.log(level, "raised where nobody catches", exc_info=error, extra={"what": what})


def _warn(settings: Settings) -> None:
    if any(len(token.encode()) < WARN_TOKEN_BYTES for token in settings.signing_tokens):
        _log.warning("a signing token is shorter than 32 bytes: one message allows guessing it")
    if (version := database.unsafe_sqlite()) is not None:
        _log.warning(
            "this SQLite damages logs that two processes write: only this process may write",
            extra={"sqlite": version},
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _DESCRIPTORS:
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
