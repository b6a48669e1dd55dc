"""Names for models that people choose, and move from one model to the next.

A name has a version, another one after each change: who changes it says which version they saw, and
of several who saw the same one wins. The model before the present one is remembered, so that one
call leads back.

All of them are kept in memory, as the database has them: a prediction by name costs no query.
"""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import sqlalchemy as sa

from server.commits import Engine
from server.database import alias, model
from server.digest import Digest
from server.errors import (
    AliasNotFound,
    BadDigest,
    MalformedRequest,
    ModelNotFound,
    ModelState,
    Overload,
    PreconditionFailed,
)
from server.repository.audit import Action, actor, note
from server.shielding import whole

MAX_ALIASES = 10_000
ABSENT: Literal[""] = ""  # the version of a name that nobody has given yet
_DIGITS = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_REGISTERED = sa.select(model.c.digest).where(model.c.digest == sa.bindparam("raw"))
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Alias:
    """A name.

    Attributes
    ----------
    name : str
        The name.
    digest : Digest
        The model that it stands for.
    previous : Digest or None
        The one before.
    version : str
        Another one after each change.
    changed_at : float
        Seconds since 1970.
    """

    name: str
    digest: Digest
    previous: Digest | None
    version: str
    changed_at: float


def check_name(name: str) -> str:
    """Return a name that an alias may have.

    Raises
    ------
    MalformedRequest
        If it is none.
    """
    if not _NAME.fullmatch(name):
        raise MalformedRequest(
            "an alias is 1 to 63 lower-case letters, digits, dots, dashes and underscores, "
            "and begins with a letter or digit"
        )
    return name


def no_such_name(name: str) -> AliasNotFound:
    """Return the refusal of a name that nobody has given."""
    return AliasNotFound(f"no model has the name {name[:63]!r}")


def changed_meanwhile(found: Alias | None) -> PreconditionFailed:
    """Return the refusal of a change to a name that is not as it was seen."""
    now = "there is no such name" if found is None else "the name is another's, or was changed"
    return PreconditionFailed(now)


