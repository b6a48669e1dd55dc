"""Read JSON out of a model file within a budget, and as one meaning only.

The size, the depth and the number of values are counted before the parser builds anything: its own
limits come too late.
"""

import json
import math
import re
from itertools import accumulate
from typing import Any

from server.errors import BadModel
from server.gate.refusals import refused

MAX_BYTES = 8 << 20
MAX_DEPTH = 64
MAX_NODES = 200_000
_MAX_INT = 1 << 53  # above it, readers of JSON differ
_INT_CHARS = len(str(_MAX_INT)) + 1
# possessive, so that a long text costs no memory; one that does not end is taken to the end, or
# each quote in it would be tried
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def load(data: bytes, *, where: str) -> Any:
    """Parse a text.

    Parameters
    ----------
    data : bytes
        UTF-8.
    where : str
        What it is, for the refusal.

    Raises
    ------
    BadModel
        If it is over the budget, no JSON, or JSON that two readers could read in two ways.
    """
    if len(data) > MAX_BYTES:
        raise refused("json-size", f"the text is over {MAX_BYTES >> 20} MiB", where=where)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise refused("json-damaged", "the text is not UTF-8", where=where) from error
    _check_outline(_STRING.sub('""', text), where)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_int,
            parse_float=_float,
        )
    except BadModel as error:
        raise refused(str(error.members["reason"]), error.detail, where=where) from error
    except ValueError as error:
        raise refused("json-damaged", "the text is no JSON", where=where) from error
    if "\\u" in text:
        _check_surrogates(value, where)
    return value


def _check_outline(bare: str, where: str) -> None:
    """Count depth and values in a text whose strings are emptied."""
    nodes = bare.count(",") + bare.count("[") + bare.count("{")
    if nodes > MAX_NODES:
        raise refused("json-nodes", f"there are over {MAX_NODES} values", where=where)
    if bare.count("]") + bare.count("}") > nodes + 1:
        raise refused("json-damaged", "the text is no JSON", where=where)
    steps = (1 if match[0] in "[{" else -1 for match in _BRACKETS.finditer(bare))
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise refused("json-depth", f"it is nested over {MAX_DEPTH} deep", where=where)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise refused("json-duplicate-key", "a key is there twice")
    return found


def _constant(name: str) -> float:
    raise refused("json-number", f"{name} is no number of JSON")


def _int(digits: str) -> int:
    if len(digits) > _INT_CHARS or abs(value := int(digits)) > _MAX_INT:
        raise refused("json-number", "a whole number is over 2^53")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise refused("json-number", "a number is too large")
    return value


def _check_surrogates(value: Any, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise refused("json-damaged", "a text holds half a character", where=where) from error
