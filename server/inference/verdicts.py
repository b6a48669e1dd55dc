"""What the processes that judge a model say of it, taken over: they may be hostile."""

import re
from typing import Any

from server.errors import ServerError, WorkerFailed
from server.gate.refusals import shown

_CODE = re.compile("[a-z][a-z0-9-]{2,30}")
_VERDICT = ("version", "parameters", "activations", "largest", "flops", "layers")


def code_of(error: ServerError) -> str:
    """Return the code of a refusal, as a label: a child may have said anything."""
    code = error.members.get("reason")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else error.slug


def told_refusal(error: ServerError) -> dict[str, str]:
    """Return the code and the place of a refusal, as they may stand in an answer."""
    found = {"reason": code_of(error)}
    if isinstance(where := error.members.get("where"), str) and where:
        found["where"] = shown(where)
    return found


def told_record(record: Any) -> dict[str, Any]:
    """Take over what a child says of a model."""
    if not isinstance(record, dict) or not isinstance(record.get("engine"), dict):
        raise WorkerFailed("the process that judged it answered nonsense")
    record.pop("derived", None)
    return record


def told_reading(told: Any) -> str | None:
    """Take over what the gate has read in a file; None where a format has but one reading."""
    digest = told.get("reading") if isinstance(told, dict) else ""
    if digest is not None and not (isinstance(digest, str) and len(digest) == 64):
        raise WorkerFailed("the process that judged it answered nonsense")
    return digest


def told_verdict(told: Any) -> dict[str, int]:
    """Take over what the gate says of a file: numbers, and nothing else."""
    try:
        return {name: int(told[name]) for name in _VERDICT}
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process that judged it answered nonsense") from error
