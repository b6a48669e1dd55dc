"""Check the value of one key of a layer: its type, its range, and that it is nothing that runs."""

import re
from collections.abc import Callable
from typing import Any

from server.gate.config.object_table import (
    ACTIVATION_MODULES,
    ACTIVATIONS,
    DTYPES,
    KINDS,
    POLICIES,
    POLICY_CLASSES,
    POLICY_MODULES,
)
from server.gate.refusals import refused, shown

Check = Callable[[Any, str], Any]
MAX_AXIS = (1 << 31) - 1
_NAME_CHARS = 512
_MANY = 64  # whole numbers for one key
_FEW = 4
_RANDOM = frozenset({"keras.random"})
_WORD = re.compile(r"[a-z0-9_-]{1,32}")  # Keras makes letters small that are large
_LETTERS = re.compile(r"[A-Za-z]{1,32}")
_EQUATION = re.compile(r"[A-Za-z,.>-]{1,64}")


def plain(value: Any, where: str) -> Any:
    """Return a number, a boolean, null, or lists of such."""
    if isinstance(value, list):
        return [plain(item, where) for item in value]
    if isinstance(value, dict):
        return plain(array(value, where), where)
    if isinstance(value, str):
        raise bad_value(value, where)
    return value


def number(value: Any, where: str) -> Any:
    """Return a number, a boolean or null: Keras would lay a list over whole tensors."""
    value = plain(value, where)
    if isinstance(value, list):
        raise bad_value(value, where)
    return value


def few(value: Any, where: str) -> Any:
    """Return a number, or at most four of them, as bounds and factors are."""
    value = plain(value, where)
    if isinstance(value, list) and (len(value) > _FEW or any(isinstance(k, list) for k in value)):
        raise bad_value(value, where)
    return value


def seed(value: Any, where: str) -> Any:
    """Return the seed of a random generator."""
    if not isinstance(value, dict) or "module" not in value:
        return number(value, where)
    check_envelope(value, _RANDOM, where)
    inner = value.get("config")
    if value.get("class_name") != "SeedGenerator" or not isinstance(inner, dict):
        raise bad_value(value, where)
    for key, item in inner.items():
        if key not in ("name", "seed"):
            raise unknown_key(key, where)
        (name if key == "name" else number)(item, where)
    return None


def array(value: dict[str, Any], where: str) -> Any:
    """Return the values of a written-out array or tuple."""
    keys = set(value)
    if value.get("class_name") in ("__tuple__", "TensorShape") and keys == {"class_name", "items"}:
        return value["items"]
    if value.get("type") == "ndarray" and keys == {"type", "value"}:
        return value["value"]
    if value.get("class_name") in ("__numpy__", "__tensor__") and keys == {"class_name", "config"}:
        inner = value["config"]
        if isinstance(inner, dict) and set(inner) == {"value", "dtype"}:
            dtype(inner["dtype"], where)
            return inner["value"]
    raise bad_value(value, where)


def whole(value: Any, where: str) -> Any:
    """Return a whole number or null, or lists of such, none of them out of range."""
    value = plain(value, where)
    leaves = _leaves(value)
    if len(leaves) > _MANY:
        raise refused("bad-value", f"over {_MANY} numbers do not belong here", where=where)
    for item in leaves:
        if item is None:
            continue
        if isinstance(item, float) and not item.is_integer():
            raise bad_value(item, where)
        if abs(item) > MAX_AXIS:
            raise refused("cost-axis", "an axis is over 2^31", where=where)
    return _to_int(value)


def shape(value: Any, where: str) -> Any:
    """Return a shape that is written as a list, and in no other way."""
    if not isinstance(value, list | None):
        raise bad_value(value, where)
    return whole(value, where)


def nothing(value: Any, where: str) -> None:
    """Refuse all but what says that a feature is not used."""
    if value is not None and value is not False and value != 0:
        raise refused("feature", "this feature is not served: save the model without", where=where)


def word(value: Any, where: str) -> Any:
    """Return a short plain word or null."""
    if value is not None and not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise bad_value(value, where)
    return value


def word_or_whole(value: Any, where: str) -> Any:
    """Return a short word, or whole numbers."""
    return word(value, where) if isinstance(value, str) else whole(value, where)


def word_or_number(value: Any, where: str) -> Any:
    """Return a short word, or a number."""
    return word(value, where) if isinstance(value, str) else number(value, where)


