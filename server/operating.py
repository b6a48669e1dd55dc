"""What an operator does with models while no server runs: list them, switch them on and off."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server import database
from server.commits import Engine
from server.digest import Digest
from server.repository.audit import OPERATOR
from server.repository.layout import Layout
from server.repository.registry import Model, Registry, State
from server.repository.switching import Change, disabling, enabling
from server.settings import Settings, SettingsFault

T = TypeVar("T")
_LISTED = (State.DISABLED, State.REJECTED, State.PROMOTED, State.READY)


async def list_models(settings: Settings) -> list[Model]:
    """Return every model that has, or had, a file: those that need attention first."""

    async def read(engine: Engine) -> list[Model]:
        registry = Registry(engine)
        return [found for state in _LISTED for found in await registry.in_state(state)]

    return await _with_engine(settings, read)


async def enable(settings: Settings, digest: Digest) -> bool:
    """Let a disabled model predict again; False when it was not disabled."""
    return await _change(settings, enabling(digest, at=time.time(), by=OPERATOR))


async def disable(settings: Settings, digest: Digest) -> bool:
    """Switch a model off; False when there was none to switch off."""
    reason = "an operator switched it off"
    return await _change(settings, disabling(digest, reason, at=time.time(), by=OPERATOR))


async def _change(settings: Settings, change: Change) -> bool:
    return await _with_engine(settings, lambda engine: engine.write(change))


async def _with_engine(settings: Settings, work: Callable[[Engine], Awaitable[T]]) -> T:
    """Own the registry while something is done with it.

    Raises
    ------
    DatabaseInUse
        If a server is running on the same models.
    SettingsFault
        If the registry cannot be used.
    """
    layout = Layout(settings.models_dir, settings.uploads_dir)
    if faults := layout.faults():
        raise SettingsFault(faults)
    try:
        with database.owner_lock(layout.lock):
            database.migrate(settings.database)
            engine = database.open_engine(settings.database)
            try:
                with database.in_use():
                    return await work(engine)
            finally:
                await engine.dispose()
    except (database.LockUnusable, database.DatabaseUnusable) as error:
        raise SettingsFault([f"MODELS_DIR={settings.models_dir}: {error}"]) from error
