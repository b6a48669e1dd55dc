"""Commands that work on the repository while no server runs: a sweep, and a check of everything."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from server.repository.fsck import Finding, Fsck
from server.repository.layout import Layout
from server.repository.sweep import SweepReport
from server.repository_parts import Repository, open_repository, owned, usable
from server.settings import Settings, SettingsFault


async def sweep_once(settings: Settings) -> SweepReport:
    """Run one sweep without a server.

    Raises
    ------
    DatabaseInUse
        If a server is running on the same models.
    SettingsFault
        If the folders or the database cannot be used.
    """
    async with _repository(settings) as (_, repository):
        await repository.recovery.reconcile()
        return await repository.sweeper.sweep()


async def fsck_once(
    settings: Settings, *, repair: bool, progress: Callable[[int, int], None]
) -> list[Finding]:
    """Check the repository without a server.

    Parameters
    ----------
    settings : Settings
        Say where it lies.
    repair : bool
        Whether to mend what can be mended.
    progress : callable
        Told of the bytes that were hashed, and of all that there are.

    Raises
    ------
    DatabaseInUse
        If a server is running on the same models.
    SettingsFault
        If the folders or the database cannot be used.
    """
    async with _repository(settings) as (layout, repository):
        fsck = Fsck(
            layout=layout,
            engine=repository.engine,
            registry=repository.registry,
            recovery=repository.recovery,
            repair=repair,
            progress=progress,
        )
        return await fsck.run()


@asynccontextmanager
async def _repository(settings: Settings) -> AsyncIterator[tuple[Layout, Repository]]:
    layout = Layout(settings.models_dir, settings.uploads_dir)
    if faults := layout.faults():
        raise SettingsFault(faults)
    with owned(layout):
        repository = open_repository(settings, layout, lambda: None)
        try:
            with usable(settings):
                yield layout, repository
        finally:
            await repository.engine.dispose()