def axis_letters(value: Any, where: str) -> Any:
    """Return letters that stand for axes, or null."""
    if value is not None and not (isinstance(value, str) and _LETTERS.fullmatch(value)):
        raise bad_value(value, where)
    return value


def equation(value: Any, where: str) -> Any:
    """Return an equation of an einsum."""
    if not (isinstance(value, str) and _EQUATION.fullmatch(value)):
        raise bad_value(value, where)
    return value


def name(value: Any, where: str) -> Any:
    """Return a name."""
    if value is not None and not (isinstance(value, str) and len(value) <= _NAME_CHARS):
        raise bad_value(value, where)
    return value


def dtype(value: Any, where: str) -> Any:
    """Return the name of a precision or of a policy."""
    if isinstance(value, dict):
        check_envelope(value, POLICY_MODULES, where)
        inner = value.get("config")
        if str(value.get("class_name")) not in POLICY_CLASSES:
            raise refused("dtype", "this precision is not served", where=where)
        if not isinstance(inner, dict) or not set(inner) <= {"name", "loss_scale"}:
            raise bad_value(inner, where)
        nothing(inner.get("loss_scale"), where)
        value = inner.get("name")
    if value is not None and not (isinstance(value, str) and value in POLICIES):
        raise refused("dtype", "this precision is not served", where=where)
    return value


def input_dtype(value: Any, where: str) -> Any:
    """Return the type of an input."""
    if value == "string":
        return value  # told with the input's name, once the model is loaded
    if isinstance(value, str) and value not in DTYPES:
        raise refused("dtype", "this precision is not served", where=where)
    return dtype(value, where)


def activation(value: Any, where: str) -> Any:
    """Return the name of an activation function or null."""
    if isinstance(value, dict):
        check_envelope(value, ACTIVATION_MODULES, where)
        if value.get("class_name") not in ("function", "str"):
            raise refused("activation", "this activation is not served", where=where)
        registered = value.get("registered_name")
        value = value.get("config")
        if registered not in (None, "function", "str", value):
            raise refused("custom-object", "a name of your own is no activation", where=where)
    if value is not None and not (isinstance(value, str) and value in ACTIVATIONS):
        raise refused("activation", "this activation is not served", where=where)
    return value


def described(kind: str) -> Check:
    """Return the check of an initializer, a regularizer or a constraint."""
    classes, texts, modules = KINDS[kind]
    checks: dict[str, Check] = {"dtype": dtype, "seed": seed, "axis": whole}
    if kind == "initializer":
        checks["value"] = plain  # lists are left out before Keras reads them

    def check(value: Any, where: str) -> Any:
        if value is None or (isinstance(value, str) and value in texts):
            return value
        if not isinstance(value, dict):
            raise refused(kind, f"this {kind} is not served", where=where)
        check_envelope(value, modules, where)
        found, inner = value.get("class_name"), value.get("config")
        if not isinstance(found, str) or (found not in classes and found not in texts):
            raise refused(kind, f"this {kind} is not served", where=where)
        if not isinstance(inner, dict):
            raise bad_value(inner, where)
        keys = classes.get(found, frozenset().union(*classes.values()))
        for key, item in inner.items():
            if key not in keys:
                raise unknown_key(key, where)
            checks.get(key, word_or_number)(item, f"{where}.{key}")
        return value

    return check


_ENVELOPE = frozenset(
    {"module", "class_name", "config", "registered_name", "shared_object_id", "build_config"}
)


def check_envelope(value: dict[str, Any], modules: frozenset[str], where: str) -> None:
    """Check what stands around the configuration of an object that is no layer."""
    for key in value:
        if key not in _ENVELOPE:
            raise unknown_key(key, where)
    module = value.get("module")
    if module is not None and not (isinstance(module, str) and module in modules):
        raise refused("module", f"{shown(str(module))!r} is no module of Keras", where=where)
    registered = value.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        raise refused("custom-object", "it is an object of your own", where=where)


def unknown_key(key: str, where: str) -> Exception:
    """Build the refusal of a key that is not in the table."""
    return refused("unknown-key", f"the key {shown(key)!r} is not known here", where=where)


def bad_value(value: Any, where: str) -> Exception:
    """Build the refusal of a value of a wrong type."""
    kind = type(value).__name__
    return refused("bad-value", f"a value of the type {kind} does not belong here", where=where)


def count(value: Any) -> int:
    """Return how many values stand in lists in lists."""
    return sum(map(count, value)) if isinstance(value, list) else 1


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the axes of numbers that are written as lists in lists."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _to_int(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_int(item) for item in value]
    return None if value is None else int(value)
