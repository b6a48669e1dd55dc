"""What the registry knows of one digest."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.digest import Digest


class State(StrEnum):
    """Where a model stands."""

    REGISTERED = "registered"
    PROMOTED = "promoted"
    READY = "ready"
    REJECTED = "rejected"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Model:
    """What the registry knows of one digest.

    Attributes
    ----------
    digest : Digest
        The model's name.
    state : State
        Where it stands.
    manifest : dict or None
        What its owner declared.
    record : dict or None
        What intake found: signature and binding of a ready model, the `refusal` of a rejected one.
    reason : str or None
        Why it was rejected or disabled.
    """

    digest: Digest
    state: State
    manifest: dict[str, Any] | None
    record: dict[str, Any] | None
    reason: str | None


def manifest_text(manifest: dict[str, Any] | None) -> str | None:
    """Return a manifest as it is stored: one text for one manifest."""
    return None if manifest is None else json.dumps(manifest, sort_keys=True)


def read_model(row: Any) -> Model:
    """Return what a row of the database says."""
    return Model(
        digest=Digest(row.digest),
        state=State(row.state),
        manifest=None if row.manifest is None else json.loads(row.manifest),
        record=None if row.record is None else json.loads(row.record),
        reason=row.reason,
    )
