"""What a model's owner declares beside its digest: the form of a manifest.

::

    {"task": "genre",
     "inputs": {"<tensor>": {"as": "<name>", "frontend": "<id>", "columns": [names], "mean": x,
                            "scale": x}},
     "outputs": {"<tensor>": {"as": "<name>", "mean": x, "scale": x}}, "order": [names],
     "output": "<tensor>", "labels": [texts], "licence": "<text>", "card": "<text>"}

Every member may be left out. `as` says which tensor of the task's form a tensor of the model is. A
tensor is fed ``(frontend value - mean) / scale``, each a number or a list of one number a column;
what it answers is ``output * scale + mean``. Whether the names fit a task and a model is judged
elsewhere, where both are known.
"""

from collections.abc import Callable
from typing import Any

from server.errors import BadManifest

DEFAULT_TASK = "genre"  # of models without a manifest, as of those before there were manifests
_MAX_TEXT = 8192
_MAX_NAME = 256
_MAX_ITEMS = 4096
_MAX_TENSORS = 16


def check_manifest(value: Any) -> dict[str, Any]:
    """Return a manifest that has the form drawn above.

    Raises
    ------
    BadManifest
        Naming the member that has not.
    """
    checked: dict[str, Any] = _object(value, "the manifest", _MEMBERS)
    return checked


def _object(value: Any, where: str, members: dict[str, Callable[[Any, str], None]]) -> Any:
    if not isinstance(value, dict):
        raise BadManifest(f"{where} must be an object")
    for name, member in value.items():
        if name not in members:
            raise BadManifest(f"{where} has no member {name[:40]!r}; known are {sorted(members)}")
        members[name](member, name if where == "the manifest" else f"{where}.{name}")
    return value


def _text(limit: int) -> Callable[[Any, str], None]:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not value or len(value) > limit:
            raise BadManifest(f"{where} must be a text of 1 to {limit} characters")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadManifest(f"{where} must be Unicode without lone surrogates")

    return check


def _names(value: Any, where: str) -> None:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_ITEMS:
        raise BadManifest(f"{where} must be a list of 1 to {_MAX_ITEMS} texts")
    for item in value:
        _text(_MAX_NAME)(item, where)
    if len(set(value)) != len(value):
        raise BadManifest(f"{where} names something twice")


def _numbers(value: Any, where: str) -> None:
    listed = value if isinstance(value, list) else [value]
    if not 0 < len(listed) <= _MAX_ITEMS:
        raise BadManifest(f"{where} must have 1 to {_MAX_ITEMS} numbers")
    for item in listed:
        number = isinstance(item, int | float) and not isinstance(item, bool)
        if not number or not abs(item) <= 1e12:
            raise BadManifest(f"{where} must be a number within 1e12, or a list of them")
        if where.endswith(".scale") and abs(item) < 1e-12:
            raise BadManifest(f"{where} must not be zero: values are divided by it")


def _inputs(value: Any, where: str) -> None:
    _tensors(value, where, _INPUT_MEMBERS)


def _outputs(value: Any, where: str) -> None:
    known = ("as", "mean", "scale")
    _tensors(value, where, {name: _INPUT_MEMBERS[name] for name in known})


def _tensors(value: Any, where: str, known: dict[str, Callable[[Any, str], None]]) -> None:
    if not isinstance(value, dict) or not 0 < len(value) <= _MAX_TENSORS:
        raise BadManifest(f"{where} must be an object with 1 to {_MAX_TENSORS} tensors")
    for tensor, declared in value.items():
        _text(_MAX_NAME)(tensor, where)
        _object(declared, f"{where}.{tensor}", known)


_INPUT_MEMBERS = {
    "as": _text(_MAX_NAME),
    "frontend": _text(_MAX_NAME),
    "columns": _names,
    "mean": _numbers,
    "scale": _numbers,
}
_MEMBERS = {
    "task": _text(_MAX_NAME),
    "inputs": _inputs,
    "outputs": _outputs,
    "order": _names,
    "output": _text(_MAX_NAME),
    "labels": _names,
    "licence": _text(_MAX_TEXT),
    "card": _text(_MAX_TEXT),
}
