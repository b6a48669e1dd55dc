"""Join the parts of the model repository, and own it.

::

    registry, staging, store -> sweeper, recovery -> scrub
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server import database
from server.repository.aliases import Aliases
from server.repository.appending import Appending
from server.repository.derived import DerivedFiles
from server.repository.layout import Layout
from server.repository.partial_files import PartialFiles
from server.repository.partials import Partials
from server.repository.recovery import Recovery
from server.repository.registry import Registry
from server.repository.scrub import Scrub
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from server.settings import Settings, SettingsFault


class Repository:
    """The parts of the model repository, joined."""

    def __init__(
        self, settings: Settings, layout: Layout, *, on_promoted: Callable[[], None]
    ) -> None:
        database.migrate(settings.database)
        self.engine = database.open_engine(settings.database)
        self.registry = Registry(self.engine)
        self.aliases = Aliases(self.engine)
        self.store = ModelStore(layout)
        self.derived = DerivedFiles(layout)
        self.staging = Staging(
            layout,
            max_file_bytes=settings.max_model_bytes,
            max_bytes=settings.max_staging_bytes,
            max_uploads=settings.max_uploads,
        )
        self.sweeper = Sweeper(
            layout=layout,
            registry=self.registry,
            staging=self.staging,
            store=self.store,
            on_promoted=on_promoted,
        )
        files = PartialFiles(layout)
        self.appending = Appending(files, self.staging)
        self.partials = Partials(
            files,
            self.staging,
            self.registry,
            self.sweeper,
            most=settings.max_partial_uploads,
            keep_s=settings.partial_upload_keep_s,
        )
        self.recovery = Recovery(
            layout=layout, registry=self.registry, store=self.store, on_promoted=on_promoted
        )
        self.scrub = Scrub(layout, self.recovery, interval_s=settings.scrub_interval_s)


@contextmanager
def owned(layout: Layout) -> Iterator[None]:
    """Own the repository while the block runs.

    Raises
    ------
    DatabaseInUse
        If another process does.
    SettingsFault
        If its lock cannot be used.
    """
    try:
        lock = database.owner_lock(layout.lock)
        with lock:
            yield
    except database.LockUnusable as error:
        raise SettingsFault([f"MODELS_DIR={layout.models}: {error}"]) from error


def open_repository(
    settings: Settings, layout: Layout, on_promoted: Callable[[], None]
) -> Repository:
    """Join the parts of the repository.

    Raises
    ------
    SettingsFault
        If the database cannot be used.
    """
    with usable(settings):
        return Repository(settings, layout, on_promoted=on_promoted)


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Use the database while the block runs.

    Raises
    ------
    SettingsFault
        If it cannot be used.
    """
    try:
        with database.in_use():
            yield
    except database.DatabaseUnusable as error:
        raise SettingsFault([f"DATABASE_URL={settings.database}: {error}"]) from error
