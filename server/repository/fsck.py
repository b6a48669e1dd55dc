"""Everything in the repository held against everything else; what can be mended is mended.

::

    fault        found                                      mended by
    damaged      a model's bytes are not those of its name  registered again, with the reason
    missing      a record says that a model is here         the same
    unrecorded   a registered model's file without record   promoted
    derived      a converted file is damaged or missing     its model is judged again
    unused       a converted file that no model uses        removed
    stranger     no model under a model's name, and no      set aside in models/quarantine/
                 record of it
    litter       a name that a crash left                   removed
    unreadable   the disk does not give a file back         - ; look at the disk
    database     the database's own check fails             - ; restore the backup

A whole file that nobody registered is no fault: it is used as soon as somebody does.
"""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from server import database
from server.commits import Engine
from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout
from server.repository.recovery import Recovery
from server.repository.registry import Model, Registry, State
from server.repository.rehash import Rehash


class Fault(StrEnum):
    """What is wrong."""

    DAMAGED = "damaged model"
    MISSING = "missing model"
    UNRECORDED = "unrecorded model"
    DERIVED = "damaged or missing derived file"
    UNUSED = "unused derived file"
    STRANGER = "stranger"
    LITTER = "litter"
    UNREADABLE = "unreadable file"
    DATABASE = "damaged database"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes
    ----------
    fault : Fault
        What is wrong.
    name : str
        The file, or what the database says of itself.
    mended : bool
        Whether it was put right.
    """

    fault: Fault
    name: str
    mended: bool


class Fsck:
    """Looks at everything once, while no server runs.

    Parameters
    ----------
    layout : Layout
        Says where things lie.
    engine : Engine
        The database.
    registry : Registry
        The records in it.
    recovery : Recovery
        Mends.
    repair : bool
        Whether anything may be changed.
    progress : callable
        Told of the bytes that were hashed, and of all that there are.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        engine: Engine,
        registry: Registry,
        recovery: Recovery,
        repair: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self._layout = layout
        self._disk = layout.disk
        self._engine = engine
        self._registry = registry
        self._recovery = recovery
        self._repair = repair
        self._progress = progress
        self._hashed = 0
        self._bytes = 0
        self._findings: list[Finding] = []

    async def run(self) -> list[Finding]:
        """Return every fault, in the order in which they were found."""
        damage = await database.damage(self._engine)
        if damage:  # what it says of models means nothing then
            return [Finding(Fault.DATABASE, line, mended=False) for line in damage]
        await self._look_for_litter()
        models, derived = self._layout.stored(), self._layout.all_derived()
        names = [*map(self._layout.model, models), *map(self._layout.derived, derived)]
        self._bytes = sum(self._size(name) for name in names)
        for digest in models:
            await self._look_at_model(digest)
        await self._look_for_missing(set(models))
        await self._look_at_derived(derived)
        return self._findings

    async def _look_for_litter(self) -> None:
        for folder in (self._layout.models, self._layout.uploads):
            for name in filter(fsops.is_part, self._disk.names(folder)):
                await self._found(Fault.LITTER, name, partial(self._remove, folder / name))

    async def _look_at_model(self, digest: Digest) -> None:
        name = self._layout.model(digest)
        known = await self._registry.get(digest)
        try:
            intact = await asyncio.to_thread(self._is_intact, digest, name)
        except OSError:
            if stat.S_ISREG(self._disk.status(name).st_mode):
                await self._found(Fault.UNREADABLE, digest.hex, None)
                return
            intact = False
        if not intact and known is None:
            await self._found(Fault.STRANGER, digest.hex, partial(self._set_aside, name))
        elif not intact:
            await self._found(Fault.DAMAGED, digest.hex, partial(self._recovery.condemn, digest))
        elif known is not None and known.state is State.REGISTERED:
            mend = partial(self._recovery.adopt_stored, digest)
            await self._found(Fault.UNRECORDED, digest.hex, mend)

    async def _look_for_missing(self, here: set[Digest]) -> None:
        for digest in sorted(set(await self._registry.with_files()) - here, key=str):
            await self._found(Fault.MISSING, digest.hex, partial(self._recovery.condemn, digest))

    async def _look_at_derived(self, here: list[Digest]) -> None:
        used = set(filter(None, map(_derived, await self._registry.in_state(State.READY))))
        resting = set(filter(None, map(_derived, await self._registry.in_state(State.DISABLED))))
        for digest in sorted({*here, *used}, key=str):
            name = self._layout.derived(digest)
            if digest not in used:
                if digest not in resting:  # they are used when their model is enabled
                    await self._found(Fault.UNUSED, name.name, partial(self._remove, name))
            elif not await self._is_intact_derived(digest, name):
                mend = partial(self._recovery.forget_derived, digest)
                await self._found(Fault.DERIVED, name.name, mend)

    async def _is_intact_derived(self, digest: Digest, name: Path) -> bool:
        try:
            return await asyncio.to_thread(self._is_intact, digest, name)
        except OSError:
            return False  # whatever is wrong with it, it can be made again

    def _is_intact(self, digest: Digest, name: Path) -> bool:
        with Rehash(self._disk, name) as rehash:
            while rehash.is_file and (size := rehash.step()):
                self._hashed += size
                self._progress(self._hashed, self._bytes)
            return rehash.is_file and rehash.digest() == digest

    def _size(self, name: Path) -> int:
        return self._disk.status(name).st_size

    async def _found(
        self, fault: Fault, name: str, mend: Callable[[], Awaitable[bool]] | None
    ) -> None:
        mended = False
        if self._repair and mend is not None:
            try:
                mended = await mend()
            except OSError:
                mended = False  # a folder under a model's name, a disk that is read-only
        self._findings.append(Finding(fault, name, mended))

    async def _remove(self, name: Path) -> bool:
        await asyncio.to_thread(fsops.remove_file, self._disk, name)
        return True

    async def _set_aside(self, name: Path) -> bool:
        new = self._layout.quarantine / name.name
        await asyncio.to_thread(self._move, name, new)
        return True

    def _move(self, name: Path, new: Path) -> None:
        """Move a name into another folder; returns once that is on disk."""
        fsops.make_folders(self._disk, new.parent)
        self._disk.rename(name, new)
        for folder in (new.parent, name.parent):
            self._disk.flush_folder(folder)


def _derived(model: Model) -> Digest | None:
    derived = (model.record or {}).get("derived")
    return None if derived is None else Digest.parse(derived)
