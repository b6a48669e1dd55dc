"""What people do with a model: switch it off and on again, and remove it.

Each is a change of the registry, to be made inside a transaction: True when it changed something.
"""

from collections.abc import Callable

import sqlalchemy as sa

from server.database import alias, model
from server.digest import Digest
from server.errors import ModelInUse
from server.repository.audit import Action, note
from server.repository.model import State

Change = Callable[[sa.Connection], bool]


def enabling(digest: Digest, *, at: float, by: str) -> Change:
    """Let a disabled model predict again."""
    again = sa.case((model.c.record.is_(None), State.PROMOTED), else_=State.READY)
    change = (
        sa.update(model)
        .where(model.c.digest == digest.raw, model.c.state == State.DISABLED)
        .values(state=again, reason=None, crashes=0)
    )
    return _noted(change, Action.ENABLED, digest, at=at, by=by)


def disabling(digest: Digest, reason: str, *, at: float, by: str) -> Change:
    """Switch a model off that could predict, or soon."""
    change = (
        sa.update(model)
        .where(model.c.digest == digest.raw, model.c.state.in_([State.PROMOTED, State.READY]))
        .values(state=State.DISABLED, reason=reason)
    )
    return _noted(change, Action.DISABLED, digest, at=at, by=by, detail=reason)


def removing(digest: Digest, *, at: float, by: str) -> Change:
    """Forget a digest; what was done with it stays in the audit.

    Raises
    ------
    ModelInUse
        When it is made, if names lead to the model.
    """
    gone = sa.delete(model).where(model.c.digest == digest.raw)
    change = _noted(gone, Action.REMOVED, digest, at=at, by=by)
    names = sa.select(alias.c.name).where(alias.c.digest == digest.raw)

    def remove(connection: sa.Connection) -> bool:
        if found := connection.execute(names).scalars().all():
            raise ModelInUse("these names lead to it: " + ", ".join(found[:20]))
        return change(connection)

    return remove


def _noted(
    change: sa.Update | sa.Delete,
    action: Action,
    digest: Digest,
    *,
    at: float,
    by: str,
    detail: str | None = None,
) -> Change:
    def change_and_note(connection: sa.Connection) -> bool:
        changed = connection.execute(change).rowcount == 1
        if changed:
            note(connection, action, digest, at=at, by=by, detail=detail)
        return changed

    return change_and_note