class Aliases:
    """The names.

    Parameters
    ----------
    engine : Engine
        Of `server.database`.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._known: dict[str, Alias] = {}

    async def load(self) -> None:
        """Read them all; once, before anybody asks."""
        query = sa.select(alias)
        found = await self._engine.read(lambda asked: list(map(_read, asked.execute(query))))
        self._known = {one.name: one for one in found}

    def find(self, name: str) -> Alias | None:
        """Return a name; None when nobody has given it."""
        return self._known.get(name)

    def get(self, name: str) -> Alias:
        """Return a name.

        Raises
        ------
        AliasNotFound
            If nobody has given it.
        """
        found = self._known.get(name)
        if found is None:
            raise no_such_name(name)
        return found

    def all(self) -> list[Alias]:
        """List every name, in order."""
        return sorted(self._known.values(), key=lambda one: one.name)

    def by_model(self) -> dict[Digest, list[str]]:
        """List the names of every model that has some."""
        found: dict[Digest, list[str]] = {}
        for one in self.all():
            found.setdefault(one.digest, []).append(one.name)
        return found

    def resolve(self, text: str) -> Digest:
        """Return the model that a digest or a name stands for.

        Raises
        ------
        AliasNotFound
            If it is neither.
        """
        found = self._known.get(text)
        if found is not None:
            return found.digest
        if len(text) < _DIGITS and _NAME.fullmatch(text):
            raise no_such_name(text)
        return Digest.parse(text)

    def model_of(self, text: str) -> Digest | None:
        """Return the model that a digest or a name stands for; None if it is neither."""
        found = self._known.get(text)
        if found is not None:
            return found.digest
        try:
            return Digest.parse(text)
        except BadDigest:
            return None

    @whole
    async def set(self, name: str, digest: Digest, *, seen: str | None) -> Alias:
        """Give a name to a model that was registered.

        Parameters
        ----------
        name : str
            As `check_name` has it.
        digest : Digest
            The model.
        seen : str or None
            The version that the name must have now; `ABSENT`: nobody has it; None: any.

        Raises
        ------
        PreconditionFailed
            If it has another.
        ModelNotFound
            If the digest is not registered.
        """

        def change(connection: sa.Connection) -> Alias:
            old = _seen(connection, name, seen)
            if old is None and len(self._known) >= MAX_ALIASES:
                raise Overload(f"there are {MAX_ALIASES} names already", retry_after_s=3600)
            if connection.execute(_REGISTERED, {"raw": digest.raw}).one_or_none() is None:
                raise ModelNotFound
            previous = old.previous if old is not None and old.digest == digest else None
            if old is not None and old.digest != digest:
                previous = old.digest
            return self._put(connection, name, digest, previous)

        return await self._write(change)

    @whole
    async def roll_back(self, name: str, *, seen: str | None) -> Alias:
        """Lead a name back to the model before; a second call leads forward again.

        Raises
        ------
        AliasNotFound, PreconditionFailed
            If there is no such name, or it has another version.
        ModelState
            If there was no model before, or it is gone.
        """

        def change(connection: sa.Connection) -> Alias:
            old = _seen(connection, name, seen)
            if old is None:
                raise no_such_name(name)
            if old.previous is None:
                raise ModelState("the name never stood for another model")
            known = connection.execute(_REGISTERED, {"raw": old.previous.raw}).one_or_none()
            if known is None:
                raise ModelState("the model before was removed")
            return self._put(connection, name, old.previous, old.digest)

        return await self._write(change)

    @whole
    async def remove(self, name: str, *, seen: str | None) -> None:
        """Take a name away.

        Raises
        ------
        AliasNotFound, PreconditionFailed
            If there is no such name, or it has another version.
        """
        by, at = actor(), self._clock()

        def change(connection: sa.Connection) -> Alias:
            old = _seen(connection, name, seen)
            if old is None:
                raise no_such_name(name)
            connection.execute(sa.delete(alias).where(alias.c.name == name))
            note(connection, Action.ALIAS_GONE, old.digest, at=at, by=by, detail=name)
            return old

        def forget() -> None:
            self._known.pop(name, None)

        await self._engine.write(change, committed=forget)

    def _put(
        self, connection: sa.Connection, name: str, digest: Digest, previous: Digest | None
    ) -> Alias:
        new = Alias(name, digest, previous, secrets.token_hex(8), self._clock())
        values = {
            "name": name,
            "digest": digest.raw,
            "previous": None if previous is None else previous.raw,
            "version": new.version,
            "changed_at": new.changed_at,
        }
        connection.execute(sa.delete(alias).where(alias.c.name == name))
        connection.execute(sa.insert(alias).values(**values))
        return new

    async def _write(self, change: Callable[[sa.Connection], Alias]) -> Alias:
        by = actor()
        made: list[Alias] = []

        def change_and_note(connection: sa.Connection) -> Alias:
            new = change(connection)
            note(connection, Action.ALIAS, new.digest, at=new.changed_at, by=by, detail=new.name)
            made.append(new)
            return new

        def remember() -> None:
            for new in made:
                self._known[new.name] = new

        return await self._engine.write(change_and_note, committed=remember)


def _seen(connection: sa.Connection, name: str, seen: str | None) -> Alias | None:
    """Return a name, if it is as it was seen; in memory it may be older than in this commit."""
    row = connection.execute(sa.select(alias).where(alias.c.name == name)).one_or_none()
    old = None if row is None else _read(row)
    if seen is not None and seen != (ABSENT if old is None else old.version):
        raise changed_meanwhile(old)
    return old


def _read(row: sa.Row[tuple[str, bytes, bytes | None, str, float]]) -> Alias:
    previous = None if row.previous is None else Digest(row.previous)
    return Alias(row.name, Digest(row.digest), previous, row.version, row.changed_at)
